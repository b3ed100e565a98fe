// npm's `eventsource`: the interface of a browser's EventSource, with reconnection and Last-Event-ID.

import assert from "node:assert/strict";
import test from "node:test";
import { EventSource } from "eventsource";
import { Received, Server, texts } from "./server.mjs";

test("an event source survives restarts by itself and loses nothing", async () => {
  const server = await Server.start();
  const source = new EventSource(`${server.url}/topics/room/events`);
  const received = new Received();
  source.onmessage = (event) => received.add(JSON.parse(event.data));
  const lost = [];
  for (const name of ["gap", "reset"]) source.addEventListener(name, (event) => lost.push(event));
  await new Promise((resolve) => source.addEventListener("subscribed", resolve, { once: true }));

  const sent = [];
  const publish = async (count) => {
    for (const text of texts(sent.length, count)) {
      sent.push(text);
      await server.publish(text);
    }
  };
  await publish(50);
  assert.deepEqual(await received.until(50), sent);
  for (const signal of ["SIGTERM", "SIGKILL"]) {
    await server.restart(signal);
    await publish(50);
    assert.deepEqual(await received.until(sent.length), sent);
  }
  assert.deepEqual(lost, []);
  source.close();
  await server.stop();
});
