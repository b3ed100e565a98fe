// The wire view: the newest exchange of a lane with the server, its bytes and their meaning.

import { eventText, frameHeaderBytes, utf8Bytes } from "./bytes.js";
import { element, nameWithin } from "./dom.js";

const MIRRORED = "The request headers are those that the server received in an earlier request of "
  + "this page (GET /mirror), since a browser does not show scripts what it sends.";
const ASSEMBLED = "A browser does not show this to scripts. The lines are derived from the request "
  + "that the server mirrored, from the protocol, and from what this server writes.";

/** What a header is for; by the beginning of its name. */
const MEANINGS = [
  ["host", "which site is meant: one address may serve many"],
  ["connection", "keep-alive: another request may follow; upgrade: what follows is not HTTP"],
  ["user-agent", "which browser; again with every request"],
  ["accept-encoding", "which compression the client supports"],
  ["accept-language", "which languages the reader prefers"],
  ["accept", "which formats the client accepts"],
  ["sec-fetch", "context of the request: lets a server reject pages of other sites"],
  ["sec-ch-ua", "which browser, in another format"],
  ["sec-websocket-key", "16 random bytes in base64, for sec-websocket-accept"],
  ["sec-websocket-accept", "SHA-1 of key and a fixed text: the server knows WebSocket"],
  ["sec-websocket-version", "the one version there is, RFC 6455"],
  ["sec-websocket-protocol", "which protocol within it; carries the token, for scripts set no headers"],
  ["sec-websocket-extensions", "offers compression; this server does not accept it"],
  ["referer", "the page that sends the request"],
  ["origin", "the site of that page; a server can reject other sites"],
  ["cookie", "what the site has stored in the browser; again with every request"],
  ["upgrade", "the protocol of this connection from here on"],
  ["content-type", "the format of the body"],
  ["content-length", "bytes of the body: so the browser knows where it ends"],
  ["transfer-encoding", "the body comes in chunks, each with its size, and need not end"],
  ["cache-control", "caches must not store or use a copy"],
  ["pragma", "the same for HTTP/1.0 caches"],
  ["x-accel-buffering", "tells nginx to forward each event at once"],
  ["date", "when the server responded"],
];

const meaningOf = (name) => MEANINGS.find(([start]) => name.startsWith(start))?.[1] ?? "";

/** Fills `panel` with the newest exchange of the lane; updated only on request. */
export function showWire(panel, lane, headingId) {
  const again = () => showWire(panel, lane, headingId);
  const newer = element("button", { type: "button", onclick: again });
  newer.textContent = "Show the newest";
  newer.setAttribute("aria-label", `Show the newest exchange: ${lane.label}`);
  nameWithin(newer, headingId);
  const { exchange } = lane;
  if (!exchange) {
    panel.replaceChildren(element("p", {}, "Nothing has been exchanged yet. "), newer);
    return;
  }
  panel.replaceChildren(newer, ...PARTS[exchange.kind](exchange));
}

const PARTS = {
  http: ({ up, down, body }) => [
    element("p", { className: "note" }, MIRRORED),
    headTable("Up: the request", up),
    headTable("Down: the response headers", down),
    batchTable(body),
  ],
  websocket: ({ up, down, received, sent }) => [
    frameTable("Down: the newest frame", received, false),
    ...(sent ? [frameTable("Up: the newest frame", sent, true)] : []),
    ...handshake(up, down),
  ],
  sse: ({ up, down, event }) => [eventTable(event), ...handshake(up, down)],
  socketio: ({ up, down, received }) => [
    packetTable(received),
    frameTable("Down: the frame around it", received, false),
    ...handshake(up, down),
  ],
};

function handshake(up, down) {
  return [
    element("p", { className: "note" }, `Once, at the beginning. ${ASSEMBLED}`),
    headTable("Up: the request", up),
    headTable("Down: the response headers", down),
  ];
}

