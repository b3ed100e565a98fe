#!/usr/bin/env bash
# Measures what NATS adds: 2,000 subscribers behind nginx, on one server that keeps its messages in
# memory, and on two servers that share a stream; in turns, so that changes of the machine affect
# both. Writes the figures to load-tests/results/nats.md. Needs nginx and nats-server. Use an idle
# machine.
#
#   load-tests/record-nats.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-2}
program=${PROGRAM:-target/release/poll-vs-push}
[ -n "${PROGRAM:-}" ] || cargo build --quiet --release --features nats,tls

work=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null || true; wait; rm -rf "$work"' EXIT
free_port() {
    python3 -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])"
}
answers() {
    for _ in $(seq 100); do
        if (: >"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
        sleep 0.1
    done
    echo "nothing listens on port $1" >&2
    exit 1
}
nats=$(free_port)
nats-server -js -a 127.0.0.1 -p "$nats" -sd "$work/nats" >"$work/nats.log" 2>&1 &
started+=($!)
answers "$nats"
serve() {
    local port=$1
    shift
    RUST_LOG=warn "$program" serve --listen "127.0.0.1:$port" --max-connections 10000 \
        --max-connections-per-address 10000 "$@" >"$work/server-$port.log" 2>&1 &
    started+=($!)
    answers "$port"
}
nats_process=${started[0]}
single=$(free_port); serve "$single"
direct_processes=${started[-1]} direct_servers=http://127.0.0.1:$single
first=$(free_port); serve "$first" --nats "nats://127.0.0.1:$nats"
shared_processes=${started[-1]}
second=$(free_port); serve "$second" --nats "nats://127.0.0.1:$nats"
shared_processes+=" ${started[-1]}" shared_servers=http://127.0.0.1:$first,http://127.0.0.1:$second

direct=$(free_port)
shared=$(free_port)
{
    [ "$(id -u)" != 0 ] || echo "user root;"
    echo "daemon off; pid $work/pid; worker_processes 1; worker_rlimit_nofile 20000;"
    echo "events { worker_connections 10000; } http { access_log off;"
    for kind in client_body proxy fastcgi uwsgi scgi; do
        echo "${kind}_temp_path $work/$kind;"
    done
    # The block of the documentation, once for each: round robin, without sticky sessions.
    sed -n '/^```nginx$/,/^```$/p' docs/scaling.md | sed '1d;$d' |
        sed "s/127\.0\.0\.1:3031/127.0.0.1:$first/; s/127\.0\.0\.1:3032/127.0.0.1:$second/
            s/listen 80;/listen 127.0.0.1:$shared;/"
    echo "upstream single { server 127.0.0.1:$single; keepalive 64; }"
    echo "server { listen 127.0.0.1:$direct; proxy_http_version 1.1; proxy_set_header Host \$http_host;"
    echo "proxy_set_header Upgrade \$http_upgrade; proxy_set_header Connection \$connection_upgrade;"
    echo "proxy_buffering off; proxy_read_timeout 90s; location / { proxy_pass http://single; } } }"
} >"$work/nginx.conf"
nginx -c "$work/nginx.conf" -e "$work/nginx.log" &
started+=($!)
answers "$direct"
answers "$shared"

# cpu_ms PROCESS...: the CPU time that they have used.
cpu_ms() {
    local process total=0 tick
    tick=$(getconf CLK_TCK)
    for process in "$@"; do
        # The fields after the name in parentheses: user time is the 12th, system time the 13th.
        total=$((total + $(sed 's/.*) //' "/proc/$process/stat" | cut -d ' ' -f 12,13 | tr ' ' +)))
    done
    echo $((total * 1000 / tick))
}

for round in $(seq "$rounds"); do
    for way in direct shared; do
        port=${!way}
        processes=${way}_processes servers=${way}_servers
        servers_before=$(cpu_ms ${!processes}) nats_before=$(cpu_ms "$nats_process")
        # A void run is shown as such.
        "$program" compare --target "http://127.0.0.1:$port" --servers "${!servers}" --no-calibration --seed "$round" \
            --transports websocket,sse,long-polling --subscribers 2000 --topics 20 --rate 1 \
            --rtt 0s --idle 500ms --warm-up 1s --duration 8s --repeats 1 --json \
            --output "$work/$way-$round" >"$work/$way-$round.json" || [ $? = 3 ]
        echo "$(($(cpu_ms ${!processes}) - servers_before)) $(($(cpu_ms "$nats_process") - nats_before))" \
            >"$work/$way-$round.cpu"
    done
done

python3 - "$work" "$rounds" "$program" >load-tests/results/nats.md <<'PYTHON'
import csv, json, statistics, subprocess, sys
work, rounds, program = sys.argv[1], int(sys.argv[2]), sys.argv[3]
names = {"websocket": "WebSocket", "sse": "SSE", "long-polling": "long polling"}

def figures(way):
    found, wrong = {}, 0
    for n in range(1, rounds + 1):
        run = json.load(open(f"{work}/{way}-{n}/run.json"))
        deliveries = sum(cell["deliveries"]["received"] for cell in run["cells"])
        for process, ms in zip(("servers", "nats"), open(f"{work}/{way}-{n}.cpu").read().split()):
            found.setdefault((process, "cpu"), []).append(1000 * float(ms) / deliveries)
        wrong += sum(cell["deliveries"][key] for cell in run["cells"]
                     for key in ("lost", "duplicated", "reordered"))
        wrong += len(run.get("failed", []))
        for row in csv.DictReader(open(f"{work}/{way}-{n}/results.csv")):
            if row["status"] == "ok" and row["value"]:
                found.setdefault((row["transport"], row["figure"]), []).append(float(row["value"]))
    return found, wrong, run

direct, wrong_direct, _ = figures("direct")
shared, wrong_shared, run = figures("shared")
median = lambda found, name, figure: (
    statistics.median(found[name, figure]) if (name, figure) in found else None)
ms = lambda value: "void" if value is None else f"{1000 * value:.1f} ms"
machine = run["machine"]
nats = subprocess.run(["nats-server", "--version"], capture_output=True, text=True).stdout.strip()
print(f"""# What NATS adds

2,000 subscribers of 20 topics behind nginx, one message per second and topic, medians of {rounds} rounds: on one
server that keeps its messages in memory, and on two servers that share a stream. Everything runs on one machine:
{machine['cpu']}, {machine['cores']} cores; {nats}; {run['started_at'][:10]}. Lost, duplicated, reordered or failed:
{wrong_direct + wrong_shared}.

CPU times are those of the whole run, connecting and pauses included.

| | one server | two on NATS | added |
|---|---:|---:|---:|""")
row = lambda name, a, b, show: print(
    f"| {name} | {show(a)} | {show(b)} | {show(None if None in (a, b) else b - a)} |")
for name, label in names.items():
    for figure, percentile in (("latency.p50", "p50"), ("latency.p99", "p99")):
        row(f"{label}: {percentile}", median(direct, name, figure), median(shared, name, figure), ms)
us = lambda value: f"{value:.1f} µs"
for process, label in (("servers", "servers"), ("nats", "NATS")):
    row(f"CPU time per delivery: {label}", median(direct, process, "cpu"),
        median(shared, process, "cpu"), us)
PYTHON
cat load-tests/results/nats.md
