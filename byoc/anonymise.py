"""A processing job's program: keep some columns, generalise, suppress, and go on with the log.

It runs in the reader's image, which has Python: this file and byoc/privacy.py and
byoc/provenance.py come as an input. Reads below /opt/ml/processing/input data/*.csv and
log/log.jsonl, writes to output/data and output/log, and to /opt/ml/output/message what becomes
the job's ExitMessage. Exit 1: something for the user to mend.
Source: SageMaker Developer Guide, build-your-own-processing-container.
"""

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from byoc import privacy, provenance
from byoc.provenance import Data, Log

CODE: list[ModuleType | Path] = [Path(__file__), privacy, provenance]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="anonymise")
    parser.add_argument("--k", type=int, required=True, help="rows in the smallest class")
    parser.add_argument("--keep", required=True, help="columns, with commas between")
    parser.add_argument("--widths", type=json.loads, required=True, help='{"column": width}')
    options = parser.parse_args(arguments)
    base = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    code = 0
    try:
        message = job(base, options.k, options.keep.split(","), options.widths)
    except ValueError as error:
        code, message = 1, str(error)
    print(message, flush=True)
    (base / "output").mkdir(exist_ok=True)
    (base / "output/message").write_text(message)
    return code


def job(base: Path, k: int, keep: Sequence[str], widths: Mapping[str, float]) -> str:
    """The whole job; all columns that are kept count as quasi-identifiers. Returns a sentence."""
    config = json.loads((base / "config/processingjobconfig.json").read_text())
    image = config["AppSpecification"]["ImageUri"].partition("@")[2] or None
    [source] = sorted((base / "processing/input/data").glob("*.csv"))
    log = Log.read((base / "processing/input/log/log.jsonl").read_text())
    data = Data(source.name, source.read_bytes())
    provenance.written_by(log.records, data.content)  # nothing that came by another way
    rows: list[Any] = list(csv.DictReader(io.StringIO(data.content.decode())))
    begun = len(rows)

    def step(name: str, parameters: dict[str, Any]) -> None:
        nonlocal data
        before, data = data, Data(f"{name}.csv", as_csv(rows, keep))
        log.add(name, [before], [data], parameters, CODE, image)

    rows = [{name: row[name] for name in keep} for row in rows]
    step("minimise", {"keep": list(keep)})
    rows = privacy.generalise(rows, widths)
    step("generalise", {"widths": dict(widths)})
    rows = privacy.suppress(rows, keep, k)
    if not rows:
        raise ValueError(f"No row is left at k = {k}: take wider intervals, or a smaller k.")
    step("suppress", {"k": k, "quasi": list(keep)})

    for name, file, content in (
        ("data", "training_data.csv", data.content),
        ("log", "log.jsonl", log.text().encode()),
    ):
        folder = base / "processing/output" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return f"{len(rows)} of {begun} rows, k = {privacy.k_anonymity(rows, keep)}"


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


if __name__ == "__main__":
    sys.exit(main())
