#!/usr/bin/env bash
# Runs nginx, configured as in docs/operations.md, in front of the server, and uses every transport
# through it. Needs nginx, curl and python3.
#
#   tests/peers/nginx.sh [SERVER]      SERVER is the program; default: target/debug/poll-vs-push
set -euo pipefail
SERVER=$(realpath "${1:-$(dirname "$0")/../../target/debug/poll-vs-push}")
cd "$(dirname "$0")"
source ./server.sh
start

# A loopback address whose ports no other program uses.
host=127.0.0.77
port=$(python3 -c "import socket; s = socket.socket(); s.bind(('$host', 0)); print(s.getsockname()[1])")
# Tests the configuration in the page's code block.
block=$(sed -n '/^```nginx$/,/^```$/p' ../../docs/operations.md | sed '1d;$d')
{
    # Otherwise nginx, started by root, runs its workers as a user without write permission here.
    [ "$(id -u)" != 0 ] || echo "user root;"
    echo "daemon off; pid $work/pid; worker_processes 1;"
    echo "events { worker_connections 256; } http { access_log off;"
    for kind in client_body proxy fastcgi uwsgi scgi; do echo "${kind}_temp_path $work/$kind;"; done
    echo "$block" | sed "s/127\.0\.0\.1:3030/$address/; s/listen 80;/listen $host:$port;/"
    echo "}"
} >"$work/nginx.conf"
nginx -c "$work/nginx.conf" -e "$work/err" &
others+=($!)
wait_until curl -sf --max-time 10 "http://$host:$port/healthz"
base="http://$host:$port/topics/room"

expect() { # what, wanted, got
    if [[ "$3" == *"$2"* ]]; then echo "ok: $1"; else echo "FAILED: $1: $3"; exit 1; fi
}
ask() { curl -sS --max-time 60 "$@"; }
publish() { ask -d "{\"sender\":\"A\",\"text\":\"$1\"}" "$base/messages"; }
# upgrade PATH TEXT: what a WebSocket receives until TEXT has arrived.
upgrade() {
    python3 - "$host" "$port" "$@" <<'PYTHON'
import socket, sys
host, port, path, text = sys.argv[1:]
s = socket.create_connection((host, int(port)), timeout=60)
s.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\n"
          "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
got = b""
while text.encode() not in got:
    part = s.recv(4096)
    if not part:
        break
    got += part
print(got.decode(errors="replace"))
PYTHON
}

expect publishing '"offset":1' "$(publish one)"
expect "short polling" '"text":"one"' "$(ask "$base/poll?after=0")"
ask "$base/long-poll?after=1&wait=30" >"$work/long" &
waiting=$!
# A buffered event stream would show nothing until it ends, so it is read while it is open.
ask -N "$base/events?after=1" >"$work/events" 2>>"$work/err" &
others+=($!)
wait_until grep -q subscribed "$work/events"
publish two >"$work/published"
wait $waiting
expect "long polling" '"text":"two"' "$(cat "$work/long")"
wait_until grep -q '"text":"two"' "$work/events"
expect "server-sent events, unbuffered" '"text":"two"' "$(cat "$work/events")"
expect WebSocket '"text":"two"' "$(upgrade "/topics/room/ws?after=0" '"text":"two"')"
socketio="/socket.io/?EIO=4&transport"
expect "Socket.IO by polling" '"sid"' "$(ask "http://$host:$port$socketio=polling")"
expect "Socket.IO by WebSocket" '"sid"' "$(upgrade "$socketio=websocket" '"sid"')"
