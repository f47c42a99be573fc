#!/usr/bin/env bash
# A run on two hosts, and what happens when the cable between them is cut: two network namespaces of this machine.
#
#   tests/two_hosts.sh              some three minutes on two cores; as root; not a part of the tests
#   PYTHON=python                   an environment with the requirements
#
# 1 whole   one epoch on two hosts, by torchrun on each; beside it the same epoch of one process
# 2 cable   the link goes down in the middle of the second epoch: both hosts must end the run within a minute
# 3 resume  one process goes on from there
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # for sh tests/...
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$(command -v "${PYTHON:-python}") || { echo "two_hosts.sh: error: there is no ${PYTHON:-python}" >&2; exit 2; }
[[ $EUID -eq 0 ]] || { echo "two_hosts.sh: error: network namespaces take root" >&2; exit 2; }
command -v ip >/dev/null || { echo "two_hosts.sh: error: there is no ip; on Debian: apt-get install iproute2" >&2; exit 2; }
place=$(mktemp -d)
export OMP_NUM_THREADS=1 GLOO_SOCKET_IFNAME=cable

say() {
    printf '[%3d s] %s\n' "$SECONDS" "$*"
}

fail() {
    say "FAILED: $*"
    tail -n 20 "$place"/*.log
    exit 1
}

end() {
    local host
    for host in trial1 trial2; do
        ip netns pids $host 2>/dev/null | xargs -r kill -9 || true
        ip netns delete $host 2>/dev/null || true
    done
    rm -rf "$place"
}

trap end EXIT
trap 'exit 130' INT TERM
for host in 1 2; do
    ip netns add trial$host
    ip -n trial$host link set lo up
done
ip link add cable netns trial1 type veth peer name cable netns trial2
for host in 1 2; do
    ip -n trial$host address add 10.77.0.$host/24 dev cable
    ip -n trial$host link set cable up
done

cd "$place" # both hosts see the same folder, as on a cluster
tiny="--dataset synthetic --num_classes 5 --img_size 16 --limit_test 100 --batch_size 16 --device cpu
    --model resnet8 --learning_rate 0.001 --seed 1 --sync_bn --print_interval 50"
read -d '' -ra words <<<"$tiny" || true

# on_both NAME WORD...: in the background; the status of each host goes to NAME<host>.status
on_both() {
    local name=$1 host
    shift
    for host in 1 2; do
        (
            status=0
            ip netns exec trial$host "$python" -m torch.distributed.run --nnodes 2 --nproc_per_node 1 \
                --rdzv_backend c10d --rdzv_endpoint 10.77.0.1:29500 --rdzv_id "$name" \
                --rdzv_conf is_host=$((host == 1)) --local_addr 10.77.0.$host \
                "$root/train_teacher.py" "${words[@]}" "$@" >"$name$host.log" 2>&1 || status=$?
            echo $status >"$name$host.status"
        ) 2>/dev/null &
    done
}

# The processes of the run, without torchrun.
trainers() {
    pgrep -f "$root/train_teacher.py" -a | grep -v distributed.run || true
}

say "--- 1 whole"
on_both whole --epochs 1
wait
[[ $(cat whole1.status whole2.status | xargs) == "0 0" ]] || fail "a host did not end well"
grep -q "2 processes, " Experiments/*/log/log.txt || fail "it was no run of two processes"
(cd "$(mktemp -d -p "$place")" && "$python" "$root/train_teacher.py" "${words[@]}" --epochs 1 >"$place/alone.log")
say "two hosts: $(grep -ohE 'Acc1 .* Epoch 1 ' whole1.log)"
say "one process: $(grep -ohE 'Acc1 .* Epoch 1 ' alone.log)"
[[ ! -s whole2.log || $(grep -c "Epoch" whole2.log) -eq 0 ]] || fail "the second host speaks too"

say "--- 2 cable"
rm -r Experiments
on_both cut --epochs 9
for ((i = 0; i < 600; i++)); do
    grep -qF "Epoch: [2][50/" cut1.log 2>/dev/null && break
    sleep 0.1
done
ip -n trial2 link set cable down
cut=$SECONDS
say "the cable is cut in the second epoch"
while trainers | grep -q .; do
    [[ $((SECONDS - cut)) -le 60 ]] || fail "after a minute there are still $(trainers | wc -l) processes"
    sleep 0.5
done
say "the processes on both hosts ended $((SECONDS - cut)) s later"
for host in 1 2; do
    ip netns pids trial$host | xargs -r kill -9 # torchrun on the second host waits for its store on the first
done
wait
grep -h "error: lost contact" cut1.log cut2.log || fail "nobody says why"
grep -q "stopped: lost contact" Experiments/*/log/log.txt || fail "log.txt does not say why"

say "--- 3 resume"
"$python" "$root/train_teacher.py" "${words[@]}" --epochs 9 --resume_ExpID latest >resumed.log 2>&1 || fail "it does not go on"
epochs=$(grep -hoE 'Acc1 .* Epoch [0-9]+ ' Experiments/*/log/log.txt | grep -oE '[0-9]+ $' | xargs)
[[ $epochs == "1 2 3 4 5 6 7 8 9" ]] || fail "epochs $epochs"
say "one process went on: epochs $epochs, each once"
say "done"
