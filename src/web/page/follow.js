// The steps of one message in one lane: through server, network and browser.

import { element, nameWithin, setText, showMs } from "./dom.js";

/** The steps of a message: [{at, place, text}], in order; fewer if it has not arrived yet. */
export function stepsOf(lane, entry) {
  const stored = { at: entry.publishedAt, place: "Server", text: "stores the message" };
  const arrival = lane.track.arrivals.get(entry.key);
  if (!arrival) return [stored, { at: null, place: "Server", text: "keeps it" }];
  const request = lane.track.requests.findLast((request) => request.leftAt === arrival.leftAt);
  const steps = [stored];
  if (request && request.messages !== undefined) {
    const { sentAt } = request;
    steps.push({ at: sentAt, place: "Browser", text: "sends the request that will fetch it" });
    steps.push({ at: request.atServerAt, place: "Server", text: "receives the request" });
    const isHeld = request.atServerAt < entry.publishedAt;
    const text = isHeld ? "answers the request that it held" : "answers at once";
    steps.push({ at: arrival.leftAt, place: "Server", text });
  } else {
    steps.push({ at: arrival.leftAt, place: "Server", text: "sends it on the open connection" });
  }
  const half = (arrival.leftAt + arrival.receivedAt) / 2;
  steps.push({ at: half, place: "Network", text: "carries it" });
  steps.push({ at: arrival.receivedAt, place: "Browser", text: "shows it" });
  return steps.sort((a, b) => a.at - b.at);
}

/** Shows the steps; `show(at)` moves the time of the scene. */
export class Follow {
  #node;
  #show;
  #shown = "";
  #headingId;

  constructor(node, show, headingId) {
    this.#node = node;
    this.#show = show;
    this.#headingId = headingId;
  }

  update(lane, entry) {
    const list = this.#node.querySelector(".follow-steps");
    // Replacing a step that has the focus would lose it.
    if (!entry || list.contains(document.activeElement)) return;
    const steps = stepsOf(lane, entry);
    const shown = `${lane.id} ${entry.key} ${steps.map(({ at }) => at).join()}`;
    if (shown === this.#shown) return;
    this.#shown = shown;
    const delay = entry.delays.get(lane.id);
    const end = delay === undefined ? "is on its way" : `took ${showMs(delay)}`;
    setText(this.#node.querySelector(".follow-title"), `Message ${entry.offset} ${end}.`);
    list.replaceChildren(...steps.map((step) => this.#item(step, entry, list)));
  }

  #item({ at, place, text }, entry, list) {
    const ms = Math.round(at - entry.publishedAt);
    const time = at === null ? "" : `${ms < 0 ? "−" : "+"}${Math.abs(ms).toLocaleString("en")} ms`;
    const button = element("button", { type: "button" },
      element("span", { className: "at" }, time),
      element("span", { className: "place" }, place),
      element("span", { className: "what" }, text));
    button.disabled = at === null;
    nameWithin(button, this.#headingId);
    button.onclick = () => {
      for (const other of list.querySelectorAll("button")) other.removeAttribute("aria-current");
      button.setAttribute("aria-current", "step");
      this.#show(at);
    };
    return element("li", {}, button);
  }
}
