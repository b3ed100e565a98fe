#!/bin/sh
# Records a scenario of load-tests/scenarios, by its name, in load-tests/results; the default one in
# docs/sample. On a quiet machine: whatever else runs is in the figures.
set -eu
cd "$(dirname "$0")/.."

name=${1:?which scenario?}
cargo build --quiet --release
case $name in
default) output=docs/sample ;;
*) output=load-tests/results/$name ;;
esac
exec target/release/poll-vs-push compare --scenario "load-tests/scenarios/$name.toml" --output "$output"
