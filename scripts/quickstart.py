#!/usr/bin/env python3
"""The whole story on a small scale: a teacher, nine students, nine T. stddev passes, a table and a plot.

    python scripts/quickstart.py [synthetic|cifar100]

Everything lands in quickstart_results/<data set>/. Finished runs are kept, so it can be interrupted and called
again. Small networks cannot use many cores: one run per core is faster than one run on all of them.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STUDENT = "resnet8"
PICK = "--mix_mode cutmix_pick --mix_n_run 2 --cutmix_pick_criterion"
SCHEMES = {
    mode: f"--mix_mode {mode}"
    for mode in ("identity", "flip", "crop+flip", "cutout", "autoaugment", "mixup", "cutmix")
} | {
    f"cutmix_pick_{criterion}": f"{PICK} {criterion}"
    for criterion in ("student_entropy", "teacher_entropy")
}
EPOCH = re.compile(r"Acc1 (\S+) Acc5 \S+ TestLoss (\S+) Epoch (\d+) ")
GROUP = re.compile(r"Check T prob: .* Epoch (\d+) Step .* MeanStd (\S+)")


@dataclass(frozen=True)
class Scale:
    """How much of everything. Chosen so that two CPU cores need well under ten minutes."""

    data: str
    teacher: str
    teacher_epochs: int
    student_epochs: int
    measure_epochs: int


SCALES = {
    "synthetic": Scale(
        data="--dataset synthetic --num_classes 10 --img_size 16 --limit_train 1500 --limit_test 1000",
        teacher="wrn_16_1",
        teacher_epochs=60,
        student_epochs=24,
        measure_epochs=6,
    ),
    "cifar100": Scale(
        data="--dataset cifar100 --limit_train 3000 --limit_test 1000",
        teacher="resnet14",
        teacher_epochs=8,
        student_epochs=4,
        measure_epochs=2,
    ),
}


CAVEATS = {
    "synthetic": "One short run for each augmentation is a noisy picture, and autoaugment, far out for this teacher, "
    "weighs much in the correlation; the paper's runs take 240 epochs.",
    "cifar100": "With 3,000 images and 4 epochs no student has learnt enough for the effect to show: this run proves "
    "that everything works on the real data; the paper's runs take 50,000 images and 240 epochs.",
}
"""What the result does not show."""


class RunFailed(Exception):
    """A run ended with an error; the message says where to look."""


class Quickstart:
    """The runs, their logs and the clock."""

    def __init__(self, name: str, folder: Path, data_root: Path) -> None:
        self.scale, self.folder = SCALES[name], folder
        self.data = [*f"{self.scale.data} --seed 1 --data_root".split(), str(data_root)]
        self.start = time.monotonic()
        self.running: dict[str, Path] = {}
        """Name and log of the runs under way."""
        (folder / "logs").mkdir(parents=True, exist_ok=True)

    def say(self, text: str) -> None:
        seconds = int(time.monotonic() - self.start)
        print(f"[{seconds // 60:2d}:{seconds % 60:02d}] {text}", flush=True)

    def run(self, name: str, script: str, flags: Sequence[str], threads: int | None = None) -> Path:
        """One run, unless it is finished. Returns its log. Raises RunFailed."""
        log, done = self.folder / "logs" / f"{name}.log", self.folder / "logs" / f"{name}.done"
        environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
        command = [sys.executable, str(ROOT / script), "--project_name", name, *self.data, *flags]
        if done.exists() and done.read_text() == shlex.join(command):
            return log
        self.running[name] = log
        with open(log, "w") as output:
            code = subprocess.run(
                command, cwd=self.folder, env=environment, stdout=output, stderr=subprocess.STDOUT
            ).returncode
        del self.running[name]
        if code:
            last = (log.read_text().strip().splitlines() or ["no output"])[-1]
            raise RunFailed(f"{script} failed for {name}: {last} (all of it: {log})")
        done.write_text(shlex.join(command))
        return log

    def schedule(self, epochs: int) -> list[str]:
        """Epochs and rate steps in the paper's proportions: at 5/8, 6/8 and 7/8."""
        decays = ",".join(str(epochs * eighths // 8) for eighths in (5, 6, 7))
        return ["--epochs", str(epochs), "--lr_decay_epochs", decays]

    def teacher(self) -> str:
        """Train the teacher. Returns its checkpoint, relative to the folder."""
        scale = self.scale
        flags = ["--model", scale.teacher, *self.schedule(scale.teacher_epochs)]
        log = self.run("teacher", "train_teacher.py", flags)
        accuracy = EPOCH.findall(log.read_text())[-1][0]
        self.say(f"teacher {scale.teacher}: {float(accuracy):.1f} % of the test images right")
        return f"save/models/{scale.teacher}_vanilla/ckpt_epoch_{scale.teacher_epochs}.pth"

    def scheme(self, name: str, path_t: str) -> None:
        """Distil a student under one scheme, then measure the scheme."""
        flags = (
            f"--path_t {path_t} --distill kd --model_s {STUDENT} -r 0.1 -a 0.9 -b 0 "
            f"--t_output_as_target_for_input_mix --lw_mix [1,0,1] {SCHEMES[name]}"
        ).split()
        distilled = self.run(
            f"student_{name}",
            "train_student.py",
            flags + self.schedule(self.scale.student_epochs),
            1,
        )
        run_folder = re.findall(r"done, see (\S+)", distilled.read_text())[-1]
        passes = f"--learning_rate 0 --fix_student --utils.ON --utils.check_ce_var --epochs {self.scale.measure_epochs}"
        student = ["--finetune_student", f"{run_folder}/weights/ckpt.pth"]
        measured = self.run(
            f"t_stddev_{name}", "train_student.py", flags + passes.split() + student, 1
        )
        accuracy, loss, _ = EPOCH.findall(distilled.read_text())[-1]
        stddev = GROUP.findall(measured.read_text())[-1][1]
        self.say(
            f"{name:<28} T. stddev {stddev}   S. test loss {float(loss):.4f}   S. top-1 {float(accuracy):.1f} %"
        )

    def progress(self) -> str:
        """Where the runs under way are."""
        parts = []
        for name, log in sorted(self.running.items()):
            text = log.read_text(errors="replace") if log.exists() else ""
            epochs = [match[2] for match in EPOCH.findall(text)] or [
                m[0] for m in GROUP.findall(text)
            ]
            parts.append(f"{name}, epoch {epochs[-1]}" if epochs else f"{name}, starting")
        return "; ".join(parts)

    def in_parallel(self, jobs: Sequence, workers: int) -> None:
        """Call each job; say every 20 seconds how far they are; stop at the first that fails."""
        with ThreadPoolExecutor(workers) as pool:
            pending = {pool.submit(job) for job in jobs}
            try:
                while pending:
                    done, pending = wait(pending, timeout=20, return_when=FIRST_EXCEPTION)
                    for future in done:
                        future.result()
                    if pending:
                        self.say(f"    ... {self.progress()}")
            except (RunFailed, KeyboardInterrupt):
                pool.shutdown(cancel_futures=True)
                raise


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", nargs="?", default="synthetic", choices=SCALES)
    parser.add_argument(
        "--data_root", type=Path, default=ROOT / "data", help="where CIFAR-100 is or shall be"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=min(os.cpu_count() or 1, 6),
        help="runs at a time (default: one per core, at most 6)",
    )
    options = parser.parse_args()
    folder = ROOT / "quickstart_results" / options.dataset
    quickstart = Quickstart(options.dataset, folder, options.data_root.resolve())
    scale = quickstart.scale
    try:
        quickstart.say(
            f"1/3 the teacher: {scale.teacher} on {options.dataset}, {scale.teacher_epochs} epochs"
        )
        path_t: list[str] = []
        quickstart.in_parallel([lambda: path_t.append(quickstart.teacher())], 1)
        quickstart.say(
            f"2/3 nine augmentations: a {STUDENT} student of {scale.student_epochs} epochs and T. stddev for each"
        )
        quickstart.in_parallel(
            [lambda name=name: quickstart.scheme(name, path_t[0]) for name in SCHEMES],
            max(1, options.jobs),
        )
        quickstart.say("3/3 the table and the plot")
    except RunFailed as error:
        sys.exit(f"quickstart: error: {error}")
    scripts = [sys.executable, str(ROOT / "scripts")]
    table, plot = folder / "results.csv", folder / "results.png"
    subprocess.run(
        [
            scripts[0],
            f"{scripts[1]}/collect_results.py",
            str(folder / "Experiments"),
            "--csv",
            str(table),
        ],
        check=True,
    )
    subprocess.run(
        [scripts[0], f"{scripts[1]}/plot_correlation.py", str(table), "-o", str(plot)], check=True
    )
    quickstart.say("done")
    print(
        f"\nLower T. stddev should go with lower S. test loss: look at {plot}\n"
        f"{CAVEATS[options.dataset]}\n"
        f"Every run's log, numbers and curves: {folder}/Experiments\n"
        f"  tensorboard --logdir {folder}/Experiments\n"
        f"Next: the paper's commands in README.md, and python train_student.py --help"
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # the runs, on the same terminal, have got it too
        sys.exit("\nquickstart: interrupted; the same command goes on with what is not finished")
