// A WebSocket over the simulated link, for both transports that use one.

import { now } from "./clock.js";
import { subprotocols } from "./token.js";

/**
 * Opens a WebSocket and runs until it closes, which is an error, or `signal` is aborted.
 * Of `handlers`, `opened(socket)` is called once, then `received(text, leftAt)` for each text frame,
 * in order, and `closed()` at the end. The server sends something at least every `heartbeatMs()`.
 */
export async function openSocket(lane, path, head, signal, handlers) {
  const { opened, received, closed, heartbeatMs } = handlers;
  await lane.link.connect();
  const request = lane.startRequest();
  await lane.link.up();
  signal.throwIfAborted();
  lane.requestArrived(request);
  lane.expects(2 * heartbeatMs());
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url, subprotocols);
  let stream;
  const ended = new Promise((_, reject) => {
    socket.onopen = async () => {
      request.leftAt = now();
      stream = lane.track.add("streams", { from: now() });
      await lane.link.down();
      if (signal.aborted) return;
      lane.expects(2 * heartbeatMs());
      request.doneAt = now();
      lane.counts(head.up.bytes, head.down.bytes);
      opened(socket);
    };
    socket.onmessage = async ({ data }) => {
      const leftAt = now();
      await lane.link.down();
      try {
        if (signal.aborted) return;
        lane.expects(2 * heartbeatMs());
        received(data, leftAt);
      } catch (error) {
        reject(error);
      }
    };
    socket.onclose = async ({ code, reason }) => {
      // A close crosses the link like everything else: over one that is cut it is lost.
      await lane.link.down();
      // 1006: the connection ended without a close frame.
      reject(new Error(code === 1006 ? "connection lost" : `closed with ${code} ${reason}`));
    };
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  try {
    await ended;
  } finally {
    socket.close(1000);
    if (stream) stream.to ??= now();
    closed();
  }
}
