#!/usr/bin/env bash
# Tests the server with npm's `socket.io-client`, also behind proxies that break its upgrade to a
# WebSocket, and with `eventsource`. Needs node and npm; installs the clients beside this file.
#
#   tests/peers/run.sh [SERVER]      SERVER is the program; default: target/debug/poll-vs-push
set -euo pipefail
SERVER=$(realpath "${1:-$(dirname "$0")/../../target/debug/poll-vs-push}")
export SERVER
cd "$(dirname "$0")"

npm ci --no-audit --no-fund --loglevel=error
node --test
