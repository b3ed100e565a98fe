// The simulated network between a lane and the server. Without a round trip the ways look alike:
// on one machine a request takes less than a millisecond.

import { sleep } from "./clock.js";

/** What a proxy that buffers responses collects before it passes anything on. */
export const PROXY_BUFFER_BYTES = 4096;

/**
 * One lane's link. It holds whatever crosses it for half of the round trip, and lets nothing
 * overtake what crossed before, as a connection would not.
 */
export class Link {
  #isCut = false;
  /** The connection lost something when the link was cut: nothing crosses it any more. */
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
   * Cuts the link, or mends it. What crosses a link that is cut is lost, and neither end is told.
   * Connections that were open stay dead when it is mended.
   */
  setCut(isCut) {
    this.#isCut = isCut;
    this.#isDead ||= isCut;
  }

  /** From here on another connection is used. */
  renew() {
    this.#isDead = this.#isCut;
    this.#lastUp = this.#lastDown = Promise.resolve();
  }

  /** Opening a TCP connection: there and back before anything can be sent. */
  async connect() {
    this.renew();
    this.#buffered = { bytes: 0, release: [] };
    await this.#lossy(sleep(this.#settings.roundTripMs));
  }

  /** Resolves when what was sent now reaches the server. */
  up() {
    return (this.#lastUp = this.#pass(this.#lastUp));
  }

  /** Resolves when what the server sent now reaches the browser. */
  down() {
    return (this.#lastDown = this.#pass(this.#lastDown));
  }

  /** The same for bytes in the middle of a response, which a proxy may keep. */
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

  /** Puts a proxy into the link that buffers responses, or takes it out. */
  setBuffering(isBuffering) {
    this.#isBuffering = isBuffering;
    if (!isBuffering) this.#flush();
  }

  /** Bytes that the proxy keeps. */
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
