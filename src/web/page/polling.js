// One poll: a request with a cursor, and a batch as the response.

import { now } from "./clock.js";
import { requestHead, responseHead, utf8Bytes } from "./bytes.js";

/**
 * Requests the messages after the lane's cursor from `route`, which responds within `waitMs`, and
 * passes the response to the lane.
 */
export async function poll(lane, route, query, waitMs, signal) {
  const path = lane.path(route, query);
  const request = lane.startRequest();
  lane.link.renew();
  lane.expects(waitMs + 2 * lane.settings.heartbeatMs);
  await lane.link.up();
  signal.throwIfAborted();
  lane.requestArrived(request);
  lane.expects(waitMs + 2 * lane.settings.heartbeatMs);
  const response = await fetch(path, { signal });
  const body = await response.text();
  request.leftAt = now();
  await lane.link.down();
  signal.throwIfAborted();
  lane.expects(null);
  request.doneAt = now();

  const head = { up: requestHead("GET", path), down: responseHead(response) };
  lane.counts(head.up.bytes, head.down.bytes + utf8Bytes(body));
  lane.exchange = { kind: "http", ...head, body };
  if (!response.ok) throw new Error(`${response.status} ${body}`);
  const batch = JSON.parse(body);
  request.messages = batch.messages.length;
  if (batch.messages.length === 0) lane.counters.emptyAnswers += 1;
  lane.receiveBatch(batch, request.leftAt);
}
