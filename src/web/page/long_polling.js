// Long polling: the server holds the request until there is a message (RFC 6202, section 2).
//
// On the wire:   GET /topics/{topic}/long-poll?epoch=..&after=..&wait=..
//                ->  200 Batch, as soon as there is a message, or an empty one after `wait`
// Who waits:     the server, once for each request. A message that is published between a
//                response and the next request waits for that request.
// What it costs: a request and a response for each message, or for each batch of messages.

import { poll } from "./polling.js";

const HOLD_S = 25;

export const longPolling = {
  id: "long-polling",
  label: "Long polling",
  waits: "waits in the server, once for each request",
  holdsConnection: true,

  async subscribe(lane, signal) {
    for (;;) {
      // A response is the only heartbeat, so shorter heartbeats need shorter waits.
      const wait = Math.min(HOLD_S, lane.settings.heartbeatMs / 200);
      // Here the server waits.
      await poll(lane, "long-poll", { wait }, wait * 1000, signal);
    }
  },
};
