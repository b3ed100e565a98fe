#!/bin/sh
# Records a scenario of load-tests/scenarios, by its name, in load-tests/results. On a quiet machine:
# whatever else runs is in the figures.
set -eu
cd "$(dirname "$0")/.."

name=${1:?which scenario?}
cargo build --quiet --release
exec target/release/poll-vs-push compare --scenario "load-tests/scenarios/$name.toml" \
    --output "load-tests/results/$name"
