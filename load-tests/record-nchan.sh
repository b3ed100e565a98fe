#!/usr/bin/env bash
# Measures the CPU time of each delivery beside nchan, with the bench `fan_out`, and writes it to
# load-tests/results/nchan.json. Needs nginx with nchan (Debian: nginx-light, libnginx-mod-nchan) and
# 10,100 file descriptors. Takes about three minutes; use an idle machine.
#
#   load-tests/record-nchan.sh         measures
#   load-tests/record-nchan.sh LOG     converts the output of such a bench
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
found, bench = {}, None
for line in open(log):
    if match := re.match(r"fan-out/(nchan-)?(websocket|sse)/(\d+)\b", line):
        program = "nchan" if match[1] else "poll-vs-push"
        bench = (match[2], int(match[3])), program
    elif match := re.search(r"server: ([\d.]+) us of CPU for each delivery", line):
        (where, program), us = bench, float(match[1])
        found.setdefault(where, {})[program] = us
assert len(found) >= 6 and all(len(us) == 2 for us in found.values()), found
cpu = next(line.split(": ")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
rows = [json.dumps({"transport": transport, "subscribers": subscribers} | us)
        for (transport, subscribers), us in found.items()]
print(f'''{{
"measured": "{measured}",
"machine": "{cpu}, {os.cpu_count()} cores",
"load_average_before": "{load}",
"command": "load-tests/record-nchan.sh",
"nchan": "{nchan}",
"nginx": "{nginx}",
"cpu_us_per_delivery": [
  {(","+chr(10)+"  ").join(rows)}
]
}}''')
PYTHON
mv load-tests/results/nchan.json.new load-tests/results/nchan.json
echo "written: load-tests/results/nchan.json; now run load-tests/update-recorded.sh"
