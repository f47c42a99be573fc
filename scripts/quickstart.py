#!/usr/bin/env python3
"""The whole story, small: a teacher, a ranking from it alone, students, and how well it did.

    python scripts/quickstart.py [synthetic|cifar100]

Everything lands in quickstart_results/<data set>/. Finished runs are kept, so it can be interrupted
and called again. Small networks cannot use many cores: one run per core is faster than one run on
all of them.
"""

import itertools
import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helper.cli.parser import OptionParser, number, one_of
from helper.errors import RunFault, one_line_errors
from helper.run.atomic import write_result
from helper.run.same import tail
from scripts import plot_correlation, report
from scripts.rank.schemes import PUBLISHED, canonical
from scripts.results.correlation import Point, correlations, p_text
from scripts.results.groups import load
from scripts.results.tables import FORMATS, csv_text
from scripts.sweep.jobs import SCHEMES as PAPER_SCHEMES
from scripts.sweep.jobs import Job, make_jobs
from scripts.sweep.running import ROOT, Sweep
from scripts.sweep.states import make_folder

PROGRAM = "quickstart.py"
STUDENT = "resnet8"
SCHEMES = [name for name in PAPER_SCHEMES if name != "cutmix_pick_student_entropy"]
"""The paper's that need no trained student."""
TRAPS = ("noise:sigma=1", "grey")
"""Views that say nothing: T. stddev alone would choose one of them."""


@dataclass(frozen=True)
class Scale:
    """The size of every part: two CPU cores need 10 minutes, slow ones 15."""

    data: str
    teacher: str
    teacher_epochs: int
    student_epochs: int
    trials: int
    """Students of each scheme."""
    rank_images: int
    """The most images that the ranking reads."""
    caveat: str
    """The limits of the result, in words."""


SCALES = {
    "synthetic": Scale(
        data="--dataset synthetic --num_classes 10 --img_size 16"
        " --limit_train 1500 --limit_test 1000",
        teacher="wrn_16_1",
        teacher_epochs=60,
        student_epochs=20,
        trials=2,
        rank_images=12000,
        caveat="Two short runs for each augmentation are a noisy picture; the paper's runs take "
        "240 epochs.",
    ),
    "cifar100": Scale(
        data="--dataset cifar100 --limit_train 3000 --limit_test 1000",
        teacher="resnet14",
        teacher_epochs=8,
        student_epochs=4,
        trials=1,
        rank_images=6000,
        caveat="With 3,000 images and 4 epochs no student has learnt enough for the effect to "
        "show: this run proves that everything works on the real data; the paper's runs take "
        "50,000 images and 240 epochs.",
    ),
}


def say(text: str) -> None:
    print(text, flush=True)


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count > 1)}"


