// The bytes on the wire, as far as a page can know them. Responses to `fetch` are known to the
// byte. Request heads are those that the server's mirror returns. The heads of the handshakes of
// WebSocket and EventSource, which a browser hides from scripts, are reconstructed from the
// protocol and from the responses of this server.

import { redacted, subprotocols, withToken } from "./token.js";

const encoder = new TextEncoder();
export const utf8Bytes = (text) => encoder.encode(text).length;

let mirrored; // [{name, value?, bytes}]
let loading;

/** Asks the server, once, which headers this browser sends. */
export function loadMirror() {
  loading ??= askMirror();
  return loading;
}

async function askMirror() {
  try {
    const response = await fetch("/mirror", {
      headers: withToken(),
      signal: AbortSignal.timeout(10_000),
    });
    if (!response.ok) throw new Error(`the mirror answered ${response.status}`);
    mirrored = await response.json();
  } catch (error) {
    loading = undefined;
    throw error;
  }
}

const line = (name, value) => ({ name, value, bytes: utf8Bytes(value) });

/** {startLine, headers, bytes}: start line, header lines, an empty line; CRLF after each. */
function head(startLine, headers) {
  const lines = headers.map(({ name, bytes }) => name.length + 2 + bytes + 2);
  const bytes = utf8Bytes(startLine) + 2 + lines.reduce((sum, length) => sum + length, 0) + 2;
  return { startLine, headers, bytes };
}

/** A request's head; `accept` if it is not the one that `fetch` sends. */
export function requestHead(method, path, accept) {
  let headers = mirrored ?? [];
  if (accept) {
    headers = headers.filter(({ name }) => name !== "accept");
    headers = headers.filter(({ name }) => name !== "authorization");
    const noCache = [line("pragma", "no-cache"), line("cache-control", "no-cache")];
    headers = [...headers, line("accept", accept), ...noCache];
  }
  return head(`${method} ${redacted(path)} HTTP/1.1`, headers);
}

/** The head of a response to `fetch`. */
export function responseHead(response) {
  const headers = [...response.headers].map(([name, value]) => line(name, value));
  return head(`HTTP/1.1 ${response.status} ${response.statusText}`, headers);
}

/** A value of fixed length that is hidden from scripts. */
const hidden = (name, bytes) => ({ name, bytes });
const DATE = hidden("date", "Thu, 01 Jan 1970 00:00:00 GMT".length);

/** The head of an event stream, as this server writes it. */
export function streamHead() {
  return head("HTTP/1.1 200 OK", [
    line("content-type", "text/event-stream"),
    line("cache-control", "no-store"),
    line("x-accel-buffering", "no"),
    line("transfer-encoding", "chunked"),
    DATE,
  ]);
}

/** Both heads of a WebSocket's handshake. */
export function upgradeHeads(path) {
  const kept = ["host", "user-agent", "accept-encoding", "accept-language", "cookie"];
  const up = [
    ...(mirrored ?? []).filter(({ name }) => kept.includes(name)),
    line("connection", "Upgrade"),
    line("upgrade", "websocket"),
    line("origin", location.origin),
    line("pragma", "no-cache"),
    line("cache-control", "no-cache"),
    line("sec-websocket-version", "13"),
    hidden("sec-websocket-key", 24),
    line("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
  ];
  const offered = subprotocols.join(", ");
  if (offered) up.push(hidden("sec-websocket-protocol", offered.length));
  const down = [
    line("connection", "upgrade"),
    line("upgrade", "websocket"),
    hidden("sec-websocket-accept", 28),
    ...(offered ? [line("sec-websocket-protocol", subprotocols[0])] : []),
    DATE,
  ];
  return {
    up: head(`GET ${path} HTTP/1.1`, up),
    down: head("HTTP/1.1 101 Switching Protocols", down),
  };
}

/** Bytes of a WebSocket frame's header: RFC 6455, section 5.2. */
export function frameHeaderBytes(payload, isMasked = false) {
  const length = payload <= 125 ? 0 : payload <= 65_535 ? 2 : 8;
  return 2 + length + (isMasked ? 4 : 0);
}

/** Bytes of a whole frame. Browsers mask what they send; servers do not. */
export const frameBytes = (payload, isMasked) => frameHeaderBytes(payload, isMasked) + payload;

/** The text of a server-sent event, as this server writes it. */
export function eventText({ type, id, data }) {
  const name = type === "message" ? "" : `event:${type}\n`;
  // The first event also sets how long an EventSource waits before it reconnects.
  const retry = type === "subscribed" ? "retry:2000\n" : "";
  return `${retry}${name}${id && `id:${id}\n`}data:${data}\n\n`;
}

/** Bytes of a server-sent event in a chunk of its own: its size in hex, CRLF, the event, CRLF. */
export function eventBytes(event) {
  const bytes = utf8Bytes(eventText(event));
  return bytes.toString(16).length + 2 + bytes + 2;
}
