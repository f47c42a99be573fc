#!/bin/sh
# Kills, full disks and malformed inputs in numbers: half an hour, so not a part of the tests.
#
#   tests/soak.sh                     200 kills, every size of a full disk, 1000 malformed inputs, a second process
#   tests/soak.sh --kills 20 --inputs 100 --only kills,inputs --seed 3
set -eu
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" PYTHONPATH=.:tests
exec "${PYTHON:-python}" tests/soak.py "$@"
