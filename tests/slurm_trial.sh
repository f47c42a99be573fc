#!/usr/bin/env bash
# scripts/sweep.sbatch on a real Slurm: a cluster of one node on this machine, a small sweep, and what happens to tasks.
#
#   tests/slurm_trial.sh              some eight minutes on two cores; as root; not a part of the tests
#   KEEP=DIR tests/slurm_trial.sh     the cluster's files and the runs stay in DIR, which must not exist
#
# Needs Slurm and MUNGE, on Debian: apt-get install slurm-wlm munge. Their own services are not used nor touched: the
# daemons run with a configuration in a scratch folder, on the ports PORT and PORT + 1 (16817), and end with this script.
#   PYTHON=python  TRAIN=24 MEASURE=200 (epochs: every run has to last half a minute and more, or it cannot be hit)
#   SLOW=4 (on a busy machine: four times the waits and time limits; fewer epochs are enough there)
#
# 1 preemption     two trainings, by a job of a partition of higher priority: SIGTERM, Slurm requeues
# 2 time limit     two T. stddev passes whose limit is a minute (SLOW minutes): SIGUSR1, the task requeues itself, again and again
# 3 dead node      a training and the daemons over it are killed: SIGKILL, Slurm requeues
# 4 grace          a T. stddev pass in a partition with GraceTime is preempted
# 5 scancel        a cancelled task must not come back; submitted again it goes on
# 6 the rest       a failing line is not repeated; a finished one has nothing to do
# At the end all runs must equal, bit for bit, those of the same commands without Slurm.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # for sh tests/...
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$(command -v "${PYTHON:-python}") || { echo "slurm_trial.sh: error: there is no ${PYTHON:-python}" >&2; exit 2; }
for program in munged slurmctld slurmd sbatch scontrol; do
    command -v "$program" >/dev/null || {
        echo "slurm_trial.sh: error: there is no $program; on Debian: apt-get install slurm-wlm munge" >&2
        exit 2
    }
done
[[ $EUID -eq 0 ]] || { echo "slurm_trial.sh: error: slurmd starts jobs as their users: run this as root" >&2; exit 2; }
slow=${SLOW:-1}
export OMP_NUM_THREADS=1 PYTHON=$python
PATH=$(dirname "$python"):$PATH
if [[ -n ${KEEP:-} ]]; then
    mkdir "$KEEP"
    place=$(cd "$KEEP" && pwd)
else
    place=$(mktemp -d)
fi

say() {
    printf '[%3d s] %s\n' "$SECONDS" "$*"
}

fail() {
    say "FAILED: $*"
    tail -n 20 "$place"/{slurmctld,slurmd}.log "$place"/repo/slurm-*.out 2>/dev/null || true
    exit 1
}

# --- The cluster ----------------------------------------------------------------------------------------------------

end() {
    local name pid
    if scancel --user=root 2>/dev/null; then # the tasks end before the daemons do
        for ((i = 0; i < 200 * slow; i++)); do
            queue_is_empty && break
            sleep 0.2
        done
    fi
    for name in slurmctld slurmd munged; do
        if pid=$(cat "$place/$name.pid" 2>/dev/null); then
            kill "$pid" 2>/dev/null || true
            for ((i = 0; i < 50; i++)); do
                kill -0 "$pid" 2>/dev/null || break
                sleep 0.1
            done
        fi
    done
    [[ -n ${KEEP:-} ]] || rm -rf "$place"
}

