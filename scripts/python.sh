#!/bin/sh
# Runs Python for the other scripts: PYTHON=FILE if it is given, else the interpreter of the environment VENV=DIR, of
# the active environment, of .venv beside this folder, or of the system.
set -eu

venv=$(dirname "$0")/../.venv/bin/python
if [ -z "${PYTHON:-}" ]; then
    if [ -n "${VENV:-}" ]; then
        PYTHON=$VENV/bin/python
    elif [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$venv" ]; then
        PYTHON=$venv
    elif command -v python >/dev/null; then
        PYTHON=python
    else
        PYTHON=python3
    fi
fi
command -v "$PYTHON" >/dev/null || {
    echo "python.sh: error: there is no $PYTHON; name an interpreter: PYTHON=FILE" >&2
    exit 2
}
exec "$PYTHON" "$@"
