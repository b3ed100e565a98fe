# Sourced by the scripts that test the server with other clients. Expects the program's path in SERVER.

work=$(mktemp -d)
server=
others=()

clean_up() {
    local process
    for process in "${others[@]}" $server; do
        kill "$process" 2>/dev/null || true
    done
    wait
    rm -rf "$work"
}
trap clean_up EXIT

# wait_until COMMAND...: waits until it succeeds, at most a minute; fails if the server exits.
wait_until() {
    local deadline=$((SECONDS + 60))
    until "$@" >/dev/null 2>&1; do
        if ! kill -0 "$server" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
            echo "timed out: $*" >&2
            cat "$work/err" >&2
            exit 1
        fi
        sleep 0.1
    done
}

# start FLAGS...: a server on a free port, which is then in `address`.
start() {
    "$SERVER" serve --listen 127.0.0.1:0 "$@" >"$work/out" 2>"$work/err" &
    server=$!
    wait_until grep -q listening "$work/out"
    address=$(sed -n 's/.*http:\/\///p' "$work/out")
}
