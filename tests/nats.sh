#!/usr/bin/env bash
# Runs the tests of the store on NATS against a NATS server of its own: the suites of the stores and
# the transports, several servers on one stream, and kills. Needs nats-server.
#
#   NATS_SERVER=PROGRAM tests/nats.sh [FILTER...]
#
# A FILTER is a test or module; without one, all that concern NATS run.
set -euo pipefail
cd "$(dirname "$0")/.."
export NATS_SERVER=${NATS_SERVER:-nats-server}
if ! command -v "$NATS_SERVER" >/dev/null; then
    echo "skipped: $NATS_SERVER is not installed"
    exit
fi
work=$(mktemp -d)
# Streams reserve their space. Each test has one, more together than some disks have.
echo "jetstream { store_dir: \"$work\", max_file_store: 1TB }" >"$work/nats.conf"
"$NATS_SERVER" -c "$work/nats.conf" -a 127.0.0.1 -p -1 --ports_file_dir "$work" 2>"$work/log" &
nats=$!
trap 'kill $nats; wait; rm -rf "$work"' EXIT
ports=$work/nats-server_$nats.ports
for _ in $(seq 100); do
    NATS_URL=$(grep -o 'nats://[0-9.:]*' "$ports" 2>/dev/null || true)
    [ -n "$NATS_URL" ] && break
    sleep 0.1
done
[ -n "$NATS_URL" ] || { cat "$work/log" >&2; exit 1; }
export NATS_URL
[ $# -gt 0 ] || set -- store:: store_model:: conformance:: nats:: nats_kill::
cargo test --quiet --features nats,tls --test it -- "$@"
