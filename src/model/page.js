// The model page: controls for a workload, and the load and cost of each transport under it.
// The same scripts run on /model and in a report. This one puts the parts together and brings them
// up to date.

import { answer, changes, showAnswer, showChanges, summary, why } from "./answer.js";
import { curves, map } from "./charts.js";
import { element, setText } from "./elements.js";
import { choose, estimates } from "./formulas.js";
import { controls, showControls } from "./inputs.js";
import { about, remarks, scroll, showPrices, showRemarks, showRows, sources } from "./table.js";
import { capital } from "./text.js";
import {
  COSTS,
  change,
  label,
  model,
  priceList,
  readAddress,
  state,
  whenChanged,
} from "./workload.js";

const announcer = element("p", { className: "for-readers" });
announcer.setAttribute("role", "status");

function chart(title, note) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("role", "img");
  const heading = element("strong");
  const figure = element(
    "figure",
    {},
    element("figcaption", {}, heading, element("span", {}, note)),
    svg,
  );
  return { svg, figure, title: (text) => setText(heading, text) };
}
const mapChart = chart(
  "",
  "For short polling with the longest interval that the staleness allows, " +
    "unless one is set. Paler: others are too close to call. Blank: no transport is " +
    "that fast. A click moves the workload there.",
);
const curveChart = chart(
  "",
  "Everything but the rate as set. A line is missing where the " + "transport is too slow.",
);

let isPlanned = false;
function showSoon() {
  if (isPlanned) return;
  isPlanned = true;
  requestAnimationFrame(() => {
    isPlanned = false;
    show();
  });
}

let announceTimer;
function show() {
  showControls();
  const candidates = estimates(state, model);
  const cost = COSTS[state.cost];
  const costOf = (estimate, need) => cost.of(estimate, need);
  const choice = choose(candidates, (it) => costOf(it, state), state, model.constants);
  showAnswer(candidates, choice);
  showRows(candidates, choice);
  showRemarks(candidates);
  showPrices();
  const at = state.cost === "money" ? ` (${priceList().title})` : "";
  const titles = [
    `Recommended by ${cost.label}${at}`,
    `${capital(cost.axis)} by message rate${at}`,
  ];
  const given = { need: state, model, cost: costOf, label };
  map(mapChart.svg, { ...given, title: titles[0], pick: change });
  curves(curveChart.svg, { ...given, title: titles[1], show: cost.tick ?? cost.show });
  mapChart.title(titles[0]);
  curveChart.title(titles[1]);
  // The slow updates, and the announcements, once the controls are no longer moved.
  clearTimeout(announceTimer);
  announceTimer = setTimeout(() => {
    showChanges();
    setText(announcer, `Recommended: ${answer.textContent}`);
  }, 150);
}

const result = element(
  "div",
  { className: "result" },
  element("h3", {}, "Recommended"),
  answer,
  why,
  announcer,
  scroll,
  remarks,
  element("h3", {}, "What would change it"),
  changes,
  element("p", { className: "note" }, model.too_close_meaning),
  element(
    "p",
    { className: "note" },
    "Beside the numbers, these decide: proxies that buffer SSE or block WebSocket, how you " +
      "authenticate browsers, who reconnects, six connections per host over HTTP/1.1, and " +
      "whether your platform holds connections. None of these reaches a closed page or a " +
      "phone’s app in the background: that takes the push service of the platform.",
  ),
  element("div", { className: "charts" }, mapChart.figure, curveChart.figure),
  element("h3", {}, "Where the numbers come from"),
  element(
    "p",
    { className: "note" },
    `CPU and memory: ${model.machine}, with minimal headers and ` +
      "without TLS. Requests and delays: theory, for messages at random instants. Bytes: sizes " +
      "of heads and messages, and a model of TCP/IP.",
  ),
  about,
  sources,
);
controls.append(summary);
document.getElementById("model").replaceChildren(controls, result);
whenChanged(showSoon);
addEventListener("hashchange", () => {
  // Links within a report change the fragment too.
  if (!location.hash.includes("=")) return;
  readAddress();
  showSoon();
});
readAddress();
show();
