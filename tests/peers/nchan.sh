#!/usr/bin/env bash
# Measures nchan, nginx's publish/subscribe module, with `load`: interval poll, long poll,
# EventSource and WebSocket of one channel. Needs curl, node, nginx and its module (Debian:
# nginx-light and libnginx-mod-nchan).
#
#   tests/peers/nchan.sh [PROGRAM]   default: target/debug/poll-vs-push
set -euo pipefail
source "$(dirname "$0")/target.sh"

port=$(free_port)
sed "s/@PORT@/$port/" "$targets/nchan.nginx.conf" >"$work/nchan.nginx.conf"
# Otherwise nginx, started by root, runs its workers as a user without write permission here.
if [ "$(id -u)" = 0 ]; then
  sed -i '1i user root;' "$work/nchan.nginx.conf"
fi
nginx -p "$work" -c nchan.nginx.conf -e "$work/error.log" >"$work/nginx.log" 2>&1 &
server=$!
wait_until 10 curl -sf --max-time 2 -d hello "http://127.0.0.1:$port/publish/hello"
measure nchan "http://127.0.0.1:$port" short-polling,long-polling,websocket,sse
