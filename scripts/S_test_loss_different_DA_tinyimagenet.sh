#!/bin/sh
# S. test loss under each DA scheme: trains the nine pairs under the nine schemes, three trials each.
# Runs what is not finished; --print prints the commands instead, --status lists how far they are. All options:
# python scripts/sweep.py --help
set -eu
cd "$(dirname "$0")/.."
exec scripts/python.sh scripts/sweep.py --dataset tinyimagenet --kind train "$@"
