// npm's `socket.io-client`, in the current and the previous major version, behind proxies that break
// the upgrade to a WebSocket: it continues to poll, loses nothing, and does not poll in a busy loop.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { io as io4 } from "socket.io-client";
import { io as io3 } from "socket.io-client-3";
import { MODES, startProxy } from "./proxy.mjs";
import { FORGOTTEN, Received, Server, texts } from "./server.mjs";

/** Time in which requests are counted, and the maximum per client and second. */
const WINDOW_MS = 3_000;
const REQUESTS_PER_S = 2;

/** Subscribes from its cursor after each connect. */
function subscribe(socket) {
  const client = { socket, received: new Received(), lost: [], cursor: {}, times: 0, on: () => {} };
  socket.on("connect", () => socket.emit("subscribe", { topic: "room", ...client.cursor }));
  socket.on("subscribed", ({ epoch, cursor: after }) => {
    client.cursor = { epoch, after };
    client.times += 1;
    client.on();
  });
  socket.on("message", (message) => {
    client.received.add(message);
    client.cursor.after = message.offset;
  });
  for (const name of ["gap", "reset", "error"]) socket.on(name, (it) => client.lost.push(it));
  client.subscribed = (times) =>
    new Promise((resolve, reject) => {
      const late = new Error(`subscribed ${client.times} times, not ${times}`);
      const timer = setTimeout(reject, FORGOTTEN, late);
      client.on = () => client.times >= times && (clearTimeout(timer), resolve());
      client.on();
    });
  return client;
}

for (const [version, io] of [[4, io4], [3, io3]]) {
  describe(`socket.io-client ${version}`, { concurrency: true }, () => {
    for (const mode of Object.keys(MODES)) {
      test(`loses nothing behind a proxy: ${mode}`, async () => {
        const server = await Server.start();
        const proxy = await startProxy(mode, new URL(server.url).host);
        const client = subscribe(io(proxy.url, { reconnectionDelay: 50, reconnectionDelayMax: 500 }));
        await client.subscribed(1);
        const sent = [];
        const publish = async (count) => {
          for (const text of texts(sent.length, count)) {
            sent.push(text);
            await server.publish(text);
            await sleep(20);
          }
        };
        await publish(20);
        assert.deepEqual(await client.received.until(sent.length), sent);
        const before = proxy.requests;
        await sleep(WINDOW_MS);
        const count = proxy.requests - before;
        assert.ok(count <= (WINDOW_MS / 1_000) * REQUESTS_PER_S, `${count} requests while idle`);
        // The client does not receive the answer to its probe, so the server ends polls early.
        if (mode === "mute") assert.ok(count >= 2, `${count} requests while the upgrade hangs`);
        await publish(20);
        assert.deepEqual(await client.received.until(sent.length), sent);
        assert.equal(client.times, 1, "it never had to reconnect");
        assert.ok(proxy.upgrades >= 1, "an upgrade was tried");
        const name = mode === "delay" ? "websocket" : "polling";
        assert.equal(client.socket.io.engine.transport.name, name);
        for (const signal of ["SIGTERM", "SIGKILL"]) {
          const back = client.subscribed(client.times + 1);
          await server.restart(signal);
          await publish(10);
          await back;
          await publish(10);
          assert.deepEqual(await client.received.until(sent.length), sent);
        }
        assert.deepEqual(client.lost, []);
        client.socket.close();
        proxy.stop();
        await server.stop();
      });
    }
  });
}

test("a thousand clients at once, half of them behind a proxy that drops upgrades", async () => {
  const server = await Server.start();
  const proxy = await startProxy("drop", new URL(server.url).host);
  const clients = Array.from({ length: 1_000 }, (_, i) =>
    subscribe(io4(i % 2 ? server.url : proxy.url, { forceNew: true })),
  );
  await Promise.all(clients.map((client) => client.subscribed(1)));
  const sent = texts(0, 10);
  for (const text of sent) await server.publish(text);
  for (const { received, lost, times } of clients) {
    assert.deepEqual(await received.until(sent.length), sent);
    assert.deepEqual([lost, times], [[], 1]);
  }
  for (const { socket } of clients) socket.close();
  proxy.stop();
  await server.stop();
});
