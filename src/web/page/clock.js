// Two clocks, the browser's and the server's, and how to wait.

/** Milliseconds since the Unix epoch by a clock that never jumps. */
export const now = () => performance.timeOrigin + performance.now();

/** Resolves after `ms`; rejects at once when `signal` is aborted. */
export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/**
 * Sleeps until the instant that `due()` returns, which is read again whenever `settings` fires
 * `change`. Rejects at once when `signal` is aborted.
 */
export async function sleepUntil(due, settings, signal) {
  for (let left = due() - now(); left > 0; left = due() - now()) {
    const changed = new AbortController();
    const onChange = () => changed.abort();
    settings.addEventListener("change", onChange, { once: true });
    try {
      await sleep(left, AbortSignal.any([signal, changed.signal]));
    } catch (error) {
      if (!changed.signal.aborted) throw error;
      signal.throwIfAborted();
    } finally {
      settings.removeEventListener("change", onChange);
    }
  }
}

const SAMPLES = 20;

/**
 * The server's clock in terms of ours. A message that this page published was stored between the
 * start of the request and its answer, which bounds the difference of the clocks from both sides.
 * Of all differences that the last publications allow, the smallest is taken: none, if server and
 * browser share a machine.
 */
class ServerClock {
  #asked = new Map(); // "epoch:offset" -> [sentAt, answeredAt]
  #stamped = new Map(); // "epoch:offset" -> publishedAt, by the server's clock
  #bounds = []; // [least, greatest] difference, one a publication
  differenceMs = 0;

  /** Records when a publication of this page was sent, and when its response arrived. */
  answered(key, sentAt, answeredAt) {
    remember(this.#asked, key, [sentAt, answeredAt]);
    this.#compare(key);
  }

  /** Records the server's timestamp of a message. */
  stamped(key, publishedAt) {
    remember(this.#stamped, key, publishedAt);
    this.#compare(key);
  }

  /** The same instant by our clock. */
  toOurs(publishedAt) {
    return publishedAt + this.differenceMs;
  }

  #compare(key) {
    const [asked, publishedAt] = [this.#asked.get(key), this.#stamped.get(key)];
    if (!asked || publishedAt === undefined) return;
    this.#asked.delete(key);
    this.#bounds = [...this.#bounds, asked.map((at) => at - publishedAt)].slice(-SAMPLES);
    const least = Math.max(...this.#bounds.map(([low]) => low));
    const greatest = Math.min(...this.#bounds.map(([, high]) => high));
    this.differenceMs = Math.max(least, Math.min(0, greatest));
  }
}

function remember(map, key, value) {
  map.set(key, value);
  if (map.size > SAMPLES) map.delete(map.keys().next().value);
}

export const serverClock = new ServerClock();
