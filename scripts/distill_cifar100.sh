#!/bin/sh
# Distils on CIFAR-100 with each method, with the weights that its paper, or CRD's comparison, gives.
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
all="kd hint attention similarity correlation vid rkd pkt abound factor kdsvd fsp nst crd kd+crd
    dkd dist nkd ttm wttm mlkd ls dkd_ls mlkd_ls review simkd"

# Gamma, alpha and beta. Where none are given, the published ones of the pair are the program's defaults.
weights() {
    case $1 in
    kd) echo "-r 0.1 -a 0.9 -b 0" ;;
    hint) echo "-r 1 -a 0 -b 100" ;;
    attention) echo "-r 1 -a 0 -b 1000" ;;
    similarity) echo "-r 1 -a 0 -b 3000" ;;
    correlation) echo "-r 1 -a 0 -b 0.02" ;;
    vid | rkd | kdsvd) echo "-r 1 -a 0 -b 1" ;;
    pkt) echo "-r 1 -a 0 -b 30000" ;;
    abound) echo "-r 1 -a 0 -b 0" ;;
    factor) echo "-r 1 -a 0 -b 200" ;;
    fsp | nst) echo "-r 1 -a 0 -b 50" ;;
    crd) echo "-r 1 -a 0 -b 0.8" ;;
    kd+crd) echo "-r 1 -a 1 -b 0.8" ;;
    dist | nkd) echo "-r 1 -a 1" ;;
    mlkd) echo "-r 0.1 -a 0.9" ;;
    simkd) echo "-r 0 -b 1" ;;
    *) ;;
    esac
}

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
    method=$1
    shift
    # shellcheck disable=SC2046  # the weights are several words
    set -- train_student.py --path_t "$save/models/${teacher}_vanilla/ckpt_epoch_240.pth" \
        --model_s "$student" --distill "$method" $(weights "$method") \
        --project_name "${method}__${teacher}${student}__cifar100" "$@"
    if $print_only; then
        quoted python "$@"
    else
        scripts/python.sh "$@"
    fi
}

for method in ${methods:-$all}; do
    distil "$method" "$@"
done
