#!/usr/bin/env bash
# Attacks a server process in every way that docs/operations.md lists, and prints for each attack by how
# much resident memory grew, how many bytes were logged, and the 99th percentile of another client's
# response times during the attack compared with before. Fails if a bound does not hold; times are
# printed only.
#
#   tests/attacks/run.sh [CARGO TEST FLAG...]      such as --release
set -euo pipefail
cd "$(dirname "$0")/../.."
timeout -k 10 900 cargo test --quiet "$@" --test it --no-run
timeout -k 10 180 cargo test --quiet "$@" --test it -- --test-threads 1 --nocapture \
    attacks shares:: expiry:: | grep -vE '^$|^running'
