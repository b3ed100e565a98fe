// The chat: two people, one feed. It is read from a lane that can be selected, and written by a
// request or over the WebSocket.

import { byId, element, fromTemplate, reasonOf, showMs } from "./dom.js";
import { publish, RACE_SENDER } from "./publisher.js";
import { webSocket } from "./websocket.js";

const NAMES = ["Alice", "Bob"];
const SHOWN_MAX = 200;

/** Connects the chat box with the board, to which the lanes add the messages they receive. */
export function connectChat(topic, lanes, board) {
  const by = byId("chat-by");
  by.append(...lanes.map(({ id, label }) => element("option", { value: id }, label)));
  by.value = webSocket.id;
  const shown = new Set();
  board.addEventListener("received", ({ detail: { lane, entry } }) => {
    if (lane.id !== by.value || entry.sender === RACE_SENDER || shown.has(entry.key)) return;
    shown.add(entry.key);
    showLine(entry, entry.delays.get(lane.id));
  });
  const forms = NAMES.map((name) => chatForm(name, topic, lanes));
  byId("chat-forms").append(...forms);
}

function showLine({ offset, sender, text }, delayMs) {
  const log = byId("chat-log");
  const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  const note = element("span", { className: "note" }, ` ${offset}, after ${showMs(delayMs)}`);
  // Isolated, so that right-to-left text, or a control character for it, does not affect ours.
  const name = element("b", {}, element("bdi", {}, sender));
  log.append(element("p", {}, name, " ", element("bdi", {}, text), note));
  if (log.childElementCount > SHOWN_MAX) log.firstElementChild.remove();
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

function chatForm(name, topic, lanes) {
  const form = fromTemplate("chat-template");
  const [sender, text, by] = ["name", "text", "by"].map((part) => form.querySelector(`.${part}`));
  const result = form.querySelector(".result");
  sender.value = name;
  form.setAttribute("aria-label", `${name} writes`);
  form.querySelector("button").setAttribute("aria-label", `Send as ${name}`);
  for (const control of form.querySelectorAll("input, select")) {
    const label = control.closest("label").firstChild.textContent.trim();
    control.setAttribute("aria-label", `${label}: ${name}`);
  }
  const lane = lanes.find(({ transport }) => transport === webSocket);
  form.onsubmit = async (event) => {
    event.preventDefault();
    const draft = { sender: sender.value, text: text.value };
    try {
      if (by.value === "socket") await webSocket.publish(lane, draft);
      else await publish(topic, draft);
      text.value = "";
      result.textContent = "";
    } catch (error) {
      result.textContent = `Not sent: ${reasonOf(error)}`;
    }
  };
  return form;
}
