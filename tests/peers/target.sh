# Sourced by the scripts that run `load` against third-party servers. Their first argument is the
# program; default: target/debug/poll-vs-push. Needs node.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
targets=$here/../../load-tests/targets
program=$(realpath "${1:-$here/../../target/debug/poll-vs-push}")
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

# A free port of the loopback address.
free_port() {
  node -e 's=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})'
}

# wait_until SECONDS COMMAND...: waits until it succeeds; fails if the server exits.
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

# measure NAME URL TRANSPORTS: runs a short `load`; fails if a delivery was lost, duplicated or
# reordered. A busy machine may void the run because of its timings, which are not tested here: the
# run is then repeated with a smaller load, and finally only the deliveries are checked.
measure() {
  local name=$1 url=$2 transports=$3 subscribers code result wrong
  for subscribers in 50 10; do
    code=0
    result=$work/result-$subscribers
    "$program" load --target "$url" --target-file "$targets/$name.toml" --pid "$server" \
      --transports "$transports" --subscribers "$subscribers" --topics 10 --rate 2 --poll-interval 200ms \
      --rtt 200ms --repeats 1 --warm-up 500ms --duration 3s --output "$result" || code=$?
    [ "$code" = 3 ] || return "$code"
    wrong=$(node -e '
      const { cells } = JSON.parse(require("fs").readFileSync(process.argv[1]));
      const wrong = ({ lost, duplicated, reordered }) => lost + duplicated + reordered;
      console.log(cells.reduce((sum, { deliveries }) => sum + wrong(deliveries), 0));
    ' "$result/run.json")
    echo "void, with $wrong wrong deliveries"
    [ "$wrong" = 0 ] || return "$code"
  done
}
