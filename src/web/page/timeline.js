// A lane's timeline: the server above, the browser below, time to the right. A request goes up, its
// answer comes down, and whoever waits has a bar on his side. It shows where the waiting happens.

const TOP = 15;
const BOTTOM = 62;
const LEFT = 0;
const RIGHT = 10;
const BAR = 6;
const PILL = { height: 17, radius: 8.5, pad: 5 };
const COLOURS = 8;
/** A wait shorter than this is drawn as no wait: it is the time that a request takes. */
const WAIT_MIN_MS = 25;

let theme = {};

/** Reads the style sheet's colours: at the start, and when light turns to dark. */
export function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  const messages = Array.from({ length: COLOURS }, (_, index) => value(`--message-${index}`));
  theme = { messages, font: style.fontFamily };
  const names = ["ink", "soft", "line", "page", "on-message", "bad"];
  for (const name of names) theme[name] = value(`--${name}`);
}

export class Timeline {
  #canvas;
  #pen;
  #lane;
  #pills = []; // [{key, x, y}] as last drawn

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

  /** Draws the lane as of `now`. `isStill` fills the width from left to right, then begins anew. */
  draw(now, board, selected, isStill) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (width === 0) return;
    const scale = devicePixelRatio;
    if (this.#canvas.width !== Math.round(width * scale)) this.#canvas.width = width * scale;
    if (this.#canvas.height !== Math.round(height * scale)) this.#canvas.height = height * scale;
    const pen = this.#pen;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);

    const shownMs = Math.min(12_000, Math.max(4000, width * 11));
    const pixelsPerMs = (width - LEFT - RIGHT) / shownMs;
    const from = isStill ? Math.floor(now / shownMs) * shownMs : now - shownMs;
    const view = { now, from, width, x: (at) => LEFT + (at - from) * pixelsPerMs };
    this.#grid(view);
    this.#text("server", 2, TOP - 5, theme.soft);
    this.#text("browser", 2, BOTTOM + 14, theme.soft);
    this.#outages(view);
    this.#bars(view);
    this.#asks(view);
    this.#notes(view);
    this.#messages(view, board, selected);
  }

  #grid({ now, from, width, x }) {
    const pen = this.#pen;
    pen.lineWidth = 1;
    pen.strokeStyle = theme.line;
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
    const named = [...outages.map((span) => [span, "server gone"]),
      ...silences.map((span) => [span, "silent"])];
    for (const [outage, name] of named) {
      const to = outage.to ?? now;
      if (to < from) continue;
      pen.globalAlpha = 0.13;
      pen.fillStyle = theme.bad;
      pen.fillRect(x(outage.from), TOP, x(to) - x(outage.from), BOTTOM - TOP);
      pen.globalAlpha = 1;
      this.#text(name, Math.max(x(outage.from), 0) + 5, 42, theme.bad);
    }
  }

