#!/usr/bin/env python3
"""The results of many runs in one table: T. stddev, S. test loss and S. top-1 of each DA scheme.

    python scripts/collect_results.py Experiments
    python scripts/collect_results.py Experiments -o table.md        (.tex, .csv, .json, or --format)

Reads run folders, folders that hold them, and log.txt files, of this system and of the original alike. Pairs
distillations with T. stddev passes by data set, teacher, student, method and scheme, and prints mean and standard
deviation over the trials beside the published values. Unfinished runs and damaged logs are named, not counted.
The S. values are those of the last epoch, as published.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.results.tables import FORMATS, SUFFIXES, csv_text
from scripts.results.groups import load, run_script, say, write_file

PROGRAM = "collect_results.py"


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="run folders, folders of them, log files",
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="(default: what FILE's name says, else table)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write there instead of the terminal"
    )
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="write CSV there too, for plot_correlation.py"
    )
    options = parser.parse_args(argv)

    results = load(options.paths)
    suffix = options.output.suffix.lower() if options.output else ""
    text = FORMATS[options.format or SUFFIXES.get(suffix, "table")](results)
    if options.output is None:
        print(text, end="")
    else:
        write_file(options.output, text)
    say(results.remarks())
    if options.csv is not None:
        write_file(options.csv, csv_text(results))


if __name__ == "__main__":
    run_script(PROGRAM, main)
