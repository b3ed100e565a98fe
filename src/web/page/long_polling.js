// Long polling: ask, and be kept waiting until there is something (RFC 6202, section 2).
//
// On the wire:   GET /topics/{topic}/long-poll?epoch=..&after=..&wait=..
//                ->  200 Batch, as soon as there is something, or an empty one after `wait`
// Who waits:     the server, once for each request. Between an answer and the next request nobody
//                does, and what is published then waits for the request.
// What it costs: a request and an answer for each message, or for each batch of them.

import { ask } from "./polling.js";

const HOLD_S = 25;

export const longPolling = {
  id: "long-polling",
  label: "Long polling",
  waits: "waits in the server, once for each request",
  holdsConnection: true,

  async subscribe(lane, signal) {
    for (;;) {
      // A response is the only sign of life, so a page that looks more often waits less.
      const wait = Math.min(HOLD_S, lane.settings.heartbeatMs / 200);
      // Here the server waits.
      await ask(lane, "long-poll", { wait }, wait * 1000, signal);
    }
  },
};
