// Socket.IO: packets of Socket.IO v5 in packets of Engine.IO v4 in WebSocket frames. The official
// client begins with long polls and upgrades; this one opens the WebSocket at once.
//
// On the wire:   GET /socket.io/?EIO=4&transport=websocket  ->  101, then text frames
//                server: 0{..}   client: 40   server: 40{..}                       connected
//                client: 42["subscribe",{..}]   server: 42["message",{..}]         events
//                server: 2       client: 3                                         periodically
// Who waits:     the server, on one connection, for as long as the subscriber stays.
// What it costs: the same as a WebSocket, two more round trips at the start, and 14 bytes around
//                each message.

import { frameBytes, upgradeHeads, utf8Bytes } from "./bytes.js";
import { openSocket } from "./socket.js";

const PATH = "/socket.io/?EIO=4&transport=websocket";
// Engine.IO: 0 open, 1 close, 2 ping, 3 pong, 4 message. In a message, Socket.IO: 0 connect,
// 1 disconnect, 2 event, 4 refused.
const CONNECT = "40";
const EVENT = "42";
const PONG = "3";

export const socketIo = {
  id: "socketio-websocket",
  label: "Socket.IO",
  waits: "waits in the server, on one connection",
  holdsConnection: false,

  async subscribe(lane, signal) {
    const head = upgradeHeads(PATH);
    let socket;
    // Unlike a WebSocket's pings, Engine.IO's can be seen.
    let { heartbeatMs } = lane.settings;
    const send = async (packet) => {
      await lane.link.up();
      if (socket.readyState !== WebSocket.OPEN) return;
      socket.send(packet);
      lane.counts(frameBytes(utf8Bytes(packet), true), 0);
    };
    const received = (packet, leftAt) => {
      lane.counts(0, frameBytes(utf8Bytes(packet)));
      if (packet.startsWith("0")) {
        const { pingInterval, pingTimeout } = JSON.parse(packet.slice(1));
        // The timeout that Engine.IO's own clients use.
        heartbeatMs = (pingInterval + pingTimeout) / 2;
        lane.expects(2 * heartbeatMs);
        send(CONNECT);
      } else if (packet === "2") {
        send(PONG);
        lane.isAlive();
      } else if (packet.startsWith(CONNECT)) {
        const { epoch, offset: after } = lane.cursor ?? {};
        send(`${EVENT}${JSON.stringify(["subscribe", { topic: lane.topic, epoch, after }])}`);
      } else if (packet.startsWith(EVENT)) {
        const [, data] = JSON.parse(packet.slice(EVENT.length));
        lane.exchange = { kind: "socketio", ...head, received: packet };
        lane.receives(data, leftAt);
      } else {
        throw new Error(`closed with packet ${packet}`);
      }
    };
    await openSocket(lane, PATH, head, signal, {
      heartbeatMs: () => heartbeatMs,
      opened: (opened) => (socket = opened),
      received,
      closed: () => {},
    });
  },
};
