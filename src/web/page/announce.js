// Announcements for screen readers: important changes, politely, several together.

import { byId } from "./dom.js";

const TOGETHER_MS = 500;
let waiting = [];

/** Announces `text` when the reader is idle, together with other texts of the same moment. */
export function announce(text) {
  if (waiting.length === 0) {
    setTimeout(() => {
      byId("announcer").textContent = waiting.join(". ");
      waiting = [];
    }, TOGETHER_MS);
  }
  if (!waiting.includes(text)) waiting.push(text);
}
