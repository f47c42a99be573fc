"""The end of slurm_trial.sh: the runs that Slurm interrupted, beside those that nothing did."""

import json
import re
import sys
from pathlib import Path

from command_line import STAMP, identical, load, metrics, without_clock


def runs(place: Path) -> dict[str, Path]:
    """Run folders by what they do. Fails if two do the same: a run that was not resumed."""
    found = {}
    for head in sorted(place.glob("Experiments/*/log/args.json")):
        options = json.loads(head.read_text())
        name = f"{'measure' if options['fix_student'] else 'train'} {options['mix_mode']}"
        assert name not in found, f"{name} has two run folders"
        found[name] = head.parent.parent
    return found


def shown(run: Path) -> list[str]:
    """The results in log.txt, without the clock and what resuming adds."""
    lines = [STAMP.sub("", line) for line in (run / "log" / "log.txt").read_text().splitlines()]
    lines = [line for line in lines if line.startswith(("Acc1 ", "Check T prob: ", "Summary: "))]
    return [re.sub(r", [\d.]+ s\)$", ")", line) for line in lines]


def main(whole: Path, interrupted: Path) -> int:
    wanted, got = runs(whole), runs(interrupted)
    assert wanted.keys() == got.keys() and len(got) == 6, (sorted(wanted), sorted(got))
    failures = 0
    for name, run in got.items():
        pair, log = (run, wanted[name]), (run / "log" / "log.txt").read_text()
        stops, starts = log.count("] interrupted in "), log.count("] resumed: ")
        epochs = [entry["epoch"] for entry in metrics(run, "epoch")]
        entries = ([e for e in without_clock(metrics(r)) if e["kind"] != "job"] for r in pair)
        checks = {
            "weights": identical(*(load(r / "weights" / "ckpt.pth") for r in pair)),
            "metrics": identical(*entries),
            "log": shown(run) == shown(wanted[name]),
            "a line twice": len(set(shown(run))) == len(shown(run)) > 0,
            "epochs": epochs == list(range(1, len(epochs) + 1)),
            "never resumed": starts > 0,
        }
        bad = [what for what, is_good in checks.items() if not is_good]
        failures += bool(bad)
        verdict = (
            f"NOT SO: {', '.join(bad)}"
            if bad
            else "weights, metrics, log as without Slurm, bit for bit"
        )
        print(
            f"{name:15} saved itself {stops} times, resumed {starts} times; "
            f"{len(shown(run))} results, each once; {verdict}"
        )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
