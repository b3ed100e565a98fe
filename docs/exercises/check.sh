#!/usr/bin/env bash
# Checks that each exercise fails as it is and passes with its solution.
set -euo pipefail
cd "$(dirname "$0")"

cargo test --quiet --features solutions
# An exercise must compile.
cargo test --quiet --no-run
for test in tests/*.rs; do
    name=$(basename "$test" .rs)
    if cargo test --quiet --test "$name" >/dev/null 2>&1; then
        echo "the exercise '$name' passes without its solution" >&2
        exit 1
    fi
    echo "$name: fails without its solution, passes with it"
done
