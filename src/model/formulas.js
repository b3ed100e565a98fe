// The formulas of the advice in JavaScript: requests, latency, bytes, cores and money of every
// transport for one workload. They follow src/theory and src/advise line by line; a test runs both
// on thousands of random workloads and compares every figure. Fields of `need` and of an estimate
// have the names that they have there, units included.
//
// `model` is what src/model/mod.rs writes: {transports, publish_cpu_us, costs,
// prices, constants, ...}.

const POLLING = ["short-polling", "long-polling", "socketio-polling"];
const isPushing = (transport) => !POLLING.includes(transport);

/** The estimates of all transports that `need` allows, in the order of reports. */
export function estimates(need, model) {
  return model.transports
    .filter((transport) => !need.browser_only || model.constants.browser_clients[transport])
    .filter((transport) => !need.two_way || model.constants.two_way[transport])
    .map((transport) => estimate(transport, need, model));
}

/** The estimate of one transport. */
export function estimate(transport, need, model) {
  const { constants, publish_cpu_us } = model;
  const costs = model.costs[transport];
  const sizes = withHeaders(transport, need, costs.sizes, constants);
  const interval = nanoseconds(need.poll_interval_s ?? longestInterval(need));
  const prediction = predict(transport, need, interval, constants);
  const carried = traffic(transport, need, prediction, sizes);
  const [recordsUp, recordsDown] = need.is_tls
    ? tlsRecords(transport, need.rate, prediction.requests_s, sizes)
    : [0, 0];

  const { subscribers } = need;
  const requests_s = subscribers * prediction.requests_s;
  // A ping that is sent and a pong that is read count as two messages.
  const pings = isPushing(transport) ? 2 / sizes.heartbeat_s : 0;
  const messages_s = subscribers * (need.rate + pings);
  const publications_s = need.rate * need.topics;
  const cpu =
    requests_s * costs.request_cpu_us +
    messages_s * costs.message_cpu_us +
    publications_s * publish_cpu_us;
  const busy = cpu / 1e6;
  // Short polls arrive at random times; all other subscribers are served at the same time.
  const atOnce = transport === "short-polling" ? 0 : subscribers / need.topics;
  const fanOutCpu = atOnce * ((costs.request_cpu_us + costs.message_cpu_us) / 1e6);
  const worst = prediction.max_s;
  const timeLeft = need.staleness_s - worst;
  const forFanOut = timeLeft > 0 ? fanOutCpu / timeLeft : 0;
  const cores = Math.max(1, Math.ceil(Math.max(busy / constants.busy_share_max, forFanOut)));
  const fanOut = fanOutCpu / cores;
  return {
    transport,
    too_slow_s: tooSlow(transport, need),
    poll_interval_s: transport === "short-polling" ? interval : null,
    hold_s: transport === "long-polling" ? constants.hold_s : null,
    latency_mean_s: prediction.mean_s + fanOut / 2,
    latency_max_s: worst + fanOut,
    fan_out_s: fanOut,
    requests_s,
    messages_s,
    messages_per_answer: prediction.messages_per_answer,
    connections: subscribers,
    open_requests: openRequests(transport, need, requests_s, costs),
    message_bytes: need.message_bytes + sizes.message_object,
    bytes_up_s: subscribers * (carried.up + recordsUp * constants.tls_record_bytes),
    bytes_down_s: subscribers * (carried.down + recordsDown * constants.tls_record_bytes),
    cpu_cores_busy: busy,
    cores,
    memory_bytes: subscribers * costs.memory_bytes,
    cpu_basis: basis(costs, Math.max(requests_s, messages_s), costs.events_s_max, constants),
    memory_basis: basis(costs, subscribers, costs.subscribers_max, constants),
  };
}

/** Where costs were measured, and how many times the largest measured load was asked for. */
function basis({ origin }, asked, measured, { measured_up_to }) {
  return { origin, extrapolated: asked > measured * measured_up_to ? asked / measured : null };
}

/** The longest pause between two polls that the staleness allows, seconds. */
export const longestInterval = (need) => Math.max(need.staleness_s - 1.5 * need.rtt_s, 0);

/** Durations are whole nanoseconds in Rust. */
const nanoseconds = (seconds) => Math.round(seconds * 1e9) / 1e9;

function withHeaders(transport, need, sizes, constants) {
  const more = need.headers === "browser" && !isPushing(transport) ? constants.browser_headers : 0;
  return { ...sizes, request_head: sizes.request_head + more };
}

