#!/usr/bin/env bash
# Puts a real nginx, configured as docs/operations.md says, in front of the server, and asks through
# it by every transport. Needs nginx, curl and python3.
#
#   tests/peers/nginx.sh [SERVER]      SERVER is the program, target/debug/poll-vs-push if not given
set -euo pipefail
cd "$(dirname "$0")"
SERVER=$(realpath "${1:-../../target/debug/poll-vs-push}")
work=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$SERVER" serve --listen 127.0.0.1:0 > "$work/out" 2> "$work/err" &
server=$!
trap 'kill $server; [ -f "$work/pid" ] && kill "$(cat "$work/pid")"; wait $server || true; rm -rf "$work"' EXIT
until grep -q listening "$work/out"; do
    kill -0 $server || { cat "$work/err"; exit 1; }
    sleep 0.1
done
address=$(sed -n 's/.*http:\/\///p' "$work/out")

# The block between the fences of the page is what is tested.
block=$(sed -n '/^```nginx$/,/^```$/p' ../../docs/operations.md | sed '1d;$d')
{
    echo "pid $work/pid; error_log $work/error.log; worker_processes 1;"
    echo "events { worker_connections 256; } http { access_log off;"
    for kind in client_body proxy fastcgi uwsgi scgi; do echo "${kind}_temp_path $work/$kind;"; done
    echo "$block" | sed "s/127\.0\.0\.1:3030/$address/; s/listen 80;/listen 127.0.0.1:$port;/"
    echo "}"
} > "$work/nginx.conf"
nginx -c "$work/nginx.conf"
base="http://127.0.0.1:$port/topics/room"

expect() { # what, wanted, got
    if [[ "$3" == *"$2"* ]]; then echo "ok: $1"; else echo "FAILED: $1: $3"; exit 1; fi
}
publish() { curl -sS -d "{\"sender\":\"A\",\"text\":\"$1\"}" "$base/messages"; }
expect publishing '"offset":1' "$(publish one)"
expect "short polling" '"text":"one"' "$(curl -sS "$base/poll?after=0")"
curl -sS --max-time 20 "$base/long-poll?after=1&wait=15" > "$work/long" & waiting=$!
# An event stream that a proxy buffers shows nothing until it ends: this one is read while it is open.
curl -sSN --max-time 20 "$base/events?after=1" > "$work/events" & streaming=$!
until grep -q subscribed "$work/events"; do sleep 0.1; done
publish two > "$work/published"
wait $waiting
expect "long polling" '"text":"two"' "$(cat "$work/long")"
for _ in $(seq 50); do grep -q '"text":"two"' "$work/events" && break; sleep 0.1; done
expect "server-sent events, unbuffered" '"text":"two"' "$(cat "$work/events")"
kill $streaming; wait $streaming || true
socket=$(python3 - "$port" <<'PYTHON'
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
s.sendall(b"GET /topics/room/ws?after=0 HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: Upgrade\r\n"
          b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
          b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % sys.argv[1].encode())
got = b""
while b'"text":"two"' not in got:
    part = s.recv(4096)
    if not part:
        break
    got += part
print(got.decode(errors="replace"))
PYTHON
)
expect WebSocket '"text":"two"' "$socket"
expect "Socket.IO" '"sid"' "$(curl -sS "http://127.0.0.1:$port/socket.io/?EIO=4&transport=polling")"
