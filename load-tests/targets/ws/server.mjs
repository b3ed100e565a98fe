// A feed with npm's ws: POST /topics/NAME publishes, a WebSocket on /topics/NAME subscribes.
// Listens on 127.0.0.1:PORT (default: a free port) and prints the address; stops on SIGTERM or SIGINT.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const BODY_BYTES_MAX = 1 << 20;
const topics = new Map();

const server = createServer((request, response) => {
  if (request.method !== "POST") {
    response.writeHead(405).end();
    return;
  }
  const chunks = [];
  let size = 0;
  request.on("data", (chunk) => {
    size += chunk.length;
    if (size > BODY_BYTES_MAX) {
      response.writeHead(413).end();
      request.destroy();
      return;
    }
    chunks.push(chunk);
  });
  request.on("end", () => {
    const message = Buffer.concat(chunks);
    for (const socket of topics.get(request.url) ?? []) {
      socket.send(message, { binary: false });
    }
    response.writeHead(204).end();
  });
});

const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on("connection", (socket, { url }) => {
  const subscribers = topics.get(url) ?? new Set();
  topics.set(url, subscribers.add(socket));
  socket.on("close", () => {
    subscribers.delete(socket);
    if (subscribers.size === 0) topics.delete(url);
  });
  socket.on("error", () => socket.terminate());
  socket.send('{"event":"subscribed"}');
});

server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));
