#!/usr/bin/env bash
# Measures the CPU time of each delivery beside nchan, with the bench `fan_out`, and writes it to
# load-tests/results/nchan.json. Needs nginx with nchan (Debian: nginx-light, libnginx-mod-nchan) and
# 10,100 file descriptors. Takes about three minutes; use an idle machine.
#
#   load-tests/record-nchan.sh         measures
#   load-tests/record-nchan.sh LOG     converts the output of such a bench, or lines such as
#       "ws, 100 subscribers, 40,000 deliveries/s, CPU us per delivery: ours 9.1, nchan 9.9"
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# = 1 ]; then
    log=$1 measured=$(date -u -r "$1" +%Y-%m-%d) load=unknown
else
    log=$(mktemp) measured=$(date -u +%Y-%m-%d)
    trap 'rm -f "$log"' EXIT
    cargo bench --quiet --bench fan_out --no-run
    load=$(cut -d ' ' -f 1 /proc/loadavg)
    NCHAN=1 cargo bench --bench fan_out -- --noplot 'websocket|sse' >"$log" 2>&1 || { tail -n 20 "$log"; exit 1; }
fi
nginx=$(nginx -v 2>&1 | sed 's,.*/,,')
nchan=$(dpkg-query -W -f '${Version}' libnginx-mod-nchan | sed 's/^[0-9]*://; s/[^0-9.].*//')

python3 - "$log" "$measured" "$load" "$nginx" "$nchan" >load-tests/results/nchan.json.new <<'PYTHON'
import json, os, re, sys
log, measured, load, nginx, nchan = sys.argv[1:]
record = json.load(open("load-tests/results/nchan.json"))
rows = {"cpu_us_per_delivery": {}, "at_a_fixed_rate": {}}
bench = None
for line in open(log):
    if match := re.match(r"fan-out/(nchan-)?(websocket|sse)/(\d+)\b", line):
        bench = (match[2], int(match[3])), "nchan" if match[1] else "poll-vs-push"
    elif match := re.search(r"server: ([\d.]+) us of CPU for each delivery", line):
        (where, program), us = bench, float(match[1])
        rows["cpu_us_per_delivery"].setdefault(where, {})[program] = us
    elif match := re.match(r"(ws|sse), (\d+) subscribers, ([\d,]+) deliveries/s, "
                           r"CPU us per delivery: ours ([\d.]+), nchan ([\d.]+)", line):
        where = {"ws": "websocket"}.get(match[1], match[1]), int(match[2])
        rows["at_a_fixed_rate"][where] = {"poll-vs-push": float(match[4]), "nchan": float(match[5])}
        record["deliveries_per_s"] = int(match[3].replace(",", ""))
assert any(rows.values()), f"no figures in {log}"
for name, found in rows.items():
    assert all(len(us) == 2 for us in found.values()), found
    if found:
        record[name] = [{"transport": transport, "subscribers": subscribers} | us
                        for (transport, subscribers), us in found.items()]
cpu = next(line.split(": ")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
record |= {"measured": measured, "machine": f"{cpu}, {os.cpu_count()} cores",
           "load_average_before": load, "nchan": nchan, "nginx": nginx}
text = json.dumps(record, indent=1)
# A row in each line.
print(re.sub(r"\{\n\s+(\"transport\"[^}]*?)\n\s+\}", lambda row: "{" + re.sub(r"\n\s+", " ", row[1]) + "}", text))
PYTHON
mv load-tests/results/nchan.json.new load-tests/results/nchan.json
echo "written: load-tests/results/nchan.json; now run load-tests/update-recorded.sh"
