// Faults to try: faults of the server are real and need `serve --demo`; faults of the network are
// simulated by the page. Shows what each lane detects, and when.

import { announce } from "./announce.js";
import { now } from "./clock.js";
import { byId, element, reasonOf, setText } from "./dom.js";
import { backoffMs } from "./lane.js";
import { PROXY_BUFFER_BYTES } from "./link.js";
import { colour, font } from "./theme.js";

const FREEZE_S = 8;
const CLIENTS = 200;
const DOWN_MS = 5000;
const SHOWN_MS = 25_000;

/** The first states of a lane after a fault; the later ones repeat. */
const SHOWN_STATES = 12;

const REAL = "Real, in the server.";
const SIMULATED = "Simulated by this page.";

/** The state of a lane without the figures that change all the time. */
const stateOf = ({ state }) => state.text.replace(/ for \d+ s$/, "").replace(/; again in .*/, "");

export class BreakIt {
  #scene;
  #settings;
  #since = null;
  #seen = new Map();

  constructor(scene, settings) {
    this.#scene = scene;
    this.#settings = settings;
    const toggle = (label, change, text) => this.#add(label, SIMULATED, text, (button) => {
      const isOn = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(isOn));
      change(isOn);
      this.#begin(`${label}: ${isOn ? "on" : "off"}`);
    }, true);
    toggle("Cut the network of all lanes", (isOn) => this.#cut(isOn),
      "All data in transit is lost and neither end is notified, as when a phone leaves its "
      + "network. TCP would send lost data again if the cut ended within minutes; here the "
      + "connection stays dead.");
    toggle("Put a buffering proxy in between", (isOn) => this.#proxy(isOn),
      `Responses that do not end are kept until there are ${PROXY_BUFFER_BYTES} bytes. Responses `
      + "that end, and WebSockets, pass.");
    toggle("Drop the jitter", (isOn) => {
      settings.set("hasJitter", !isOn);
      this.#drawHerd();
    }, "Lanes wait for the whole backoff before they reconnect, all for the same time.");
    this.#server("Freeze the server", `freeze?seconds=${FREEZE_S}`,
      `For ${FREEZE_S} s no thread of it runs. Its kernel still accepts connections and bytes.`);
    this.#server("Restart the server under load", "restart",
      "It closes its connections, is away for some seconds, and returns without its messages, "
      + "since it keeps them in memory: a new epoch.");
    addEventListener("resize", () => this.#drawHerd());
    this.#drawHerd();
  }

  /** Notes what has changed in the states of the lanes. */
  update() {
    if (this.#since === null) return;
    for (const lane of this.#scene.lanes) {
      const state = stateOf(lane);
      const seen = this.#seen.get(lane.id);
      if (seen.state === state || seen.list.childElementCount > SHOWN_STATES) continue;
      seen.state = state;
      const after = ((now() - this.#since) / 1000).toFixed(1);
      const isLast = seen.list.childElementCount === SHOWN_STATES;
      seen.list.append(element("li", {}, isLast ? "and so on" : `+${after} s: ${state}`));
    }
  }

  /** Draws again, as when the colours have changed. */
  redraw() {
    this.#drawHerd();
  }

  /** Ends all simulated faults. */
  mend() {
    for (const button of byId("break").querySelectorAll(".breaker [aria-pressed=true]")) {
      button.click();
    }
  }

  #add(label, kind, text, act, isToggle = false) {
    const button = element("button", { type: "button" }, label);
    if (isToggle) button.setAttribute("aria-pressed", "false");
    button.onclick = () => act(button);
    const note = element("p", {}, element("span", { className: "kind" }, kind), ` ${text}`);
    const card = element("div", { className: "breaker" }, button, note);
    byId("break").querySelector(".breakers").append(card);
  }

  #server(label, route, text) {
    this.#add(label, REAL, text, async () => {
      const state = byId("break-state");
      try {
        const response = await fetch(`/demo/${route}`, { method: "POST" });
        if (response.status === 404) {
          setText(state, `This server cannot be broken from a page. Start one with: poll-vs-push `
            + "serve --demo");
          return;
        }
        if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
        setText(state, "");
        this.#begin(label);
      } catch (error) {
        setText(state, `Not done: ${reasonOf(error)}`);
      }
    });
  }

  /** Begins a new list of the faults that the lanes detect. */
  #begin(what) {
    this.#since = now();
    const table = byId("break").querySelector(".noticed");
    table.hidden = false;
    setText(table.caption, `Since “${what}”`);
    const rows = this.#scene.lanes.map((lane) => {
      const list = element("ol", {}, element("li", {}, `+0.0 s: ${stateOf(lane)}`));
      this.#seen.set(lane.id, { state: stateOf(lane), list });
      const name = element("th", { scope: "row" }, lane.label);
      const row = element("tr", {}, name, element("td", {}, list));
      row.style.setProperty("--color", `var(--${lane.id})`);
      return row;
    });
    table.tBodies[0].replaceChildren(...rows);
    announce(what);
  }

  #cut(isOn) {
    for (const lane of this.#scene.lanes) lane.link.setCut(isOn);
  }

  #proxy(isOn) {
    for (const lane of this.#scene.lanes) lane.link.setBuffering(isOn);
  }

  /** The instants at which clients try to reconnect: a stroke for each attempt. */
  #drawHerd() {
    const canvas = byId("herd").querySelector("canvas");
    const { hasJitter } = this.#settings;
    const width = canvas.clientWidth || 600;
    const scale = devicePixelRatio;
    canvas.width = width * scale;
    canvas.height = 70 * scale;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const counts = new Array(Math.ceil(SHOWN_MS / 100)).fill(0);
    for (let client = 0; client < CLIENTS; client++) {
      let at = 0;
      for (let attempt = 0; at <= DOWN_MS; attempt++) {
        at += backoffMs(attempt, hasJitter);
        if (at < SHOWN_MS) counts[Math.floor(at / 100)] += 1;
      }
    }
    const most = Math.max(...counts);
    pen.fillStyle = colour("focus");
    counts.forEach((count, index) => {
      const height = Math.max(count && 1, (50 * count) / CLIENTS);
      const bar = width / counts.length;
      pen.fillRect(index * bar, 52 - height, Math.max(bar - 0.5, 1), height);
    });
    pen.fillStyle = colour("soft");
    pen.font = `12px ${font()}`;
    for (let s = 0; s < SHOWN_MS / 1000; s += 5) {
      pen.fillText(`${s} s`, (s * 1000 * width) / SHOWN_MS, 67);
    }
    const text = `At most ${most} of ${CLIENTS} clients try within the same tenth of a second `
      + `${hasJitter ? "with" : "without"} jitter`;
    setText(byId("herd-shown"), `${text}.`);
    canvas.setAttribute("aria-label", text);
  }
}
