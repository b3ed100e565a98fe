// The timeline of a lane: the server above, the browser below, time to the right. A request is
// drawn upwards, its response downwards, and a bar marks the side that waits.

import { colour, font, value } from "./theme.js";

const TOP = 15;
const BOTTOM = 62;
const LEFT = 0;
const RIGHT = 10;
const BAR = 6;
const PILL = { height: 17, radius: 8.5, pad: 5 };
const COLOURS = 8;
/** The width of the names of the sides, at the left edge. */
const SIDE_NAME = 52;
/** A shorter wait is not drawn: it is the duration of a request. */
const WAIT_MIN_MS = 25;

/** How much time a timeline of this width shows, milliseconds. */
export const shownMs = (width) => Math.min(12_000, Math.max(4000, width * 11));

export class Timeline {
  #canvas;
  #pen;
  #lane;
  #pills = []; // [{key, x, y}] as last drawn
  #font = font();

  constructor(canvas, lane) {
    this.#canvas = canvas;
    this.#lane = lane;
    this.#pen = canvas.getContext("2d");
  }

  /** The key of the message drawn nearest to a point of the canvas, if one is near. */
  messageAt(x, y) {
    const distance = (pill) => Math.hypot(pill.x - x, pill.y - y);
    const nearest = this.#pills.toSorted((a, b) => distance(a) - distance(b))[0];
    return nearest && distance(nearest) < 24 ? nearest.key : null;
  }

  /** Draws the lane as of `now`. `isStill` fills the width from left to right, again and again. */
  draw(now, board, selected, isStill) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (width === 0) return;
    const scale = devicePixelRatio;
    if (this.#canvas.width !== Math.round(width * scale)) this.#canvas.width = width * scale;
    if (this.#canvas.height !== Math.round(height * scale)) this.#canvas.height = height * scale;
    const pen = this.#pen;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);

    const span = shownMs(width);
    const pixelsPerMs = (width - LEFT - RIGHT) / span;
    const from = isStill ? Math.floor(now / span) * span : now - span;
    const view = { now, from, width, x: (at) => LEFT + (at - from) * pixelsPerMs };
    this.#grid(view);
    this.#text("server", 2, TOP - 5, colour("soft"));
    this.#text("browser", 2, BOTTOM + 14, colour("soft"));
    this.#outages(view);
    this.#bars(view);
    this.#requests(view);
    this.#notes(view);
    this.#messages(view, board, selected);
  }

  #grid({ now, from, width, x }) {
    const pen = this.#pen;
    pen.lineWidth = 1;
    pen.strokeStyle = colour("line");
    pen.globalAlpha = 0.5;
    for (let at = Math.ceil(from / 1000) * 1000; at <= now; at += 1000) {
      this.#line(x(at), TOP, x(at), BOTTOM);
    }
    pen.globalAlpha = 1;
    this.#line(0, TOP, width, TOP);
    this.#line(0, BOTTOM, width, BOTTOM);
  }

