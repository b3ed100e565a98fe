#!/usr/bin/env bash
# Tries the server against npm's `socket.io-client`, also behind proxies that spoil its upgrade to a
# WebSocket, and `eventsource`. Needs node and npm; installs the clients beside this file.
#
#   tests/peers/run.sh [SERVER]      SERVER is the program, target/debug/poll-vs-push if not given
set -euo pipefail
SERVER=$(realpath "${1:-$(dirname "$0")/../../target/debug/poll-vs-push}")
export SERVER
cd "$(dirname "$0")"

npm ci --no-audit --no-fund --loglevel=error
node --test
