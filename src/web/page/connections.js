// Six connections a host: that is all a browser opens over HTTP/1.1, in all windows together. A
// held long poll and an open event stream keep one each for as long as they wait. The seventh
// request does not fail, it waits without a word, so a page that holds six hangs. WebSockets are
// not among the six.
//
// So the lanes take no more than four, in all windows together, and leave two for requests that
// are soon answered. The windows agree on it by Web Locks, where the browser has them (not over
// plain HTTP from another machine): then a window knows of its own lanes only.

import { sleep } from "./clock.js";

export const OPENED_BY_BROWSER = 6;
export const HELD_MAX = 4;
const LOOK_AGAIN_MS = 1000;
const nameOf = (place) => `held connection ${place}`;

let heldHere = 0;

/**
 * Resolves to a function that gives the connection back. Calls `onFull` if there is none left, and
 * waits for one.
 */
export async function holdConnection(signal, onFull) {
  for (;;) {
    const release = await takeAny();
    if (release) return release;
    onFull();
    await sleep(LOOK_AGAIN_MS, signal);
  }
}

/** How many connections the lanes of all windows hold. */
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