/** The lowest worst-case delay of the transport, if it exceeds the acceptable age. */
function tooSlow(transport, need) {
  if (transport === "short-polling" && need.poll_interval_s !== null) {
    const worst = need.poll_interval_s + 1.5 * need.rtt_s;
    return worst > need.staleness_s ? worst : null;
  }
  const fastest = isPushing(transport) ? need.rtt_s / 2 : 1.5 * need.rtt_s;
  return fastest >= need.staleness_s ? fastest : null;
}

function openRequests(transport, need, requests_s, costs) {
  if (transport === "short-polling") return (requests_s * costs.request_cpu_us) / 1e6;
  if (isPushing(transport)) return need.subscribers;
  const open = need.subscribers - requests_s * need.rtt_s;
  return open > 1e-6 * need.subscribers ? open : 0;
}

/** Requests and latency of one subscriber for messages at random instants (theory/cycle.rs). */
function predict(transport, need, interval, constants) {
  const { rate } = need;
  const rtt = nanoseconds(need.rtt_s);
  const oneWay = rtt / 2;
  if (isPushing(transport)) {
    const none = { requests_s: 0, empty_share: null, messages_per_answer: null };
    return { ...none, mean_s: oneWay, max_s: oneWay };
  }
  // A gap without a request at the server, then a hold.
  const isShort = transport === "short-polling";
  const gap = isShort ? interval + rtt : rtt;
  const hold = isShort ? 0 : constants.mean_hold_share * constants.hold_s;
  const meanHold = -Math.expm1(-rate * hold) / rate;
  const length = gap + Math.exp(-(rate * gap)) * meanHold;
  const gapShare = gap > 0 ? gap / length : 0;
  const requests_s = 1 / length;
  return {
    requests_s,
    empty_share: Math.exp(-rate * (gap + hold)),
    messages_per_answer: rate / requests_s,
    mean_s: oneWay + (gapShare * gap) / 2,
    max_s: gapShare > 0 ? oneWay + gap : oneWay,
  };
}

/** Bytes per second of one subscriber, both directions (theory/bytes.rs). */
function traffic(transport, need, prediction, sizes) {
  const { rate } = need;
  const messageBytes = need.message_bytes + sizes.message_object;
  if (isPushing(transport))
    return pushed(wrapping(transport, messageBytes), rate, messageBytes, sizes);
  const { up, down } = polled(prediction, rate, messageBytes, sizes);
  const acknowledgements = prediction.requests_s * sizes.segment_head;
  // The acknowledgement of a short poll's response, or of a request that waits, is a segment of its
  // own.
  if (transport === "short-polling") return { up: up + acknowledgements, down };
  const heldShare = Math.exp(-rate * nanoseconds(need.rtt_s));
  return { up, down: down + acknowledgements * heldShare };
}

const segments = (bytes, sizes) => Math.max(1, Math.ceil(bytes / sizes.segment_payload));
const frameHeader = (bytes) => (bytes <= 125 ? 2 : bytes <= 65_535 ? 4 : 10);

function polled(prediction, rate, messageBytes, sizes) {
  const { requests_s, empty_share } = prediction;
  const full_s = requests_s * (1 - empty_share);
  const head = sizes.response_head + sizes.envelope;
  const fullAnswer = head + (rate * messageBytes) / full_s;
  const answerSegments =
    full_s * segments(fullAnswer, sizes) + (requests_s - full_s) * segments(head, sizes);
  const requestSegments = requests_s * segments(sizes.request_head, sizes);
  const commas = rate - full_s;
  return {
    up: requests_s * sizes.request_head + requestSegments * sizes.segment_head,
    down:
      rate * messageBytes +
      (requests_s * sizes.envelope + commas) +
      requests_s * sizes.response_head +
      answerSegments * sizes.segment_head,
  };
}

/** Bytes around a message, of a heartbeat, and of the answer to it. */
function wrapping(transport, messageBytes) {
  const MASK = 4;
  const frames = (packet) => {
    const ping = Math.min(packet, 1) + frameHeader(1);
    return { message: packet + frameHeader(messageBytes + packet), ping, pong: ping + MASK };
  };
  // A chunk's length in hexadecimal and two line ends.
  const chunk = (bytes) => Math.floor(Math.log(bytes) / Math.log(16)) + 1 + 4;
  switch (transport) {
    case "websocket":
      return frames(0);
    case "socketio-websocket":
      return frames('42["message",]'.length);
    case "sse": {
      const event = 17 + 7;
      return { message: event + chunk(messageBytes + event), ping: 2 + chunk(2), pong: 0 };
    }
    case "ndjson":
      return { message: 1 + chunk(messageBytes + 1), ping: 1 + chunk(1), pong: 0 };
    default:
      throw new Error(`no formula for ${transport}`);
  }
}

