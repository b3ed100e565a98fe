// A lane: one subscriber over one transport. It keeps the cursor and the counters, and reconnects
// after a failure. The transport receives the messages.

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
 * A random time between half of 0.5, 1, 2, ... 10 seconds and all of it, so that clients do not
 * reconnect at the same moment; without jitter, all of it.
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
  /** {epoch, offset} of the last message received, or of the head at the start. */
  cursor = null;
  counters = noCounts();
  /** When the counters were reset. */
  countedSince = new Date();
  lastDelayMs = null;
  /** The state shown: {kind: "on" | "off" | "wait" | "bad", text}. */
  state = { kind: "off", text: "" };
  /** The newest exchange with the server, for the wire view. */
  exchange = null;
  isPlugged = true;
  /** The state of a lane that is intentionally disconnected. */
  unpluggedText = "unplugged";
  #delays = [];
  #life = new AbortController();
  #attempts = 0;
  #outage = null;
  /** {since, until}: something was last received at `since`, and is expected by `until`. */
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

  /** Subscribes, again after each failure, for as long as the page exists. */
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

  /** The next subscription starts at the head. */
  forgetCursor() {
    this.cursor = null;
  }

  #isWanted() {
    return this.isPlugged && !this.settings.isPaused;
  }

  /** Ends the subscription, or the pause, if it does not match the settings. */
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
      // A wait for a link that is cut never ends by itself.
      await Promise.race([this.transport.subscribe(this, ended), aborted(ended)]);
    } finally {
      this.expects(null);
      release();
    }
  }

  #rest(signal) {
    this.state = { kind: "off", text: this.isPlugged ? "paused" : this.unpluggedText };
    return new Promise((_, reject) => signal.addEventListener("abort", reject, { once: true }));
  }

  async #recover(error, signal) {
    if (!this.#outage) {
      announce(`${this.label}: disconnected`);
      this.#outage = this.track.add("outages", { from: now() });
    }
    const waitMs = backoffMs(this.#attempts++, this.settings.hasJitter);
    // An error of the page itself and not of the connection.
    if (error instanceof TypeError || error instanceof ReferenceError) reportError(error);
    const wait = `again in ${(waitMs / 1000).toFixed(1)} s`;
    this.state = { kind: "bad", text: `disconnected (${isolated(error.message)}); ${wait}` };
    await sleep(waitMs, signal);
  }

  /** Something was received: the lane is connected. */
  #markConnected() {
    this.#attempts = 0;
    this.state = { kind: "on", text: "connected" };
    if (!this.#outage) return;
    this.#outage.to = now();
    this.#outage = null;
    announce(`${this.label}: reconnected`);
  }

  /**
   * Shows a connection on which nothing was received for two heartbeats as silent, and closes it
   * after two more: a connection may be dead although neither side has closed it. Called
   * periodically.
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

  // The methods below are called by the transports.

  /** Something is expected within `ms` plus the simulated round trip; null: nothing is. */
  expects(ms) {
    if (this.#quiet) this.#quiet.to ??= now();
    this.#quiet = null;
    const until = now() + ms + this.settings.roundTripMs;
    this.#expected = ms === null ? null : { since: now(), until };
  }

  /** The path of a route, with the cursor. */
  path(route, query = {}) {
    const { epoch, offset: after } = this.cursor ?? {};
    const all = new URLSearchParams(this.cursor ? { epoch, after, ...query } : query);
    return `/topics/${encodeURIComponent(this.topic)}/${route}${all.size ? `?${all}` : ""}`;
  }

  /** A request enters the simulated link. */
  startRequest() {
    return this.track.add("requests", { sentAt: now() });
  }

  /** A request has crossed the simulated link and is sent. */
  requestArrived(request) {
    request.atServerAt = now();
    this.counters.requests += 1;
  }

  counts(bytesUp, bytesDown) {
    this.counters.bytesUp += bytesUp;
    this.counters.bytesDown += bytesDown;
  }

  /** The server has sent something other than an event. */
  isAlive() {
    this.#markConnected();
  }

  /** Handles the response to a poll; it left the server at `leftAt`. */
  receiveBatch({ epoch, cursor, messages, gap, reset }, leftAt) {
    this.#markConnected();
    if (gap) this.#misses(gap);
    if (reset) this.#isReset();
    for (const message of messages) this.#receives(epoch, message, leftAt);
    this.cursor = { epoch, offset: cursor };
  }

  /** Handles an event of a push connection: a message, or one with an `event` key. */
  receives(event, leftAt) {
    this.#markConnected();
    switch (event.event) {
      case undefined:
        this.#receives(this.cursor.epoch, event, leftAt);
        this.cursor = { ...this.cursor, offset: event.offset };
        break;
      case "gap":
        this.#misses(event.gap);
        this.cursor = { ...this.cursor, offset: this.cursor.offset + event.gap };
        break;
      case "reset":
        this.#isReset();
      // falls through: both contain the new cursor
      case "subscribed":
        this.cursor = { epoch: event.epoch, offset: event.cursor };
        break;
      case "heartbeat":
        break;
      case "error":
        throw new Error(event.error);
    }
  }

  #receives(epoch, message, leftAt) {
    const receivedAt = now();
    const entry = this.board.receive(this, epoch, message, receivedAt);
    this.track.arrived(entry.key, leftAt, receivedAt);
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

  /** Resets all figures. */
  resetFigures() {
    this.counters = noCounts();
    this.countedSince = new Date();
    this.lastDelayMs = null;
    this.#delays = [];
  }

  /** True if this lane has not received that message yet: it waits in the server. */
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
