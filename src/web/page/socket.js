// What both ways over a WebSocket share: the opening of it, its end, and the simulated link.

import { now } from "./clock.js";
import { subprotocols } from "./token.js";

/**
 * Opens a WebSocket and stays with it until it closes, which is an error, or `signal` is aborted.
 * `opened(socket, fail)` is called once, then `heard(text, leftAt)` for each text frame, in order,
 * and `closed()` at the end. The server sends something at least every `heartbeatMs()`.
 */
export async function openSocket(lane, path, head, signal, { opened, heard, closed, heartbeatMs }) {
  await lane.link.connect();
  const ask = lane.asks();
  await lane.link.up();
  signal.throwIfAborted();
  lane.sends(ask);
  lane.expects(2 * heartbeatMs());
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url, subprotocols);
  let stream;
  const ended = new Promise((_, reject) => {
    socket.onopen = async () => {
      ask.leftAt = now();
      stream = lane.track.add("streams", { from: now() });
      await lane.link.down();
      if (signal.aborted) return;
      lane.expects(2 * heartbeatMs());
      ask.doneAt = now();
      lane.counts(head.up.bytes, head.down.bytes);
      opened(socket, reject);
    };
    socket.onmessage = async ({ data }) => {
      const leftAt = now();
      await lane.link.down();
      try {
        if (signal.aborted) return;
        lane.expects(2 * heartbeatMs());
        heard(data, leftAt);
      } catch (error) {
        reject(error);
      }
    };
    // 1006 is the browser's word for "without a word".
    socket.onclose = ({ code, reason }) =>
      reject(new Error(code === 1006 ? "connection lost" : `closed with ${code} ${reason}`));
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
