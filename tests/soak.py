"""Long trials of what must never lose a run: see soak.sh.

Prints a table of figures; the exit status is 1 on any failure.
"""

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from command_line import STAMP, identical, load, metrics, without_clock
from forked import finish, start
from mutations import mutated_inputs

STUDENT, TEACHER = "train_student.py", "train_teacher.py"
DATA = (
    "--dataset synthetic --num_classes 5 --img_size 16 --limit_train 300 --limit_test 60 "
    "--batch_size 16 --device cpu"
)
KD = "--model_s resnet8 --distill kd --lw_mix [1,0,1] --t_output_as_target_for_input_mix --epochs 6"
JOBS = {
    "cutmix": (STUDENT, f"{KD} --mix_mode cutmix --tb_freq 5"),
    "crd, both views": (
        STUDENT,
        (
            "--model_s resnet8 --distill kd+crd --nce_k 40 --lw_mix [1,0,1] --mix_mode mixup "
            "--feature_views both --epochs 4"
        ),
    ),
    "abound": (STUDENT, "--model_s resnet14 --distill abound --init_epochs 2 --epochs 3"),
    "pick by student": (
        STUDENT,
        (
            f"{KD} --mix_mode cutmix_pick --mix_n_run 2 --cutmix_pick_criterion student_entropy "
            "--utils.check_ce_var"
        ),
    ),
    "T. stddev": (
        STUDENT,
        (
            "--learning_rate 0 --fix_student --utils.check_ce_var --lw_mix [1,0,1] --mix_mode "
            "autoaugment --epochs 12"
        ),
    ),
    "teacher": (TEACHER, "--model resnet8 --epochs 6 --mix_mode cutmix"),
}


