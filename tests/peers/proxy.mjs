// A proxy that breaks WebSocket upgrades, as some real proxies do, and forwards other requests
// unchanged. As a program, `node proxy.mjs MODE HOST:PORT` prints its address.

import net from "node:net";
import { pathToFileURL } from "node:url";

/** Behaviour towards a connection whose first request is an upgrade. */
export const MODES = {
  /** Refuses the upgrade. */
  refuse: (client) => client.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"),
  /** Accepts the upgrade and closes the connection. */
  drop: (client, server) => server.once("data", (head) => client.end(head, () => server.destroy())),
  /** Accepts the upgrade and forwards no frame. */
  swallow: (client, server) => server.once("data", (head) => client.write(head)),
  /** Accepts the upgrade and forwards only the client's frames. */
  mute: (client, server) => {
    server.once("data", (head) => client.write(head));
    client.on("data", (data) => server.write(data));
  },
  /** Forwards everything late. `python-socketio` stops reconnecting after a second. */
  delay: (client, server) => {
    const later = (to) => (data) => setTimeout(() => to.writable && to.write(data), 250);
    server.on("data", later(client));
    client.on("data", later(server));
  },
};

/** Starts a proxy in front of `upstream`, a `host:port`. It counts requests and upgrades. */
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
        // Bytes in transit may still arrive.
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
