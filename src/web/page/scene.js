// A scene of the lesson: lanes of the same engine as the page of the lanes, a time that can be
// paused and dragged back, and a message to follow. Only the scene that is read is connected.

import { Board } from "./board.js";
import { now, sleep } from "./clock.js";
import { byId, element, fromTemplate, nameWithin, reasonOf, setText } from "./dom.js";
import { Follow } from "./follow.js";
import { Lane } from "./lane.js";
import { LaneView } from "./lane_view.js";
import { publish } from "./publisher.js";
import { shownMs } from "./timeline.js";

/** How far back time can be dragged. */
const BACK_MS = 20_000;
/** Between two messages that are sent by one click. */
const APART_MS = 100;

export class Scene {
  lanes;
  board = new Board();
  isActive = false;
  #settings;
  #presets;
  #views;
  #node;
  #follow;
  /** The instant that is shown while time is paused. */
  #stoppedAt = null;
  #selected = null;
  #headingId;

  /** `transports` race in the section `id`; `presets` are settings applied on entering it. */
  constructor(id, transports, { topic, settings, presets, senders }) {
    this.id = id;
    this.#settings = settings;
    this.#presets = presets;
    this.section = byId(id);
    this.#headingId = this.section.querySelector("h2").id;
    this.lanes = transports.map((transport) => new Lane(transport, topic, settings, this.board));
    const node = (this.#node = fromTemplate("stage-template"));
    this.section.querySelector(".stage").append(node);
    this.section.classList.toggle("one-lane", transports.length === 1);
    const list = node.querySelector(".lane-list");
    this.#views = this.lanes.map((lane) => {
      const view = new LaneView(lane, list, (key) => this.select(key), this.#headingId);
      list.lastElementChild.id = `${id}-${lane.id}`;
      return view;
    });
    for (const lane of this.lanes) {
      lane.isPlugged = false;
      lane.unpluggedText = "connects in the middle of the window";
      lane.run();
    }
    const show = (at) => this.#showUntil(at);
    this.#follow = new Follow(node.querySelector(".follow"), show, this.#headingId);
    this.#connectTime();
    this.#connectFollow();
    for (const [label, count] of senders) this.#addSender(label, count, topic);
    this.#connectGuess();
    for (const control of node.querySelectorAll(".senders button, .time *, .follow .buttons *")) {
      if (control.matches("button, input, select")) nameWithin(control, this.#headingId);
    }
  }

  /** Connects or disconnects the lanes. */
  activate(isActive) {
    if (this.isActive === isActive) return;
    this.isActive = isActive;
    if (isActive) {
      for (const [name, value] of Object.entries(this.#presets)) this.#settings.set(name, value);
      for (const lane of this.lanes) {
        lane.resetFigures();
        // What other scenes published meanwhile would hide what happens here.
        lane.forgetCursor();
      }
    }
    for (const lane of this.lanes) lane.plug(isActive);
    if (!isActive) this.live();
  }

  /** Shows the present again. */
  live() {
    this.#stop(null);
  }

  select(key) {
    this.#selected = key;
  }

  draw(isStill) {
    const shownAt = this.#stoppedAt ?? now();
    for (const view of this.#views) {
      view.draw(shownAt, this.board, this.#entry(), isStill && this.#stoppedAt === null);
    }
  }

  update() {
    for (const view of this.#views) view.update();
    if (!this.isActive) return;
    for (const lane of this.lanes) lane.checkSilence();
    const name = this.#node.querySelector(".follow-lane").value;
    const lane = this.lanes.find(({ id }) => id === name) ?? this.lanes[0];
    this.#follow.update(lane, this.#entry());
  }

  /** The message that is followed: the one that was picked, or the newest. */
  #entry() {
    return this.board.entries.get(this.#selected) ?? [...this.board.entries.values()].at(-1);
  }

  #connectTime() {
    const freeze = this.#node.querySelector(".freeze");
    const when = this.#node.querySelector(".when");
    freeze.onclick = () => this.#stop(this.#stoppedAt === null ? now() : null);
    when.oninput = () => {
      const live = this.#stoppedAt === null ? now() : this.liveAt;
      this.#stop(Math.min(live, live + Number(when.value) * 1000), live);
    };
    const list = this.#node.querySelector(".lane-list");
    let grabbed = null;
    list.addEventListener("pointerdown", (event) => {
      if (event.target.tagName !== "CANVAS") return;
      // A drag continues outside the canvas.
      event.target.setPointerCapture(event.pointerId);
      grabbed = { x: event.clientX, at: this.#stoppedAt ?? now(), wasDragged: false };
    });
    list.addEventListener("pointermove", (event) => {
      if (!grabbed || Math.abs(event.clientX - grabbed.x) < 4) return;
      grabbed.wasDragged = true;
      const { width } = event.target.getBoundingClientRect();
      const dragged = ((grabbed.x - event.clientX) / width) * shownMs(width);
      const live = this.#stoppedAt === null ? now() : this.liveAt;
      const at = Math.max(live - BACK_MS, Math.min(grabbed.at + dragged, live));
      this.#stop(at, live);
    });
    const release = () => setTimeout(() => (grabbed = null));
    list.addEventListener("pointerup", release);
    list.addEventListener("pointercancel", release);
    // A drag is not a click on a message.
    list.addEventListener("click", (event) => {
      if (grabbed?.wasDragged) event.stopPropagation();
    }, { capture: true });
  }

  /** Shows the time until shortly after `at`, so that it is not at the very edge. */
  #showUntil(at) {
    const live = this.#stoppedAt === null ? now() : this.liveAt;
    this.#stop(Math.min(at + 200, live), live);
  }

  /** Shows the time at `at`, and with it the message of that time; null: now, and the newest. */
  #stop(at, live = now()) {
    this.#selected = at === null ? null : (this.#selected ?? this.#entry()?.key);
    this.#stoppedAt = at;
    this.liveAt = live;
    const freeze = this.#node.querySelector(".freeze");
    freeze.setAttribute("aria-pressed", String(at !== null));
    setText(freeze, at === null ? "Pause time" : "Back to now");
    const back = at === null ? 0 : (at - live) / 1000;
    const when = this.#node.querySelector(".when");
    when.value = back;
    const text = at === null ? "now" : `${Math.abs(back).toFixed(1)} s ago`;
    when.setAttribute("aria-valuetext", text);
    setText(this.#node.querySelector(".when-shown"), text);
  }

  #connectFollow() {
    const select = this.#node.querySelector(".follow-lane");
    select.append(...this.lanes.map(({ id, label }) => element("option", { value: id }, label)));
    select.hidden = this.lanes.length === 1;
    const step = (by) => {
      const keys = [...this.board.entries.keys()];
      const key = keys[keys.indexOf(this.#entry()?.key) + by];
      // The newest is followed when it is replaced.
      if (key) this.select(key === keys.at(-1) ? null : key);
    };
    this.#node.querySelector(".older").onclick = () => step(-1);
    this.#node.querySelector(".newer").onclick = () => step(1);
  }

  #addSender(label, count, topic) {
    const state = element("span", { className: "note", role: "status" });
    const send = async () => {
      this.live();
      try {
        for (let sent = 0; sent < count; sent++) {
          if (sent > 0) await sleep(APART_MS);
          await publish(topic, { sender: "Alice", text: "hello" });
        }
        setText(state, "");
      } catch (error) {
        setText(state, `Not sent: ${reasonOf(error)}`);
      }
    };
    const button = element("button", { type: "button", onclick: send }, label);
    this.#node.querySelector(".senders").append(button, state);
  }

  /** Hides the answer until there was a guess. */
  #connectGuess() {
    const guess = this.section.querySelector(".guess");
    const reveal = this.section.querySelector(".reveal");
    if (!guess) return;
    reveal.hidden = true;
    const verdict = element("p", { className: "verdict", role: "status" });
    guess.append(verdict);
    guess.onchange = ({ target }) => {
      const isRight = target.value === guess.dataset.answer;
      setText(verdict, isRight ? "Yes. Now see it happen." : "Now see whether it is so.");
      reveal.hidden = false;
    };
  }
}
