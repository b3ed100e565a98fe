#!/usr/bin/env bash
# Measures the small server on npm's ws with `load`. Needs node and npm; installs ws into a
# temporary directory.
#
#   tests/peers/ws.sh [PROGRAM]      default: target/debug/poll-vs-push
set -euo pipefail
source "$(dirname "$0")/target.sh"

cp "$targets/ws/server.mjs" "$targets/ws/package.json" "$work"
npm install --prefix "$work" --no-audit --no-fund --loglevel=error >"$work/install.log" 2>&1 ||
  { cat "$work/install.log" >&2; exit 1; }

node "$work/server.mjs" >"$work/server.log" 2>&1 &
server=$!
wait_until 10 grep -q "listening on" "$work/server.log"
measure ws "$(sed -n 's/^listening on //p' "$work/server.log")" websocket
