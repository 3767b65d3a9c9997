"""What data capture has kept of an endpoint, and the labels that have become known since.

Sources: SageMaker Developer Guide, model-monitor-data-capture-endpoint and
model-monitor-model-quality-merge.
"""

import base64
import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import answers
import numpy as np
import rows
from contract import UserError

ROWS = {answers.JSON: rows.json_rows, answers.LINES: rows.jsonlines_rows}


class Captured(NamedTuple):
    """`features` has a line a row: NaN is a missing value, infinity one that is no number."""

    features: np.ndarray
    short: int  # rows with fewer values than there are features
    long: int
    unread: int  # records that could not be read
    predictions: list[str]
    answered: dict[str, list[str]]  # the labels of each request, by its name


def read(folder: Path, names: Sequence[str], start: datetime, end: datetime) -> Captured:
    """All records of requests from `start` until before `end`."""
    features: list[list[float]] = []
    short = long = unread = 0
    answered: dict[str, list[str]] = {}
    for _, record in records(folder):
        try:
            at = datetime.fromisoformat(record["eventMetadata"]["inferenceTime"])
            if not start <= at < end:
                continue
            asked = cells(*content(record["captureData"]["endpointInput"]))
            text, kind = content(record["captureData"]["endpointOutput"])
            labels = answers.labels(text.decode(), kind)
        except (rows.BadRows, AttributeError, KeyError, TypeError, ValueError):
            unread += 1
            continue
        answered[name(record)] = labels
        for row in asked:
            short += len(row) < len(names)
            long += len(row) > len(names)
            padded = [*row, *[None] * len(names)][: len(names)]
            features.append([number(cell) for cell in padded])
    table = np.array(features, float).reshape(len(features), len(names))
    predictions = [label for labels in answered.values() for label in labels]
    return Captured(table, short, long, unread, predictions, answered)


def records(folder: Path) -> Iterator[tuple[str, Any]]:
    """(place, record) of the lines of all .jsonl files; {} for a line that is not JSON."""
    for path in sorted(folder.rglob("*.jsonl")):
        with path.open(encoding="utf-8", errors="replace") as file:
            for count, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield f"{path}, line {count}", json.loads(line)
                    except (ValueError, RecursionError):
                        yield f"{path}, line {count}", {}


def name(record: dict[str, Any]) -> str:
    """The caller's name for a request, if it gave one; else the platform's."""
    metadata = record["eventMetadata"]
    return metadata.get("inferenceId") or metadata["eventId"]


def content(side: dict[str, str]) -> tuple[bytes, str]:
    """(body, type) of a request or an answer."""
    kind = side["observedContentType"].partition(";")[0].strip().lower()
    base64_encoded = side["encoding"] == "BASE64"
    return base64.b64decode(side["data"]) if base64_encoded else side["data"].encode(), kind


def cells(body: bytes, kind: str) -> list[list[Any]]:
    """The rows of a request. Not `service.READERS`: another model may answer what these refuse."""
    if kind == answers.CSV:
        return [line.split(",") for line in rows.lines_of(body)]
    found = ROWS[kind](body)
    if not all(isinstance(row, list) for row in found):
        raise rows.BadRows("a row is no list")
    return found


def number(cell: Any) -> float:
    """NaN for what is missing, infinity for what is no number."""
    if cell is None or (
        isinstance(cell, str) and cell.strip().lower() in ("", "na", "nan", "null")
    ):
        return math.nan
    try:
        return rows.number(cell) if isinstance(cell, str) else float(cell)
    except (TypeError, ValueError):
        return math.inf


def right(folder: Path, answered: dict[str, list[str]]) -> tuple[int, int]:
    """(rows whose label was right, rows whose label is known) of the requests that were answered.

    A line of ground truth: {"groundTruthData": {"data": "Adelie", "encoding": "CSV"},
    "eventMetadata": {"eventId": "..."}, "eventVersion": "0"}; the labels of a request with several
    rows are a line each. If a request has several such lines, the last counts.
    """
    truth = {}
    for place, record in records(folder):
        try:
            labels = answers.labels(record["groundTruthData"]["data"], answers.CSV)
            truth[record["eventMetadata"]["eventId"]] = labels
        except (KeyError, TypeError) as error:
            raise UserError(f"{place}: no record of ground truth ({error!r}).") from None
    hits = count = 0
    for event in truth.keys() & answered.keys():
        pairs = list(zip(truth[event], answered[event], strict=False))
        hits += sum(true == given for true, given in pairs)
        count += len(pairs)
    return hits, count


def moment(text: str) -> datetime:
    """A time in ISO 8601; UTC if it does not say."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
