"""Counts the rows of a CSV; `--seconds` makes a long job of it."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

ml = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0)
    arguments = parser.parse_args()
    job = json.loads((ml / "config/processingjobconfig.json").read_text())
    hosts = json.loads((ml / "config/resourceconfig.json").read_text())["hosts"]
    (given,) = (one["S3Input"]["LocalPath"] for one in job["ProcessingInputs"])
    files = sorted((ml / given.removeprefix("/opt/ml/")).rglob("*.csv"))
    if not files:
        raise ValueError(f"{given} holds no CSV file: name one.")
    rows = sum(len(file.read_text().splitlines()) - 1 for file in files)
    print(f"{rows} rows on {len(hosts)} host")
    time.sleep(arguments.seconds)
    (ml / "processing/output/summary.json").write_text(json.dumps({"rows": rows}))


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
try:
    main()
except Exception as error:
    (ml / "output/message").write_text(f"{error}", encoding="utf-8")
    sys.exit(f"{error}")
