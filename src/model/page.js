// The model page: controls for a workload, and the load and cost of each transport under it.
// The same script runs on /model and in a report. It reads its numbers from the page's own data and
// keeps its state in the fragment of the address, so that a link leads to the same workload.

import { curves, map } from "./charts.js";
import { alternatives, bill, choose, estimates, longestInterval, margins } from "./formulas.js";
import {
  showBytes,
  showBytesPerSecond,
  showMoney,
  showPerSecond,
  showRate,
  showSeconds,
  significant,
} from "./text.js";

const root = document.getElementById("model");
const model = JSON.parse(document.getElementById("model-data").textContent);
const label = (transport) => model.labels[transport];

/** Numbers that can be set: {name, label, unit, least, most, show, scale}, `scale` for typing. */
const NUMBERS = [
  { name: "subscribers", label: "Subscribers", unit: "", least: 1, most: 1e7, isWhole: true },
  {
    name: "topics",
    label: "Topics",
    unit: "",
    least: 1,
    most: 1e6,
    isWhole: true,
    note: "a message goes to the subscribers of one: 1 if all receive the same",
  },
  {
    name: "rate",
    label: "Messages",
    unit: "/s",
    least: 0.0001,
    most: 1000,
    note: "that each subscriber receives, on average",
    more: ({ rate }) => (rate < 1 ? `: ${showRate(rate)}` : ""),
  },
  {
    name: "message_bytes",
    label: "Message text",
    unit: "bytes",
    least: 1,
    most: 1e6,
    isWhole: true,
  },
  {
    name: "staleness_s",
    label: "Staleness",
    unit: "s",
    least: 0.01,
    most: 86_400,
    note: "the oldest that a message may be when it arrives",
  },
  {
    name: "rtt_s",
    label: "Round trip",
    unit: "ms",
    least: 0.001,
    most: 10,
    scale: 1000,
    note: "20 in a country, 100 between continents, 300 on a bad mobile network",
  },
];
const INTERVAL = {
  name: "poll_interval_s",
  label: "Poll interval",
  unit: "s",
  least: 0.01,
  most: 86_400,
};
const FLAGS = [
  ["is_tls", "TLS"],
  ["browser_only", "Only transports with a client in browsers"],
  [
    "two_way",
    "Only transports that carry messages both ways, for clients that send as often as they receive",
  ],
];
const HEADERS = { minimal: "minimal", browser: "a browser’s" };
const COSTS = {
  cpu: {
    label: "server CPU",
    axis: "cores busy",
    of: (estimate) => estimate.cpu_cores_busy,
    show: significant,
  },
  bytes: {
    label: "bytes",
    axis: "bytes",
    of: (estimate) => estimate.bytes_up_s + estimate.bytes_down_s,
    show: showBytesPerSecond,
  },
  requests: {
    label: "requests",
    axis: "requests",
    of: (estimate) => estimate.requests_s,
    show: showPerSecond,
  },
  memory: {
    label: "server memory",
    axis: "memory",
    of: (estimate) => estimate.memory_bytes,
    show: showBytes,
  },
  money: {
    label: "monthly bill",
    axis: "bill a month",
    of: (estimate, need) => bill(priceList(), estimate, need)?.total ?? null,
    show: (value) => showMoney(value, priceList().currency),
  },
};
const SLIDER_STEPS = 1000;

/** The workload, with `cost` and `prices` (the index of a price list) beside it. */
let state = { ...model.need, prices: 0 };
const priceList = () => model.prices[state.prices];

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// The state in the address

function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  const next = { ...model.need, prices: 0 };
  for (const control of [...NUMBERS, INTERVAL]) {
    const value = Number(given.get(control.name));
    if (given.has(control.name)) next[control.name] = clamp(control, value, next[control.name]);
  }
  for (const [name] of FLAGS) if (given.has(name)) next[name] = given.get(name) === "true";
  if (Object.hasOwn(HEADERS, given.get("headers"))) next.headers = given.get("headers");
  if (Object.hasOwn(COSTS, given.get("cost"))) next.cost = given.get("cost");
  const index = model.prices.findIndex(({ title }) => title === given.get("prices"));
  if (index >= 0) next.prices = index;
  state = next;
}

function write() {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (name === "prices") query.set(name, priceList().title);
    else if (value !== null)
      query.set(name, typeof value === "number" ? Number(value.toPrecision(12)) : value);
  }
  history.replaceState(null, "", `#${query}`);
}

