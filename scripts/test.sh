#!/usr/bin/env bash
# Runs the tests, on up to four processors; installs what they need first. Arguments go to pytest:
# scripts/test.sh -k cutmix
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/scripts/setup_env.sh"
python=$(cd "${VENV:-$root/.venv}/bin" && pwd)/python
cd "$root"
workers=$("$python" -c 'import os; print(min(os.cpu_count() or 1, 4))')
# One thread each: they would only get into each other's way. A file's tests stay together, and share what they made.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$python" -m pytest -n "$workers" --dist loadfile "$@"
