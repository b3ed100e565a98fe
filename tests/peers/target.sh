# Sourced by the scripts that try `load` against servers that are not ours. Expects POLL_VS_PUSH, the program.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
targets=$here/../../load-tests/targets
program=${POLL_VS_PUSH:-$here/../../target/release/poll-vs-push}
work=$(mktemp -d)
server=

clean_up() {
  if [ -n "$server" ]; then
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap clean_up EXIT

# A port of the loopback address that nobody listens on.
free_port() {
  node -e 's=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})'
}

# wait_until SECONDS COMMAND...: until it succeeds, while the server lives.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "$server" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
      echo "the server did not start" >&2
      cat "$work"/*.log >&2
      exit 1
    fi
    sleep 0.1
  done
}

# measure NAME URL [FLAGS...]: a short `load`, which fails if a delivery was lost, came twice or out
# of order (exit code 3), and prints what it found. The round trip is long so that a busy machine does
# not make the publisher late by any share of the latency that would void the run.
measure() {
  local name=$1 url=$2
  shift 2
  "$program" load --target "$url" --target-file "$targets/$name.toml" --pid "$server" \
    --subscribers 50 --topics 10 --rate 2 --poll-interval 200ms --rtt 200ms --repeats 1 \
    --warm-up 500ms --duration 3s --output "$work/result" "$@"
}
