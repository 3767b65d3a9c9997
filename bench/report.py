"""All goals in one table: what, ours, against whom, the ratio, the goal, and whether it is met.

`python bench/report.py [FOLDER]` reads what the other files of the bench have written into
`_build/bench`, or another folder. Exit code 1: a goal is missed, or a machine was too noisy to
tell. 2: there is no record.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from goals import Goal, table


def read(folder: Path) -> dict[str, Any]:
    """The records in a folder by their names, of those that have goals."""
    records = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    return {name: one for name, one in records.items() if one["goals"]}


def report(records: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The table's lines, what disturbed each record, and whether every goal is met."""
    lines: list[str] = []
    notes: list[str] = []
    met = True
    for name, record in records.items():
        goals = [Goal(**one) for one in record["goals"]]
        noisy = record["noisy"]
        header, *rows = table(goals, noisy)
        lines += rows if lines else [header, *rows]
        notes += [f"{name}: {reason}" for reason in noisy]
        notes += [
            f"{name}: {rival} is out: {why.splitlines()[0]}"
            for rival, why in record.get("failed", {}).items()
        ]
        met &= all(goal.verdict(noisy) == "met" for goal in goals)
    return [*lines, *notes], met


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path("_build/bench"))
    folder = parser.parse_args().folder
    records = read(folder)
    if not records:
        print(f"There is no record in {folder}: run `make bench` first.", file=sys.stderr)
        return 2
    lines, met = report(records)
    print(*lines, sep="\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
