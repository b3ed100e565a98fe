#!/usr/bin/env bash
# Attacks the release build, once as it is and once without the slices of CPU time that each address
# has (--address-slice), and writes what was measured to load-tests/results/attacks.json. Takes about
# six minutes; as root, on an idle machine with two processors.
#
#   load-tests/record-attacks.sh               measures
#   load-tests/record-attacks.sh LOG WITHOUT   converts two outputs of `tests/attacks/run.sh --measure`,
#       the second one of a server with ATTACKED_FLAGS="--address-slice 3600s"
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# = 2 ]; then
    log=$1 without=$2 measured=$(date -u -r "$1" +%Y-%m-%d)
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    log=$work/log without=$work/without measured=$(date -u +%Y-%m-%d)
    bash tests/attacks/run.sh --measure attacks | tee "$log"
    ATTACKED_FLAGS="--address-slice 3600s" bash tests/attacks/run.sh --measure attacks_many::connections_of_http2 \
        attacks_many::subscribers_that_do_not_read attacks_many::requests_without_a_pause \
        attacks_http2::streams_without_a_window attacks::messages_that_never_end | tee "$without"
fi

python3 - "$log" "$without" "$measured" >load-tests/results/attacks.json.new <<'PYTHON'
import json, os, re, sys

def attacks(path):
    """The attacks of a log: memory, and other clients' 99th percentiles before and during each."""
    found, test, log_bytes = [], "", 0
    for line in open(path):
        if match := re.match(r"test (\S+) \.\.\. (.*)", line):
            test, line = match.groups()
        if match := re.match(r"(.*): ([\d.]+) s, CPU time of the server ([\d.]+) s, of the attacker ([\d.]+) s", line):
            what, *times = match.groups()
            found.append({"test": test, "attack": what})
            found[-1] |= zip(("seconds", "server_cpu_s", "attacker_cpu_s"), map(float, times))
            found[-1]["p99_ms"] = {}
        elif match := re.match(r"  p99 of others' (\S+): ([\d.]+) ms before, ([\d.]+) ms during", line):
            kind, before, during = match.groups()
            found[-1]["p99_ms"][kind] = [float(before), float(during)]
        elif match := re.match(r".*: resident memory grew by (\d+) KiB", line):
            found[-1]["grown_kib"] = int(match[1])
        elif match := re.match(r".*: resident memory grew by (\d+) of \d+ bytes", line):
            found[-1]["grown_kib"] = int(match[1]) // 1024
        elif match := re.match(r".*: (\d+) bytes of log", line):
            log_bytes = max(log_bytes, int(match[1]))
    for attack in found:
        # Each kind of client was measured, and memory after it.
        assert len(attack["p99_ms"]) == 4 and "grown_kib" in attack and attack["test"], attack
    return found, log_bytes

log, without, measured = sys.argv[1:]
(plain, log_bytes), (unsliced, _) = attacks(log), attacks(without)
cpu = next(line.split(": ")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
rows = lambda found: ",\n".join("  " + json.dumps(attack) for attack in found)
print(f'''{{
"measured": "{measured}",
"machine": "{cpu}, {os.cpu_count()} cores",
"command": "load-tests/record-attacks.sh",
"log_bytes_max": {log_bytes},
"attacks": [
{rows(plain)}
],
"without_slices": [
{rows(unsliced)}
]
}}''')
PYTHON
mv load-tests/results/attacks.json.new load-tests/results/attacks.json
echo "written: load-tests/results/attacks.json; now run load-tests/update-recorded.sh"
