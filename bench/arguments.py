"""The command line that all files of the bench share."""

import argparse
import os
from pathlib import Path

BASE = "python:3.12-slim-bookworm"


def parse(about: str | None) -> argparse.Namespace:
    """`quick`, `json` (a path or None) and `base`."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter repetitions")
    parser.add_argument("--json", type=Path, help="write the record here too")
    base = os.environ.get("BYOC_BASE") or BASE
    parser.add_argument("--base", default=base, help="what all are built on [%(default)s]")
    return parser.parse_args()
