#!/usr/bin/env bash
# Measures the CPU time of the load test relative to the server, with WebSocket and 1,000 subscribers,
# and from how many deliveries a second on the load test is the limit. Writes the figures to
# load-tests/results/generator.json. Takes about four minutes; use an idle machine.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${PROGRAM:-target/release/poll-vs-push}
[ -n "${PROGRAM:-}" ] || cargo build --quiet --release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# run NAME FLAG...: a run of WebSocket; a void one is measured as well.
run() {
    local name=$1
    shift
    "$program" compare --transports websocket --subscribers 1000 --no-calibration --warm-up 1s --duration 5s \
        --output "$work/$name" "$@" >/dev/null || [ $? = 3 ]
}
for rtt in 0s 40ms; do
    run "few-$rtt" --topics 10 --rate 5 --rtt $rtt --repeats 3
    run "often-$rtt" --topics 10 --rate 20 --rtt $rtt --repeats 3
    run "default-$rtt" --topics 100 --rate 1 --rtt $rtt --repeats 3
done
for rate in 60 80 100 120; do
    run "limit-$rate" --topics 10 --rate $rate --rtt 0s --repeats 1
done

python3 - "$work" >load-tests/results/generator.json.new <<'PYTHON'
import csv, json, statistics, sys
work = sys.argv[1]

def cells(name):
    run = json.load(open(f"{work}/{name}/run.json"))
    return run, run["cells"]

def ratio(name):
    return statistics.median(
        (cell["generator"]["cpu_s"] / cell["server"]["cpu_s"]) for cell in cells(name)[1])

rows = []
for kind, topics, rate in ("few", 10, 5), ("often", 10, 20), ("default", 100, 1):
    ratios = {key: round(ratio(f"{kind}-{rtt}"), 2)
              for key, rtt in (("no_link", "0s"), ("link_40_ms", "40ms"))}
    rows.append({"topics": topics, "rate_per_s": rate} | ratios)
limits = []
for rate in 60, 80, 100, 120:
    _, [cell] = cells(f"limit-{rate}")
    status = next(csv.DictReader(open(f"{work}/limit-{rate}/results.csv")))["status"]
    cores = {f"{side}_cores": round(cell[side]["cpu_s"] / cell["steady_s"], 2)
             for side in ("server", "generator")}
    limits.append({"deliveries_per_s": 1000 * rate, "is_void": status != "ok"} | cores)
run, _ = cells("default-0s")
machine = run["machine"]
lines = lambda rows: ",\n  ".join(map(json.dumps, rows))
print(f'''{{
"measured": "{run["started_at"][:10]}",
"machine": "{machine["cpu"]}, {machine["cores"]} cores",
"load_average_before": {machine["load_average_before"]},
"command": "load-tests/record-generator.sh",
"ratios": [
  {lines(rows)}
],
"limits": [
  {lines(limits)}
]
}}''')
PYTHON
mv load-tests/results/generator.json.new load-tests/results/generator.json
echo "written: load-tests/results/generator.json; now run load-tests/update-recorded.sh"
