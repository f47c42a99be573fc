#!/usr/bin/env bash
# T. stddev of each DA scheme: measures it with the teachers of the nine pairs, one pass each.
# Runs what is not finished; --print prints the commands instead, --status lists how far they are. All options:
# python scripts/sweep.py --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec "${PYTHON:-python}" scripts/sweep.py --dataset cifar100 --kind stddev "$@"