  #outages({ now, from, x }) {
    const pen = this.#pen;
    const { outages, silences } = this.#lane.track;
    // On two lines, since a connection is often closed because it was silent.
    const named = [...outages.map((span) => [span, "disconnected", 34]),
      ...silences.map((span) => [span, "silent", 50])];
    for (const [outage, name, y] of named) {
      const to = outage.to ?? now;
      if (to < from) continue;
      pen.globalAlpha = 0.13;
      pen.fillStyle = colour("bad");
      pen.fillRect(x(outage.from), TOP, x(to) - x(outage.from), BOTTOM - TOP);
      pen.globalAlpha = 1;
      this.#text(name, Math.max(x(outage.from), 0) + 5, y, colour("bad"));
    }
  }

  #bars({ now, from, x }) {
    const { track, id } = this.#lane;
    const bar = (start, end, y) => {
      if (end >= from) this.#bar(x(start), x(end), y, colour(id));
    };
    for (const pause of track.pauses) bar(pause.from, pause.to ?? now, BOTTOM);
    for (const stream of track.streams) bar(stream.from, stream.to ?? now, TOP);
    for (const request of track.requests) {
      const end = request.leftAt ?? request.cutAt ?? now;
      const start = request.atServerAt;
      if (start && end - start > WAIT_MIN_MS) bar(start, end, TOP);
    }
  }

  #requests({ now, from, x }) {
    const pen = this.#pen;
    const laneColour = colour(this.#lane.id);
    for (const request of this.#lane.track.requests) {
      if ((request.doneAt ?? request.cutAt ?? now) < from) continue;
      pen.strokeStyle = laneColour;
      pen.lineWidth = 1.75;
      this.#crossing(request.sentAt, request.atServerAt ?? request.cutAt, BOTTOM, TOP, now, x);
      if (!request.leftAt || request.messages > 0) continue;
      pen.strokeStyle = colour("soft");
      pen.lineWidth = 1.25;
      pen.setLineDash([3, 3]);
      this.#crossing(request.leftAt, request.doneAt ?? request.cutAt, TOP, BOTTOM, now, x);
      pen.setLineDash([]);
    }
  }

  #notes({ from, x }) {
    for (const { at, text } of this.#lane.track.notes) {
      if (at < from) continue;
      this.#pen.strokeStyle = colour("bad");
      this.#pen.lineWidth = 1.5;
      this.#line(x(at), TOP - 6, x(at), BOTTOM + 6);
      this.#text(text, x(at) + 5, 56, colour("bad"));
    }
  }

  #messages(view, board, selected) {
    const pen = this.#pen;
    const { now, from, x } = view;
    this.#pills = [];
    for (const entry of board.entries.values()) {
      const arrival = this.#lane.track.arrivals.get(entry.key);
      if (!arrival && !this.#lane.awaits(entry)) continue;
      if ((arrival?.receivedAt ?? now) < from) continue;
      // When time is paused, later messages have not been published yet.
      if (entry.publishedAt > now) continue;
      pen.strokeStyle = pen.fillStyle = messageColour(entry);
      pen.lineWidth = 2.5;
      // It waits in the server until it is sent.
      const leftAt = arrival?.leftAt ?? now;
      this.#line(x(entry.publishedAt), TOP, Math.max(x(leftAt), x(entry.publishedAt) + 1), TOP);
      this.#disc(x(entry.publishedAt), TOP, 4);
      if (!arrival) continue;
      this.#line(x(arrival.leftAt), TOP, x(arrival.receivedAt), BOTTOM);
      if (arrival.receivedAt <= now) this.#place(entry, x(arrival.receivedAt));
    }
    // Messages without a number are drawn first, the selected one last.
    const rank = (pill) => (pill.key === selected?.key ? 2 : Number(pill.text !== ""));
    const ordered = this.#pills.toSorted((a, b) => rank(a) - rank(b));
    for (const pill of ordered) this.#pill(pill, pill.key === selected?.key);
  }

  /** Messages received together are stacked; of those received shortly after each other only one
   * has its number. */
  #place(entry, x) {
    const text = String(entry.offset);
    const width = Math.max(PILL.height, text.length * 6.6 + 2 * PILL.pad);
    const before = this.#pills.at(-1);
    const isTogether = before && Math.abs(before.x - x) < 2;
    const isClose = before && !isTogether && x - before.x < width;
    const y = isTogether ? Math.max(TOP, before.y - PILL.height + 2) : BOTTOM;
    this.#pills.push({ key: entry.key, entry, x, y, width, text: isClose ? "" : text });
  }

  #pill({ entry, x, y, width, text }, isSelected) {
    const pen = this.#pen;
    pen.fillStyle = messageColour(entry);
    if (isSelected) {
      const delay = `+${Math.round(entry.delays.get(this.#lane.id)).toLocaleString("en")} ms`;
      pen.strokeStyle = colour("ink");
      pen.lineWidth = 2;
      this.#box(x, y, width + 5, PILL.height + 5);
      pen.stroke();
      // Beside the word at the left and the edge at the right, so that it can be read there.
      pen.font = `12px ${this.#font}`;
      const half = pen.measureText(delay).width / 2 + 1;
      const inside = Math.max(SIDE_NAME + half, Math.min(x, this.#canvas.clientWidth - half));
      this.#text(delay, inside, BOTTOM + 21, colour("ink"), "center");
      pen.fillStyle = messageColour(entry);
    }
    if (!text && !isSelected) return this.#disc(x, y, 5);
    this.#box(x, y, width, PILL.height);
    pen.fill();
    pen.font = `600 11px ${this.#font}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillStyle = colour("on-message");
    pen.fillText(String(entry.offset), x, y + 0.5);
  }

  /** A stroke from one side to the other, as far as it is known. */
  #crossing(start, end, y1, y2, now, x) {
    if (end !== undefined) return this.#line(x(start), y1, x(end), y2);
    return this.#line(x(start), y1, x(now), y1 + (y2 - y1) * 0.5);
  }

  #bar(x1, x2, y, fill) {
    this.#pen.globalAlpha = Number(value("bar-alpha"));
    this.#pen.fillStyle = fill;
    this.#pen.fillRect(x1, y - BAR / 2, Math.max(x2 - x1, 1), BAR);
    this.#pen.globalAlpha = 1;
  }

  #line(x1, y1, x2, y2) {
    this.#pen.beginPath();
    this.#pen.moveTo(x1, y1);
    this.#pen.lineTo(x2, y2);
    this.#pen.stroke();
  }

  #disc(x, y, radius) {
    this.#pen.beginPath();
    this.#pen.arc(x, y, radius, 0, 2 * Math.PI);
    this.#pen.fill();
  }

  #box(x, y, width, height) {
    this.#pen.beginPath();
    this.#pen.roundRect(x - width / 2, y - height / 2, width, height, height / 2);
  }

  #text(text, x, y, fill, align = "left") {
    this.#pen.font = `12px ${this.#font}`;
    this.#pen.textAlign = align;
    this.#pen.textBaseline = "alphabetic";
    this.#pen.fillStyle = fill;
    this.#pen.fillText(text, x, y);
  }
}

const messageColour = ({ offset }) => colour(`message-${offset % COLOURS}`);
