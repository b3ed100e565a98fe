#!/bin/bash
# Measures the small server on npm's ws with `load`. Installs ws into a directory of its own.
#   POLL_VS_PUSH  the program; without it target/release/poll-vs-push
set -euo pipefail
source "$(dirname "$0")/target.sh"

cp "$targets/ws/server.mjs" "$targets/ws/package.json" "$work"
npm install --prefix "$work" --no-audit --no-fund --loglevel=error >"$work/install.log" 2>&1 ||
  { cat "$work/install.log" >&2; exit 1; }

node "$work/server.mjs" >"$work/server.log" 2>&1 &
server=$!
wait_until 10 grep -q "listening on" "$work/server.log"
measure ws "$(sed -n 's/^listening on //p' "$work/server.log")"
