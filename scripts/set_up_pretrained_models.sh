#!/bin/sh
# Puts the paper's public teachers where the commands expect them: downloads the two archives, checks every file
# (intact, nothing but weights, fits its model) and unpacks them below save/. Run it again to go on after a break.
#
#   scripts/set_up_pretrained_models.sh                         both data sets
#   scripts/set_up_pretrained_models.sh cifar100                one of cifar100, tinyimagenet
#   scripts/set_up_pretrained_models.sh teachers_cifar100.zip   an archive that is here already
#
#   SAVE=DIR        where to (default: save beside this folder)
#   SOURCE=URL      where from (default: the release of the original system)
#   VENV=DIR        another environment, see set_up_env.sh
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
save=${SAVE:-$root/save}
source=${SOURCE:-https://github.com/MingSun-Tse/Good-DA-in-KD/releases/download/v0.1}

fail() {
    echo "set_up_pretrained_models.sh: error: $*" >&2
    exit 2
}

download() {
    url=$1 part=$2
    shift 2
    curl --fail --location --silent --show-error --connect-timeout 20 --retry 2 --output "$part" "$@" "$url" 2>&1
}

# Brings save/teachers_NAME.zip; a part that is there already is continued.
fetch() {
    archive=$save/teachers_$1.zip
    url=$source/teachers_$1.zip
    [ ! -f "$archive" ] || return 0
    command -v curl >/dev/null || fail "there is no curl; fetch $url yourself and put it at $archive"
    mkdir -p "$save" || fail "cannot write to $save; name another folder: SAVE=DIR"
    echo "downloading $url"
    reason=$(download "$url" "$archive.part" --continue-at -) || {
        [ $? -eq 33 ] && reason=$(download "$url" "$archive.part") # a server that cannot go on with a part: all again
    } || fail "$(echo "$reason" | tail -n 1): $url. With no network, fetch it elsewhere, put it at $archive" \
        "and run this again"
    mv "$archive.part" "$archive"
}

unpack() {
    "$root/scripts/set_up_env.sh"
    "${VENV:-$root/.venv}/bin/python" "$root/scripts/unpack_teachers.py" --save "$save" "$1"
}

[ $# -gt 0 ] || set -- cifar100 tinyimagenet
for name in "$@"; do
    case $name in
    cifar100 | tinyimagenet) ;;
    *.zip) [ -f "$name" ] || fail "$name does not exist" ;;
    *) fail "unknown data set $name; choices: cifar100, tinyimagenet, or an archive FILE.zip" ;;
    esac
done
for name in "$@"; do
    case $name in
    *.zip) unpack "$name" ;;
    *)
        fetch "$name"
        unpack "$save/teachers_$name.zip"
        ;;
    esac
done
