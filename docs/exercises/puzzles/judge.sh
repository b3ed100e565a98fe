#!/usr/bin/env bash
# Judges a puzzle by the model: bash docs/exercises/puzzles/judge.sh NAME [FILE]
# FILE has the arguments of `poll-vs-push advise`; without it, the file NAME.args beside this script.
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: judge.sh NAME [FILE]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
name=$1
file=${2:-$here/$name.args}
program=${POLL_VS_PUSH:-poll-vs-push}

# The transport that must win, the arguments that may not change, and those that may.
case $name in
  polling-wins) wanted=short-polling; fixed="subscribers=1000 staleness=2s rtt=40ms"; free="rate" ;;
  push-returns) wanted=sse; fixed="subscribers=1000 rate=10 rtt=80ms"; free="staleness" ;;
  fewer-bytes) wanted=short-polling; fixed="subscribers=1000 staleness=2s rtt=40ms cost=bytes"; free="rate" ;;
  both-directions) wanted=websocket; fixed="subscribers=1000 rate=10 staleness=2s"; free="two-way" ;;
  *) echo "no puzzle is called '$name'" >&2; exit 2 ;;
esac

mapfile -t lines < <(grep -v '^ *\(#\|$\)' "$file")
arguments=()
for line in "${lines[@]}"; do
  # One argument a line: `--rate 1`, or `--two-way`.
  read -r flag value rest <<<"$line"
  key=${flag#--}
  if [ "$flag" = "$key" ] || [ -n "$rest" ]; then echo "$file: not '--flag value': $line" >&2; exit 2; fi
  case " $fixed $free " in
    *" $key=${value:-} "* | *" $key "*) ;;
    *) echo "$file: $line may not be changed or added; fixed: $fixed; free: $free" >&2; exit 1 ;;
  esac
  arguments+=("$flag"); [ -z "$value" ] || arguments+=("$value")
done
for pair in $fixed; do
  printf '%s\n' "${arguments[*]} " | grep -q -- "--${pair/=/ } " || {
    echo "$file: --${pair/=/ } must stay" >&2; exit 1; }
done

answer=$("$program" advise "${arguments[@]}" --json)
choice=$(sed -n '/"choice": {/,/^    }/ s/^      "transport": "\(.*\)".*/\1/p' <<<"$answer")
if [ "$choice" = "$wanted" ]; then
  echo "$name: solved, the model recommends $choice"
else
  echo "$name: not yet, the model recommends ${choice:-nothing} and not $wanted" >&2
  exit 1
fi
