// A device of a classroom: four lanes on the topic of its team. The server publishes; this page
// reports its delays and takes the teacher's settings, in one request every two seconds.

import { Board } from "./board.js";
import { now, serverClock } from "./clock.js";
import { settings } from "./controls.js";
import { byId, element, reasonOf, setText, showMs } from "./dom.js";
import { Lane } from "./lane.js";
import { LaneView } from "./lane_view.js";
import { longPolling } from "./long_polling.js";
import { shortPolling } from "./short_polling.js";
import { serverSentEvents } from "./sse.js";
import { watchTheme } from "./theme.js";
import { webSocket } from "./websocket.js";

const TRANSPORTS = [shortPolling, longPolling, webSocket, serverSentEvents];
const REPORT_EVERY_MS = 2000;
const REPORT_TIMEOUT_MS = 10_000;
const DELAYS_MAX = 500;
const FRAME_MS = { moving: 40, still: 250 };

const random = crypto.getRandomValues(new Uint8Array(12));
const device = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
const board = new Board();
let delays = {};
let reports = 0;

byId("join").onsubmit = (event) => {
  event.preventDefault();
  join(byId("team").value);
};
const given = new URLSearchParams(location.search).get("team");
if (given) {
  byId("team").value = given;
  if (byId("team").reportValidity()) join(given);
}
document.body.classList.remove("building");

function join(team) {
  byId("join").hidden = true;
  byId("lanes").hidden = false;
  byId("team-title").replaceChildren(element("bdi", {}, team));
  const topic = `class-${team}`;
  const lanes = TRANSPORTS.map((transport) => new Lane(transport, topic, settings, board));
  const views = lanes.map((lane) => new LaneView(lane, byId("lane-list"), () => {}));
  board.addEventListener("received", ({ detail: { lane, entry } }) => {
    const list = (delays[lane.id] ??= []);
    if (!document.hidden && list.length < DELAYS_MAX) list.push(entry.delays.get(lane.id));
  });
  const isStill = matchMedia("(prefers-reduced-motion: reduce)");
  watchTheme();
  let drawnAt = 0;
  const draw = (time) => {
    requestAnimationFrame(draw);
    if (time - drawnAt < (isStill.matches ? FRAME_MS.still : FRAME_MS.moving)) return;
    drawnAt = time;
    const newest = [...board.entries.values()].at(-1);
    for (const view of views) view.draw(now(), board, newest, isStill.matches);
  };
  requestAnimationFrame(draw);
  setInterval(() => {
    for (const lane of lanes) lane.checkSilence();
    for (const view of views) view.update();
  }, 250);
  begin(team, lanes);
}

/** Reports once, which sets the clock and the settings, before the lanes start. */
async function begin(team, lanes) {
  await report(team);
  for (const lane of lanes) lane.run();
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, REPORT_EVERY_MS));
    await report(team);
  }
}

async function report(team) {
  const sent = delays;
  delays = {};
  const sentAt = now();
  try {
    const response = await fetch("/class/report", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ device, team, delays_ms: sent }),
      signal: AbortSignal.timeout(REPORT_TIMEOUT_MS),
    });
    const answeredAt = now();
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    const key = `report:${reports++}`;
    serverClock.answered(key, sentAt, answeredAt);
    serverClock.stamped(key, answer.now_ms);
    apply(answer.settings);
  } catch (error) {
    setText(byId("class-settings"), `Not reported to the class: ${reasonOf(error)}`);
  }
}

function apply({ rate, poll_interval_ms: interval, round_trip_ms: roundTrip }) {
  const wanted = { rate, pollIntervalMs: interval, roundTripMs: roundTrip };
  for (const [name, value] of Object.entries(wanted)) {
    if (settings[name] !== value) settings.set(name, value);
  }
  setText(byId("class-settings"), `${rate} messages a second, a poll every ${showMs(interval)}, `
    + `a round trip of ${showMs(roundTrip)}`);
}
