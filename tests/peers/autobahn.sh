#!/usr/bin/env bash
# Runs Autobahn's WebSocket cases, in the implementation of PyPI's `kosoku`, against the echo route.
# Left out: 9.* (time and size), 12.* and 13.* (compression, which the server does not support).
#
#   tests/peers/autobahn.sh [SERVER]      SERVER is the program; default: target/debug/poll-vs-push
set -euo pipefail
SERVER=$(realpath "${1:-$(dirname "$0")/../../target/debug/poll-vs-push}")
cd "$(dirname "$0")"
source ./server.sh
[ -d .venv ] || python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check kosoku==0.1.0
start --echo

# cases NAME FLAGS...: runs them; prints those that failed, one a line.
cases() {
    local name=$1
    shift
    .venv/bin/kosoku -m fuzzingclient "$@" -o "$work/$name" "ws://$address/echo" \
        >"$work/$name.log" 2>&1 || true
    .venv/bin/python - "$work/$name/index.json" "$work/$name.count" <<'PYTHON'
import json, sys
(agent, cases), = json.load(open(sys.argv[1])).items()
print(len(cases), file=open(sys.argv[2], "w"))
good = {"OK", "NON-STRICT", "INFORMATIONAL"}
for case, result in cases.items():
    if not {result["behavior"], result["behaviorClose"]} <= good:
        print(case)
PYTHON
}

failed=$(cases first -x '9.*' -x '12.*' -x '13.*') || { cat "$work/first.log"; exit 1; }
count=$(cat "$work/first.count")
# Cases have timeouts, and the machine may be busy: failed cases are run once more.
if [ -n "$failed" ]; then
    echo "running again:" $failed
    failed=$(cases second $(printf -- '-i %s ' $failed))
fi
echo "$count cases; failed:" ${failed:-none}
[ -z "$failed" ] && [ "$count" -gt 200 ]
