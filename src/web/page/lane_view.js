// The view of a lane: its name, state, counters, timeline, and the wire view on demand.

import { element, fromTemplate, nameWithin, setText, showBytes, showMs } from "./dom.js";
import { DELAYS_KEPT } from "./lane.js";
import { Timeline } from "./timeline.js";
import { showWire } from "./wire_view.js";

const COUNTERS = [
  ["requests", "Requests", ({ counters }) => counters.requests.toLocaleString("en")],
  ["empty", "Empty responses", ({ counters }) => counters.emptyAnswers.toLocaleString("en")],
  ["messages", "Messages", ({ counters }) => counters.messages.toLocaleString("en")],
  ["up", "Bytes up", ({ counters }) => showBytes(counters.bytesUp)],
  ["down", "Bytes down", ({ counters }) => showBytes(counters.bytesDown)],
  ["last", "Last delay", (lane) => showMs(lane.lastDelayMs)],
  ["median", `Median of last ${DELAYS_KEPT}`, (lane) => showMs(lane.medianDelayMs())],
  ["lost", "Lost", ({ counters }) => counters.lost.toLocaleString("en")],
];

export class LaneView {
  #lane;
  #node = fromTemplate("lane-template");
  #figures = new Map();
  #timeline;
  #headingId;

  /** `headingId` is the heading over this lane, if the page has several lanes of its name. */
  constructor(lane, parent, select, headingId) {
    this.#lane = lane;
    this.#headingId = headingId;
    const node = this.#node;
    node.id = `lane-${lane.id}`;
    node.style.setProperty("--color", `var(--${lane.id})`);
    node.querySelector("h3").textContent = lane.label;
    node.querySelector(".waits").textContent = lane.transport.waits;
    for (const [name, label] of COUNTERS) {
      const figure = element("dd", { className: name });
      this.#figures.set(name, figure);
      const pair = element("div", {}, element("dt", {}, label), figure);
      node.querySelector(".counters").append(pair);
    }
    node.querySelector(".plug").onclick = () => lane.plug(!lane.isPlugged);
    const wire = node.querySelector(".wire");
    wire.setAttribute("aria-label", `On the wire: ${lane.label}`);
    wire.onclick = () => this.#toggleWire();
    const canvas = node.querySelector("canvas");
    this.#timeline = new Timeline(canvas, lane);
    canvas.onclick = ({ offsetX, offsetY }) => {
      const key = this.#timeline.messageAt(offsetX, offsetY);
      if (key) select(key);
    };
    parent.append(node);
    for (const control of [node.querySelector(".plug"), wire, canvas]) nameWithin(control, headingId);
    this.update();
  }

  /** A sentence with the figures, for the label of the canvas and for announcements. */
  summary() {
    const { counters, label, state } = this.#lane;
    const median = showMs(this.#lane.medianDelayMs());
    return `${label}, ${state.text}: ${counters.requests} requests, ${counters.emptyAnswers} `
      + `empty, ${counters.messages} messages, median delay ${median}`;
  }

  draw(now, board, selected, isStill) {
    this.#timeline.draw(now, board, selected, isStill);
  }

  /** Updates the texts. */
  update() {
    const { state, isPlugged, counters } = this.#lane;
    for (const [name, , figure] of COUNTERS) setText(this.#figures.get(name), figure(this.#lane));
    // It keeps its place, so that nothing moves when it appears.
    const visibility = counters.lost === 0 ? "hidden" : "visible";
    this.#figures.get("lost").parentElement.style.visibility = visibility;
    const shown = this.#node.querySelector(".state");
    setText(shown, state.text);
    shown.dataset.kind = state.kind;
    shown.title = state.text;
    const plug = this.#node.querySelector(".plug");
    plug.setAttribute("aria-pressed", String(isPlugged));
    setText(plug, isPlugged ? "Plugged in" : "Unplugged");
    plug.setAttribute("aria-label", `${this.#lane.label} plugged in`);
    this.#node.querySelector("canvas").setAttribute("aria-label", `Timeline. ${this.summary()}`);
  }

  #toggleWire() {
    const panel = this.#node.querySelector(".wire-view");
    panel.hidden = !panel.hidden;
    this.#node.querySelector(".wire").setAttribute("aria-expanded", String(!panel.hidden));
    if (!panel.hidden) showWire(panel, this.#lane, this.#headingId);
  }
}
