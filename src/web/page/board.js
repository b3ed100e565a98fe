// The messages of the race: each once, with the time at which every lane heard it.

import { now, serverClock } from "./clock.js";

const KEPT = 400;

/**
 * Fires `heard` ({lane, entry}) whenever a lane hears a message. An entry is
 * {key, epoch, offset, sender, text, publishedAt, delays}, `delays` from lane id to milliseconds.
 */
export class Board extends EventTarget {
  /** "epoch:offset" -> entry, oldest first. */
  entries = new Map();

  /** `lane` heard `message`. Returns its entry. */
  hear(lane, epoch, message, heardAt = now()) {
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
    entry.delays.set(lane.id, Math.max(0, heardAt - entry.publishedAt));
    this.dispatchEvent(new CustomEvent("heard", { detail: { lane, entry } }));
    return entry;
  }
}
