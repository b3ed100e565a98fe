// A server for tests, which can be stopped, killed and started again on the same port with the same
// messages.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Far longer than any step takes, milliseconds. */
export const FORGOTTEN = 60_000;

export class Server {
  #directory = mkdtempSync(join(tmpdir(), "peers-"));
  #listen = "127.0.0.1:0";
  #child;
  url;

  static async start() {
    const server = new Server();
    await server.start();
    return server;
  }

  async start() {
    const data = join(this.#directory, "feed");
    const options = ["serve", "--listen", this.#listen, "--data", data];
    this.#child = spawn(process.env.SERVER, options, { stdio: ["ignore", "pipe", "ignore"] });
    for await (const line of createInterface({ input: this.#child.stdout })) {
      this.url = line.split(" ").at(-1);
      this.#listen = new URL(this.url).host;
      return;
    }
    throw new Error("the server ended before it listened");
  }

  /** SIGTERM lets it close its connections, SIGKILL does not. */
  async restart(signal) {
    const ended = once(this.#child, "exit");
    this.#child.kill(signal);
    await ended;
    await this.start();
  }

  async publish(text) {
    const body = JSON.stringify({ sender: "A", text });
    const answer = await fetch(`${this.url}/topics/room/messages`, { method: "POST", body });
    if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`);
  }

  async stop() {
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    await ended;
    rmSync(this.#directory, { recursive: true });
  }
}

/** The messages that a client has received, verified on arrival: each once and in order. */
export class Received {
  #texts = [];
  #last = 0;
  #wanted = Infinity;
  #enough;

  add(message) {
    if (message.offset !== this.#last + 1) {
      throw new Error(`message ${message.offset} after ${this.#last}`);
    }
    this.#last = message.offset;
    this.#texts.push(message.text);
    if (this.#texts.length >= this.#wanted) this.#enough();
  }

  /** All texts, once there are `count` of them. */
  async until(count) {
    if (this.#texts.length < count) {
      this.#wanted = count;
      let timer;
      const forgotten = new Promise((_, reject) => {
        const error = new Error(`${this.#texts.length} of ${count} messages came`);
        timer = setTimeout(() => reject(error), FORGOTTEN);
      });
      await Promise.race([new Promise((enough) => (this.#enough = enough)), forgotten]);
      clearTimeout(timer);
      this.#wanted = Infinity;
    }
    return this.#texts;
  }
}

/** Texts that an incorrect encoder would damage. */
export function texts(from, count) {
  const awkward = ["\r\n\n\rdata: x", "\u0000\u001e\u2028", "é\u{1f980}", '"]}', "id:1\n\n:"];
  return Array.from({ length: count }, (_, i) => `${from + i} ${awkward[i % awkward.length]}`);
}
