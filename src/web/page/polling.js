// A request with a cursor and its batch, as in both kinds of polling.

import { now } from "./clock.js";
import { requestHead, responseHead, utf8Bytes } from "./bytes.js";
import { TOKEN_HINT, withToken } from "./token.js";

/**
 * Requests the messages after the lane's cursor from `route`, which responds within `waitMs`, and
 * passes them to the lane.
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
  const [response, body] = await fetchText(path, signal).catch(async (error) => {
    // A failure is lost on a link that is cut, as a response is.
    await lane.link.down();
    throw error;
  });
  request.leftAt = now();
  await lane.link.down();
  signal.throwIfAborted();
  lane.expects(null);
  request.doneAt = now();

  const head = { up: requestHead("GET", path), down: responseHead(response) };
  lane.counts(head.up.bytes, head.down.bytes + utf8Bytes(body));
  lane.exchange = { kind: "http", ...head, body };
  if (response.status === 401) throw new Error(`401 ${body}; ${TOKEN_HINT}`);
  if (!response.ok) throw new Error(`${response.status} ${body}`);
  const batch = JSON.parse(body);
  request.messages = batch.messages.length;
  if (batch.messages.length === 0) lane.counters.emptyAnswers += 1;
  lane.receiveBatch(batch, request.leftAt);
}

/** Fetches a response with its body. */
async function fetchText(path, signal) {
  try {
    const response = await fetch(path, { signal, headers: withToken() });
    return [response, await response.text()];
  } catch (error) {
    // The browser does not tell scripts why a connection failed.
    throw signal.aborted ? error : new Error("no connection", { cause: error });
  }
}
