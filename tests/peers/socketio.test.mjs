// npm's official `socket.io-client`, on each transport and with the upgrade from one to the other.

import assert from "node:assert/strict";
import test from "node:test";
import { io } from "socket.io-client";
import { FORGOTTEN, Received, Server, texts } from "./server.mjs";

for (const transports of [["polling"], ["websocket"], ["polling", "websocket"]]) {
  test(`survives restarts by itself and loses nothing: ${transports}`, async () => {
    const server = await Server.start();
    const socket = io(server.url, { transports, reconnectionDelay: 50 });
    const received = new Received();
    const lost = [];
    let cursor = {};
    socket.on("connect", () => socket.emit("subscribe", { topic: "room", ...cursor }));
    socket.on("subscribed", ({ epoch, cursor: after }) => (cursor = { epoch, after }));
    socket.on("message", (message) => {
      cursor.after = message.offset;
      received.add(message);
    });
    for (const name of ["gap", "reset", "error"]) socket.on(name, (event) => lost.push(event));
    await new Promise((resolve) => socket.once("subscribed", resolve));

    const sent = [];
    const publish = async (count) => {
      for (const text of texts(sent.length, count)) {
        sent.push(text);
        const said = { topic: "room", sender: "A", text };
        const stored = await socket.timeout(FORGOTTEN).emitWithAck("publish", said);
        assert.deepEqual(stored, { epoch: cursor.epoch, offset: sent.length });
      }
    };
    await publish(50);
    assert.deepEqual(await received.until(50), sent);
    assert.equal(socket.io.engine.transport.name, transports.at(-1));
    for (const signal of ["SIGTERM", "SIGKILL"]) {
      const back = new Promise((resolve) => socket.once("subscribed", resolve));
      await server.restart(signal);
      for (const text of texts(sent.length, 50)) {
        sent.push(text);
        await server.publish(text);
      }
      await back;
      await publish(10);
      assert.deepEqual(await received.until(sent.length), sent);
    }
    assert.deepEqual(lost, []);
    const said = { topic: "no topic", sender: "A", text: "" };
    const refused = await socket.timeout(FORGOTTEN).emitWithAck("publish", said);
    assert.match(refused.error, /^topic: /);
    socket.close();
    await server.stop();
  });
}
