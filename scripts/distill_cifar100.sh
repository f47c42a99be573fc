#!/bin/sh
# Distils on CIFAR-100 with each method as its authors do: weights, rate, epochs, batch and views of the pair, as far as
# they are published (scripts/recipe.py has them from the registry).
#
#   scripts/distill_cifar100.sh crd dkd                     these methods, one after the other
#   scripts/distill_cifar100.sh                             all of them
#   scripts/distill_cifar100.sh --print                     only print the commands, one a line (for xargs, a cluster)
#   scripts/distill_cifar100.sh crd -- --amp --trial 2      what follows -- goes to train_student.py
#
#   TEACHER=wrn_40_2 STUDENT=wrn_16_2    the networks; the teacher's file is
#                                        $SAVE/models/${TEACHER}_vanilla/ckpt_epoch_240.pth
#   SAVE=save  PYTHON=FILE
#
# To cross a method with a mix mode, add: -- --lw_mix [1,0,1] --mix_mode cutmix --t_output_as_target_for_input_mix
set -eu
cd "$(dirname "$0")/.."

teacher=${TEACHER:-wrn_40_2} student=${STUDENT:-wrn_16_2} save=${SAVE:-save}

# The words as a shell reads them back.
quoted() {
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_.,:/+=-]* | '') printf "'%s' " "$(printf '%s' "$word" | sed "s/'/'\\\\''/g")" ;;
        *) printf '%s ' "$word" ;;
        esac
    done
    echo
}

print_only=false
if [ "${1:-}" = --print ]; then
    print_only=true
    shift
fi
methods=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    methods="$methods $1"
    shift
done
[ "${1:-}" != -- ] || shift

distil() {
    method=${1%% *} recipe=${1#* }
    shift
    # shellcheck disable=SC2086  # the recipe is several words
    set -f -- train_student.py --path_t "$save/models/${teacher}_vanilla/ckpt_epoch_240.pth" \
        --model_s "$student" --distill "$method" $recipe \
        --project_name "${method}__${teacher}${student}__cifar100" "$@"
    if $print_only; then
        quoted python "$@"
    else
        scripts/python.sh "$@"
    fi
}

# shellcheck disable=SC2086  # the methods are several words
recipes=$(scripts/python.sh scripts/recipe.py "$teacher" "$student" $methods)
set -f
IFS='
'
for line in $recipes; do
    IFS=' '
    distil "$line" "$@"
done
