"""Make one table of several runs from their run.json and scores.json; repeated runs get mean and spread.

icd compare snapshot/seed0 snapshot/seed1 snapshot/seed2 --markdown
icd compare snapshot/seed0 theirs.json
"""

from __future__ import annotations

from icd.evaluate.compare import compare_runs
from icd.evaluate.show import comparison_text
from icd.files import write_json


def add_arguments(parser) -> None:
    """Add the command's arguments to an `argparse` parser."""
    parser.add_argument("runs", nargs="+", help="run folders, or files that `icd evaluate --json` wrote")
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown")
    parser.add_argument("--json", help="write the comparison to this file")


def run(arguments) -> int:
    """Run the command and return its exit status."""
    comparison = compare_runs(arguments.runs)
    print(comparison_text(comparison, arguments.markdown))
    if arguments.json:
        write_json(arguments.json, vars(comparison))
    return 0
