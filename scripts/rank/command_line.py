"""The flags of rank_augmentations.py."""

import os
import tempfile
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dataset import datasets
from helper.cli.flags import student_parser
from helper.cli.options import parse_student
from helper.cli.parser import OptionParser, Options, number, one_of
from helper.cli.plugins import load_plugins
from helper.errors import UserError, reason_of
from helper.step.guard import Guard
from helper.step.view_stats import MEASURES
from models import model_dict
from scripts.rank.schemes import canonical
from scripts.rank.space import read_space

PROGRAM = "rank_augmentations.py"
SAME_AS_TRAINING = (
    "dataset", "data_root", "batch_size", "use_DA", "no_DA", "cache_dir", "limit_train",
    "limit_test", "num_classes", "img_size", "mean", "std", "images", "dev_split", "num_workers",
    "device", "seed", "amp", "precision", "mix_draw", "path_t", "model_t", "kd_T",
)  # fmt: skip
"""Flags that are handed on as they are: `train_student.py --help` explains them."""
DEFAULT_BUDGET = 50_000
LONGEST_NAME = 200
"""Bytes of a file's name: most file systems have 255, and files beside it have longer names."""
ENDINGS = {"output": (".csv",), "json": (".json",), "figure": (".png", ".svg", ".pdf")}

DESCRIPTION = """\
Ranks augmentations from the teacher alone: the lower T. stddev, the better a student is to be.
A SCHEME is what --mix_mode takes: cutmix, cutout:size=16, autoaugment+cutmix. Without one: the
paper's, and a dozen others. A guard leaves out views that say nothing: their T. stddev is lowest.
While it is not proven, schemes beyond the paper's are shown apart and not ranked.
Give several SCHEMEs side by side, before or after the options."""
EXAMPLES = """\
examples:
  python scripts/rank_augmentations.py --path_t save/models/wrn_16_2_vanilla/ckpt_epoch_240.pth
  python scripts/rank_augmentations.py cutmix mixup cutout:size=16 --path_t FILE --until order
  python scripts/rank_augmentations.py --path_t FILE --search quick --validate kd:resnet8
scripts/rank/README.md says how to read the table."""


# One flag, two lines: a table to read, so the formatter stays out.
# fmt: off
def parser() -> OptionParser:
    made = OptionParser(
        has_short_help=True,
        prog=PROGRAM,
        usage=f"python scripts/{PROGRAM} --path_t FILE [SCHEME ...] [options]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    made.add_argument("schemes", nargs="*", metavar="SCHEME",
                      help="chains of stages, as --mix_mode takes them")
    for add in (add_networks, add_race, add_guard, add_search, add_output, add_training):
        add(made)
    return made


def add_networks(made: OptionParser) -> None:
    networks = made.section("networks and plugins")
    networks("--path_t", required=True, metavar="FILE", help="teacher checkpoint")
    networks("--model_t", type=one_of("model", model_dict), metavar="NAME",
             help="the teacher's model, where its folder does not say it")
    networks("--path_s", default="", metavar="FILE",
             help="a trained student, for picks that ask one; adds cutmix_pick by student_entropy "
                  "to the default schemes")
    networks("--model_s", type=one_of("model", model_dict), metavar="NAME",
             help="the student's model, where its checkpoint does not say it")
    networks("--plugin", action="append", default=[], metavar="FILE.py",
             help="your own mix modes, picks, models and data sets; may be given several times")


def add_race(made: OptionParser) -> None:
    race = made.section("when to stop")
    questions = one_of("question", ["best", "order", "budget"])
    race("--until", default="best", type=questions, metavar="WHAT",
         help="best: the best is known; order: every place is; budget: measure all to the end "
              "(default: best)")
    race("--confidence", default=0.95, type=number(above=True, below=1), metavar="C",
         help="of the answer as a whole, and of each interval shown (default: 0.95)")
    race("--budget", type=number(int, 1), metavar="N",
         help="training images at the most, each once for the teacher and once for each scheme "
              f"(default: {DEFAULT_BUDGET}, or what the --search space says)")
    race("--minutes", type=number(above=True), metavar="M",
         help="stop after so many minutes (default: no limit)")


def add_guard(made: OptionParser) -> None:
    guard = made.section("guard", Guard().describe())
    usual = ",".join(f"{name}={least:g}" for name, least in Guard().floors.items())
    guard("--guard", default=dict(Guard().floors), type=floors, metavar="MEASURE=G,MEASURE=G",
          help=f"a view that has less of any of these says nothing; of {', '.join(MEASURES)} "
               f"(default: {usual})")
    guard("--trust_guard", action="store_true",
          help="rank schemes beyond the paper's too, though the guard is not proven: they are "
               "unproven otherwise")


def add_search(made: OptionParser) -> None:
    search = made.section("search")
    search("--search", default="", metavar="SPACE",
           help="look for the best of a space: quick, standard, wide, or a .toml file "
                "(scripts/rank/README.md)")
    search("--validate", default="", metavar="METHOD:MODEL",
           help="train students under the winner, identity, cutmix and cutmix_pick, such as "
                "kd:resnet8")
    search("--seeds", default=3, type=number(int, 1), metavar="N",
           help="--validate: students of each (default: 3)")
    search("--validate_flags", default="", metavar="FLAGS",
           help="--validate: further flags of train_student.py, such as '--epochs 30 "
                "--lr_decay_epochs 18,22,26'")