start_cluster() {
    local host port=${PORT:-16817}
    host=$(hostname -s)
    mkdir -p "$place"/{state,spool}
    chmod 755 "$place"
    (umask 077 && head -c 1024 /dev/urandom >"$place/munge.key")
    # Processes are tracked by /proc, not by cgroups; a requeued job may start after six seconds, not two minutes.
    cat >"$place/slurm.conf" <<END
ClusterName=trial
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
AuthInfo=socket=$place/munge.socket,cred_expire=6
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=30
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes=$host Default=YES PriorityTier=1
PartitionName=polite Nodes=$host PriorityTier=1 GraceTime=15
PartitionName=high Nodes=$host PriorityTier=10 PreemptMode=OFF
END
    echo "CgroupPlugin=cgroup/v1" >"$place/cgroup.conf"
    export SLURM_CONF=$place/slurm.conf
    munged --force --key-file="$place/munge.key" --socket="$place/munge.socket" --pid-file="$place/munged.pid" \
        --log-file="$place/munged.log" --seed-file="$place/munge.seed"
    slurmctld
    slurmd
    within 30 "the node is idle" node_is_idle
    say "$(sinfo --version) on one node: $(sinfo --noheader --format='%P %T' | xargs | sed 's/ idle/,/g') all idle"
}

# Wait for a command to be true; say so.
within() {
    local stop=$((SECONDS + slow * $1)) what=$2
    shift 2
    until "$@"; do
        [[ $SECONDS -lt $stop ]] || fail "waited for nothing: $what"
        sleep 0.3
    done
    say "$what"
}

node_is_idle() {
    [[ $(sinfo --noheader --partition=low --format=%T) == idle ]]
}

queue_is_empty() {
    [[ -z $(squeue --noheader) ]]
}

# submit TASKS [OPTION...]: sets $array
submit() {
    array=$(sbatch --parsable --array="$1" --gres=none --cpus-per-task=1 "${@:2}" scripts/sweep.sbatch commands.txt)
    say "sbatch --array=$1 ${*:2}: job $array"
}

# A job of the high partition that needs the whole node for a moment.
preempt() {
    sbatch --parsable --partition=high --cpus-per-task=2 --output=/dev/null --wrap="sleep 2" >"$place/high"
    say "a job of the high partition needs the whole node"
}

# progress N PATTERN FILE: so many of this sort of run folders have such a line
progress() {
    # shellcheck disable=SC2086
    [[ $(cat Experiments/$2/log/metrics.jsonl 2>/dev/null | grep -c "$3") -ge $1 ]]
}

# both of two kinds of runs
both_began() {
    progress 2 "$1" "$3" && progress 2 "$2" "$3"
}

output_has() {
    grep -q "$2" "slurm-${array}_$1.out" 2>/dev/null
}

# --- The sweep ------------------------------------------------------------------------------------------------------

trap end EXIT
trap 'exit 130' INT TERM
for copy in repo whole; do
    mkdir "$place/$copy"
    cp -r "$root"/{augment,dataset,distiller_zoo,helper,models,scripts} "$root"/train_{student,teacher}.py "$place/$copy"
done
cd "$place/repo"
tiny="--num_classes 5 --img_size 16 --limit_train 640 --limit_test 100 --batch_size 16 --device cpu --print_interval 10"
read -ra tiny <<<"$tiny"
"$python" train_teacher.py --dataset synthetic --model resnet14 --epochs 1 --seed 1 "${tiny[@]}" >"$place/teacher.log"
rm -r Experiments
cp -r save "$place/whole"
say "a teacher is trained"

sweep() {
    local kind=$1 epochs=$2
    shift 2
    "$python" scripts/sweep.py --dataset synthetic --kind "$kind" --pairs resnet14/resnet8 --trials 1 \
        --teacher_file ckpt_epoch_1.pth "$@" -- "${tiny[@]}" --epochs "$epochs"
}

train=${TRAIN:-24} measure=${MEASURE:-200}
trainings=(train "$train" --schemes "flip,cutmix,mixup")
passes=(stddev "$measure" --schemes "flip,cutmix")
long_pass=(stddev "$((2 * measure))" --schemes mixup) # the grace time's end is looked for every half minute
(
    cd "$place/whole"
    sweep "${trainings[@]}" --jobs 2
    sweep "${passes[@]}" --jobs 2
    sweep "${long_pass[@]}"
) >"$place/whole.log"
say "the same sweep without Slurm and undisturbed, to compare with"
for part in trainings passes long_pass; do
    declare -n words=$part
    sweep "${words[@]}" --print
