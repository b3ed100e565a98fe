// The recommendation, why, and what would change it.

import { element, setText } from "./elements.js";
import { alternatives, bill, margins } from "./formulas.js";
import { capital, showBytes, showMoney, showRate, showSeconds, significant } from "./text.js";
import { COSTS, HEADERS, label, list, model, priceList, state } from "./workload.js";

export const answer = element("p", { className: "verdict" });
export const why = element("p", { className: "note" });
export const changes = element("ul", { className: "changes" });
// Where the answer is below the controls, this line stays in sight while they move.
export const summary = element("p", { className: "summary" });
summary.setAttribute("aria-hidden", "true");

export function showAnswer(candidates, choice) {
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
  const fastEnough = candidates.filter(({ too_slow_s }) => too_slow_s === null);
  const limit = model.constants.small_load;
  const isSmall = state.cost === "cpu" && fastEnough.every((it) => it.cpu_cores_busy < limit);
  const small = isSmall
    ? ` Every one of them uses less than ${limit * 100} % of a core, so CPU hardly matters here.`
    : "";
  setText(why, `${clarity(choice, fastEnough)}.${small} ${lowestBill(fastEnough, choice)}`);
}

/** The lowest bill, and that of the recommended transport. */
function lowestBill(fastEnough, { transport }) {
  const { currency, title } = priceList();
  const bills = fastEnough.map((estimate) => bill(priceList(), estimate, state)).filter(Boolean);
  if (bills.length === 0) return `${title}: no transport that is fast enough is offered.`;
  const lowest = bills.reduce((a, b) => (b.total < a.total ? b : a));
  const amount = ({ total }) => showMoney(total, currency);
  const own = bills.find((it) => it.transport === transport);
  const more =
    transport === lowest.transport
      ? ""
      : `; ${label(transport)}, which is recommended, ${own ? amount(own) : "is not offered"}`;
  return `Lowest monthly bill (${title}): ${label(lowest.transport)}, ${amount(lowest)}${more}.`;
}

/** How clear the choice is: the sentences of src/report/advice.rs. */
function clarity({ transport, close, finalists, lead }, fastEnough) {
  const counted = COSTS[state.cost].label;
  if (fastEnough.length === 1) return "No other transport is fast enough";
  if (close.length === 1) {
    if (state.cost === "money") {
      const next = lead ? `; the next is ${significant(lead)} times as high` : "";
      return `It has the lowest monthly bill of those that are fast enough${next}`;
    }
    const next = lead ? `; the next needs ${significant(lead)} times as much` : "";
    return `It needs the least ${counted} of those that are fast enough${next}`;
  }
  const percent = significant((model.constants.too_close - 1) * 100);
  const names = list(close);
  const tie = `By ${counted}, ${names} are too close to call (within ${percent} %)`;
  if (finalists.length === 1) return `${tie}. Of these, ${label(transport)} needs the fewest bytes`;
  const rest = list(finalists);
  const narrowed =
    finalists.length < close.length ? ` Of these, ${rest} need the fewest bytes.` : "";
  const name = capital(label(transport));
  return `${tie}.${narrowed} ${name} is the simplest of them to run: ${model.why[transport]}`;
}

const SHOW_PARAMETER = {
  "rate": ["Messages", (rate) => showRate(rate, state.rate)],
  "staleness": ["Staleness", showSeconds],
  "rtt": ["Round trip", showSeconds],
  "message-bytes": ["Message text", showBytes],
  "subscribers": ["Subscribers", significant],
};
/** By the bill, a transport that the platform does not carry cannot be recommended either. */
const nameOrNone = (transport) => {
  if (transport) return label(transport);
  return state.cost === "money" ? "no transport is left" : "no transport is fast enough";
};

export function showChanges() {
  const cost = COSTS[state.cost].of;
  const found = margins(state, model, cost);
  const lines = [];
  for (const [index, { parameter, at, factor, becomes }] of found.entries()) {
    const [name, show] = SHOW_PARAMETER[parameter];
    const measured = Math.max(...Object.values(model.costs).map((own) => own.subscribers_max));
    const isBeyond = parameter === "subscribers" && at > measured;
    const beyond = isBeyond ? ` (extrapolated: measured up to ${significant(measured)})` : "";
    const change = `${factor > 1 ? "above" : "below"} ${show(at)}: ${nameOrNone(becomes)}${beyond}`;
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
