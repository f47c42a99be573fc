#!/usr/bin/env python3
"""Results of trainings and T. stddev passes over trials, beside the published values.

    python scripts/collect_results.py Experiments
    python scripts/collect_results.py Experiments -o table.md   # .tex, .csv, .json, or --format

Reads run folders, folders that hold them, and log.txt files, of this program and of the original
alike. Pairs distillations with T. stddev passes by data set, teacher, student, method and scheme,
and prints mean and standard deviation over the trials beside the published values. Unfinished runs
and damaged logs are named, not counted. The S. values are those of the last epoch, as published.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helper.cli.parser import one_of
from helper.errors import one_line_errors
from helper.run.atomic import write_result
from scripts.results.command_line import paths_parser, print_remarks
from scripts.results.groups import load
from scripts.results.tables import FORMATS, SUFFIXES, csv_text

PROGRAM = "collect_results.py"


def main(argv: Sequence[str]) -> None:
    parser = paths_parser(PROGRAM, __doc__)
    add = parser.section("output")
    # fmt: off
    add("--format", type=one_of("format", FORMATS), metavar="NAME",
        help=f"one of {', '.join(FORMATS)} (default: what FILE's name says, else table)")
    add("-o", "--output", type=Path, metavar="FILE", help="write there instead of the terminal")
    add("--csv", type=Path, metavar="FILE", help="write CSV there too, for plot_correlation.py")
    # fmt: on
    options = parser.parse(argv)
    results = load(options.paths)
    suffix = options.output.suffix.lower() if options.output else ""
    text = FORMATS[options.format or SUFFIXES.get(suffix, "table")](results)
    if options.output is None:
        print(text, end="")
    else:
        write_result(options.output, text)
    print_remarks(results.remarks())
    if options.csv is not None:
        write_result(options.csv, csv_text(results))


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        main(sys.argv[1:])
