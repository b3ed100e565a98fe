"""PyPI's `python-socketio`, a client independent of the official one, across restarts of the
server, and behind proxies that break the upgrade to a WebSocket."""

import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import unittest
import urllib.request

import socketio

# Far longer than any step takes, seconds.
FORGOTTEN = 60


class Server:
    """A server for this test, restarted on the same port with the same messages."""

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

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait(FORGOTTEN)
        self.process.stdout.close()

    def restart(self, how):
        """SIGTERM lets it close its connections, SIGKILL does not."""
        self.end(how)
        self.start()

    def remove(self):
        self.end(signal.SIGTERM)
        self.directory.cleanup()

    def publish(self, text):
        body = json.dumps({"sender": "A", "text": text}).encode()
        url = f"{self.url}/topics/room/messages"
        with urllib.request.urlopen(url, data=body, timeout=FORGOTTEN) as answer:
            assert answer.status == 201


class Proxy:
    """The proxy of `proxy.mjs`, in front of a server."""

    def __init__(self, mode, server):
        command = ["node", "proxy.mjs", mode, server.listen]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def remove(self):
        self.process.terminate()
        self.process.wait(FORGOTTEN)
        self.process.stdout.close()


class Application:
    """A client that keeps its cursor and resumes from it."""

    def __init__(self, url, transports):
        self.url, self.transports = url, transports
        # An upgrade that hangs takes as long as the client's request timeout.
        self.client = socketio.Client(
            reconnection_delay=0.05, randomization_factor=0.02, request_timeout=1
        )
        self.subscribed, self.lost = queue.Queue(), []
        # The client calls the handler of each event on a new thread, in any order.
        self.changed = threading.Condition()
        self.cursor, self.received = {}, {}
        self.client.on("connect", self.subscribe)
        self.client.on("subscribed", self.on_subscribed)
        self.client.on("message", self.on_message)
        self.client.on("disconnect", self.on_disconnect)
        for name in ["gap", "reset", "error"]:
            self.client.on(name, self.lost.append)
        self.connect()

    def connect(self):
        self.client.connect(
            self.url, transports=self.transports, wait_timeout=FORGOTTEN, retry=True
        )

    def subscribe(self):
        with self.changed:
            asked = {"topic": "room", **self.cursor}
        self.client.emit("subscribe", asked)

    def on_subscribed(self, event):
        with self.changed:
            after = max(event["cursor"], self.cursor.get("after", 0))
            self.cursor = {"epoch": event["epoch"], "after": after}
        self.subscribed.put(event)

    def on_message(self, message):
        with self.changed:
            offset = message["offset"]
            # A message received while the connection broke, and not yet counted, is sent again.
            # A failure on this thread would not be reported.
            if self.received.setdefault(offset, message["text"]) != message["text"]:
                self.lost.append(message)
            self.cursor["after"] = max(self.cursor.get("after", 0), offset)
            self.changed.notify()

    def on_disconnect(self, reason):
        # Unlike the official client, this one does not reconnect after a disconnect packet; that is
        # left to the application. It reconnects by itself after a broken connection.
        if reason == self.client.reason.SERVER_DISCONNECT:
            self.client.start_background_task(self.come_back)

    def come_back(self):
        self.client.eio.wait()
        self.connect()

    def until(self, count):
        """All texts in order, once there are `count` of them."""
        with self.changed:
            is_enough = self.changed.wait_for(lambda: len(self.received) >= count, FORGOTTEN)
            assert is_enough, f"{len(self.received)} of {count} messages came"
            return [self.received[offset] for offset in sorted(self.received)]


class SocketIo(unittest.TestCase):
    def survives_restarts(self, transports, mode=None):
        server = Server()
        self.addCleanup(server.remove)
        url = server.url
        if mode:
            proxy = Proxy(mode, server)
            self.addCleanup(proxy.remove)
            url = proxy.url
        application = Application(url, transports)
        application.subscribed.get(timeout=FORGOTTEN)
        sent = []

        def publish(count):
            for _ in range(count):
                sent.append(f"{len(sent)} \r\n\x1e é🦀")
                server.publish(sent[-1])

        publish(50)
        self.assertEqual(application.until(len(sent)), sent)
        for how in [signal.SIGTERM, signal.SIGKILL]:
            # Some are in transit when it ends, some are stored before the client reconnects.
            publish(10)
            server.restart(how)
            publish(50)
            application.subscribed.get(timeout=FORGOTTEN)
            publish(10)
            self.assertEqual(application.until(len(sent)), sent)
        said = {"topic": "room", "sender": "A", "text": "hi"}
        self.assertEqual(application.client.call("publish", said)["offset"], len(sent) + 1)
        self.assertEqual(sorted(application.received)[: len(sent)], list(range(1, len(sent) + 1)))
        self.assertEqual(application.lost, [])
        if mode:
            transport = "websocket" if mode == "delay" else "polling"
            self.assertEqual(application.client.transport(), transport)
        application.client.disconnect()

    def test_polling(self):
        self.survives_restarts(["polling"])

    def test_websocket(self):
        self.survives_restarts(["websocket"])

    def test_upgrade(self):
        self.survives_restarts(["polling", "websocket"])

    def test_refused_upgrade(self):
        self.survives_restarts(["polling", "websocket"], "refuse")

    def test_dropped_upgrade(self):
        self.survives_restarts(["polling", "websocket"], "drop")

    def test_swallowed_upgrade(self):
        self.survives_restarts(["polling", "websocket"], "swallow")

    def test_mute_upgrade(self):
        self.survives_restarts(["polling", "websocket"], "mute")

    def test_delayed_upgrade(self):
        self.survives_restarts(["polling", "websocket"], "delay")


if __name__ == "__main__":
    unittest.main()
