// What both kinds of polling share: one request with a cursor, one batch.

import { now } from "./clock.js";
import { requestHead, responseHead, utf8Bytes } from "./bytes.js";
import { TOKEN_HINT, withToken } from "./token.js";

/**
 * Asks `route`, which answers within `waitMs`, for what is after the lane's cursor and hands the
 * lane the answer.
 */
export async function ask(lane, route, query, waitMs, signal) {
  const path = lane.path(route, query);
  const ask = lane.asks();
  lane.link.renew();
  lane.expects(waitMs + 2 * lane.settings.heartbeatMs);
  await lane.link.up();
  signal.throwIfAborted();
  lane.sends(ask);
  lane.expects(waitMs + 2 * lane.settings.heartbeatMs);
  const response = await fetch(path, { signal, headers: withToken() });
  const body = await response.text();
  ask.leftAt = now();
  await lane.link.down();
  signal.throwIfAborted();
  lane.expects(null);
  ask.doneAt = now();

  const head = { up: requestHead("GET", path), down: responseHead(response) };
  lane.counts(head.up.bytes, head.down.bytes + utf8Bytes(body));
  lane.exchange = { kind: "http", ...head, body };
  if (response.status === 401) throw new Error(`401 ${body}; ${TOKEN_HINT}`);
  if (!response.ok) throw new Error(`${response.status} ${body}`);
  const batch = JSON.parse(body);
  ask.messages = batch.messages.length;
  if (batch.messages.length === 0) lane.counters.emptyAnswers += 1;
  lane.takes(batch, ask.leftAt);
}
