#!/bin/sh
# Runs all benches and records their figures, beside the machine they were measured on, in
# load-tests/results/benches-MACHINE.md. Without an argument MACHINE is made from the core count.
set -eu
cd "$(dirname "$0")/.."
cores=$(getconf _NPROCESSORS_ONLN)
record=load-tests/results/benches-${1:-$cores-cores}.md
mkdir -p "$(dirname "$record")"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
load=$(cut -d ' ' -f 1 /proc/loadavg 2>/dev/null || echo unknown)
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)

cargo bench --no-run
echo "running; this takes some four minutes"
started=$(date +%s)
# Not through tee: a pipe would hide that a bench failed.
cargo bench -- --noplot >"$log" 2>&1 || { tail -n 20 "$log"; exit 1; }
took=$(($(date +%s) - started))

{
    echo "# The benches, recorded"
    echo
    echo "| | |"
    echo "|---|---|"
    echo "| when | $(date -u +%Y-%m-%d) |"
    echo "| commit | $(git rev-parse --short=12 HEAD) |"
    echo "| system | $(uname -sr), $(uname -m) |"
    echo "| processor | ${cpu:-unknown}, $cores cores |"
    echo "| compiler | $(rustc --version) |"
    echo "| load average before | $load |"
    echo "| took | $took s |"
    echo
    echo "Lower and upper bound of the mean at 95 %, and the estimate between them."
    echo
    echo '```text'
    # Criterion's figures, without its progress and its comparison with an earlier run. A long name
    # has a line of its own.
    awk '/^Benchmarking/ || /%/ { next }
        /time: / { if (/^ /) print name; print; next }
        /thrpt: / { print; next }
        /^[a-z]/ { name = $0 }' "$log"
    echo '```'
} >"$record"
echo "recorded in $record"
