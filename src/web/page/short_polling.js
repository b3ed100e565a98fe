// Short polling: the client requests at an interval.
//
// On the wire:   GET /topics/{topic}/poll?epoch=..&after=..  ->  200 Batch, at once, empty or not
// Who waits:     the browser, between two requests. A message waits in the server for the next.
// What it costs: a request and a response every interval, however quiet the topic is.

import { now, sleepUntil } from "./clock.js";
import { poll } from "./polling.js";

export const shortPolling = {
  id: "short-polling",
  label: "Short polling",
  waits: "waits in the browser, between two requests",
  holdsConnection: false,

  async subscribe(lane, signal) {
    for (;;) {
      await poll(lane, "poll", {}, 0, signal);
      // Here the browser waits.
      const pause = lane.track.add("pauses", { from: now() });
      // A new interval takes effect at once.
      await sleepUntil(() => pause.from + lane.settings.pollIntervalMs, lane.settings, signal);
      pause.to = now();
    }
  },
};
