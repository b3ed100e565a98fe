// The simulated network between a lane and the server. Without a round trip the ways look alike:
// on one machine a request takes less than a millisecond.

import { sleep } from "./clock.js";

/**
 * One lane's link. It holds whatever crosses it for half of the round trip, and lets nothing
 * overtake what crossed before, as a connection would not.
 */
export class Link {
  #settings;
  #lastUp = Promise.resolve();
  #lastDown = Promise.resolve();

  constructor(settings) {
    this.#settings = settings;
  }

  /** Opening a TCP connection: there and back before anything can be sent. */
  connect() {
    return sleep(this.#settings.roundTripMs);
  }

  /** Resolves when what was sent now reaches the server. */
  up() {
    return (this.#lastUp = this.#pass(this.#lastUp));
  }

  /** Resolves when what the server sent now reaches the browser. */
  down() {
    return (this.#lastDown = this.#pass(this.#lastDown));
  }

  async #pass(before) {
    const held = sleep(this.#settings.roundTripMs / 2);
    await before;
    await held;
  }
}
