"""The command line of sweep.py: what is to be run, and whether to run it, print it or list it."""

import glob
import shlex
import shutil
import signal
import sys
from argparse import ArgumentTypeError, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from augment import mix_modes
from dataset import datasets
from helper.cli.parser import OptionParser, number, one_of
from helper.cli.plugins import load_plugins
from helper.errors import UserError, unknown_name
from helper.run.same import State, tail
from models import model_dict
from scripts.sweep.jobs import PAIRS, SCHEMES, TRAINER, TRIALS, Job, make_jobs
from scripts.sweep.running import FAILED, ROOT, Sweep, last_line
from scripts.sweep.states import JobRuns, is_locked, make_folder

PROGRAM = "sweep.py"


def parse(argv: Sequence[str], text: str = "") -> Namespace:
    """The options ahead of `--`. text: the script's description.

    UserError, or exit with status 2, on bad input.
    """
    description, _, details = text.partition("\n")
    parser = OptionParser(prog=PROGRAM, description=description, epilog=details)
    # fmt: off
    what = parser.section("what")
    what("--dataset", default="cifar100", type=one_of("data set", datasets), metavar="NAME",
         help="(default: cifar100)")
    what("--kind", default="train", type=one_of("kind", [*TRIALS, "both"]), metavar="KIND",
         help="train, stddev or both (default: train)")
    what("--pairs", type=names, default="all", metavar="T/S,T/S",
         help=f"teacher/student (default: all, {' '.join(PAIRS)})")
    what("--schemes", type=names, default="all", metavar="A,B", help="(default: all, "
                                                                     f"{' '.join(SCHEMES)})")
    what("--trials", type=number(int, 1), metavar="N", help="(default: 3 trainings, 1 T. stddev "
                                                            "pass)")
    what("--teachers", metavar="DIR", help="folder of MODEL_vanilla/ (default: save/models; for "
                                           "tinyimagenet "
         "save/models_tinyimagenet, or the folder whose name begins so)")
    what("--teacher_file", default="ckpt_epoch_240.pth", metavar="NAME",
         help="its name there, or a pattern, 'ckpt_epoch_*.pth': the newest (default: %(default)s)")
    how = parser.section("how")
    how("--print", action="store_true", help="only print the commands that remain, one a line, for "
                                             "xargs or a cluster")
    how("--status", "--dry_run", action="store_true", help="only list how far each job is")
    how("--jobs", type=number(int, 1), metavar="K", help="so many at a time (default: one for each "
                                                         "of --gpus, or 1)")
    how("--gpus", type=names, default=[], metavar="0,1", help="which they share, in turn (default: "
                                                              "what a job finds)")
    how("--python", metavar="FILE", help="interpreter of the jobs (default: this one; python in "
                                         "--print)")
    # fmt: on
    options = parser.parse(argv)
    check(options)
    return options


def check(options: Namespace) -> None:
    """Fill in the defaults that depend on others. UserError on bad input."""
    if options.print and options.status:
        raise UserError("--print and --status are two things: give one")
    options.pairs = PAIRS if options.pairs == ["all"] else options.pairs
    options.schemes = SCHEMES if options.schemes == ["all"] else options.schemes
    for pair in options.pairs:
        if pair.count("/") != 1:
            raise UserError(f"--pairs: {pair!r} is not teacher/student, such as {PAIRS[4]}")
        for model in pair.split("/"):
            if model not in model_dict:
                raise unknown_name("model", model, model_dict)
    for scheme in options.schemes:
        if scheme not in SCHEMES and scheme not in mix_modes:
            raise unknown_name("scheme", scheme, [*SCHEMES, *mix_modes])
    if options.python and not shutil.which(options.python):
        raise UserError(f"--python: {options.python} is not a program")
    options.teachers = (options.teachers or default_teachers(options.dataset)).rstrip("/")


def names(text: str) -> list[str]:
    """An argparse type: "a,b" -> ["a", "b"], each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ArgumentTypeError(f"{text!r}: expected names joined by commas")
    return list(dict.fromkeys(parts))


def default_teachers(dataset: str) -> str:
    """The folder of public teachers; those of Tiny ImageNet lie apart from those of CIFAR-100."""
    if dataset != "tinyimagenet":
        return "./save/models"
    found = sorted(glob.glob("./save/models_tinyimagenet*"))
    return found[0] if found else "./save/models_tinyimagenet"


def print_commands(jobs: Sequence[Job], python: str) -> None:
    """Print the commands still to start, for a shell; those that cannot start go to stderr."""
    trainer = TRAINER if Path.cwd() == ROOT else str(ROOT / TRAINER)
    runs = JobRuns()
    for job, state in states_of(jobs, runs):
        if state.name in ("to do", "interrupted"):
            print(shlex.join(job.command(python, trainer, runs.student(job))))
        elif state.name != "done":
            print(f"# {job}: {state.name}, {state.note}", file=sys.stderr)


def print_status(jobs: Sequence[Job]) -> None:
    """A line for each job, then the numbers."""
    counts = Counter()
    for job, state in states_of(jobs, JobRuns()):
        name, note = state.name, state.note or str(state.run or "")
        if name in ("to do", "interrupted") and tail(job.file(".log"))[-1:] == [FAILED]:
            name, note = "failed", last_line(job)
        counts[name] += 1
        print(f"{name:12} {job}{f': {note}' if note else ''}")
    print(", ".join(f"{count} {name}" for name, count in counts.items()))


def states_of(jobs: Sequence[Job], runs: JobRuns) -> Iterator[tuple[Job, State]]:
    """Show the state of each job without touching anything."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # | head
    for job in jobs:
        yield job, State("running", note="by a sweep") if is_locked(job) else runs.state_of(job)


def main(argv: Sequence[str], text: str = "") -> int:
    """Returns the exit status."""
    load_plugins(argv)  # those of the jobs, too: a --plugin after -- goes to every command
    split = argv.index("--") if "--" in argv else len(argv)
    options = parse(argv[:split], text)
    jobs = make_jobs(options, argv[split + 1 :])
    if options.print:
        print_commands(jobs, options.python or "python")
        return 0
    if options.status:
        print_status(jobs)
        return 0
    make_folder()
    slots = options.jobs or len(options.gpus) or 1
    return Sweep(jobs, slots, gpus=options.gpus, python=options.python).run()
