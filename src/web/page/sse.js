// Server-sent events: one response that does not end (WHATWG HTML, section 9.2).
//
// On the wire:   GET /topics/{topic}/events?epoch=..&after=..  ->  200 text/event-stream, events
// Who waits:     the server, on one connection, for as long as the subscriber stays.
// What it costs: one request; then `id: ..` and `data: ..` around each message. In a browser also
//                one of its six connections.

import { eventBytes, requestHead, streamHead } from "./bytes.js";
import { now } from "./clock.js";
import { pathWithToken } from "./token.js";

export const serverSentEvents = {
  id: "sse",
  label: "Server-sent events",
  waits: "waits in the server, on one connection",
  holdsConnection: true,

  async subscribe(lane, signal) {
    const { heartbeatMs } = lane.settings;
    const path = pathWithToken(lane.path("events", { heartbeat: heartbeatMs / 1000 }));
    const head = { up: requestHead("GET", path, "text/event-stream"), down: streamHead() };
    await lane.link.connect();
    const request = lane.startRequest();
    await lane.link.up();
    signal.throwIfAborted();
    lane.requestArrived(request);
    lane.expects(2 * heartbeatMs);
    // An EventSource would reconnect by itself, with the last id, after the same delay for all
    // clients. It is closed at the first error, so that all lanes reconnect alike: with backoff,
    // jitter, and the limit on connections.
    const source = new EventSource(path);
    let stream;
    try {
      await new Promise((_, reject) => {
        source.onopen = async () => {
          request.leftAt = now();
          stream = lane.track.add("streams", { from: now() });
          await lane.link.down();
          if (signal.aborted) return;
          lane.expects(2 * heartbeatMs);
          request.doneAt = now();
          lane.counts(head.up.bytes, head.down.bytes);
        };
        source.onerror = async () => {
          source.close();
          // The end of a connection is lost on a link that is cut, as everything else is.
          await lane.link.down();
          reject(new Error("connection lost"));
        };
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
        for (const type of ["message", "subscribed", "gap", "reset", "heartbeat"]) {
          source.addEventListener(type, async ({ data, lastEventId }) => {
            const leftAt = now();
            // A heartbeat has no id; the browser assigns that of the event before it.
            const event = { type, data, id: type === "heartbeat" ? "" : lastEventId };
            await lane.link.downInResponse(eventBytes(event));
            if (signal.aborted) return;
            lane.expects(2 * heartbeatMs);
            lane.counts(0, eventBytes(event));
            if (type !== "heartbeat") lane.exchange = { kind: "sse", ...head, event };
            lane.receives(JSON.parse(data), leftAt);
          });
        }
      });
    } finally {
      source.close();
      if (stream) stream.to ??= now();
    }
  },
};