  #bars({ now, from, x }) {
    const { track, id } = this.#lane;
    const colour = laneColour(id);
    const bar = (start, end, y) => {
      if (end >= from) this.#bar(x(start), x(end), y, colour);
    };
    for (const pause of track.pauses) bar(pause.from, pause.to ?? now, BOTTOM);
    for (const stream of track.streams) bar(stream.from, stream.to ?? now, TOP);
    for (const ask of track.asks) {
      const end = ask.leftAt ?? ask.cutAt ?? now;
      if (ask.atServerAt && end - ask.atServerAt > WAIT_MIN_MS) bar(ask.atServerAt, end, TOP);
    }
  }

  #asks({ now, from, x }) {
    const pen = this.#pen;
    const colour = laneColour(this.#lane.id);
    for (const ask of this.#lane.track.asks) {
      if ((ask.doneAt ?? ask.cutAt ?? now) < from) continue;
      pen.strokeStyle = colour;
      pen.lineWidth = 1.75;
      this.#crossing(ask.sentAt, ask.atServerAt ?? ask.cutAt, BOTTOM, TOP, now, x);
      if (!ask.leftAt || ask.messages > 0) continue;
      pen.strokeStyle = theme.soft;
      pen.lineWidth = 1.25;
      pen.setLineDash([3, 3]);
      this.#crossing(ask.leftAt, ask.doneAt ?? ask.cutAt, TOP, BOTTOM, now, x);
      pen.setLineDash([]);
    }
  }

  #notes({ from, x }) {
    for (const { at, text } of this.#lane.track.notes) {
      if (at < from) continue;
      this.#pen.strokeStyle = theme.bad;
      this.#pen.lineWidth = 1.5;
      this.#line(x(at), TOP - 6, x(at), BOTTOM + 6);
      this.#text(text, x(at) + 5, 56, theme.bad);
    }
  }

  #messages(view, board, selected) {
    const pen = this.#pen;
    const { now, from, x } = view;
    this.#pills = [];
    for (const entry of board.entries.values()) {
      const arrival = this.#lane.track.arrivals.get(entry.key);
      if (!arrival && !this.#lane.awaits(entry)) continue;
      if ((arrival?.heardAt ?? now) < from) continue;
      const colour = theme.messages[entry.offset % COLOURS];
      pen.strokeStyle = colour;
      pen.lineWidth = 2.5;
      // It lies in the server until it leaves; then it comes down.
      const leftAt = arrival?.leftAt ?? now;
      this.#line(x(entry.publishedAt), TOP, Math.max(x(leftAt), x(entry.publishedAt) + 1), TOP);
      pen.fillStyle = colour;
      this.#disc(x(entry.publishedAt), TOP, 4);
      if (!arrival) continue;
      this.#line(x(arrival.leftAt), TOP, x(arrival.heardAt), BOTTOM);
      this.#place(entry, x(arrival.heardAt));
    }
    // Those without a number lie below those with one, and what is looked at lies on top.
    const rank = (pill) => (pill.key === selected?.key ? 2 : Number(pill.text !== ""));
    const ordered = this.#pills.toSorted((a, b) => rank(a) - rank(b));
    for (const pill of ordered) this.#pill(pill, pill.key === selected?.key);
  }

  /** Messages heard together are stacked, those heard close to each other lose their numbers. */
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
    pen.fillStyle = theme.messages[entry.offset % COLOURS];
    if (isSelected) {
      const delay = `+${Math.round(entry.delays.get(this.#lane.id))} ms`;
      pen.strokeStyle = theme.ink;
      pen.lineWidth = 2;
      this.#box(x, y, width + 5, PILL.height + 5);
      pen.stroke();
      this.#text(delay, x, BOTTOM + 21, theme.ink, "center");
      pen.fillStyle = theme.messages[entry.offset % COLOURS];
    }
    if (!text && !isSelected) return this.#disc(x, y, 5);
    this.#box(x, y, width, PILL.height);
    pen.fill();
    pen.font = `600 11px ${theme.font}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillStyle = theme["on-message"];
    pen.fillText(String(entry.offset), x, y + 0.5);
  }

  /** A stroke from one side to the other, as far as it has come by now. */
  #crossing(start, end, y1, y2, now, x) {
    if (end !== undefined) return this.#line(x(start), y1, x(end), y2);
    return this.#line(x(start), y1, x(now), y1 + (y2 - y1) * 0.5);
  }

  #bar(x1, x2, y, colour) {
    this.#pen.globalAlpha = 0.38;
    this.#pen.fillStyle = colour;
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

  #text(text, x, y, colour, align = "left") {
    this.#pen.font = `12px ${theme.font}`;
    this.#pen.textAlign = align;
    this.#pen.textBaseline = "alphabetic";
    this.#pen.fillStyle = colour;
    this.#pen.fillText(text, x, y);
  }
}

function laneColour(id) {
  return (theme[id] ??= getComputedStyle(document.documentElement).getPropertyValue(`--${id}`));
}
