#!/usr/bin/env bash
# The Python environment of the other scripts: makes .venv and installs requirements.txt, once.
#
#   scripts/setup_env.sh
#
#   VENV=DIR       make or use another environment (default: .venv beside this folder)
#   PYTHON=FILE    make it with another interpreter, 3.10 or newer (default: python3)
set -euo pipefail

fail() {
    echo "setup_env.sh: error: $*" >&2
    exit 2
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${VENV:-$root/.venv}
python=${PYTHON:-python3}
requirements=$root/requirements.txt
stamp=$venv/.installed-requirements

if [[ -x $venv/bin/python ]] && cmp -s "$requirements" "$stamp"; then
    exit 0
fi

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    if [[ -e $venv && ! -e $venv/pyvenv.cfg ]]; then
        fail "$venv is there but is no virtual environment; name another folder: VENV=DIR"
    fi
    command -v "$python" >/dev/null || fail "there is no $python; name an interpreter: PYTHON=FILE"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$("$python" --version) is too old, 3.10 or newer is needed; name another: PYTHON=FILE"
    echo "making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv" ||
        fail "$python cannot make virtual environments; on Debian and Ubuntu: sudo apt install python3-venv"
fi

echo "installing requirements.txt into $venv (once; PyTorch is large, this takes some minutes)"
start=$SECONDS
options=(--disable-pip-version-check)
if [[ ! -t 1 ]]; then
    options+=(--quiet) # no progress bars in a log file
fi
"$venv/bin/python" -m pip install "${options[@]}" -r "$requirements"
cp "$requirements" "$stamp"
echo "installed in $((SECONDS - start)) s"
