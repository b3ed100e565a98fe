#!/usr/bin/env bash
# Attacks a server process in every way that docs/operations.md lists. Prints for each attack by how
# much resident memory grew, how many bytes were logged, what server and attacker used of the
# processors, and the 99th percentile of other clients' response times before and during the attack.
# Fails if a bound of memory, log or descriptors does not hold; times are printed only.
#
#   tests/attacks/run.sh [FILTER...]             the debug build
#   tests/attacks/run.sh --measure [FILTER...]   the release build on the first processor, attackers
#       and other clients on the second, so that the times can be compared; as root
#
# A FILTER is a test or module; without one, all that attack the server run.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "${1:-}" = --measure ]; then
    timeout -k 10 1800 cargo build --quiet --release
    export ATTACKED_PROGRAM=$PWD/target/release/poll-vs-push
    shift
fi
[ $# -gt 0 ] || set -- attacks shares:: expiry::
timeout -k 10 900 cargo test --quiet --test it --no-run
# Without --quiet, which would hide the names of the tests.
timeout -k 10 400 cargo test --test it -- --test-threads 1 --nocapture \
    "$@" 2> >(grep -vE "^ +(Finished|Running)" >&2) | grep -vE "^$|^running"
