#!/bin/sh
# The Python environment of the other scripts: makes .venv and installs requirements.txt, once.
#
#   scripts/set_up_env.sh
#   scripts/set_up_env.sh NAME 3.10 requirements.txt      a conda environment, called NAME_Py3.10, instead
#
#   VENV=DIR       make or use another environment (default: .venv beside this folder)
#   PYTHON=FILE    make it with another interpreter, 3.10 or newer (default: python3)
set -eu

fail() {
    echo "set_up_env.sh: error: $*" >&2
    exit 2
}

root=$(cd "$(dirname "$0")/.." && pwd)

# The environment NAME_PyVERSION; an older Python than the code takes gives way to the oldest that it takes.
set_up_conda() {
    version=$2 requirements=$3
    case $version in
    *[!0-9.]* | [!0-9]* | *..* | *.) fail "$version is no version of Python; give one such as 3.10" ;;
    2 | 2.* | 3.[0-9] | 3.[0-9].*)
        echo "Python $version is too old for this code, which needs 3.10 or newer: taking 3.10"
        version=3.10
        ;;
    esac
    [ -f "$requirements" ] || requirements=$root/$requirements
    [ -f "$requirements" ] || fail "there is no file $3"
    command -v conda >/dev/null ||
        fail "there is no conda; without arguments this script makes a virtual environment: sh scripts/set_up_env.sh"
    environment=$1_Py$version
    if conda run -n "$environment" python --version >/dev/null 2>&1; then
        echo "the environment $environment is there already"
    else
        conda create --yes --name "$environment" "python=$version"
    fi
    conda run -n "$environment" python -m pip install --disable-pip-version-check -r "$requirements"
    echo "installed; now: conda activate $environment"
}

case $# in
0) ;;
3)
    set_up_conda "$@"
    exit 0
    ;;
*) fail "give nothing, or three words: NAME PYTHON_VERSION REQUIREMENTS_FILE" ;;
esac

venv=${VENV:-$root/.venv}
python=${PYTHON:-python3}
requirements=$root/requirements.txt
stamp=$venv/.installed-requirements

version_of() {
    "$1" -c 'import platform; print(platform.python_version())'
}

if [ -n "${PYTHON:-}" ] && [ -x "$venv/bin/python" ]; then
    command -v "$PYTHON" >/dev/null || fail "there is no $PYTHON; name an interpreter: PYTHON=FILE"
    has=$(version_of "$venv/bin/python") wants=$(version_of "$PYTHON")
    [ "$has" = "$wants" ] ||
        fail "$venv is there with Python $has, not with $wants of $PYTHON: type rm -r $venv and this again, or name another: VENV=DIR"
fi

if [ -x "$venv/bin/python" ] && cmp -s "$requirements" "$stamp"; then
    exit 0
fi

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ]; then
        fail "$venv is there but is no virtual environment; name another folder: VENV=DIR"
    fi
    command -v "$python" >/dev/null || fail "there is no $python; name an interpreter: PYTHON=FILE"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$("$python" --version) is too old, 3.10 or newer is needed; name another: PYTHON=FILE"
    place=$venv
    [ -e "$venv" ] || place=$(dirname "$venv")
    [ ! -d "$place" ] || [ -w "$place" ] || fail "cannot write to $place; name another folder: VENV=DIR"
    echo "making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv" ||
        fail "$python cannot make virtual environments; on Debian and Ubuntu: sudo apt install python3-venv"
fi
"$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$venv is of $("$venv/bin/python" --version), 3.10 or newer is needed: type rm -r $venv and this again with PYTHON=FILE"

echo "installing requirements.txt into $venv (once; PyTorch is large, this takes some minutes)"
start=$(date +%s)
quiet=
[ -t 1 ] || quiet=--quiet # no progress bars in a log file
# shellcheck disable=SC2086  # it may be no word at all
"$venv/bin/python" -m pip install --disable-pip-version-check $quiet -r "$requirements" ||
    fail "pip could not install requirements.txt, for the reason above: it takes a network and some 6 GB of disk; then run this again"
cp "$requirements" "$stamp"
echo "installed in $(($(date +%s) - start)) s"
