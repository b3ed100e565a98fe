// The messages of the race: each once, with the time at which each lane received it.

import { now, serverClock } from "./clock.js";

const KEPT = 400;

/**
 * Fires `received` ({lane, entry}) whenever a lane receives a message. An entry is
 * {key, epoch, offset, sender, text, publishedAt, delays}, `delays` from lane id to milliseconds.
 */
export class Board extends EventTarget {
  /** "epoch:offset" -> entry, oldest first. */
  entries = new Map();

  /** Records that `lane` has received `message`. Returns its entry. */
  receive(lane, epoch, message, receivedAt = now()) {
    const key = `${epoch}:${message.offset}`;
    const stampedAt = message.published_at / 1000;
    serverClock.stamped(key, stampedAt);
    let entry = this.entries.get(key);
    if (!entry) {
      const { offset, sender, text } = message;
      const publishedAt = serverClock.toOurs(stampedAt);
      entry = { key, epoch, offset, sender, text, publishedAt, delays: new Map() };
      this.entries.set(key, entry);
      if (this.entries.size > KEPT) this.entries.delete(this.entries.keys().next().value);
    }
    entry.delays.set(lane.id, Math.max(0, receivedAt - entry.publishedAt));
    this.dispatchEvent(new CustomEvent("received", { detail: { lane, entry } }));
    return entry;
  }
}