/** The number within the control's bounds; `otherwise` if it is none. */
function clamp({ least, most, isWhole }, value, otherwise) {
  if (!Number.isFinite(value)) return otherwise;
  const bounded = Math.min(Math.max(value, least), most);
  return isWhole ? Math.round(bounded) : bounded;
}

function change(values) {
  state = { ...state, ...values };
  state.topics = Math.min(state.topics, state.subscribers);
  write();
  showSoon();
}

// Controls

const shown = []; // what brings a control up to date

function numberControl(control) {
  const { name, least, most, scale = 1 } = control;
  const id = `model-${name}`;
  const span = Math.log(most / least);
  const toValue = (step) => clamp(control, least * Math.exp((step / SLIDER_STEPS) * span), least);
  const toStep = (value) => Math.round((Math.log(value / least) / span) * SLIDER_STEPS);
  const slider = element("input", { type: "range", min: 0, max: SLIDER_STEPS, step: 10 });
  slider.setAttribute("aria-label", `${control.label}, slider`);
  const field = element("input", { type: "number", id, step: "any" });
  [field.min, field.max] = [least * scale, most * scale];
  const unit = element("span", { className: "unit" }, control.unit);
  // Three digits: values are set by dragging, which is not more precise.
  slider.oninput = () =>
    change({ [name]: clamp(control, Number(toValue(slider.value).toPrecision(2)), least) });
  field.onchange = () =>
    change({ [name]: clamp(control, field.valueAsNumber / scale, state[name]) });
  shown.push(() => {
    const value = state[name] ?? Math.max(longestInterval(state), least);
    slider.value = toStep(Math.max(value, least));
    const text = significant(value * scale);
    slider.setAttribute("aria-valuetext", `${text} ${control.unit}`);
    if (document.activeElement !== field || field.valueAsNumber !== value * scale) {
      field.value = Number((value * scale).toPrecision(12));
    }
  });
  const parts = [element("label", { htmlFor: id }, control.label), slider, field, unit];
  if (control.note) {
    const note = element("span", { className: "note", id: `${id}-note` }, control.note);
    field.setAttribute("aria-describedby", note.id);
    if (control.more) shown.push(() => setText(note, control.note + control.more(state)));
    parts.push(note);
  }
  return element("div", { className: "field" }, ...parts);
}

function intervalControl() {
  const number = numberControl(INTERVAL);
  const isLongest = element("input", { type: "checkbox", id: "model-longest" });
  const words = "as long as the staleness allows";
  const box = element("label", { className: "check" }, isLongest, ` ${words}`);
  isLongest.onchange = () => change({ poll_interval_s: isLongest.checked ? null : 1 });
  shown.push(() => {
    isLongest.checked = state.poll_interval_s === null;
    for (const input of number.querySelectorAll("input[type=range], input[type=number]")) {
      input.disabled = isLongest.checked;
    }
  });
  number.append(box);
  return number;
}

function choiceControl(name, text, options) {
  const select = element("select", { id: `model-${name}` });
  select.append(...options.map(([value, words]) => element("option", { value }, words)));
  select.onchange = () =>
    change({ [name]: name === "prices" ? Number(select.value) : select.value });
  shown.push(() => (select.value = state[name]));
  return element(
    "div",
    { className: "field choice" },
    element("label", { htmlFor: select.id }, text),
    select,
  );
}

function flagControl([name, text]) {
  const box = element("input", { type: "checkbox" });
  box.onchange = () => change({ [name]: box.checked });
  shown.push(() => (box.checked = state[name]));
  return element("label", { className: "check" }, box, ` ${text}`);
}

function group(title, ...controls) {
  return element("fieldset", {}, element("legend", {}, title), ...controls);
}

const controls = element(
  "form",
  { className: "controls" },
  group("Workload", ...NUMBERS.slice(0, 4).map(numberControl)),
  group(
    "Requirements and network",
    ...NUMBERS.slice(4).map(numberControl),
    intervalControl(),
    choiceControl("headers", "Headers", Object.entries(HEADERS)),
    ...FLAGS.map(flagControl),
  ),
  group(
    "Costs",
    choiceControl(
      "cost",
      "Cheapest in",
      Object.entries(COSTS).map(([k, v]) => [k, v.label]),
    ),
    choiceControl(
      "prices",
      "Prices",
      model.prices.map(({ title }, index) => [index, title]),
    ),
  ),
);
controls.setAttribute("aria-label", "Workload");
controls.onsubmit = (event) => event.preventDefault();
const reset = element("button", { type: "button" }, "Reset");
reset.onclick = () => change({ ...model.need, prices: 0 });
// Where the answer is below the controls, this line stays in sight while they move.
const summary = element("p", { className: "summary" });
summary.setAttribute("aria-hidden", "true");
controls.append(reset, summary);

