#!/usr/bin/env bash
# Tests the server with PyPI's `python-socketio`, also behind proxies that break its upgrade to a
# WebSocket. Needs python3 and node; installs the client beside this file.
#
#   tests/peers/python.sh [SERVER]   SERVER is the program; default: target/debug/poll-vs-push
set -euo pipefail
SERVER=$(realpath "${1:-$(dirname "$0")/../../target/debug/poll-vs-push}")
export SERVER
cd "$(dirname "$0")"

[ -d .venv ] || python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
.venv/bin/python -W ignore::ResourceWarning -m unittest --verbose test_socketio