def rate_steps(epochs: int) -> list[str]:
    """The epochs where the learning rate falls: 5/8, 6/8 and 7/8, as in the paper."""
    return ["--lr_decay_epochs", ",".join(str(epochs * eighths // 8) for eighths in (5, 6, 7))]


def train_teacher(scale: Scale, data: Sequence[str]) -> None:
    """Train the teacher, if it is not trained yet. RunFault if that fails."""
    epochs = scale.teacher_epochs
    words = [*data, *f"--seed 1 --model {scale.teacher} --epochs {epochs}".split()]
    words += rate_steps(epochs)
    command = [sys.executable, str(ROOT / "train_teacher.py"), *words, "--resume_ExpID", "same"]
    with open("teacher.log", "a") as log:
        status = subprocess.run(command, stdout=log, stderr=log).returncode
    if status:
        last = (tail(Path("teacher.log")) or ["no output"])[-1]
        raise RunFault(
            f"train_teacher.py failed: {last} (all of it: {Path('teacher.log').absolute()})"
        )


def teacher_file(scale: Scale) -> str:
    return f"ckpt_epoch_{scale.teacher_epochs}.pth"


def ranking_words(scale: Scale, data: Sequence[str]) -> list[str]:
    """The command line of the ranking, with two empty views."""
    path = f"save/models/{scale.teacher}_vanilla/{teacher_file(scale)}"
    limits = ["--until", "order", "--budget", str(scale.rank_images)]
    files = ["-o", "ranking.csv", "--json", "ranking.json"]
    return [*PUBLISHED, *TRAPS, "--path_t", path, *data, "--seed", "1", *limits, *files]


def rank(scale: Scale, data: Sequence[str]) -> dict[str, Any]:
    """The ranking from the teacher alone, as its JSON file has it. RunFault if it fails."""
    script = str(ROOT / "scripts/rank_augmentations.py")
    if subprocess.run([sys.executable, script, *ranking_words(scale, data)]).returncode:
        raise RunFault("the ranking failed")
    return json.loads(Path("ranking.json").read_text(encoding="utf-8"))


def trap_of(ranking: dict[str, Any]) -> str | None:
    """The scheme that T. stddev alone would choose, if the guard rejects it."""
    rows = [row for row in ranking["schemes"] if row["t_stddev"] is not None]
    lowest = min(rows, key=lambda row: row["t_stddev"])
    return lowest["scheme"] if lowest["verdict"] == "no signal" else None


def jobs_of(scale: Scale, data: Sequence[str], trap: str | None) -> list[Job]:
    """Trainings under each scheme, and one under the trap."""
    options = Namespace(
        dataset=data[1], pairs=[f"{scale.teacher}/{STUDENT}"], teachers="save/models", kind="train",
        teacher_file=teacher_file(scale), print=False, status=False,
    )  # fmt: skip
    words = [*data, "--epochs", str(scale.student_epochs), *rate_steps(scale.student_epochs)]
    jobs = []
    for options.schemes, options.trials in ((SCHEMES, scale.trials), ([trap] if trap else [], 1)):
        jobs += make_jobs(options, words)
    return jobs


def how_well(ranking: dict[str, Any], losses: dict[str, float]) -> list[str]:
    """Lines that compare the ranking with the students. losses: S. test loss by scheme.

    By places, not by T. stddev: its order within a tie is chance, as the ranking says.
    """
    ranked = [row for row in ranking["schemes"] if row["group"] and row["scheme"] in losses]
    points = [Point(row["scheme"], row["group"], losses[row["scheme"]]) for row in ranked]
    lines = []
    if found := correlations(points).get("spearman"):
        agree = f"Spearman {found['r']:.2f}, {p_text(found['p'], 2)}, over {len(points)} schemes"
        lines.append(f"places in the ranking against S. test loss: {agree}")
    apart = [
        losses[a["scheme"]] < losses[b["scheme"]]
        for a, b in itertools.combinations(ranked, 2)
        if a["group"] < b["group"]
    ]
    if apart:
        lines.append(
            f"pairs that the ranking tells apart: {len(apart)}; the students have {sum(apart)} of "
            "them in the same order"
        )
    if points:
        first, order = points[0], sorted(point.s_test_loss for point in points)
        place = f"number {order.index(first.s_test_loss) + 1} of {len(points)} by its students"
        lines.append(f"the ranking's first, {first.augmentation}, is {place}")
    if (trap := trap_of(ranking)) in losses:
        lines.append(
            f"{trap}, which T. stddev alone would have chosen: S. test loss {losses[trap]:.3f}, "
            f"with identity {losses['identity']:.3f}"
        )
    return lines


def show(ranking: dict[str, Any]) -> None:
    """Table, plot and page; then, in words, how well the ranking did."""
    results = load([Path("Experiments")])
    results.add_ranking(ranking)
    print(FORMATS["table"](results))
    write_result(Path("results.csv"), csv_text(results))
    plot_correlation.main(["results.csv", "-o", "results.png"])
    report.main(["Experiments", "--ranking", "ranking.json", "-o", "report.html"])
    means = {canonical(row.key.augmentation): row.mean("s_test_loss") for row in results.rows}
    losses = {scheme: loss for scheme, loss in means.items() if loss is not None}
    say("\n" + "\n".join(how_well(ranking, losses)))


def closing(folder: Path, scale: Scale) -> str:
    """Where to look, and what it does not show."""
    return (
        f"\nLower T. stddev should go with lower S. test loss: look at {folder}/results.png\n"
        f"{scale.caveat}\n"
        f"All of it on one page: {folder}/report.html\n"
        f"Every run's log, numbers and curves: {folder}/Experiments\n"
        f"  tensorboard --logdir {folder}/Experiments\n"
        "Next: scripts/rank/README.md, the paper's commands in README.md, and python "
        "train_student.py --help"
    )


def main(argv: Sequence[str]) -> int:
    """Returns the exit status."""
    description, _, details = (__doc__ or "").partition("\n")
    parser = OptionParser(prog=PROGRAM, description=description, epilog=details)
    cores = min(os.cpu_count() or 1, 6)
    add = parser.section("what")
    # fmt: off
    add("dataset", nargs="?", default="synthetic", type=one_of("data set", SCALES),
        help="synthetic (default) or cifar100")
    add("--data_root", type=Path, default=ROOT / "data", metavar="DIR",
        help="where CIFAR-100 is or shall be")
    add("--jobs", type=number(int, 1), default=cores, metavar="K",
        help="runs at a time (default: one per core, at most 6)")
    # fmt: on
    options = parser.parse(argv)
    scale = SCALES[options.dataset]
    data = [*scale.data.split(), "--data_root", str(options.data_root.resolve())]
    folder = ROOT / "quickstart_results" / options.dataset
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)

    say(
        f"1/4 the teacher: {scale.teacher} on {options.dataset}, {scale.teacher_epochs} epochs,"
        f" some minutes ({folder}/teacher.log shows how far)"
    )
    train_teacher(scale, data)
    say("2/4 which augmentation will distil best, from the teacher alone")
    ranking = rank(scale, data)
    students = plural(scale.trials, f"{STUDENT} student")
    say(f"3/4 was it right? For each scheme {students} of {scale.student_epochs} epochs")
    make_folder()
    status = Sweep(jobs_of(scale, data, trap_of(ranking)), options.jobs).run()
    if status:
        return status
    say("4/4 the table, the plot and the page")
    show(ranking)
    say(closing(folder, scale))
    return 0


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        sys.exit(main(sys.argv[1:]))