// The answer

const answer = element("p", { className: "verdict" });
const why = element("p", { className: "note" });
const announcer = element("p", { className: "for-readers" });
announcer.setAttribute("role", "status");
const changes = element("ul", { className: "changes" });
const rows = element("tbody");
const about = element("p", { className: "note" });
const sources = element("ul", { className: "note" });
const HEAD = [
  "Transport",
  "Mean delay",
  "Longest",
  "Per month, mostly",
  "Requests",
  "Up",
  "Down",
  "Connections",
  "Cores to plan",
  "Memory",
];
const columns = HEAD.map((text) => element("th", { scope: "col" }, text));
const table = element(
  "table",
  {},
  element("caption", { className: "for-readers" }, "What each transport would take"),
  element("thead", {}, element("tr", {}, ...columns)),
  rows,
);
const scroll = element("div", { className: "scroll", tabIndex: 0 }, table);
scroll.setAttribute("role", "region");
scroll.setAttribute("aria-label", "What each transport would take");

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

function showAnswer(candidates, choice) {
  if (!choice) {
    setText(answer, "No transport is fast enough, or the platform carries none that is.");
    setText(summary, answer.textContent);
    setText(why, "The one-way delay is half of the round trip; polling needs one and a half.");
    return;
  }
  const estimate = candidates.find(({ transport }) => transport === choice.transport);
  const how =
    estimate.poll_interval_s === null
      ? ""
      : `, polling ${showSeconds(estimate.poll_interval_s)} after each response`;
  setText(answer, `${capital(label(choice.transport))}${how}`);
  const monthly = bill(priceList(), estimate, state);
  const amount = monthly ? `, ${showMoney(monthly.total, priceList().currency)} a month` : "";
  setText(summary, `Recommended: ${label(choice.transport)}${amount}`);
  const able = candidates.filter(({ too_slow_s }) => too_slow_s === null);
  const limit = model.constants.small_load;
  const isSmall = state.cost === "cpu" && able.every((it) => it.cpu_cores_busy < limit);
  const small = isSmall
    ? ` Every one of them uses less than ${limit * 100} % of a core, so CPU hardly matters here.`
    : "";
  setText(why, `${clarity(choice, able)}.${small}`);
}

/** How clear the choice is: the sentences of src/report/advice.rs. */
function clarity({ transport, close, finalists, lead }, able) {
  const counted = COSTS[state.cost].label;
  if (able.length === 1) return "No other transport is fast enough";
  if (close.length === 1) {
    const next = lead ? `; the next needs ${significant(lead)} times as much` : "";
    return `It needs the least ${counted} of those that are fast enough${next}`;
  }
  const percent = significant((model.constants.too_close[state.cost] - 1) * 100);
  const names = list(close);
  const tie = `By ${counted}, ${names} are too close to call (within ${percent} %)`;
  if (finalists.length === 1) return `${tie}. Of these, ${label(transport)} needs the fewest bytes`;
  const rest = list(finalists);
  const narrowed =
    finalists.length < close.length ? ` Of these, ${rest} need the fewest bytes.` : "";
  const name = capital(label(transport));
  return `${tie}.${narrowed} ${name} is the simplest of them to run: ${model.why[transport]}`;
}

const words = new Intl.ListFormat("en");
const list = (transports) => words.format(transports.map(label));
const capital = (text) => text[0].toUpperCase() + text.slice(1);

function showRows(candidates, choice) {
  rows.replaceChildren(
    ...candidates.map((estimate) => {
      const monthly = bill(priceList(), estimate, state);
      const late = estimate.too_slow_s === null ? "" : " too slow";
      const cells = [
        [showSeconds(estimate.latency_mean_s)],
        [`${showSeconds(estimate.latency_max_s)}${late}`],
        [
          monthly ? showMoney(monthly.total, priceList().currency) : "not offered",
          monthly?.dominant ? model.billables[monthly.dominant] : "",
        ],
        [showPerSecond(estimate.requests_s)],
        [showBytesPerSecond(estimate.bytes_up_s)],
        [showBytesPerSecond(estimate.bytes_down_s)],
        [estimate.connections.toLocaleString("en-US")],
        [
          estimate.cores.toLocaleString("en-US"),
          `${significant(estimate.cpu_cores_busy)} busy`,
        ],
        [showBytes(estimate.memory_bytes)],
      ];
      const isChosen = estimate.transport === choice?.transport;
      const name = element("span", { className: "transport" }, label(estimate.transport));
      name.dataset.transport = estimate.transport;
      const mark = isChosen ? [element("span", { className: "mark" }, " recommended")] : [];
      const className = [isChosen && "chosen", late && "late"].filter(Boolean).join(" ");
      return element(
        "tr",
        { className },
        element("th", { scope: "row" }, name, ...mark),
        ...cells.map(([text, second]) => {
          const more = second ? [element("span", { className: "second" }, second)] : [];
          return element("td", {}, text, ...more);
        }),
      );
    }),
  );
}

