// The table of all transports, and the price list behind its bills.

import { element, setText } from "./elements.js";
import { bill } from "./formulas.js";
import {
  capital,
  showBytes,
  showBytesPerSecond,
  showMoney,
  showPerSecond,
  showSeconds,
  significant,
} from "./text.js";
import { label, list, model, priceList, state } from "./workload.js";

const rows = element("tbody");
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
export const scroll = element("div", { className: "scroll", tabIndex: 0 }, table);
scroll.setAttribute("role", "region");
scroll.setAttribute("aria-label", "What each transport would take");

/** What determines the figures, and how far they lie beyond what was measured. */
export const remarks = element("div", { className: "note" });

export const about = element("p", { className: "note" });
export const sources = element("ul", { className: "note" });

export function showRows(candidates, choice) {
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
          `${estimate.cores.toLocaleString("en-US")}${asterisk(estimate.cpu_basis)}`,
          `${significant(estimate.cpu_cores_busy)} busy`,
        ],
        [`${showBytes(estimate.memory_bytes)}${asterisk(estimate.memory_basis)}`],
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

const asterisk = ({ extrapolated }) => (extrapolated === null ? "" : "*");

/** The remarks of `advise` below its table: the sentences of src/report/advice.rs. */
export function showRemarks(candidates) {
  const texts = [notOffered(candidates), extrapolation(candidates), pollingPause(candidates)];
  remarks.replaceChildren(...texts.filter(Boolean).map((text) => element("p", {}, text)));
}

/** Which transports have no bill, and why. */
function notOffered(candidates) {
  const { not_offered, title } = priceList();
  const missing = candidates.filter(({ transport }) => not_offered[transport]);
  if (missing.length === 0) return null;
  const groups = Map.groupBy(missing, ({ transport }) => not_offered[transport]);
  const texts = [...groups].map(
    ([reason, group]) => `${list(group.map(({ transport }) => transport))} (${reason})`,
  );
  return `${title}, not offered: ${texts.join("; ")}.`;
}

function extrapolation(candidates) {
  const most = (basis) => Math.max(...candidates.map((it) => it[basis].extrapolated ?? 0));
  const [memory, cpu] = [most("memory_basis"), most("cpu_basis")].map(significant);
  const parts = [
    memory !== "0" && `memory is for ${memory} times as many subscribers`,
    cpu !== "0" && `CPU is for up to ${cpu} times as many requests or messages`,
  ].filter(Boolean);
  if (parts.length === 0) return null;
  const costs = candidates.map(({ transport }) => model.costs[transport]);
  const range = (name) => {
    const values = costs.map((it) => it[name]);
    const ends = [Math.min(...values), Math.max(...values)].map(significant);
    return [...new Set(ends)].join(" to ");
  };
  const measured = `${range("subscribers_max")} subscribers, and ${range("events_s_max")}`;
  return (
    `* Extrapolated in proportion: measured up to ${measured} requests or messages per second; ` +
    `${parts.join(" and ")}.`
  );
}

/** What determines the number of short polls. */
function pollingPause(candidates) {
  const polling = candidates.find(({ transport }) => transport === "short-polling");
  if (!polling || polling.too_slow_s !== null) return null;
  const [mean, pause] = [polling.latency_mean_s, polling.poll_interval_s].map(showSeconds);
  if (state.poll_interval_s !== null) {
    return (
      `Short polling: ${mean} on average, with a pause of ${pause} after each response. Half the ` +
      "pause means about twice as many requests."
    );
  }
  return (
    `Short polling: ${mean} on average. Its pause of ${pause} is what the staleness of ` +
    `${showSeconds(state.staleness_s)} leaves after one and a half round trips. Half the ` +
    "staleness means about twice as many requests, each with its CPU time and bytes; the requests " +
    "of the other transports do not depend on it."
  );
}

export function showPrices() {
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
      const notes = [price.note, model.explanations[billable]].filter(Boolean);
      const note = notes.map((text) => ` ${text}`).join("");
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
