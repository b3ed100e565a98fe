// The teacher's page: the address for devices, settings for all of them, and their delays. The key
// is in the address that the server printed, behind the `#`, so that it is not sent with it. The
// page keeps it for the tab and removes it from the address: this page is projected.

import { connectControls, settings } from "./controls.js";
import { byId, element, isolated, reasonOf, setText, showMs } from "./dom.js";

const LOOK_EVERY_MS = 1000;
const BAR_PX = 56;
const TEAMS_SHOWN = 40;
const LABELS = {
  "short-polling": "Short polling",
  "long-polling": "Long polling",
  "websocket": "WebSocket",
  "sse": "Server-sent events",
};
const KEY = "key of the class";
if (location.hash.length > 1) {
  sessionStorage.setItem(KEY, location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}
// The address of another class, opened in the same tab.
addEventListener("hashchange", () => location.reload());
const key = sessionStorage.getItem(KEY);
if (!key) setText(byId("problem"), "Open the address of the teacher that the server printed: "
  + "without its key, settings cannot be changed.");

let isTaken = false;
connectControls();
settings.addEventListener("change", () => {
  if (isTaken) send();
});
byId("clear").onclick = () => send();
look().then(() => document.body.classList.remove("building"));
setInterval(look, LOOK_EVERY_MS);

/** Sends the settings, which also clears the histogram. */
async function send() {
  const { rate, pollIntervalMs, roundTripMs } = settings;
  const wanted = { rate, poll_interval_ms: pollIntervalMs, round_trip_ms: roundTripMs };
  try {
    const response = await fetch("/class/settings", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ key, settings: wanted }),
    });
    if (!response.ok) throw new Error((await response.json()).error);
    setText(byId("problem"), "");
  } catch (error) {
    setText(byId("problem"), `Not set: ${reasonOf(error)}`);
  }
}

async function look() {
  try {
    const response = await fetch("/class/state", { signal: AbortSignal.timeout(10_000) });
    if (!response.ok) throw new Error(String(response.status));
    show(await response.json());
  } catch (error) {
    setText(byId("devices"), `The server does not respond: ${reasonOf(error)}`);
  }
}

function show({ url, devices, teams, bounds_ms: bounds, delays, settings: current }) {
  if (!isTaken) {
    settings.set("rate", current.rate);
    settings.set("pollIntervalMs", current.poll_interval_ms);
    settings.set("roundTripMs", current.round_trip_ms);
    isTaken = true;
  }
  setText(byId("address"), url);
  byId("unreachable").hidden = !/\/\/(127\.|localhost|\[::1\])/.test(url);
  setText(byId("devices"), `${devices} device${devices === 1 ? "" : "s"}, `
    + `${teams.length} team${teams.length === 1 ? "" : "s"}`);
  const more = teams.length > TEAMS_SHOWN ? `, and ${teams.length - TEAMS_SHOWN} more` : "";
  const names = teams.slice(0, TEAMS_SHOWN).map(isolated).join(", ");
  setText(byId("teams"), names && `Teams: ${names}${more}`);
  const head = (text) => element("th", { scope: "col" }, text);
  const ranges = [...bounds.map((bound) => `≤\u00a0${showBound(bound)}`), "more"];
  byId("histogram-head").replaceChildren(element("tr", {}, element("td"), ...ranges.map(head),
    head("messages"), head("median"), head("p99")));
  const rows = Object.entries(LABELS).map(([id, label]) => row(id, label, delays[id], ranges));
  byId("histogram").replaceChildren(...rows);
}

const showBound = (ms) => (ms < 1000 ? `${ms} ms` : `${ms / 1000} s`);

function row(id, label, delays, ranges) {
  const { count = 0, median_ms: median, p99_ms: p99, bars = ranges.map(() => 0) } = delays ?? {};
  const cells = bars.map((messages, index) => {
    const bar = element("span", { className: "bar" });
    bar.style.height = `${count ? Math.max(messages && 2, (BAR_PX * messages) / count) : 0}px`;
    const said = element("span", { className: "hidden" }, String(messages));
    return element("td", { title: `${ranges[index]}: ${messages}` }, bar, said);
  });
  const figure = (text) => element("td", { className: "figure" }, text);
  const made = element("tr", {}, element("th", { scope: "row" }, label), ...cells,
    figure(count.toLocaleString("en")), figure(count ? showMs(median) : "–"),
    figure(count ? showMs(p99) : "–"));
  made.style.setProperty("--color", `var(--${id})`);
  return made;
}
