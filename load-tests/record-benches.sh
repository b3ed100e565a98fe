#!/bin/sh
# Runs all benchmarks and writes their figures and a description of the machine to
# load-tests/results/benches-MACHINE.md. MACHINE is the argument; the default is the core count.
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
echo "running; this takes about four minutes"
started=$(date +%s)
# Not through tee: a pipe would hide the exit code of a failed benchmark.
cargo bench -- --noplot >"$log" 2>&1 || { tail -n 20 "$log"; exit 1; }
took=$(($(date +%s) - started))

{
    echo "# Recorded benchmarks"
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
    echo "Each line shows the lower bound, the estimate and the upper bound of the mean (95 % confidence)."
    echo
    echo '```text'
    # Criterion's figures without its progress and its comparison with an earlier run. Criterion
    # prints a long name on its own line.
    awk '/^Benchmarking/ || /%/ { next }
        /time: / { if (/^ /) print name; print; next }
        /thrpt: / { print; next }
        /us of CPU/ { print; next }
        /^[a-z]/ { name = $0 }' "$log"
    echo '```'
} >"$record"
echo "recorded in $record"
