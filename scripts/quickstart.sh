#!/bin/sh
# From nothing to a table and a plot: trains a small teacher, ranks augmentations from it alone, distils students under
# eight of the paper's nine, and shows how well the ranking did.
#
#   scripts/quickstart.sh              an embedded data set, nothing to download
#   scripts/quickstart.sh cifar100     a part of CIFAR-100
#
#   DATA_ROOT=DIR      where CIFAR-100 is, or shall be downloaded to (default: data beside this folder)
#   VENV=DIR           another environment, see set_up_env.sh
set -eu

case ${1-} in # before minutes of installing
'' | -* | synthetic | cifar100) ;;
*)
    echo "quickstart.sh: error: there is no data set $1 for the quickstart: choose synthetic or cifar100" >&2
    exit 2
    ;;
esac
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/scripts/set_up_env.sh"
python=$(cd "${VENV:-$root/.venv}/bin" && pwd)/python
exec "$python" "$root/scripts/quickstart.py" --data_root "${DATA_ROOT:-$root/data}" "$@"
