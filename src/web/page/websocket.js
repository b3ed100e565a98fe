// WebSocket: one request that becomes a connection on which both sides may send at any time
// (RFC 6455).
//
// On the wire:   GET /topics/{topic}/ws?epoch=..&after=..  Upgrade: websocket  ->  101, then frames
// Who waits:     the server, on one connection, for as long as the subscriber stays.
// What it costs: one handshake; then 2 to 10 bytes around each message.

import { frameBytes, upgradeHeads, utf8Bytes } from "./bytes.js";
import { now } from "./clock.js";
import { openSocket } from "./socket.js";

export const webSocket = {
  id: "websocket",
  label: "WebSocket",
  waits: "waits in the server, on one connection",
  holdsConnection: false,
  /** The open socket, for publishing. */
  socket: null,
  /** Callbacks that wait for an acknowledgement, in order. */
  unanswered: [],

  async subscribe(lane, signal) {
    const heartbeat = lane.settings.heartbeatMs / 1000;
    const path = lane.path("ws", { heartbeat });
    const head = upgradeHeads(path);
    await openSocket(lane, path, head, signal, {
      heartbeatMs: () => lane.settings.heartbeatMs,
      opened: (socket) => (this.socket = socket),
      received: (text, leftAt) => {
        const event = JSON.parse(text);
        lane.counts(0, frameBytes(utf8Bytes(text)));
        if (event.event === "heartbeat") return lane.receives(event, leftAt);
        lane.exchange = { kind: "websocket", ...head, received: text, sent: lane.exchange?.sent };
        if (event.event === "published" || event.event === "error") {
          this.unanswered.shift()?.(event);
        } else {
          lane.receives(event, leftAt);
        }
      },
      closed: () => {
        this.socket = null;
        for (const answer of this.unanswered.splice(0)) answer({ error: "the socket closed" });
      },
    });
  },

  /** Publishes over the lane's socket. Resolves to {epoch, offset}. */
  async publish(lane, draft) {
    if (!this.socket) throw new Error("the WebSocket lane is not connected");
    const text = JSON.stringify(draft);
    const sentAt = now();
    this.socket.send(text);
    lane.counts(frameBytes(utf8Bytes(text), true), 0);
    lane.exchange = { ...lane.exchange, sent: text };
    const event = await new Promise((resolve) => this.unanswered.push(resolve));
    if (event.error) throw new Error(event.error);
    return { ...event, sentAt };
  },
};
