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

/** Sets a text only if it differs, which avoids needless layout and announcements. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Why a request failed. */
export const reasonOf = (error) =>
  error.name === "TimeoutError" ? "no response in time" : error.message;

/** A duration as people read it: `7.4 ms`, `740 ms`, `7.40 s`. */
export function showMs(ms) {
  if (ms === undefined || ms === null) return "–";
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  return ms < 9999.5 ? `${Math.round(ms).toLocaleString("en")} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** A number of bytes as people read it. */
export function showBytes(bytes) {
  if (bytes < 10_000) return `${bytes.toLocaleString("en")} B`;
  return bytes < 10_000_000
    ? `${(bytes / 1000).toFixed(1)} kB`
    : `${(bytes / 1_000_000).toFixed(1)} MB`;
}
