"""PyPI's `python-socketio`, a client with no line in common with the official one."""

import os
import queue
import signal
import subprocess
import tempfile
import unittest
import urllib.request
import json

import socketio

# Far longer than anything here takes, seconds.
FORGOTTEN = 60


class Server:
    """A server of the test's own, restarted on the same port with the same messages."""

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory()
        self.listen = "127.0.0.1:0"
        self.start()

    def start(self):
        data = os.path.join(self.directory.name, "feed")
        command = [os.environ["SERVER"], "serve", "--listen", self.listen, "--data", data]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.url = self.process.stdout.readline().split()[-1]
        self.listen = self.url.removeprefix("http://")

    def end(self, with_signal):
        self.process.send_signal(with_signal)
        self.process.wait(FORGOTTEN)
        self.process.stdout.close()

    def publish(self, text):
        body = json.dumps({"sender": "A", "text": text}).encode()
        url = f"{self.url}/topics/room/messages"
        with urllib.request.urlopen(url, data=body, timeout=FORGOTTEN) as answer:
            assert answer.status == 201


class SocketIo(unittest.TestCase):
    def survives(self, transports):
        server = Server()
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
            cursor["after"] = message["offset"]
            received.put(message)

        for name in ["gap", "reset", "error"]:
            client.on(name, lost.append)

        client.connect(server.url, transports=transports)
        subscribed.get(timeout=FORGOTTEN)
        count = 0
        for with_signal in [None, signal.SIGTERM, signal.SIGKILL]:
            if with_signal:
                server.end(with_signal)
                server.start()
            sent = [f"{number} \r\n\x1e é🦀" for number in range(50)]
            for text in sent:
                server.publish(text)
            heard = [received.get(timeout=FORGOTTEN) for _ in sent]
            self.assertEqual([message["text"] for message in heard], sent)
            offsets = [message["offset"] for message in heard]
            self.assertEqual(offsets, list(range(count + 1, count + 51)))
            count += 50
        said = {"topic": "room", "sender": "A", "text": "hi"}
        self.assertEqual(client.call("publish", said)["offset"], count + 1)
        self.assertEqual(lost, [])
        client.disconnect()
        server.end(signal.SIGTERM)
        server.directory.cleanup()

    def test_polling(self):
        self.survives(["polling"])

    def test_websocket(self):
        self.survives(["websocket"])

    def test_upgrade(self):
        self.survives(["polling", "websocket"])


if __name__ == "__main__":
    unittest.main()
