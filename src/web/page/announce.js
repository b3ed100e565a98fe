// What a screen reader says of its own accord: changes that matter, politely, and not many at once.

import { byId } from "./dom.js";

const TOGETHER_MS = 500;
let waiting = [];

/** Says `text` once the reader is free, together with what else is to be said at this moment. */
export function announce(text) {
  if (waiting.length === 0) {
    setTimeout(() => {
      byId("announcer").textContent = waiting.join(". ");
      waiting = [];
    }, TOGETHER_MS);
  }
  if (!waiting.includes(text)) waiting.push(text);
}
