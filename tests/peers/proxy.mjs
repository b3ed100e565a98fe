// A proxy that treats WebSocket upgrades badly, as proxies in the field do, and leaves other
// requests alone. By itself: `node proxy.mjs MODE HOST:PORT` prints where it listens.

import net from "node:net";
import { pathToFileURL } from "node:url";

/** What becomes of a connection whose first request asks for an upgrade. */
export const MODES = {
  /** It is refused. */
  refuse: (client) => client.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"),
  /** It is accepted, and the connection is closed. */
  drop: (client, server) => server.once("data", (head) => client.end(head, () => server.destroy())),
  /** It is accepted, and no frame is passed on. */
  swallow: (client, server) => server.once("data", (head) => client.write(head)),
  /** It is accepted, and the client's frames are passed on, but not the server's. */
  mute: (client, server) => {
    server.once("data", (head) => client.write(head));
    client.on("data", (data) => server.write(data));
  },
  /** Everything is passed on late. `python-socketio` gives up on reconnecting after a second. */
  delay: (client, server) => {
    const later = (to) => (data) => setTimeout(() => to.writable && to.write(data), 250);
    server.on("data", later(client));
    client.on("data", later(server));
  },
};

/** Starts one in front of `upstream`, a `host:port`. It counts requests and upgrades. */
export async function startProxy(mode, upstream) {
  const proxy = { requests: 0, upgrades: 0 };
  const [host, port] = upstream.split(":");
  const open = new Set();
  const listener = net.createServer((client) => {
    const server = net.connect(port, host);
    for (const [one, other] of [[client, server], [server, client]]) {
      open.add(one);
      one.setNoDelay(true);
      one.on("error", () => {});
      one.on("close", () => {
        open.delete(one);
        // What is on its way may still arrive.
        other.writable ? other.end() : other.destroy();
      });
    }
    const count = (data) => {
      proxy.requests += data.toString("latin1").match(/^(GET|POST) \S+ HTTP\/1.1\r$/gm)?.length ?? 0;
    };
    client.once("data", (head) => {
      count(head);
      if (/^upgrade: *websocket\r$/im.test(head.toString("latin1"))) {
        proxy.upgrades += 1;
        if (mode !== "refuse") server.write(head);
        MODES[mode](client, server);
      } else {
        server.write(head);
        client.on("data", count);
        client.pipe(server);
        server.pipe(client);
      }
      client.resume();
      server.resume();
    });
  });
  await new Promise((listening) => listener.listen(0, "127.0.0.1", listening));
  proxy.url = `http://127.0.0.1:${listener.address().port}`;
  proxy.stop = () => {
    listener.close();
    for (const socket of open) socket.destroy();
  };
  return proxy;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [mode, upstream] = process.argv.slice(2);
  console.log((await startProxy(mode, upstream)).url);
}
