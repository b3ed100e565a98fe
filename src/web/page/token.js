// The token for a server that requires one. It is in the page's address behind the `#`, which a
// browser does not send: `/#token=...`. It is kept for the tab and removed from the address.

const NAME = "token";
const parts = new URLSearchParams(location.hash.slice(1));
const given = parts.get(NAME);
if (given) {
  sessionStorage.setItem(NAME, given);
  history.replaceState(null, "", location.pathname + location.search);
}
const token = sessionStorage.getItem(NAME);

/** How to provide a token, for a server that has rejected a request without one. */
export const TOKEN_HINT = "open this page with #token=… at the end of its address; "
  + "`poll-vs-push token` makes one";

/** Headers for `fetch`, with the token. */
export function withToken(headers = {}) {
  return token ? { ...headers, authorization: `Bearer ${token}` } : headers;
}

/** The subprotocols that a WebSocket offers: a script cannot set its headers. */
export const subprotocols = token ? ["poll-vs-push", `token.${token}`] : [];

/** The path for an EventSource, which has neither headers nor subprotocols. */
export function pathWithToken(path) {
  return token ? `${path}${path.includes("?") ? "&" : "?"}token=${token}` : path;
}

/** `path` for display: with the same length, without the token. */
export function redacted(path) {
  return token ? path.replaceAll(token, "*".repeat(token.length)) : path;
}
