// Over HTTP/1.1 a browser opens at most six connections to a host, for all windows together. A
// pending long poll and an open event stream use one each for as long as they wait. A seventh
// request does not fail: it is queued silently, so a page that uses all six hangs. WebSockets do
// not count.
//
// Therefore the lanes of all windows together use at most four, which leaves two for short
// requests. The windows coordinate this by Web Locks. Without them (over plain HTTP from another
// machine) each window counts its own lanes only.

import { sleep } from "./clock.js";

export const OPENED_BY_BROWSER = 6;
export const HELD_MAX = 4;
const LOOK_AGAIN_MS = 1000;
const nameOf = (place) => `held connection ${place}`;

let heldHere = 0;

/**
 * Resolves to a function that releases the connection. If none is free, calls `onFull` and waits
 * for one.
 */
export async function holdConnection(signal, onFull) {
  for (;;) {
    const release = await takeAny();
    if (release) return release;
    onFull();
    await sleep(LOOK_AGAIN_MS, signal);
  }
}

/** Number of connections that the lanes of all windows use. */
export async function heldInAllWindows() {
  if (!navigator.locks) return heldHere;
  const { held } = await navigator.locks.query();
  return held.filter(({ name }) => name.startsWith("held connection ")).length;
}

export const heldInThisWindow = () => heldHere;

async function takeAny() {
  for (let place = 1; place <= HELD_MAX; place++) {
    const free = navigator.locks ? await lock(nameOf(place)) : heldHere < HELD_MAX && (() => {});
    if (!free) continue;
    heldHere += 1;
    return () => {
      heldHere -= 1;
      free();
    };
  }
  return null;
}

/** Resolves to a function that unlocks, or to null if another has the lock. */
function lock(name) {
  return new Promise((resolve, reject) => {
    const keep = (granted) =>
      granted ? new Promise((unlock) => resolve(unlock)) : resolve(null);
    navigator.locks.request(name, { ifAvailable: true }, keep).catch(reject);
  });
}