class Soak:
    """A scratch folder with a teacher, and the counts."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.draw = root, random.Random(seed)
        self.output = root / "child"
        self.counts, self.failures = Counter(), []
        status, _, errors = self.finish(
            TEACHER, f"{DATA} --model resnet14 --epochs 1 --seed 1", root
        )
        assert status == 0, errors
        self.teacher = root / "save" / "models" / "resnet14_vanilla" / "ckpt_epoch_1.pth"

    def finish(self, program, words, folder, **options):
        return finish(program, words, folder, output=self.output, **options)

    def fail(self, what: str) -> None:
        self.failures.append(what)
        print(f"FAILED: {what}", flush=True)

    def folder(self, name: str) -> Path:
        path = self.root / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def words(self, job: str) -> tuple[str, str]:
        program, words = JOBS[job]
        return (
            program,
            f"{DATA} --seed 5 {f'--path_t {self.teacher} ' * (program == STUDENT)}{words}",
        )

    def whole(self, job: str) -> Path:
        """The folder of a run of this job that nothing disturbed."""
        program, words = self.words(job)
        folder = self.folder(f"whole {job}")
        status, _, errors = self.finish(program, words, folder)
        assert status == 0, errors
        return the_run(folder)

    # --- Kills ------------------------------------------------------------------------------------

    def kills(self, count: int) -> None:
        """Kill runs at random moments until `count` kills are used up; each job ends as if nothing
        had happened."""
        whole = {job: self.whole(job) for job in JOBS}
        used = 0
        while used < count:
            job = self.draw.choice(list(JOBS))
            used += self.one_killed_job(job, whole[job], min(self.draw.randint(2, 8), count - used))
            print(f"{used} kills, {len(self.failures)} failures", flush=True)

    def one_killed_job(self, job: str, whole: Path, kills: int) -> int:
        program, words = self.words(job)
        folder, saved, used = self.folder("killed"), -1, 0
        while True:
            run = the_run(folder)
            resume = (
                "--resume_ExpID latest" if run is not None and saved_epoch(run) is not None else ""
            )
            if run is not None and not resume:
                shutil.rmtree(run)
                self.counts["killed before the first checkpoint"] += 1
            child = start(program, f"{words} {resume}", folder, output=self.output)
            number = 0
            if used < kills:
                time.sleep(self.draw.uniform(0, 2.5))
                number = self.draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
                child.kill(number)
            status = child.wait()
            if "Traceback" in child.stderr:
                self.fail(f"{job}: {child.stderr}")
            if status == 0:
                break
            used += 1
            self.counts[
                f"{signal.Signals(number).name if number else 'none'}, status {status}"
            ] += 1
            if status not in (-number, 143):
                self.fail(f"{job}: status {status} after signal {number}: {child.stderr}")
                break
            now = saved_epoch(the_run(folder)) if the_run(folder) else None
            if now is not None:
                if now < saved:
                    self.fail(f"{job}: epoch {saved} was saved, now it is {now}")
                saved = now
                logged = [entry["epoch"] for entry in complete_metrics(the_run(folder), "epoch")]
                if logged and logged[-1] > now + 1:
                    self.fail(f"{job}: epoch {logged[-1]} is logged, {now} saved")
        self.compare(job, the_run(folder), whole)
        return used

    def compare(self, what: str, got: Path, wanted: Path) -> None:
        """Weights, metrics and log lines of two finished runs."""
        self.counts["finished runs compared"] += 1
        if not identical(*(load(run / "weights" / "ckpt.pth") for run in (got, wanted))):
            self.fail(f"{what}: other weights")
        entries = (
            [entry for entry in without_clock(metrics(run)) if entry["kind"] != "job"]
            for run in (got, wanted)
        )
        if not identical(*map(list, entries)):
            self.fail(f"{what}: other metrics")
        if shown(got) != shown(wanted):
            self.fail(f"{what}: another log")
        for name in ("best", "vanilla"):
            for path in wanted.parent.parent.glob(f"**/*{name}*.pth"):
                other = got.parent.parent / path.relative_to(wanted.parent.parent)
                if name == "vanilla" and not identical(load(path), load(other)):
                    self.fail(f"{what}: another {path.name}")

    # --- Full disks -------------------------------------------------------------------------------

    def full_disk(self, step: int) -> None:
        """A disk of every size that is too small, in steps of so many KiB; then it is enlarged, and
        the run goes on."""
        disk = self.folder("disk")
        for job in ("cutmix", "T. stddev", "teacher"):
            whole, size = self.whole(job), 8
            while self.one_full_disk(job, whole, disk, size):
                size += step

    def one_full_disk(self, job: str, whole: Path, disk: Path, size: int) -> bool:
        """Returns whether the disk was too small."""
        program, words = self.words(job)
        mount("-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk))
        try:
            status, _, errors = self.finish(program, words, disk)
            if status == 0:
                return False
            self.counts[f"full disk, status {status}"] += 1
            if status not in (1, 2) or errors.count("\n") != 1 or "space left" not in errors:
                self.fail(f"{job} on {size} KiB: status {status}: {errors}")
            mount("-o", "remount,size=100m", str(disk))
            run = the_run(disk)
            resume = ""
            if run is not None:
                if saved_epoch(run) is None:
                    shutil.rmtree(run)
                else:
                    resume = "--resume_ExpID latest"
            status, _, errors = self.finish(program, f"{words} {resume}", disk)
            if status:
                self.fail(f"{job} after {size} KiB: status {status}: {errors}")
            else:
                self.compare(f"{job} after {size} KiB", the_run(disk), whole)
            return True
        finally:
            subprocess.run(["umount", str(disk)], check=True)

    def file_limit(self) -> None:
        """No file may grow beyond a limit: another way for writes to fail."""
        program, words = self.words("cutmix")
        for size in (0, 100, 1000, 3000, 10_000, 50_000, 100_000, 300_000):
            folder = self.folder("limited")
            status, _, errors = self.finish(
                program, words, folder,
                prepare=lambda size=size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
            )  # fmt: skip
            self.counts[f"file size limit, status {status}"] += 1
            if status not in (0, 1, 2) or errors.count("\n") > 1 or "Traceback" in errors:
                self.fail(f"file size limit {size}: status {status}: {errors}")

    # --- Malformed inputs -------------------------------------------------------------------------

    def inputs(self, count: int) -> None:
        """Each is refused in one line, or is harmless; none hangs."""
        folder = self.folder("inputs")
        for number, (what, program, words) in enumerate(
            mutated_inputs(folder, self.teacher, self.draw, count), 1
        ):
            try:
                status, _, errors = self.finish(program, words, folder, seconds=60)
            except TimeoutError as error:
                self.fail(f"{what}: {error}")
                continue
            self.counts[f"{what.split(':')[0]}, status {status}"] += 1
            lines = [line for line in errors.splitlines() if "error:" in line]
            if status not in (0, 1, 2) or "Traceback" in errors or (status and len(lines) != 1):
                self.fail(f"{what}: status {status}: {errors[-2000:]}")
            if number % 100 == 0:
                print(f"{number} inputs, {len(self.failures)} failures", flush=True)

    # --- A second process -------------------------------------------------------------------------

    def second(self) -> None:
        """While a run is on, nobody else can resume it; afterwards, one can."""
        program, words = self.words("cutmix")
        folder = self.folder("locked")
        child = start(program, words, folder, output=self.output)
        while the_run(folder) is None or saved_epoch(the_run(folder)) is None:
            time.sleep(0.05)
        other = self.root / "other"
        status, _, errors = finish(program, f"{words} --resume_ExpID latest", folder, output=other)
        self.counts[f"second process, status {status}"] += 1
        if status != 2 or "is in use by process" not in errors:
            self.fail(f"second process: status {status}: {errors}")
        if child.wait():
            self.fail(f"first process: {child.stderr}")
        self.compare("first process", the_run(folder), self.whole("cutmix"))


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def the_run(folder: Path) -> Path | None:
    runs = list(folder.glob("Experiments/*"))
    assert len(runs) < 2, runs
    return runs[0] if runs else None


def saved_epoch(run: Path) -> int | None:
    """The epoch of the newest whole checkpoint, read without any help."""
    for name in ("ckpt.pth", "ckpt.previous.pth"):
        with contextlib.suppress(FileNotFoundError):
            return load(run / "weights" / name)["epoch"]
    return None


def complete_metrics(run: Path, kind: str) -> list[dict]:
    try:
        return metrics(run, kind)
    except (FileNotFoundError, ValueError):
        return []


def shown(run: Path) -> list[str]:
    """The log's lines on the work itself, without stamps and clock times."""
    text = (run / "log" / "log.txt").read_text()
    lines = [STAMP.sub("", line) for line in text.splitlines()]
    return [line for line in lines if line.startswith(("Acc1 ", "Check ", "Initial stage"))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--disk_step", type=int, default=16, help="KiB")
    parser.add_argument("--only", default="kills,disk,inputs,second")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as root:
        soak = Soak(Path(root), options.seed)
        parts = options.only.split(",")
        if "second" in parts:
            soak.second()
        if "inputs" in parts:
            soak.inputs(options.inputs)
        if "disk" in parts:
            soak.file_limit()
            if os.geteuid() == 0:
                soak.full_disk(options.disk_step)
            else:
                print("full disks left out: mounting a tmpfs takes root")
        if "kills" in parts:
            soak.kills(options.kills)
    for what, number in sorted(soak.counts.items()):
        print(f"{number:6} {what}")
    print(f"{len(soak.failures)} failures in {time.monotonic() - begin:.0f} s")
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
