// The workload of the page: what can be set, its bounds, and its place in the fragment of the
// address, so that a link leads to the same workload. The page's own data has the costs, the price
// lists and the initial workload.

import { bill } from "./formulas.js";
import {
  parseRate,
  showBytes,
  showBytesPerSecond,
  showMoney,
  showPerSecond,
  significant,
  writeRate,
} from "./text.js";

export const model = JSON.parse(document.getElementById("model-data").textContent);
export const label = (transport) => model.labels[transport];
const words = new Intl.ListFormat("en");
/** The names of transports: `A, B, and C`. */
export const list = (transports) => words.format(transports.map(label));

/** Numbers that can be set: {name, label, unit, least, most, scale}, `scale` for typing. */
export const NUMBERS = [
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
    unit: "",
    least: 0.00001,
    most: 1000,
    parse: parseRate,
    write: writeRate,
    note: "that each subscriber receives, on average; such as 0.5/s, 2/h or 1/20s",
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
    note: "the oldest that a message may be when it arrives: the maximum, not the mean",
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
export const INTERVAL = {
  name: "poll_interval_s",
  label: "Poll interval",
  unit: "s",
  least: 0.01,
  most: 86_400,
};
export const FLAGS = [
  ["is_tls", "TLS"],
  ["browser_only", "Only transports with a client in browsers"],
  [
    "two_way",
    "Only transports that carry messages both ways, for clients that send as often as they receive",
  ],
];
export const HEADERS = { minimal: "minimal", browser: "a browser’s" };
export const COSTS = {
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
    // Short enough for an axis.
    tick: (value) =>
      `${value.toLocaleString("en-US", { notation: "compact" })} ${priceList().currency}`,
  },
};

/** The workload, with `cost` and `prices` (the index of a price list) beside it. */
export let state = { ...model.need, prices: 0 };
export const priceList = () => model.prices[state.prices];

let changed = () => {};
/** Calls `then` after each change of the workload. */
export function whenChanged(listener) {
  changed = listener;
}

export function readAddress() {
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

function writeAddress() {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (name === "prices") query.set(name, priceList().title);
    else if (value !== null)
      query.set(name, typeof value === "number" ? Number(value.toPrecision(12)) : value);
  }
  history.replaceState(null, "", `#${query}`);
}

/** The number within the control's bounds; `otherwise` if it is none. */
export function clamp({ least, most, isWhole }, value, otherwise) {
  if (!Number.isFinite(value)) return otherwise;
  const bounded = Math.min(Math.max(value, least), most);
  return isWhole ? Math.round(bounded) : bounded;
}

/** Sets these values of the workload. */
export function change(values) {
  state = { ...state, ...values };
  state.topics = Math.min(state.topics, state.subscribers);
  writeAddress();
  changed();
}