/** A table of [bytes as text, their number, their meaning]. */
function table(title, rows) {
  const total = rows.reduce((sum, [, bytes]) => sum + bytes, 0);
  const caption = element("caption", {}, `${title}: ${total.toLocaleString("en")} bytes`);
  const names = ["On the wire", "Bytes", "Meaning"];
  const column = (name) => element("th", { scope: "col" }, name);
  const heading = element("tr", {}, ...names.map(column));
  const body = rows.map(([text, bytes, meaning]) => {
    const cells = [element("code", {}, element("bdi", {}, text)), String(bytes), meaning];
    return element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));
  });
  return element("table", { className: "wire-table" }, caption,
    element("thead", {}, heading), element("tbody", {}, ...body));
}

function headTable(title, { startLine, headers }) {
  const rows = headers.map(({ name, value, bytes }) => {
    const shown = value ?? `(${bytes} bytes not shown)`;
    return [`${name}: ${shown}`, name.length + 2 + bytes + 2, meaningOf(name)];
  });
  const first = startLine.startsWith("GET")
    ? "the request: topic and transport, and the cursor"
    : "the status";
  return table(title, [
    [startLine, utf8Bytes(startLine) + 2, first],
    ...rows,
    ["(empty line)", 2, "the end of the headers"],
  ]);
}

function batchTable(body) {
  const found = body.matchAll(/\{"offset":.*?\}(?=,\{"offset":|\])/gs);
  const parts = [...found].map(([text]) => text);
  const messages = parts.map((text) => [text, utf8Bytes(text), "a message: the payload"]);
  const inner = messages.reduce((sum, [, bytes]) => sum + bytes, 0);
  const first = body.indexOf(parts[0] ?? "]");
  const around = [body.slice(0, first), body.slice(body.lastIndexOf("]"))];
  const envelope = parts.length ? around.join("…") : body;
  const meaning = parts.length ? "the batch around it: epoch and cursor for the next request"
    : "an empty batch: nothing new after that cursor";
  return table("Down: the body", [[envelope, utf8Bytes(body) - inner, meaning], ...messages]);
}

function frameTable(title, text, isMasked) {
  const length = utf8Bytes(text);
  const bits = (number, count) => number.toString(2).padStart(count, "0");
  const short = length <= 125 ? length : length <= 65_535 ? 126 : 127;
  const masked = isMasked ? "MASK 1: a browser masks" : "MASK 0: a server does not mask";
  const meant = short < 126 ? `length ${length}` : `length ${short}: it follows`;
  const rows = [
    ["bits 1 000 0001", 1, "FIN 1: its last frame; RSV 000: no extension; opcode 1: text"],
    [`bits ${Number(isMasked)} ${bits(short, 7)}`, 1, `${masked}; ${meant}`],
  ];
  const longer = frameHeaderBytes(length) - 2;
  if (longer) {
    const all = bits(length, longer * 8).replace(/.{8}(?=.)/g, "$& ");
    rows.push([`bits ${all}`, longer, `length ${length}`]);
  }
  if (isMasked) {
    rows.push(["(4 bytes not shown)", 4, "the masking key: random, XORed with the payload"]);
  }
  rows.push([text, length, isMasked ? "the payload, before it is masked" : "the payload"]);
  return table(title, rows);
}

function eventTable(event) {
  const text = eventText(event);
  const size = utf8Bytes(text).toString(16);
  const meanings = {
    "event": "the event’s name; a message has none",
    "id": "the cursor: an EventSource that reconnects by itself sends it as Last-Event-ID",
    "data": "the payload",
    "retry": "how long to wait before reconnecting, milliseconds",
    "": "an empty line: the event is complete",
  };
  const lines = text.split("\n").slice(0, -1);
  return table("Down: the newest event", [
    [size, size.length + 2, "the size of the chunk, in hex"],
    ...lines.map((line) => {
      const [field] = line.split(":");
      return [line || "(empty line)", utf8Bytes(line) + 1, meanings[field]];
    }),
    ["(empty line)", 2, "the end of the chunk"],
  ]);
}

function packetTable(packet) {
  const comma = packet.indexOf(",");
  const [around, data] = [`${packet.slice(2, comma + 1)}…]`, packet.slice(comma + 1, -1)];
  return table("Down: the newest packet", [
    ["4", 1, "Engine.IO: a message"],
    ["2", 1, "Socket.IO: an event"],
    [around, utf8Bytes(around) - utf8Bytes("…"), "its name, and the array around it"],
    [data, utf8Bytes(data), "its data: the payload"],
  ]);
}