const SHOW_PARAMETER = {
  "rate": ["Messages", showRate],
  "staleness": ["Staleness", showSeconds],
  "rtt": ["Round trip", showSeconds],
  "message-bytes": ["Message text", showBytes],
  "subscribers": ["Subscribers", significant],
};
const nameOrNone = (transport) => (transport ? label(transport) : "no transport is fast enough");

function showChanges() {
  const cost = COSTS[state.cost].of;
  const found = margins(state, model, cost);
  const lines = [];
  for (const [index, { parameter, at, factor, becomes }] of found.entries()) {
    const [name, show] = SHOW_PARAMETER[parameter];
    const change = `${factor > 1 ? "above" : "below"} ${show(at)}: ${nameOrNone(becomes)}`;
    // A change that does not last is followed by the next in the same direction.
    const before = found[index - 1];
    const isNext = before?.parameter === parameter && before.factor > 1 === factor > 1;
    if (isNext) lines.push(`${lines.pop()}; ${change}`);
    else lines.push(`${name} ${change}`);
  }
  for (const { need, becomes } of alternatives(state, model, cost)) {
    lines.push(`${condition(need)}: ${nameOrNone(becomes)}`);
  }
  const none = "Nothing, unless a value changes by more than a factor of 1,000";
  changes.replaceChildren(
    ...(lines.length ? lines : [none]).map((text) => element("li", {}, text)),
  );
}

/** In what `need` differs from the present workload. */
function condition(need) {
  if (need.headers !== state.headers) return `With ${HEADERS[need.headers]} headers`;
  if (need.is_tls !== state.is_tls) return need.is_tls ? "With TLS" : "Without TLS";
  return "Subscribers that also send messages often";
}

function showPrices() {
  const prices = priceList();
  setText(about, `${prices.title}, ${prices.date}, in ${prices.currency}. ${prices.about}`);
  sources.replaceChildren(
    ...Object.entries(prices.prices).map(([billable, price]) => {
      const unit = model.units[billable];
      const link = element(
        "a",
        { href: price.source, rel: "noreferrer" },
        new URL(price.source).host,
      );
      const note = price.note ? ` ${price.note}` : "";
      return element(
        "li",
        {},
        `${capital(model.billables[billable])}: ${price.price} ${prices.currency} ${unit} (`,
        link,
        `, ${price.date}).${note}`,
      );
    }),
  );
}

// Updates

let isPlanned = false;
function showSoon() {
  if (isPlanned) return;
  isPlanned = true;
  requestAnimationFrame(() => {
    isPlanned = false;
    show();
  });
}

let saying;
function show() {
  for (const update of shown) update();
  const candidates = estimates(state, model);
  const cost = COSTS[state.cost];
  const of = (estimate, need) => cost.of(estimate, need);
  const choice = choose(candidates, (estimate) => of(estimate, state), state, model.constants);
  showAnswer(candidates, choice);
  showRows(candidates, choice);
  showPrices();
  const at = state.cost === "money" ? ` (${priceList().title})` : "";
  const titles = [
    `Recommended by ${cost.label}${at}`,
    `${capital(cost.axis)} by message rate${at}`,
  ];
  const given = { need: state, model, cost: of, label };
  map(mapChart.svg, { ...given, title: titles[0], pick: change });
  curves(curveChart.svg, { ...given, title: titles[1], show: cost.show });
  mapChart.title(titles[0]);
  curveChart.title(titles[1]);
  // The slow updates, and the announcements, once the controls are no longer moved.
  clearTimeout(saying);
  saying = setTimeout(() => {
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
  element("h3", {}, "What would change it"),
  changes,
  element(
    "p",
    { className: "note" },
    "Beside the numbers, these decide: proxies that buffer SSE or block WebSocket, how you " +
      "authenticate browsers, who reconnects, six connections per host over HTTP/1.1, and " +
      "whether your platform holds connections.",
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
root.replaceChildren(controls, result);
addEventListener("hashchange", () => {
  // Links within a report change the fragment too.
  if (!location.hash.includes("=")) return;
  read();
  showSoon();
});
read();
show();