def add_output(made: OptionParser) -> None:
    output = made.section("output")
    output("-o", "--output", default="", metavar="FILE.csv",
           help="the table; FILE.png and FILE.state go beside it (default: "
                "ranking_TEACHER_DATASET.csv)")
    output("--json", default="", metavar="FILE.json", help="the same as JSON")
    output("--figure", default="", metavar="FILE", help="where the figure goes: .png, .svg or .pdf")


def add_training(made: OptionParser) -> None:
    same = made.section("as train_student.py has them")
    same("--dataset", default="cifar100", type=one_of("data set", datasets), metavar="NAME",
         help=f"one of {', '.join(datasets)} (default: cifar100)")
    same("--mix_draw", default="batch", type=one_of("draw", ["batch", "sample"]), metavar="HOW",
         help="one random draw a batch or one an image: measure as you will train (default: batch)")
    same("--seed", default=1, type=number(int), metavar="N", help="(default: 1)")
    same("--batch_size", default=64, type=number(int, 2), metavar="N", help="(default: 64)")
    same("--amp", action="store_true", help="networks in bfloat16 autocast")
    there = {action.dest: action for action in student_parser()._actions}
    for name in SAME_AS_TRAINING:
        if f"--{name}" not in made.flags:
            is_switch = there[name].nargs == 0
            kind = {"action": "store_true"} if is_switch else {"metavar": there[name].metavar}
            same(f"--{name}", **kind, help=there[name].help)
# fmt: on


def parse(argv: Sequence[str]) -> Options:
    """UserError, or exit status 2, on bad input."""
    load_plugins(argv)
    options = parser().parse(argv)
    for flag, endings in ENDINGS.items():
        if path := getattr(options, flag):
            check_file(flag, Path(path), endings)
    if options.validate_flags and not options.validate:
        raise UserError("--validate_flags are for the students of --validate METHOD:MODEL")
    if options.search and options.until != "best":
        raise UserError(f"--search looks for the best: leave out --until {options.until}")
    if options.search and options.schemes:
        raise UserError("--search has its own schemes: leave out the SCHEMEs, or --search")
    # What is misspelled is told before a network is loaded or data are downloaded.
    if options.search:
        read_space(options.search)
    for scheme in options.schemes:
        canonical(scheme)
    return options


def check_file(flag: str, path: Path, endings: Sequence[str]) -> None:
    """UserError unless it can be written. An ending of its own keeps one file from replacing
    another."""
    if path.suffix not in endings:
        raise UserError(f"--{flag} {path}: its name has to end in {' or '.join(endings)}")
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise UserError(f"--{flag} {path.name[:20]}...: longer than {LONGEST_NAME} bytes")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise UserError(f"--{flag} {path}: there is no folder {folder}")
    if path.is_dir():
        raise UserError(f"--{flag} {path} is a folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"--{flag} {path}: cannot write to {folder}: {reason_of(error)}") from None


def training_words(options: Options) -> list[str]:
    """The command line, without --mix_mode, of the T. stddev pass that sees the same."""
    words = ["--fix_student", "--utils.check_ce_var", "--lw_mix=1,0,1", *handed_on(options)]
    if options.path_s:
        words.append(f"--finetune_student={options.path_s}")
    return words + ([f"--model_s={options.model_s}"] if options.model_s else [])


def student_words(options: Options, scheme: str, method: str, model: str) -> list[str]:
    """The command line that distils under `scheme` on what the ranking saw, but for the seed."""
    words = [*handed_on(options, but=("seed",)), "--model_s", model, "--distill", method]
    if method == "kd":
        words += "-r 0.1 -a 0.9 -b 0".split()
    words += "--t_output_as_target_for_input_mix --lw_mix [1,0,1]".split()
    return [*words, "--mix_mode", scheme]


def handed_on(options: Options, but: Sequence[str] = ()) -> list[str]:
    """The flags that this command shares with the trainings, where they are not the default."""
    words = [word for path in options.plugin for word in ("--plugin", path)]
    defaults = vars(parse_student([]))
    for name in SAME_AS_TRAINING:
        value = getattr(options, name)
        is_default = value == defaults[name] and name != "seed"  # which is drawn at random
        if name in but or is_default or value in (None, "", False):
            continue
        words.append(f"--{name}" if value is True else f"--{name}={value}")
    return words


def floors(text: str) -> dict[str, float]:
    """An argparse type: measure -> its least value, from "balance=0.88,information_share=0.1"."""
    found: dict[str, float] = {}
    for word in text.split(","):
        name, equals, value = word.partition("=")
        if not equals:
            raise ArgumentTypeError(f"{word!r} is not MEASURE=G, such as balance=0.88")
        one_of("guard", MEASURES)(name)
        if name in found:
            raise ArgumentTypeError(f"{name} is given twice")
        found[name] = number()(value)
    return found


def guard_of(options: Options) -> Guard:
    """Schemes beyond the paper's have places by a proven guard, or if the user asks for it.

    A search asks for it: all that it looks at lies beyond.
    """
    guard = Guard(options.guard)
    return replace(guard, is_trusted=guard.is_proven or options.trust_guard or bool(options.search))
