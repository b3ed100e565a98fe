#!/bin/sh
# Runs a scenario of load-tests/scenarios, given by name, and writes its report to load-tests/results,
# or to docs/sample for the default scenario. Use an idle machine: other load changes the figures.
# Then run load-tests/update-recorded.sh, which updates what is derived from the results.
set -eu
cd "$(dirname "$0")/.."

name=${1:?name of a scenario expected}
features=
[ "$name" != tls ] || features="--features tls"
# shellcheck disable=SC2086 # empty, or two words
cargo build --quiet --release $features
case $name in
default) output=docs/sample ;;
*) output=load-tests/results/$name ;;
esac
exec target/release/poll-vs-push compare --scenario "load-tests/scenarios/$name.toml" --output "$output"
