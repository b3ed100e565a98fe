// Announcements to screen readers: important changes only, with low priority, joined into few.

import { byId } from "./dom.js";

const TOGETHER_MS = 500;
let waiting = [];

/** Announces `text` together with the other announcements of the same moment. */
export function announce(text) {
  if (waiting.length === 0) {
    setTimeout(() => {
      byId("announcer").textContent = waiting.join(". ");
      waiting = [];
    }, TOGETHER_MS);
  }
  if (!waiting.includes(text)) waiting.push(text);
}
