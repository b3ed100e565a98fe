// Builds elements without markup: data from the network becomes text, never HTML. The policy of the
// page (Trusted Types) makes the browser reject anything else.

export const byId = (id) => document.getElementById(id);

/** An element with properties and children; a child that is a string becomes a text node. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** The one element of a template. */
export const fromTemplate = (id) => byId(id).content.firstElementChild.cloneNode(true);

/**
 * Foreign text within a sentence of this page: isolated, so that right-to-left text, or control
 * characters for it, does not affect the sentence. Where markup is possible, `<bdi>` does the same.
 */
export function isolated(text) {
  return `\u2068${String(text).replace(/[\u202a-\u202e\u2066-\u2069]/g, "")}\u2069`;
}

let controls = 0;

/** Names a control by its own name and that of a heading, where the page has several like it. */
export function nameWithin(node, headingId) {
  if (!headingId) return;
  node.id ||= `control-${controls++}`;
  node.setAttribute("aria-labelledby", `${node.id} ${headingId}`);
}

/** Sets a text only if it differs, which avoids needless layout and announcements. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Why a request failed, isolated from the sentence around it. */
export const reasonOf = (error) =>
  isolated(error.name === "TimeoutError" ? "no response in time" : error.message);

/** A duration for display: `7.4 ms`, `740 ms`, `7.40 s`. */
export function showMs(ms) {
  if (ms === undefined || ms === null) return "–";
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  return ms < 9999.5 ? `${Math.round(ms).toLocaleString("en")} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** A number of bytes for display. */
export function showBytes(bytes) {
  if (bytes < 10_000) return `${bytes.toLocaleString("en")} B`;
  return bytes < 10_000_000
    ? `${(bytes / 1000).toFixed(1)} kB`
    : `${(bytes / 1_000_000).toFixed(1)} MB`;
}
