// A run in progress. The run publishes its progress to a topic, and this page receives it over a
// WebSocket, from the beginning of the run.

import { now, sleep } from "./clock.js";
import { settings } from "./controls.js";
import { byId, element, isolated, reasonOf, setText, showMs } from "./dom.js";
import { subprotocols, withToken } from "./token.js";

const TOPIC = "compare";
const AGAIN_MS = 2000;
const REPORTS_TIMEOUT_MS = 10_000;
/** Reports that are listed later than this appear on the page when it is shown already. */
const LIST_WAIT_MS = 1000;

/** What is being measured, as text. */
let cell = "";

/** Shows an event of the run, by its `what`. */
const SHOW = {
  calibrating({ left_s }) {
    byId("progress").hidden = false;
    byId("progress").value = 0;
    setText(byId("now"), `measuring the machine’s processing time; ${Math.round(left_s)} s left`);
  },
  cell({ number, of, label, left_s }) {
    byId("progress").hidden = false;
    byId("progress").value = (number - 1) / of;
    cell = `${number} of ${of}: ${isolated(label)}; ${Math.round(left_s)} s left`;
    setText(byId("now"), cell);
    setText(byId("finished"), "");
  },
  phase({ phase }) {
    setText(byId("now"), `${cell} – ${isolated(phase)}`);
  },
  done({ transport, label, case: name, repeat, latency_ms, requests_per_message }) {
    const { mean, p50, p99, max } = latency_ms;
    const figures = [mean, p50, p99, max].map((ms) => ms === null ? "–" : showMs(ms));
    const requests = requests_per_message?.toFixed(2) ?? "–";
    const cellOf = (text, className = "") =>
      element("td", { className }, element("bdi", {}, text));
    const row = element("tr", {}, element("th", { scope: "row" }, element("bdi", {}, label)),
      cellOf(name, "case"), ...[String(repeat + 1), ...figures, requests].map((text) => cellOf(text)));
    row.style.setProperty("--color", `var(--${transport})`);
    byId("cells").append(row);
    if (name) byId("measured").classList.add("has-cases");
    byId("measured").hidden = false;
  },
  failed({ label, error }) {
    const name = element("th", { scope: "row" }, element("bdi", {}, label));
    const why = element("td", { colSpan: 7, className: "bad" }, "failed: ", element("bdi", {}, error));
    byId("cells").append(element("tr", {}, name, why));
    byId("measured").hidden = false;
  },
  finished({ run }) {
    byId("progress").value = 1;
    setText(byId("now"), "The run has ended.");
    byId("finished").replaceChildren("Its report: ", reportLink(run));
    listRuns();
  },
};

const fileLink = (run, file, text, ariaLabel = null) =>
  element("a", { href: `/reports/${encodeURIComponent(run)}/${file}`, ariaLabel }, text);
const nameOf = (run) => element("bdi", {}, run);
const reportLink = (run) => fileLink(run, "report.html", nameOf(run));

async function listRuns() {
  let runs;
  try {
    const signal = AbortSignal.timeout(REPORTS_TIMEOUT_MS);
    const response = await fetch("/reports", { signal, headers: withToken() });
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    runs = await response.json();
  } catch (error) {
    setText(byId("no-runs"), `The reports cannot be listed: ${reasonOf(error)}`);
    return;
  }
  const items = runs.map(({ name, files }) => {
    const others = files.filter((file) => file !== "report.html");
    const links = others.flatMap((file) =>
      [", ", fileLink(name, file, file, `${file} of ${name}`)]);
    const main = files.includes("report.html") ? reportLink(name) : nameOf(name);
    return element("li", {}, main, ...links);
  });
  byId("runs").replaceChildren(...items);
  byId("no-runs").hidden = runs.length > 0;
}

/** Receives the topic until the connection is closed, or misses two heartbeats. */
function follow(cursor) {
  const { heartbeatMs } = settings;
  const query = new URLSearchParams({ ...cursor, heartbeat: heartbeatMs / 1000 });
  const path = `/topics/${TOPIC}/ws?${query}`;
  const socket = new WebSocket(new URL(path, location.href.replace("http", "ws")), subprotocols);
  let heardAt = now();
  socket.onopen = () => showLost(false);
  socket.onmessage = ({ data }) => {
    heardAt = now();
    const message = JSON.parse(data);
    if (message.event === "reset") byId("cells").replaceChildren();
    if (message.cursor !== undefined) {
      Object.assign(cursor, { epoch: message.epoch, after: message.cursor });
    }
    if (!message.text) return;
    cursor.after = message.offset;
    const said = JSON.parse(message.text);
    SHOW[said.what]?.(said);
  };
  return new Promise((resolve) => {
    const checking = setInterval(() => now() - heardAt > 2 * heartbeatMs && end(), heartbeatMs / 4);
    const end = () => {
      clearInterval(checking);
      // The closing handshake of a silent server may never end, and nothing more is expected.
      socket.onopen = socket.onmessage = null;
      socket.close();
      resolve();
    };
    socket.onclose = end;
  });
}

/** Shows, below the progress, that the connection to a run is lost. */
function showLost(isLost) {
  const { hidden, value } = byId("progress");
  const isRunning = !hidden && value < 1;
  setText(byId("lost"), isLost && isRunning ? "The connection to the run is lost." : "");
}

await Promise.race([listRuns(), sleep(LIST_WAIT_MS)]);
document.body.classList.remove("building");
const cursor = { after: 0 };
for (;;) {
  await follow(cursor);
  showLost(true);
  await sleep(AGAIN_MS * (0.5 + Math.random()));
}
