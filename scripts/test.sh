#!/bin/sh
# Runs the tests, on up to four processors; installs what they need first.
#
#   scripts/test.sh            all but the slow ones: whole commands, kills, several processes
#   scripts/test.sh --all      all; CI runs these
#
# Further arguments go to pytest: scripts/test.sh --all -k cutmix
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
"$root/scripts/set_up_env.sh"
python=$(cd "${VENV:-$root/.venv}/bin" && pwd)/python
cd "$root"
case ${1-} in
--all) shift ;;
*) set -- -m "not slow" "$@" ;;
esac
"$python" -m pip install --disable-pip-version-check --quiet -r tests/requirements.txt
workers=$("$python" -c 'import os; print(min(os.cpu_count() or 1, 4))')
export PYTHONDONTWRITEBYTECODE= # else each process compiles all of it again
# A file's tests stay together, and share what they made; conftest.py puts the longest files first.
exec "$python" -m pytest -n "$workers" --dist loadfile --no-loadscope-reorder "$@"
