#!/bin/sh
# Writes everything that is derived from the recorded runs: the texts of the scenario files in each
# run.json, the built-in costs of `advise` (src/advise/reference.toml), the reports beside each
# run.json, the tables in README and book, and the README's picture of the report.
set -eu
cd "$(dirname "$0")/.."

python3 load-tests/update-descriptions.py
# The costs first: they become part of the program that writes the reports.
UPDATE_RECORDED=1 cargo test --quiet --test it -- recorded::built_in
UPDATE_RECORDED=1 cargo test --quiet --test it -- recorded::
# It fails when it has written something.
UPDATE_BOOK=1 cargo test --quiet --test it -- book::tables || cargo test --quiet --test it -- book::tables

# The picture shows the first two charts of the report.
if command -v chromium >/dev/null; then
    page=$(mktemp --suffix .html)
    trap 'rm -f "$page"' EXIT
    {
        cat docs/sample/report.html
        echo '<style>main { padding: 10px 14px } main > :not(#figures), #figures > :not(.charts),'
        echo '.charts > :nth-child(n+3) { display: none } section, .charts { margin: 0 !important }</style>'
    } >"$page"
    chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1312,560 \
        --screenshot="$PWD/docs/images/report.png" "file://$page" 2>/dev/null
else
    echo "no chromium: docs/images/report.png is not updated" >&2
fi

# What depends on the costs: bills, puzzles, and that report and `advise` recommend the same.
cargo test --quiet --test it -- recorded:: advise:: puzzles:: cli::advise
git status --short
