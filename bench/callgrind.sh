#!/usr/bin/env bash
# Instructions per proxied 1 KiB request under callgrind: a run with 2N requests less a run with N, over N.
# usage: bench/callgrind.sh [BINARY] [--record]   (--record appends a row to bench/INSTRUCTIONS.md)
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:-build-release/sluice}
exec /usr/bin/python3 bench/callgrind.py "$bin" "${@:2}"
