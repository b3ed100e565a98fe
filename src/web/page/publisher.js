// Publishes a message by an ordinary request, and the messages of the race at the selected rate.

import { now, serverClock } from "./clock.js";
import { reasonOf } from "./dom.js";
import { TOKEN_HINT, withToken } from "./token.js";

export const RACE_SENDER = "race";
const PATIENCE_MS = 10_000;
const AFTER_FAILURE_MS = 2000;

/** Publishes {sender, text}. Resolves to {epoch, offset} once the message is stored. */
export async function publish(topic, draft) {
  const sentAt = now();
  const response = await fetch(`/topics/${encodeURIComponent(topic)}/messages`, {
    method: "POST",
    headers: withToken({ "content-type": "application/json" }),
    body: JSON.stringify(draft),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  const answeredAt = now();
  const answer = await response.json();
  if (response.status === 401) throw new Error(`${answer.error}; ${TOKEN_HINT}`);
  if (!response.ok) throw new Error(answer.error);
  serverClock.answered(`${answer.epoch}:${answer.offset}`, sentAt, answeredAt);
  return answer;
}

/**
 * Publishes at random times, with exponential gaps (a Poisson process). Of several windows only the
 * one whose rate was set last publishes.
 */
export class RacePublisher {
  #topic;
  #settings;
  #say;
  #timer;
  #isOurs = false;
  /** Number of the newest request for the lock: a rejected older one was replaced by it. */
  #application = 0;

  constructor(topic, settings, say) {
    this.#topic = topic;
    this.#settings = settings;
    this.#say = say;
    settings.addEventListener("change", ({ detail }) => {
      if (detail === "rate" && !this.#isOurs) this.#apply({ steal: true });
      else this.#plan();
    });
    this.#apply({});
  }

  /** Publishes one message at once. */
  async one() {
    try {
      await publish(this.#topic, { sender: RACE_SENDER, text: "one more" });
      this.#say("");
    } catch (error) {
      this.#say(`Not published: ${reasonOf(error)}`);
    }
  }

  /** Requests the lock of the window that publishes. Without Web Locks every window publishes. */
  async #apply(options) {
    const application = ++this.#application;
    const begin = () => {
      this.#isOurs = true;
      this.#say("");
      this.#plan();
    };
    if (!navigator.locks) return begin();
    if (!options.steal) this.#say("Another window publishes. Set Messages here to take over.");
    try {
      await navigator.locks.request(`publisher of ${this.#topic}`, options, () => {
        begin();
        return new Promise(() => {});
      });
    } catch {
      if (application !== this.#application) return;
      // Another window took it over.
      this.#isOurs = false;
      clearTimeout(this.#timer);
      this.#apply({});
    }
  }

  /** Schedules the next message instead of the one scheduled before: the process is memoryless. */
  #plan() {
    clearTimeout(this.#timer);
    const { rate, isPaused } = this.#settings;
    if (!this.#isOurs || isPaused || rate === 0) return;
    const gapMs = (-Math.log(1 - Math.random()) * 1000) / rate;
    this.#timer = setTimeout(() => this.#publish(), gapMs);
  }

  async #publish() {
    try {
      await publish(this.#topic, { sender: RACE_SENDER, text: "tick" });
      this.#say("");
      this.#plan();
    } catch (error) {
      this.#say(`Not published: ${reasonOf(error)}`);
      this.#timer = setTimeout(() => this.#plan(), AFTER_FAILURE_MS);
    }
  }
}
