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
import { label, model, priceList, state } from "./workload.js";

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
