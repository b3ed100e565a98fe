// What a lane did and when, for the timeline to draw. All times are milliseconds by our clock.

const KEPT = 400;

export class Track {
  /** Requests: {sentAt, atServerAt?, leftAt?, doneAt?, messages?}. */
  asks = [];
  /** Waiting in the browser between two requests: {from, to?}. */
  pauses = [];
  /** Connections on which the server waits for something to say: {from, to?}. */
  streams = [];
  /** Times without a server: {from, to?}. */
  outages = [];
  /** Times in which an open connection was silent: {from, to?}. */
  silences = [];
  /** Messages: "epoch:offset" -> {leftAt, heardAt}. */
  arrivals = new Map();
  /** What is to be said about a moment: {at, text}. */
  notes = [];

  /** Adds an entry to one of the lists and returns it, to be completed later. */
  add(list, entry) {
    this[list].push(entry);
    if (this[list].length > KEPT) this[list].shift();
    return entry;
  }

  arrived(key, leftAt, heardAt) {
    this.arrivals.set(key, { leftAt, heardAt });
    if (this.arrivals.size > KEPT) this.arrivals.delete(this.arrivals.keys().next().value);
  }

  /** Whatever is under way ends now: the connection is gone. */
  cut(at) {
    for (const ask of this.asks) ask.cutAt ??= ask.doneAt ? undefined : at;
    for (const span of [...this.pauses, ...this.streams, ...this.silences]) span.to ??= at;
  }
}
