"""PyPI's `python-socketio`, a client with no line in common with the official one."""

import json
import os
import queue
import subprocess
import unittest
import urllib.request

import socketio
from engineio.payload import Payload

# Far longer than anything here takes, seconds.
FORGOTTEN = 60

# Of a poll's answer this client takes 16 packets, and hangs up on more: whoever reads on from a
# cursor with more than that to read would never get on. The protocol knows no such limit.
Payload.max_decode_packets = 1000


class Server:
    """A server of the test's own."""

    def __init__(self):
        command = [os.environ["SERVER"], "serve", "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.url = self.process.stdout.readline().split()[-1]

    def end(self):
        self.process.terminate()
        self.process.wait(FORGOTTEN)
        self.process.stdout.close()

    def publish(self, text):
        body = json.dumps({"sender": "A", "text": text}).encode()
        url = f"{self.url}/topics/room/messages"
        with urllib.request.urlopen(url, data=body, timeout=FORGOTTEN) as answer:
            assert answer.status == 201


class SocketIo(unittest.TestCase):
    def hears_everything(self, transports):
        server = Server()
        self.addCleanup(server.end)
        client = socketio.Client(reconnection_delay=0.05)
        received, subscribed, lost = queue.Queue(), queue.Queue(), []
        cursor = {}

        @client.event
        def connect():
            client.emit("subscribe", {"topic": "room", **cursor})

        @client.on("subscribed")
        def on_subscribed(event):
            cursor.update(epoch=event["epoch"], after=event["cursor"])
            subscribed.put(event)

        @client.on("message")
        def on_message(message):
            cursor["after"] = max(cursor["after"], message["offset"])
            received.put(message)

        for name in ["gap", "reset", "error"]:
            client.on(name, lost.append)

        client.connect(server.url, transports=transports)
        subscribed.get(timeout=FORGOTTEN)
        count = 0
        sent = [f"{number} \r\n\x1e é🦀" for number in range(50)]
        for text in sent:
            server.publish(text)
        heard = [received.get(timeout=FORGOTTEN) for _ in sent]
        # The client calls a handler for each event on a thread of its own.
        heard.sort(key=lambda message: message["offset"])
        self.assertEqual([message["text"] for message in heard], sent)
        self.assertEqual([message["offset"] for message in heard], list(range(1, 51)))
        said = {"topic": "room", "sender": "A", "text": "hi"}
        self.assertEqual(client.call("publish", said)["offset"], 51)
        self.assertEqual(lost, [])
        client.disconnect()

    def test_polling(self):
        self.hears_everything(["polling"])

    def test_websocket(self):
        self.hears_everything(["websocket"])

    def test_upgrade(self):
        self.hears_everything(["polling", "websocket"])


if __name__ == "__main__":
    unittest.main()