function pushed({ message, ping, pong }, rate, messageBytes, sizes) {
  const pings_s = 1 / sizes.heartbeat_s;
  const messageSegments = rate * segments(messageBytes + message, sizes);
  // The pong acknowledges the ping, and is acknowledged in turn.
  const acknowledgements = pong > 0 ? pings_s : 0;
  return {
    up: pings_s * pong + (rate + pings_s) * sizes.segment_head,
    down:
      rate * messageBytes +
      (rate * message + pings_s * ping) +
      (messageSegments + pings_s + acknowledgements) * sizes.segment_head,
  };
}

/** TLS records per second of one subscriber, up and down. */
function tlsRecords(transport, rate, requests_s, sizes) {
  const pings_s = 1 / sizes.heartbeat_s;
  switch (transport) {
    case "websocket":
    case "socketio-websocket":
      return [pings_s, rate + pings_s];
    case "sse":
    case "ndjson":
      return [0, rate + pings_s];
    default:
      return [requests_s, requests_s];
  }
}

const HOURS_PER_MONTH = 730;
const SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600;

/** The billed quantities: how much one transport uses in a month, and the unit of the price. */
const BILLABLES = {
  "requests": { per: 1e6, monthly: (estimate) => estimate.requests_s * SECONDS_PER_MONTH },
  "gb-out": { per: 1e9, monthly: (estimate) => estimate.bytes_down_s * SECONDS_PER_MONTH },
  "connection-minutes": {
    per: 1e6,
    monthly: (estimate) => (estimate.open_requests * SECONDS_PER_MONTH) / 60,
  },
  "core-hours": { per: 1, monthly: (estimate) => estimate.cores * HOURS_PER_MONTH },
  "messages": {
    per: 1e6,
    monthly(estimate, need, { counted_bytes }) {
      const parts = Math.max(1, Math.ceil(estimate.message_bytes / counted_bytes));
      const ofEach = counted_bytes ? parts : 1;
      return need.subscribers * need.rate * ofEach * SECONDS_PER_MONTH;
    },
  },
};

/** The monthly bill of one transport; null if the platform does not support it. */
export function bill(list, estimate, need) {
  if (list.not_offered[estimate.transport]) return null;
  const billables = Object.keys(BILLABLES).filter((billable) => list.prices[billable]);
  const items = billables.map((billable) => {
    const price = list.prices[billable];
    const quantity = BILLABLES[billable].monthly(estimate, need, price);
    return { billable, quantity, amount: (quantity / BILLABLES[billable].per) * price.price };
  });
  const total = items.reduce((sum, { amount }) => sum + amount, 0);
  const most = items.reduce((a, b) => (b.amount >= a.amount ? b : a));
  const dominant = most.amount > 0 ? most.billable : null;
  return { transport: estimate.transport, items, total, dominant };
}

/**
 * The choice among the transports that are fast enough: by `need.cost`, which is `cost(estimate)`,
 * then by bytes, then by simplicity. `close` are those whose cost is too close to the lowest to
 * decide, `finalists` those of them whose bytes do not decide either. Null if no transport is fast
 * enough.
 */
export function choose(candidates, cost, need, { too_close, simplicity }) {
  const fastEnough = candidates
    .filter((estimate) => estimate.too_slow_s === null && cost(estimate) !== null)
    .map((estimate) => {
      const bytes = estimate.bytes_up_s + estimate.bytes_down_s;
      return { ...estimate, cost: cost(estimate), bytes };
    })
    .sort((a, b) => a.cost - b.cost);
  if (fastEnough.length === 0) return null;
  const [cheapest, next] = fastEnough;
  const close = fastEnough.filter((it) => it.cost <= cheapest.cost * too_close);
  const fewest = Math.min(...close.map(({ bytes }) => bytes));
  const isFrugal = ({ bytes }) => bytes <= fewest * too_close;
  const finalists = need.cost === "bytes" ? close : close.filter(isFrugal);
  const rank = ({ transport }) => simplicity.indexOf(transport);
  const lead = next ? next.cost / cheapest.cost : NaN;
  return {
    transport: finalists.reduce((a, b) => (rank(b) < rank(a) ? b : a)).transport,
    close: close.map(({ transport }) => transport),
    finalists: finalists.map(({ transport }) => transport),
    lead: Number.isFinite(lead) ? lead : null,
  };
}

