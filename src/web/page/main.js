// The entry point of the page: one topic, one board, and a lane for each transport.
//
//   publisher.js -> the server
//     -> short_polling.js, long_polling.js, websocket.js, sse.js, socketio.js
//     -> lane.js (cursor, counters, reconnecting) -> board.js -> timeline.js, race.js, chat.js

import { announce } from "./announce.js";
import { Board } from "./board.js";
import { connectChat } from "./chat.js";
import { now } from "./clock.js";
import * as connections from "./connections.js";
import { connectControls, settings } from "./controls.js";
import { byId, setText } from "./dom.js";
import { Lane } from "./lane.js";
import { LaneView } from "./lane_view.js";
import { longPolling } from "./long_polling.js";
import { RacePublisher } from "./publisher.js";
import { Race } from "./race.js";
import { shortPolling } from "./short_polling.js";
import { socketIo } from "./socketio.js";
import { serverSentEvents } from "./sse.js";
import { watchTheme } from "./theme.js";
import { webSocket } from "./websocket.js";

const TRANSPORTS = [shortPolling, longPolling, webSocket, serverSentEvents, socketIo];
const TEXTS_EVERY_MS = 250;
/** 30 frames a second are enough for 100 pixels a second; fewer if nothing moves. */
const FRAME_MS = { moving: 30, still: 200 };

const topic = new URLSearchParams(location.search).get("topic") ?? "live";
const board = new Board();
const lanes = TRANSPORTS.map((transport) => new Lane(transport, topic, settings, board));
const race = new Race(board, lanes);
const views = lanes.map((lane) => new LaneView(lane, byId("lane-list"), (key) => race.select(key)));

connectControls();
connectChat(topic, lanes, board);
const sayOfPublishing = (text) => setText(byId("publisher-state"), text);
const publisher = new RacePublisher(topic, settings, sayOfPublishing);
byId("one-more").onclick = () => publisher.one();
byId("say").onclick = () => views.forEach((view) => announce(view.summary()));
byId("reset").onclick = () => {
  for (const lane of lanes) lane.resetFigures();
  announce("The figures count from now");
  updateTexts();
};
for (const lane of lanes) lane.run();

const isStill = matchMedia("(prefers-reduced-motion: reduce)");
watchTheme();

let shownAt = 0;
function draw() {
  requestAnimationFrame(draw);
  const frameMs = isStill.matches ? FRAME_MS.still : FRAME_MS.moving;
  if (settings.isPaused || now() - shownAt < frameMs) return;
  shownAt = now();
  redraw();
}
function redraw() {
  for (const view of views) view.draw(shownAt, board, race.selected(), isStill.matches);
}
draw();

async function updateTexts() {
  for (const lane of lanes) lane.checkSilence();
  for (const view of views) view.update();
  race.update();
  setText(byId("counted-since"), lanes[0].countedSince.toLocaleTimeString("en-GB"));
  const [held, here] = [await connections.heldInAllWindows(), connections.heldInThisWindow()];
  const others = held > here ? `, ${held - here} of them by other windows` : "";
  const { HELD_MAX, OPENED_BY_BROWSER } = connections;
  setText(
    byId("connections"),
    `Connections held open by long polls and event streams: ${held} of the ${OPENED_BY_BROWSER} `
      + `that a browser opens to one host over HTTP/1.1${others}. The lanes of all windows take at `
      + `most ${HELD_MAX}, so that polls and publications always find one: a seventh request would `
      + `be queued silently. WebSockets do not count.`,
  );
}
setInterval(updateTexts, TEXTS_EVERY_MS);
updateTexts();
document.body.classList.remove("building");
