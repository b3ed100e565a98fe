// Two charts in SVG: cost over the message rate, and a map of the recommended transport over
// message rate and staleness. Both mark the present workload.

import { choose, estimates } from "./formulas.js";
import { significant } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 560;
const HEIGHT = 330;
const LEFT = 84;
const TOP = 12;
const BOTTOM = HEIGHT - 46;
const RATES = [0.01, 100];
const STALENESS = [0.01, 3600];
const COLUMNS = 56;
const ROWS = 44;
const POINTS = 60;
/** Also in the larger font of a narrow window. */
const NAME_HEIGHT = 18;
/** A region smaller than this share of the map has no name in it. */
const NAMED_SHARE = 0.02;

/** An element of SVG with attributes and children. */
function shape(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** A logarithmic scale from a range of values to a range of pixels. */
function scale([low, high], [from, to]) {
  const span = Math.log(high / low);
  return {
    at: (value) => from + (Math.log(value / low) / span) * (to - from),
    value: (pixel) => low * Math.exp(((pixel - from) / (to - from)) * span),
  };
}

function powersOfTen([low, high]) {
  const exponents = [];
  for (let e = Math.ceil(Math.log10(low) - 1e-9); e <= Math.log10(high) + 1e-9; e++)
    exponents.push(e);
  const every = Math.ceil(exponents.length / 6);
  return exponents.filter((_, index) => index % every === 0).map((e) => 10 ** e);
}

function rateAxis(x, right) {
  return [
    ...powersOfTen(RATES).flatMap((rate) => [
      shape("path", { class: "grid", d: `M${x.at(rate)} ${TOP}V${BOTTOM}` }),
      shape("text", { class: "tick middle", x: x.at(rate), y: BOTTOM + 20 }, significant(rate)),
    ]),
    shape(
      "text",
      { class: "axis middle", x: (LEFT + right) / 2, y: HEIGHT - 6 },
      "messages per second that a subscriber receives",
    ),
  ];
}

function sideTitle(text) {
  const middle = (TOP + BOTTOM) / 2;
  const turned = `translate(12 ${middle}) rotate(-90)`;
  return shape("text", { class: "axis middle", transform: turned }, text);
}

const within = (value, [low, high]) => value >= low && value <= high;

/**
 * Cost over rate. `show` writes a cost; `label` names a transport. Lines end where the transport is
 * too slow, or is not offered.
 */
export function curves(svg, { need, model, cost, title, show, label }) {
  const right = WIDTH - 204;
  const x = scale(RATES, [LEFT, right]);
  const lines = new Map();
  for (let index = 0; index <= POINTS; index++) {
    const rate = RATES[0] * (RATES[1] / RATES[0]) ** (index / POINTS);
    const there = { ...need, rate };
    for (const estimate of estimates(there, model)) {
      const value = estimate.too_slow_s === null ? cost(estimate, there) : null;
      if (value > 0) {
        if (!lines.has(estimate.transport)) lines.set(estimate.transport, []);
        lines.get(estimate.transport).push([rate, value]);
      }
    }
  }
  const values = [...lines.values()].flat().map(([, value]) => value);
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  if (values.length === 0) {
    svg.setAttribute("aria-label", `${title}: nothing to draw`);
    const words = "No transport that is fast enough uses any of it.";
    svg.replaceChildren(shape("text", { class: "tick", x: LEFT, y: HEIGHT / 2 }, words));
    return;
  }
  const low = 10 ** Math.floor(Math.log10(Math.min(...values)));
  const high = Math.max(10 * low, 10 ** Math.ceil(Math.log10(Math.max(...values))));
  const y = scale([low, high], [BOTTOM, TOP]);
  const drawn = [...lines].map(([transport, points]) => {
    const path = points.map(
      ([rate, value]) => `${x.at(rate).toFixed(1)} ${y.at(value).toFixed(1)}`,
    );
    const d = `M${path.join("L")}`;
    return shape("path", { "class": "line", "data-transport": transport, d });
  });
  const ends = [...lines].map(([transport, points]) => ({ transport, y: y.at(points.at(-1)[1]) }));
  svg.setAttribute("aria-label", `${title} over the message rate, for ${ends.length} transports`);
  svg.replaceChildren(
    ...powersOfTen([low, high]).flatMap((value) => [
      shape("path", { class: "grid", d: `M${LEFT} ${y.at(value)}H${right}` }),
      shape("text", { class: "tick end", x: LEFT - 7, y: y.at(value) + 4 }, show(value)),
    ]),
    ...rateAxis(x, right),
    ...drawn,
    ...spread(ends).map((end) =>
      shape(
        "text",
        { "class": "name", "data-transport": end.transport, "x": right + 6, "y": end.y + 4 },
        label(end.transport),
      ),
    ),
    ...here(need, x, y, cost, model),
  );
}

/** Moves names apart that would overlap. */
function spread(ends) {
  const sorted = ends.toSorted((a, b) => a.y - b.y);
  for (let index = 1; index < sorted.length; index++) {
    sorted[index].y = Math.max(sorted[index].y, sorted[index - 1].y + NAME_HEIGHT);
  }
  const over = sorted.at(-1).y - BOTTOM;
  if (over > 0) for (const end of sorted) end.y -= over;
  return sorted;
}

/** The present workload in the curves: a line, and a dot on each transport. */
function here(need, x, y, cost, model) {
  if (!within(need.rate, RATES)) return [];
  const at = x.at(need.rate);
  const dots = estimates(need, model).filter(
    (estimate) => estimate.too_slow_s === null && cost(estimate, need) > 0,
  );
  return [
    shape("path", { class: "here", d: `M${at} ${TOP}V${BOTTOM}` }),
    ...dots.map((estimate) =>
      shape("circle", {
        "class": "dot",
        "data-transport": estimate.transport,
        "cx": at,
        "cy": y.at(cost(estimate, need)),
        "r": 4,
      }),
    ),
  ];
}

const STALENESS_NAMES = [
  [0.01, "10 ms"],
  [0.1, "100 ms"],
  [1, "1 s"],
  [10, "10 s"],
  [60, "1 min"],
  [600, "10 min"],
  [3600, "1 h"],
];

/** Which transport is recommended where. `pick({rate, staleness_s})` is called for a click. */
export function map(svg, { need, model, cost, title, label, pick }) {
  const right = WIDTH - 20;
  const [x, y] = [scale(RATES, [LEFT, right]), scale(STALENESS, [BOTTOM, TOP])];
  const [width, height] = [(right - LEFT) / COLUMNS, (BOTTOM - TOP) / ROWS];
  const stretches = [];
  for (let row = 0; row < ROWS; row++) {
    for (let column = 0; column < COLUMNS; column++) {
      const rate = x.value(LEFT + (column + 0.5) * width);
      const staleness_s = y.value(BOTTOM - (row + 0.5) * height);
      const there = { ...need, rate, staleness_s };
      const choice = choose(
        estimates(there, model),
        (estimate) => cost(estimate, there),
        there,
        model.constants,
      );
      const transport = choice?.transport ?? null;
      const isClear = choice === null || choice.close.length === 1;
      const last = stretches.at(-1);
      const goesOn = last?.row === row && last.transport === transport && last.isClear === isClear;
      if (goesOn) last.end = column + 1;
      else stretches.push({ row, column, end: column + 1, transport, isClear });
    }
  }
  const areas = stretches
    .filter(({ transport }) => transport)
    .map((stretch) =>
      shape("rect", {
        "class": stretch.isClear ? "area" : "area contested",
        "data-transport": stretch.transport,
        "x": LEFT + stretch.column * width,
        // Half a pixel more, so that no gaps show between the rows.
        "y": BOTTOM - (stretch.row + 1) * height,
        "width": (stretch.end - stretch.column) * width,
        "height": height + 0.5,
      }),
    );
  const names = regions(stretches).map(({ transport, column, row }) =>
    shape(
      "text",
      {
        "class": "name middle halo",
        "data-transport": transport,
        "x": Math.min(Math.max(LEFT + column * width, LEFT + 46), right - 46),
        "y": BOTTOM - row * height + 5,
      },
      label(transport),
    ),
  );
  const listed = [...new Set(areas.map((area) => label(area.dataset.transport)))].join(", ");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("aria-label", `${title}, by message rate and staleness: ${listed || "none"}`);
  svg.replaceChildren(
    ...areas,
    ...rateAxis(x, right),
    ...STALENESS_NAMES.flatMap(([value, name]) => [
      shape("path", { class: "grid", d: `M${LEFT} ${y.at(value)}H${right}` }),
      shape("text", { class: "tick end", x: LEFT - 7, y: y.at(value) + 4 }, name),
    ]),
    sideTitle("oldest a message may be"),
    ...names,
    ...youAreHere(need, x, y),
  );
  svg.onclick = (event) => {
    const matrix = svg.getScreenCTM().inverse();
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix);
    const [rate, staleness_s] = [x.value(point.x), y.value(point.y)];
    if (within(rate, RATES) && within(staleness_s, STALENESS)) pick({ rate, staleness_s });
  };
}

