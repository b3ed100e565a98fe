#!/usr/bin/env bash
# Tries the server against clients that none of us wrote: npm's `socket.io-client` and
# `eventsource`, PyPI's `python-socketio`. Needs node, npm and python3; installs the clients beside
# this file.
#
#   tests/peers/run.sh [SERVER]      SERVER is the program, target/debug/poll-vs-push if not given
set -euo pipefail
cd "$(dirname "$0")"
SERVER=$(realpath "${1:-../../target/debug/poll-vs-push}")
export SERVER

npm ci --no-audit --no-fund --loglevel=error
node --test

[ -d .venv ] || python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
.venv/bin/python -m unittest --verbose test_socketio