done >commands.txt
failing=$(head -n 1 commands.txt | sed 's/resnet14_vanilla/none_vanilla/')
echo "$failing" >>commands.txt
say "commands.txt: $(wc -l <commands.txt) lines; 1-3 train with flip, cutmix, mixup, 4-6 measure them, 7 has no teacher"
start_cluster

say "--- 1 preemption"
submit 1-2
within 60 "both trainings have done two epochs" both_began '*__flip_*' '*__cutmix_*' '"kind": "epoch"'
preempt
within 60 "task 1 saved itself" output_has 1 "interrupted ("
within 60 "task 1 was started again" output_has 1 "start 1 on"
within 200 "both are done" queue_is_empty

say "--- 2 time limit"
submit 4-5 --time="$slow" --signal=B:USR1@50
within 90 "task 4 was told ahead of its limit, and requeued itself" output_has 4 "interrupted (USR1), returns to the queue"
within 60 "task 4 was started again" output_has 4 "start 1 on"
within 300 "both are done" queue_is_empty

say "--- 3 dead node"
submit 3
within 60 "the training has done two epochs" progress 2 '*__mixup_*' '"kind": "epoch"'
job=$(squeue --noheader --array --jobs="${array}_3" --format=%A)
mapfile -t victims < <(scontrol listpids "$job" | awk 'NR > 1 && $1 > 0 {print $1}')
stepd=$(ps -o ppid= -p "$(ps -o ppid= -p "${victims[-1]}" | xargs)" | xargs)
kill -9 "$(cat "$place/slurmd.pid")"
for pid in "$stepd" "${victims[@]}"; do
    [[ $pid -le 1 || $pid -eq $$ ]] || kill -9 "$pid" 2>/dev/null || true
done
say "slurmd, the task's slurmstepd and its ${#victims[@]} processes were killed"
scontrol update NodeName="$(hostname -s)" State=DOWN Reason=trial
slurmd
scontrol update NodeName="$(hostname -s)" State=RESUME
within 90 "task 3 was started again" output_has 3 "start 1 on"
within 200 "it is done" queue_is_empty

say "--- 4 grace"
submit 6 --partition=polite
within 60 "the pass has measured" progress 1 '*__mixup_*' '"kind": "t_stddev"'
preempt
within 120 "task 6 saved itself" output_has 6 "interrupted ("
within 60 "task 6 was started again" output_has 6 "start 1 on"

say "--- 5 scancel"
within 60 "the pass goes on" output_has 6 "goes on, Experiments"
within 60 "and logs" output_has 6 "] resumed: "
sleep 2
scancel "${array}_6"
within 60 "it was cancelled, and is not requeued" queue_is_empty
sleep 10
queue_is_empty || fail "a cancelled task came back"

say "--- 6 the rest"
submit 1-7
within 200 "the queue is empty" queue_is_empty
for task in 1 2 3 4 5; do
    output_has "$task" "is done: Experiments" || fail "task $task did not find its run finished"
done
output_has 6 "goes on, Experiments" || fail "task 6 did not go on"
[[ $(grep -c "start " "slurm-${array}_7.out") -eq 1 ]] || fail "a failing task was repeated"
output_has 7 "status 2" || fail "task 7 should fail with status 2"
say "tasks 1-5 had nothing to do, 6 went on to its end, 7 failed once: $(grep error: "slurm-${array}_7.out")"

echo
echo "Output of the tasks:"
grep -hE "^(sweep.sbatch|sweep_line.py): " slurm-*.out | sort -k3,3 -s
echo
PYTHONPATH=.:$root/tests "$python" "$root/tests/slurm_trial.py" "$place/whole" "$place/repo"
say "done"