/** For each transport with a region worth naming, the middle of its widest row near the centre. */
function regions(stretches) {
  const shown = [...new Set(stretches.map(({ transport }) => transport))].filter(Boolean);
  return shown.flatMap((transport) => {
    const own = stretches.filter((stretch) => stretch.transport === transport);
    const width = ({ column, end }) => end - column;
    const cells = own.reduce((sum, stretch) => sum + width(stretch), 0);
    if (cells < NAMED_SHARE * COLUMNS * ROWS) return [];
    const row = own.reduce((sum, stretch) => sum + stretch.row * width(stretch), 0) / cells;
    const distance = (stretch) => Math.abs(stretch.row - row);
    const [nearest] = own.toSorted((a, b) => distance(a) - distance(b) || width(b) - width(a));
    return [{ transport, row: row + 0.5, column: nearest.column + width(nearest) / 2 }];
  });
}

/** The mark of the workload; beyond the map, it is at the edge, with an arrow. */
function youAreHere({ rate, staleness_s }, x, y) {
  const bounded = (value, [low, high]) => Math.min(Math.max(value, low), high);
  const [left, top] = [x.at(bounded(rate, RATES)), y.at(bounded(staleness_s, STALENESS))];
  const isRight = left > WIDTH - 130;
  const arrow = (value, [low, high], [lower, higher]) =>
    value < low ? lower : value > high ? higher : "";
  const arrows = arrow(rate, RATES, "←→") + arrow(staleness_s, STALENESS, "↓↑");
  return [
    shape("circle", { class: "spot", cx: left, cy: top, r: 6 }),
    shape(
      "text",
      {
        class: `you halo${isRight ? " end" : ""}`,
        x: left + (isRight ? -11 : 11),
        y: Math.max(top - 8, TOP + 14),
      },
      arrows ? `${arrows} you are here` : "you are here",
    ),
  ];
}
