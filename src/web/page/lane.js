// A lane: one subscriber, by one way. It keeps the cursor, counts, and comes back when the server
// was gone. How messages are heard is the transport's affair.

import { announce } from "./announce.js";
import { loadMirror } from "./bytes.js";
import { now, sleep } from "./clock.js";
import { HELD_MAX, holdConnection, OPENED_BY_BROWSER } from "./connections.js";
import { isolated } from "./dom.js";
import { Link } from "./link.js";
import { Track } from "./track.js";

export const DELAYS_KEPT = 200;
const BACKOFF_MS = { first: 500, most: 10_000 };

/**
 * Between half of 0.5, 1, 2, ... 10 seconds and all of it, so that not all come back at once;
 * without jitter, all of it.
 */
export function backoffMs(attempt, hasJitter) {
  const most = Math.min(BACKOFF_MS.first * 2 ** attempt, BACKOFF_MS.most);
  return hasJitter ? most * (0.5 + Math.random() / 2) : most;
}

/** Rejects when `signal` is aborted. */
function aborted(signal) {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** All zero. */
const noCounts = () => ({
  requests: 0, emptyAnswers: 0, messages: 0, bytesUp: 0, bytesDown: 0, lost: 0,
});

export class Lane {
  track = new Track();
  /** {epoch, offset} last heard, once the server has said where the head is. */
  cursor = null;
  counters = noCounts();
  /** Since when they count. */
  countedSince = new Date();
  lastDelayMs = null;
  /** For people: {kind: "on" | "off" | "wait" | "bad", text}. */
  state = { kind: "off", text: "" };
  /** The newest exchange with the server, for the wire view. */
  exchange = null;
  isPlugged = true;
  #delays = [];
  #life = new AbortController();
  #attempts = 0;
  #outage = null;
  /** {since, until}: the server was last heard at `since` and is to be heard by `until`. */
  #expected = null;
  #silence = new AbortController();
  #quiet = null;

  constructor(transport, topic, settings, board) {
    Object.assign(this, { transport, topic, settings, board });
    this.id = transport.id;
    this.label = transport.label;
    this.link = new Link(settings);
    settings.addEventListener("change", () => this.#interrupt());
  }

  plug(isPlugged) {
    this.isPlugged = isPlugged;
    this.#interrupt();
  }

  /** Subscribes, and does so again, for as long as the page is there. */
  async run() {
    for (;;) {
      const life = (this.#life = new AbortController());
      try {
        if (this.#isWanted()) await this.#subscribe(life.signal);
        else await this.#rest(life.signal);
      } catch (error) {
        this.track.cut(now());
        if (!life.signal.aborted) await this.#recover(error, life.signal).catch(() => {});
      }
    }
  }

  #isWanted() {
    return this.isPlugged && !this.settings.isPaused;
  }

  /** Ends the present life if it is not what is wanted now. */
  #interrupt() {
    if (this.#isWanted() !== (this.state.kind !== "off")) this.#life.abort();
  }

  async #subscribe(signal) {
    this.state = { kind: "wait", text: "connecting" };
    await loadMirror();
    const onFull = () => {
      const text = `waits: ${HELD_MAX} of ${OPENED_BY_BROWSER} connections are held`;
      if (this.state.text !== text) announce(`${this.label} ${text}`);
      this.state = { kind: "bad", text };
    };
    const isHolding = this.transport.holdsConnection;
    const release = isHolding ? await holdConnection(signal, onFull) : () => {};
    this.#silence = new AbortController();
    const ended = AbortSignal.any([signal, this.#silence.signal]);
    try {
      this.expects(2 * this.settings.heartbeatMs);
      // What waits for a link that is cut waits forever.
      await Promise.race([this.transport.subscribe(this, ended), aborted(ended)]);
    } finally {
      this.expects(null);
      release();
    }
  }

  #rest(signal) {
    this.state = { kind: "off", text: this.isPlugged ? "paused" : "unplugged" };
    return new Promise((_, reject) => signal.addEventListener("abort", reject, { once: true }));
  }

  async #recover(error, signal) {
    if (!this.#outage) {
      announce(`${this.label}: the server is gone`);
      this.#outage = this.track.add("outages", { from: now() });
    }
    const waitMs = backoffMs(this.#attempts++, this.settings.hasJitter);
    const reason = error.name === "TypeError" ? "no connection" : error.message;
    const text = `server gone (${isolated(reason)}); again in ${(waitMs / 1000).toFixed(1)} s`;
    this.state = { kind: "bad", text };
    await sleep(waitMs, signal);
  }

  /** The server has spoken: we are connected. */
  #isHeard() {
    this.#attempts = 0;
    this.state = { kind: "on", text: "connected" };
    if (!this.#outage) return;
    this.#outage.to = now();
    this.#outage = null;
    announce(`${this.label}: the server is back`);
  }

  /**
   * Shows a connection from which nothing has come for two heartbeats as silent, and gives it up
   * after two more: a connection may be dead although neither side has closed it. To be called now
   * and then.
   */
  checkSilence() {
    if (!this.#expected || now() < this.#expected.until) return;
    const { since, until } = this.#expected;
    const seconds = Math.floor((now() - since) / 1000);
    if (now() - until > 2 * this.settings.heartbeatMs) {
      this.#silence.abort(new Error(`silent for ${seconds} s`));
      return;
    }
    if (!this.#quiet) {
      announce(`${this.label}: silent`);
      this.#quiet = this.track.add("silences", { from: since });
    }
    this.state = { kind: "bad", text: `silent for ${seconds} s` };
  }

  // What follows is for the transports.

  /** The server is to be heard from within `ms`, and the simulated round trip; null: not at all. */
  expects(ms) {
    if (this.#quiet) this.#quiet.to ??= now();
    this.#quiet = null;
    const until = now() + ms + this.settings.roundTripMs;
    this.#expected = ms === null ? null : { since: now(), until };
  }

  /** The path of a route, with the cursor to read on from. */
  path(route, query = {}) {
    const { epoch, offset: after } = this.cursor ?? {};
    const all = new URLSearchParams(this.cursor ? { epoch, after, ...query } : query);
    return `/topics/${encodeURIComponent(this.topic)}/${route}${all.size ? `?${all}` : ""}`;
  }

  /** A request sets out. */
  asks() {
    return this.track.add("asks", { sentAt: now() });
  }

  /** A request that set out has crossed the simulated link and is sent. */
  sends(ask) {
    ask.atServerAt = now();
    this.counters.requests += 1;
  }

  counts(bytesUp, bytesDown) {
    this.counters.bytesUp += bytesUp;
    this.counters.bytesDown += bytesDown;
  }

  /** The server has sent something that is not an event. */
  isAlive() {
    this.#isHeard();
  }

  /** The answer to a poll; it left the server at `leftAt`. */
  takes({ epoch, cursor, messages, gap, reset }, leftAt) {
    this.#isHeard();
    if (gap) this.#misses(gap);
    if (reset) this.#isReset();
    for (const message of messages) this.#hears(epoch, message, leftAt);
    this.cursor = { epoch, offset: cursor };
  }

  /** An event of a push connection: a message, or one with an `event` key. */
  hears(event, leftAt) {
    this.#isHeard();
    switch (event.event) {
      case undefined:
        this.#hears(this.cursor.epoch, event, leftAt);
        this.cursor = { ...this.cursor, offset: event.offset };
        break;
      case "gap":
        this.#misses(event.gap);
        break;
      case "reset":
        this.#isReset();
      // falls through: both say where reading goes on
      case "subscribed":
        this.cursor = { epoch: event.epoch, offset: event.cursor };
        break;
      case "heartbeat":
        break;
      case "error":
        throw new Error(event.error);
    }
  }

  #hears(epoch, message, leftAt) {
    const heardAt = now();
    const entry = this.board.hear(this, epoch, message, heardAt);
    this.track.arrived(entry.key, leftAt, heardAt);
    this.counters.messages += 1;
    if (document.hidden) return;
    this.lastDelayMs = entry.delays.get(this.id);
    this.#delays.push(this.lastDelayMs);
    if (this.#delays.length > DELAYS_KEPT) this.#delays.shift();
  }

  #misses(count) {
    this.counters.lost += count;
    this.track.add("notes", { at: now(), text: `gap: ${count} lost` });
    announce(`${this.label}: ${count} messages lost to retention`);
  }

  #isReset() {
    this.track.add("notes", { at: now(), text: "reset: the feed began anew" });
    announce(`${this.label}: the feed began anew`);
  }

  /** Starts all figures at zero. */
  resetFigures() {
    this.counters = noCounts();
    this.countedSince = new Date();
    this.lastDelayMs = null;
    this.#delays = [];
  }

  /** True if that message of the board is still to come: it lies in the server for this lane. */
  awaits({ epoch, offset }) {
    return this.cursor?.epoch === epoch && this.cursor.offset < offset;
  }

  /** Median of the last delays, milliseconds. */
  medianDelayMs() {
    const sorted = [...this.#delays].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : sorted.length
      ? (sorted[middle - 1] + sorted[middle]) / 2 : null;
  }
}
