#!/usr/bin/env bash
# Runs every fuzz target on its stored corpus. New inputs are stored in target/fuzz/found,
# failures in tests/fuzz/artifacts. Installs cargo-fuzz if it is missing.
#
#   tests/fuzz/run.sh [SECONDS [TARGET...]]      SECONDS for each target; default: 10
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-10}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(cursor batch scenario target frames events token)
command -v cargo-fuzz >/dev/null || cargo install --quiet --debug cargo-fuzz --locked

# No sanitizer: it would need a nightly compiler, and there is almost no unsafe code.
# A build with optimizations takes several minutes, longer than it saves in a short run.
flags=(--fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none --dev)
cargo fuzz build "${flags[@]}"
for name in "${targets[@]}"; do
    found=target/fuzz/found/$name
    mkdir -p "$found"
    echo "$name, for $seconds s"
    cargo fuzz run "${flags[@]}" "$name" "$found" "tests/fuzz/corpus/$name" -- \
        -max_total_time="$seconds" -timeout=10 -max_len=4096 -print_funcs=0 -verbosity=0
done
