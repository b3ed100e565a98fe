// The entry point of the lesson: its scenes, the scene that is being read, and what is drawn.
//
//   scene.js (lanes, time, guess) -> follow.js (one message), break_it.js (faults)

import { BreakIt } from "./break_it.js";
import { connectControls, settings } from "./controls.js";
import { byId, setText } from "./dom.js";
import { longPolling } from "./long_polling.js";
import { RacePublisher } from "./publisher.js";
import { Scene } from "./scene.js";
import { shortPolling } from "./short_polling.js";
import { socketIo } from "./socketio.js";
import { serverSentEvents } from "./sse.js";
import { watchTheme } from "./theme.js";
import { webSocket } from "./websocket.js";

const TEXTS_EVERY_MS = 250;
const FRAME_MS = { moving: 30, still: 200 };
const ALL = [shortPolling, longPolling, webSocket, serverSentEvents, socketIo];
const ONE = ["Send one message", 1];
const THREE = ["Send three messages, 100 ms apart", 3];

// A topic of its own, so that messages of others do not disturb the scenes; `?topic=` joins
// another.
const own = `lesson-${Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) =>
  byte.toString(16).padStart(2, "0")).join("")}`;
const topic = new URLSearchParams(location.search).get("topic") ?? own;

const quiet = { rate: 0, roundTripMs: 400, pollIntervalMs: 2000, heartbeatMs: 5000 };
const scene = (id, transports, senders, presets = {}) =>
  new Scene(id, transports, { topic, settings, senders, presets: { ...quiet, ...presets } });
settings.set("rate", 0);
const broken = { rate: 1, roundTripMs: 100, pollIntervalMs: 1000, heartbeatMs: 2000 };
const scenes = [
  scene("one", [shortPolling], [ONE]),
  scene("held", [longPolling], [THREE, ONE]),
  scene("pushed", [webSocket], [THREE, ONE]),
  scene("twins", [webSocket, serverSentEvents], [THREE, ONE]),
  scene("break", ALL, [ONE], broken),
  scene("race", ALL, [ONE], { rate: 1, roundTripMs: 100, pollIntervalMs: 1000 }),
];
const breakIt = new BreakIt(scenes[4], settings);
connectControls();
new RacePublisher(topic, settings, (text) => setText(byId("publisher-state"), text));

/** Enters the scene in the middle of the window, or the one that has the focus. */
function enter(active) {
  if (active.isActive) return;
  if (scenes[4].isActive) breakIt.mend();
  for (const other of scenes) if (other !== active) other.activate(false);
  active.activate(true);
  for (const link of document.querySelectorAll(".scenes a")) {
    if (link.hash === `#${active.id}`) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}
const middle = new IntersectionObserver((entries) => {
  const entered = entries.findLast(({ isIntersecting }) => isIntersecting);
  if (entered) enter(scenes.find(({ section }) => section === entered.target));
}, { rootMargin: "-45% 0px -45% 0px" });
for (const each of scenes) {
  middle.observe(each.section);
  // The tab key moves the window only as far as is needed to see the control.
  each.section.addEventListener("focusin", () => enter(each));
}
enter(scenes.find(({ id }) => location.hash === `#${id}`) ?? scenes[0]);

const isStill = matchMedia("(prefers-reduced-motion: reduce)");
watchTheme(() => breakIt.redraw());

let drawnAt = 0;
function draw(time) {
  requestAnimationFrame(draw);
  if (time - drawnAt < (isStill.matches ? FRAME_MS.still : FRAME_MS.moving)) return;
  drawnAt = time;
  scenes.find(({ isActive }) => isActive)?.draw(isStill.matches);
}
requestAnimationFrame(draw);
document.body.classList.remove("building");

setInterval(() => {
  for (const each of scenes) each.update();
  breakIt.update();
}, TEXTS_EVERY_MS);
