// Long polling: the client polls, and the server waits for a message before it responds (RFC 6202,
// section 2).
//
// On the wire:   GET /topics/{topic}/long-poll?epoch=..&after=..&wait=..
//                ->  200 Batch, as soon as there is a message, or an empty one after `wait`
// Who waits:     the server, once for each request. Between a response and the next request nobody
//                waits: a message published then waits for the request.
// What it costs: a request and a response for each message, or for each batch of them.

import { poll } from "./polling.js";

const WAIT_S = 25;

export const longPolling = {
  id: "long-polling",
  label: "Long polling",
  waits: "waits in the server, once for each request",
  holdsConnection: true,

  async subscribe(lane, signal) {
    for (;;) {
      // Only responses show that the server is alive, so shorter heartbeats mean shorter waits.
      const wait = Math.min(WAIT_S, lane.settings.heartbeatMs / 200);
      // WAIT: here, in the server, once for each request.
      await poll(lane, "long-poll", { wait }, wait * 1000, signal);
    }
  },
};
