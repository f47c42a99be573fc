"""The authors' settings of a method on CIFAR-100, as distill_cifar100.sh uses them.

    python scripts/recipe.py wrn_40_2 wrn_16_2 dkd crd+kd   # a line each: method, flags, values

Everything is from the registry: weights and constants from `published`, rate, epochs, batch and
view from `recipe`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helper.errors import one_line_errors
from dataset import DataRequest, datasets
from distiller_zoo import Distiller, FeatureDistiller, Setting, distillers, parse_methods
from distiller_zoo.base import published_for
from models import model_dict

PROGRAM = "recipe.py"
FIRST = ["gamma", "alpha", "beta", "learning_rate", "epochs", "batch_size"]
"""Flags that every line has, in this order; what the methods add follows."""


def recipe(text: str, setting: Setting) -> dict[str, object]:
    """Flag -> value for the methods that `text` names, as --distill does.

    UserError for an unknown one.
    """
    given = parse_methods(text)
    classes = {name: distillers[name] for name in given}
    flags: dict[str, object] = {
        "gamma": min(method.default_gamma for method in classes.values()),
        "alpha": 0,
        "beta": 0,
        "learning_rate": datasets[setting.dataset]
        .spec(DataRequest())
        .learning_rate(setting.student),
        "epochs": 240,
        "batch_size": 64,
    }
    for flag, of_kind in (
        ("alpha", [name for name in classes if not issubclass(classes[name], FeatureDistiller)]),
        ("beta", [name for name in classes if issubclass(classes[name], FeatureDistiller)]),
    ):
        without_key = [name for name in of_kind if "weight" not in given[name]]
        if without_key:
            flags[flag] = ",".join(f"{weight_of(classes[name], setting):g}" for name in without_key)
        elif of_kind:
            del flags[flag]
    for method in classes.values():
        flags |= published_for(method.recipe, setting)
    if "kd" in classes and len(classes) > 1:
        flags["gamma"] = 1
        if (
            flags.get("alpha") == "0.9"
        ):  # CRD's commands add KD to a method of features with weight 1
            flags["alpha"] = 1
    return flags


def weight_of(method: type[Distiller], setting: Setting) -> float:
    return float(published_for(method.published, setting).get("weight", method.default_weight))


def words(flags: dict[str, object]) -> list[str]:
    """The flags as a command line has them; True is a flag without a value."""
    short = {"gamma": "-r", "alpha": "-a", "beta": "-b"}
    found = []
    for name in sorted(flags, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST)):
        value = flags[name]
        found.append(short.get(name, f"--{name}"))
        if value is not True:
            found.append(f"{value:g}" if isinstance(value, float) else str(value))
    return found


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("teacher", metavar="TEACHER")
    parser.add_argument("student", metavar="STUDENT")
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="as --distill (default: all)")
    options = parser.parse_args(argv)
    for name in (options.teacher, options.student):
        model_dict[name]
    setting = Setting(pair=f"{options.teacher}/{options.student}")
    for method in options.methods or [*distillers, "kd+crd"]:
        print(method, *words(recipe(method, setting)))


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        main(sys.argv[1:])
