// The selected message: how long after its publication each lane received it.

import { byId, element, setText, showMs } from "./dom.js";

export class Race {
  #board;
  #lanes;
  #rows = new Map();
  #pinned = null;

  constructor(board, lanes) {
    this.#board = board;
    this.#lanes = lanes;
    for (const lane of lanes) {
      const bar = element("span", { className: "bar" });
      const figure = element("td", { className: "number" });
      const name = element("th", { scope: "row" }, lane.label);
      const row = element("tr", {}, name, element("td", {}, bar), figure);
      row.style.setProperty("--color", `var(--${lane.id})`);
      byId("race-rows").append(row);
      this.#rows.set(lane.id, { bar, figure });
    }
    byId("race-older").onclick = () => this.#step(-1);
    byId("race-newer").onclick = () => this.#step(1);
    byId("race-follow").onclick = () => this.select(null);
  }

  /** The selected message: the one picked, or the newest that all lanes have received. */
  selected() {
    const pinned = this.#board.entries.get(this.#pinned);
    if (pinned) return pinned;
    const listening = this.#lanes.filter(({ state }) => state.kind === "on");
    const isComplete = ({ delays }) => listening.every(({ id }) => delays.has(id));
    const entries = [...this.#board.entries.values()];
    return entries.findLast(isComplete) ?? entries.at(-1);
  }

  /** Selects the message of that key; null follows the newest. */
  select(key) {
    this.#pinned = key;
    byId("race-follow").setAttribute("aria-pressed", String(key === null));
    this.update();
  }

  #step(by) {
    const keys = [...this.#board.entries.keys()];
    const index = keys.indexOf(this.selected()?.key) + by;
    if (keys[index]) this.select(keys[index]);
  }

  update() {
    const entry = this.selected();
    if (!entry) return;
    setText(byId("race-number"), String(entry.offset));
    setText(byId("race-sender"), entry.sender);
    setText(byId("race-separator"), ": ");
    setText(byId("race-message"), entry.text);
    const most = Math.max(...entry.delays.values(), 1);
    for (const [id, { bar, figure }] of this.#rows) {
      const delay = entry.delays.get(id);
      bar.style.width = delay === undefined ? "0" : `${Math.max(1, (100 * delay) / most)}%`;
      setText(figure, showMs(delay));
    }
  }
}
