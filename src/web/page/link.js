// The simulated network between a lane and the server. Without a round trip the transports look
// alike, because a request on one machine takes less than a millisecond.

import { sleep } from "./clock.js";

/** Bytes that a buffering proxy collects before it forwards them. */
export const PROXY_BUFFER_BYTES = 4096;

/**
 * The link of one lane. It delays everything by half of the round trip and keeps the order, as a
 * connection does.
 */
export class Link {
  #isCut = false;
  /** Data was lost when the link was cut: nothing crosses this connection any more. */
  #isDead = false;
  #settings;
  #lastUp = Promise.resolve();
  #lastDown = Promise.resolve();
  #isBuffering = false;
  #buffered = { bytes: 0, release: [] };

  constructor(settings) {
    this.#settings = settings;
  }

  /**
   * Cuts the link, or restores it. Data on a link that is cut is lost, and neither end is notified.
   * Connections that were open stay dead when it is restored.
   */
  setCut(isCut) {
    this.#isCut = isCut;
    this.#isDead ||= isCut;
  }

  /** Uses a new connection from here on. */
  renew() {
    this.#isDead = this.#isCut;
    this.#lastUp = this.#lastDown = Promise.resolve();
  }

  /** Opens a TCP connection: one round trip before anything can be sent. */
  async connect() {
    this.renew();
    this.#buffered = { bytes: 0, release: [] };
    await this.#lossy(sleep(this.#settings.roundTripMs));
  }

  /** Resolves when data sent now reaches the server. */
  up() {
    return (this.#lastUp = this.#pass(this.#lastUp));
  }

  /** Resolves when data that the server sends now reaches the browser. */
  down() {
    return (this.#lastDown = this.#pass(this.#lastDown));
  }

  /** The same for bytes in the middle of a response, which a proxy may buffer. */
  async downInResponse(bytes) {
    if (this.#isBuffering) {
      const buffered = this.#buffered;
      buffered.bytes += bytes;
      const kept = new Promise((resolve) => buffered.release.push(resolve));
      if (buffered.bytes >= PROXY_BUFFER_BYTES) this.#flush();
      await kept;
    }
    await this.down();
  }

  /** Adds a buffering proxy to the link, or removes it. */
  setBuffering(isBuffering) {
    this.#isBuffering = isBuffering;
    if (!isBuffering) this.#flush();
  }

  /** Bytes in the buffer of the proxy. */
  get bufferedBytes() {
    return this.#buffered.bytes;
  }

  #flush() {
    for (const release of this.#buffered.release) release();
    this.#buffered = { bytes: 0, release: [] };
  }

  async #pass(before) {
    const held = sleep(this.#settings.roundTripMs / 2);
    await before;
    await this.#lossy(held);
  }

  /** Waits for `held`; never resolves if the link is cut before or after. */
  async #lossy(held) {
    const wasDead = this.#isDead;
    await held;
    if (wasDead || this.#isDead) await new Promise(() => {});
  }
}
