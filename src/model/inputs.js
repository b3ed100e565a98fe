// The controls of the page: sliders, fields, choices and boxes for the workload.

import { element } from "./elements.js";
import { longestInterval } from "./formulas.js";
import { significant } from "./text.js";
import {
  COSTS,
  FLAGS,
  HEADERS,
  INTERVAL,
  NUMBERS,
  change,
  clamp,
  model,
  state,
} from "./workload.js";

const SLIDER_STEPS = 1000;
const updates = []; // each brings one control up to date

/** `parse` and `write`: of a control whose field holds text, such as `2/h`, instead of a number. */
function numberControl(control) {
  const { name, least, most, parse, write, scale = 1 } = control;
  const id = `model-${name}`;
  const span = Math.log(most / least);
  const toValue = (step) => clamp(control, least * Math.exp((step / SLIDER_STEPS) * span), least);
  const toStep = (value) => Math.round((Math.log(value / least) / span) * SLIDER_STEPS);
  const slider = element("input", { type: "range", min: 0, max: SLIDER_STEPS, step: 10 });
  slider.setAttribute("aria-label", `${control.label}, slider`);
  const field = element("input", { type: parse ? "text" : "number", id });
  if (!parse) Object.assign(field, { step: "any", min: least * scale, max: most * scale });
  const valueOfField = () => (parse ? parse(field.value) : field.valueAsNumber / scale);
  const unit = element("span", { className: "unit" }, control.unit);
  // Two digits: values are set by dragging, which is not more precise.
  slider.oninput = () =>
    change({ [name]: clamp(control, Number(toValue(slider.value).toPrecision(2)), least) });
  field.onchange = () => change({ [name]: clamp(control, valueOfField(), state[name]) });
  updates.push(() => {
    const value = state[name] ?? Math.max(longestInterval(state), least);
    slider.value = toStep(Math.max(value, least));
    const text = write ? write(value) : `${significant(value * scale)} ${control.unit}`;
    slider.setAttribute("aria-valuetext", text);
    if (document.activeElement !== field || valueOfField() !== value) {
      field.value = write ? text : Number((value * scale).toPrecision(12));
    }
  });
  const parts = [element("label", { htmlFor: id }, control.label), slider, field, unit];
  if (control.note) {
    const note = element("span", { className: "note", id: `${id}-note` }, control.note);
    field.setAttribute("aria-describedby", note.id);
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
  updates.push(() => {
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
  updates.push(() => (select.value = state[name]));
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
  updates.push(() => (box.checked = state[name]));
  return element("label", { className: "check" }, box, ` ${text}`);
}

function group(title, ...controls) {
  return element("fieldset", {}, element("legend", {}, title), ...controls);
}

export const controls = element(
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
controls.append(reset);

/** Brings all controls up to date. */
export function showControls() {
  for (const update of updates) update();
}