/** Values of a need that may turn out different: field, bounds, and whether it is whole. */
const PARAMETERS = {
  "rate": { field: "rate", least: 1e-6, most: 10_000 },
  "staleness": { field: "staleness_s", least: 1e-6, most: 86_400 },
  "rtt": { field: "rtt_s", least: 0, most: 10 },
  "message-bytes": { field: "message_bytes", least: 0, most: 1e6, isWhole: true },
  "subscribers": { field: "subscribers", least: 1, most: 4_294_967_295, isWhole: true },
};
const FACTOR_MAX = 1000;
const MARGIN_STEPS = 120;
/** A recommendation that holds over this factor ends the search. */
const LASTING_FACTOR = 1.25;
/** A recommendation that holds over a smaller factor is passed over. */
const SHOWN_FACTOR = 1.02;
const CHANGES_MAX = 3;

/** The recommended transport, or null. */
function recommended(need, model, cost) {
  const candidates = estimates(need, model);
  const choice = choose(candidates, (it) => cost(it, need), need, model.constants);
  return choice?.transport ?? null;
}

/**
 * Where the choice changes if one value of the need moves and the others stay: the nearest change
 * in either direction, and those after it until one lasts.
 */
export function margins(need, model, cost) {
  const directions = Object.keys(PARAMETERS).flatMap((parameter) => [
    [parameter, FACTOR_MAX],
    [parameter, 1 / FACTOR_MAX],
  ]);
  return directions.flatMap(([parameter, furthest]) =>
    towards(need, model, cost, parameter, furthest),
  );
}

function towards(need, model, cost, parameter, furthest) {
  const { field, least, most } = PARAMETERS[parameter];
  const at = (factor) => recommended(moved(need, parameter, factor), model, cost);
  const step = furthest ** (1 / MARGIN_STEPS);
  const present = at(1);
  const changes = [];
  const last = () => changes.at(-1);
  let [current, near] = [present, 1];
  for (let index = 1; index <= MARGIN_STEPS; index++) {
    const far = step ** index;
    const value = need[field] * far;
    if (value < least || value > most) break;
    const next = at(far);
    while (current !== next && changes.length < CHANGES_MAX) {
      const before = current;
      near = boundary(near, far, (factor) => at(factor) === before);
      current = at(near);
      if (last() && ratio(last().factor, near) < SHOWN_FACTOR) changes.pop();
      if ((last() ? last().becomes : present) !== current) {
        changes.push({ parameter, at: need[field] * near, factor: near, becomes: current });
      }
    }
    const isLasting = last() && ratio(last().factor, far) >= LASTING_FACTOR;
    if ((current !== present && isLasting) || changes.length === CHANGES_MAX) break;
    near = far;
  }
  return changes;
}

/** The need with one value multiplied by `factor`. Topics cannot outnumber subscribers. */
function moved(need, parameter, factor) {
  const { field, isWhole } = PARAMETERS[parameter];
  const value = need[field] * factor;
  const next = { ...need, [field]: isWhole ? Math.round(value) : value };
  if (parameter !== "subscribers") return next;
  const subscribers = Math.max(next.subscribers, 1);
  return { ...next, subscribers, topics: Math.min(need.topics, subscribers) };
}

const ratio = (a, b) => Math.max(a / b, b / a);

/** The first factor between `near`, where `holds` is true, and `far`, where it is not. */
function boundary(near, far, holds) {
  for (let round = 0; round < 24; round++) {
    const middle = Math.sqrt(near * far);
    if (holds(middle)) near = middle;
    else far = middle;
  }
  return far;
}

/** The other conditions that change the choice: headers, TLS, messages in both directions. */
export function alternatives(need, model, cost) {
  const present = recommended(need, model, cost);
  const headers = need.headers === "browser" ? "minimal" : "browser";
  const others = [
    { ...need, headers },
    { ...need, is_tls: !need.is_tls },
    { ...need, two_way: true },
  ];
  return others
    .map((other) => ({ need: other, becomes: recommended(other, model, cost) }))
    .filter(({ becomes }) => becomes !== present);
}
