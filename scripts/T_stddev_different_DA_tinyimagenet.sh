#!/bin/sh
# T. stddev of each DA scheme: measures it with the teachers of the nine pairs, one pass each.
# Runs what is not finished; --print prints the commands instead, --status lists how far they are. All options:
# python scripts/sweep.py --help
set -eu
cd "$(dirname "$0")/.."
exec scripts/python.sh scripts/sweep.py --dataset tinyimagenet --kind stddev "$@"
