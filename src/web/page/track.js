// The history of a lane, for its timeline. All times are milliseconds of this page's clock.

const KEPT = 400;

export class Track {
  /** Requests: {sentAt, atServerAt?, leftAt?, doneAt?, messages?}. */
  requests = [];
  /** Waiting in the browser between two requests: {from, to?}. */
  pauses = [];
  /** Connections on which the server waits for messages: {from, to?}. */
  streams = [];
  /** Times without a server: {from, to?}. */
  outages = [];
  /** Times in which an open connection received nothing: {from, to?}. */
  silences = [];
  /** Messages: "epoch:offset" -> {leftAt, receivedAt}. */
  arrivals = new Map();
  /** Notes at an instant: {at, text}. */
  notes = [];

  /** Adds an entry to one of the lists and returns it, to be completed later. */
  add(list, entry) {
    this[list].push(entry);
    if (this[list].length > KEPT) this[list].shift();
    return entry;
  }

  arrived(key, leftAt, receivedAt) {
    this.arrivals.set(key, { leftAt, receivedAt });
    if (this.arrivals.size > KEPT) this.arrivals.delete(this.arrivals.keys().next().value);
  }

  /** Ends everything that is in progress: the connection is lost. */
  cut(at) {
    for (const request of this.requests) request.cutAt ??= request.doneAt ? undefined : at;
    for (const span of [...this.pauses, ...this.streams, ...this.silences]) span.to ??= at;
  }
}
