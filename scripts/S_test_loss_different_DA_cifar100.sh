#!/usr/bin/env bash
# S. test loss under each DA scheme: trains the nine pairs under the nine schemes, three trials each.
# Runs what is not finished; --print prints the commands instead, --status lists how far they are. All options:
# python scripts/sweep.py --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec "${PYTHON:-python}" scripts/sweep.py --dataset cifar100 --kind train "$@"
