#!/usr/bin/env bash
# Puts a real nginx, configured as docs/scaling.md says, in front of two servers on one NATS, and
# asks through it by every transport. Needs a server built with `--features nats`, and nginx,
# nats-server, curl and python3.
#
#   tests/peers/balancer.sh [SERVER]   SERVER is the program, target/debug/poll-vs-push if not given
set -euo pipefail
SERVER=$(realpath "${1:-$(dirname "$0")/../../target/debug/poll-vs-push}")
cd "$(dirname "$0")"
if ! command -v nats-server >/dev/null; then
    echo "skipped: nats-server is not installed"
    exit
fi
source ./server.sh

# An address that nobody else takes ports of.
host=127.0.0.78
free_port() {
    python3 -c "import socket; s = socket.socket(); s.bind(('$1', 0)); print(s.getsockname()[1])"
}
nats=$(free_port $host)
nats-server -js -a $host -p "$nats" -sd "$work/nats" >"$work/nats.log" 2>&1 &
others+=($!)
for _ in $(seq 100); do
    if (: >"/dev/tcp/$host/$nats") 2>/dev/null; then break; fi
    sleep 0.1
done
start --nats "nats://$host:$nats"
first=$address
others+=("$server")
start --nats "nats://$host:$nats"
second=$address

# proxy PORT UPSTREAM: an nginx with the block between the fences of the page, in which Socket.IO
# goes to UPSTREAM.
proxy() {
    local block directory=$work/nginx-$1
    mkdir "$directory"
    block=$(sed -n '/^```nginx$/,/^```$/p' ../../docs/scaling.md | sed '1d;$d')
    {
        # Else nginx, started by root, hands its workers to a user who may not write here.
        [ "$(id -u)" != 0 ] || echo "user root;"
        echo "daemon off; pid $directory/pid; worker_processes 1;"
        echo "events { worker_connections 256; } http { access_log off;"
        for kind in client_body proxy fastcgi uwsgi scgi; do
            echo "${kind}_temp_path $directory/$kind;"
        done
        echo "$block" | sed "s/127\.0\.0\.1:3031/$first/; s/127\.0\.0\.1:3032/$second/
            s/listen 80;/listen $host:$1;/; s,http://feed_sticky,http://$2,"
        echo "}"
    } >"$directory/nginx.conf"
    nginx -c "$directory/nginx.conf" -e "$work/err" &
    others+=($!)
    wait_until curl -sf --max-time 10 "http://$host:$1/healthz"
}
port=$(free_port $host)
proxy "$port" feed_sticky
round_robin=$(free_port $host)
proxy "$round_robin" feed

python3 - "$host" "$port" "$round_robin" "$first" "$second" <<'PYTHON'
import http.client, json, socket, sys, threading
host, port, round_robin, *servers = sys.argv[1:]

def ask(method, path, body=None, headers={}, at=port, source="127.0.0.1"):
    connection = http.client.HTTPConnection(host, int(at), timeout=60, source_address=(source, 0))
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()

def get(path, **options):
    status, body = ask("GET", path, **options)
    assert status == 200, (path, status, body)
    return body

def publish(text):
    body = json.dumps({"sender": "A", "text": text})
    status, answer = ask("POST", "/topics/room/messages", body)
    assert status == 201, (status, answer)
    return json.loads(answer)["offset"]

def requests(server, transport):
    name, number = f'poll_vs_push_requests_total{{transport="{transport}"}}', server.split(":")
    connection = http.client.HTTPConnection(number[0], int(number[1]), timeout=60)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

def stream(path, headers, wanted):
    """What arrives on one connection until it contains `wanted`."""
    s = socket.create_connection((host, int(port)), timeout=60)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{lines}\r\n".encode())
    got = b""
    while wanted.encode() not in got:
        part = s.recv(65536)
        assert part, (path, got)
        got += part
    return got.decode(errors="replace")

MESSAGES = 20
assert [publish(str(n)) for n in range(1, MESSAGES + 1)] == list(range(1, MESSAGES + 1))
print("ok: publishing gives contiguous offsets")

for route, transport in (("poll", "short-polling"), ("long-poll", "long-polling")):
    epoch, cursor = json.loads(get(f"/topics/room/{route}?after=0&limit=1"))["epoch"], 0
    for n in range(1, MESSAGES + 1):
        query = f"epoch={epoch}&after={cursor}&limit=1"
        batch = json.loads(get(f"/topics/room/{route}?{query}"))
        assert not batch.get("reset") and batch["messages"][0]["text"] == str(n), batch
        cursor = batch["cursor"]
    assert all(requests(server, transport) >= 5 for server in servers), transport
    print(f"ok: {transport} on both servers with one cursor")

held = []
waiting = [threading.Thread(target=lambda: held.append(
    get(f"/topics/room/long-poll?after={MESSAGES}&wait=30"))) for _ in range(4)]
for thread in waiting: thread.start()
publish("held")
for thread in waiting: thread.join()
assert all('"text":"held"' in body for body in held) and len(held) == 4
print("ok: held long polls on both servers receive a message")

upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
opened = {
    "sse": lambda n: ("/topics/room/events", {"Last-Event-ID": f"{epoch}:{n}"}),
    "websocket": lambda n: (f"/topics/room/ws?epoch={epoch}&after={n}", upgrade),
}
for transport, open_after in opened.items():
    for n in (5, 6, 7, 8):
        resumed = stream(*open_after(n), '"held"')
        assert f'"offset":{n + 1},' in resumed and f'"offset":{n},' not in resumed, resumed
        assert "reset" not in resumed, resumed
    assert all(requests(server, transport) >= 1 for server in servers), transport
    print(f"ok: {transport} resumes on both servers")

def session(at, source):
    """Whether a session of Socket.IO that polls survives six requests."""
    path = "/socket.io/?EIO=4&transport=polling"
    sid = json.loads(get(path, at=at, source=source)[1:])["sid"]
    for n in range(3):
        status, _ = ask("POST", f"{path}&sid={sid}", "40" if n == 0 else "3", at=at, source=source)
        if status != 200: return False
        if n == 0 and ask("GET", f"{path}&sid={sid}", at=at, source=source)[0] != 200: return False
    return True

# nginx hashes the address of a client and those of the servers, whose ports are new in every run: with
# so many addresses both servers get some of them.
sources = [f"127.{n}.{7 * n % 256}.{n}" for n in range(10, 74)]
assert all(session(port, source) for source in sources)
assert all(requests(server, "socketio-polling") >= 1 for server in servers)
print("ok: Socket.IO polls with sticky sessions")
assert not any(session(round_robin, source) for source in sources[:10])
print("ok: Socket.IO does not poll without them, as the page says")
for _ in range(2):
    stream("/socket.io/?EIO=4&transport=websocket", upgrade, '"sid"')
print("ok: Socket.IO on a WebSocket")
PYTHON

kill "${others[1]}"
wait "${others[1]}" 2>/dev/null || true
for _ in 1 2 3 4; do
    curl -sS --fail --max-time 60 "http://$host:$port/topics/room/poll?after=20" | grep -q '"held"'
done
echo "ok: polls continue when a server has stopped"
