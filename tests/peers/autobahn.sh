#!/usr/bin/env bash
# Tries how the server speaks WebSocket with Autobahn's cases, as PyPI's `kosoku` runs them, against
# the echo route. Left out: 9.* (time and size), 12.* and 13.* (compression, not spoken here).
#
#   tests/peers/autobahn.sh [SERVER]      SERVER is the program, target/debug/poll-vs-push if not given
set -euo pipefail
cd "$(dirname "$0")"
SERVER=$(realpath "${1:-../../target/debug/poll-vs-push}")
[ -d .venv ] || python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check kosoku==0.1.0

work=$(mktemp -d)
"$SERVER" serve --echo --listen 127.0.0.1:0 > "$work/out" 2> "$work/err" &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$work"' EXIT
until grep -q listening "$work/out"; do
    kill -0 $server || { cat "$work/err"; exit 1; }
    sleep 0.1
done
address=$(sed -n 's/.*http:\/\///p' "$work/out")
.venv/bin/kosoku -m fuzzingclient -x '9.*' -x '12.*' -x '13.*' -o "$work/report" \
    "ws://$address/echo" > "$work/log" 2>&1 || true
.venv/bin/python - "$work/report/index.json" <<'PYTHON'
import collections, json, sys
(agent, cases), = json.load(open(sys.argv[1])).items()
good = {"OK", "NON-STRICT", "INFORMATIONAL"}
bad = {case: result for case, result in cases.items()
       if result["behavior"] not in good or result["behaviorClose"] not in good}
print(len(cases), "cases:", dict(collections.Counter(r["behavior"] for r in cases.values())))
for case, result in bad.items():
    print(case, result["behavior"], result["behaviorClose"])
sys.exit(bool(bad) or len(cases) < 200)
PYTHON
