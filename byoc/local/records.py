"""What a transform job makes of an object: records, payloads, and results joined to their input.

Source: Developer Guide, batch-transform and batch-transform-data-processing; API Reference,
TransformInput, DataProcessing, TransformOutput.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from byoc.local import jsonpath
from byoc.local.jsonpath import PathError

CSV, JSON = "text/csv", "application/json"
JSON_LINES = ("application/jsonlines", "application/x-jsonlines")
# The first as in aws/amazon-sagemaker-examples#821; AWS does not document the second's words.
NOT_READ = "Failed to parse {what} as {kind}"
TOO_LARGE = "Too much data for max payload size"


class RecordError(Exception):
    """Why an object can't be transformed, for the data log."""


@dataclass(frozen=True)
class Payload:
    """The body of one request, and the records of the object that it stands for."""

    body: bytes
    records: Sequence[bytes]


def split(content: bytes, lines: bool) -> list[bytes]:
    """The records of an object: its lines without their ends, or all of it.

    Blank lines are no records, and an empty object has none: AWS does not say.
    """
    if not lines:
        return [content] if content else []
    return [line.rstrip(b"\r") for line in content.split(b"\n") if line.strip()]


def payloads(
    records: Sequence[bytes], processing: "Processing", single: bool, most: int
) -> Iterator[Payload]:
    """As many records for each request as fit into `most` bytes, or one; raises RecordError."""
    held: list[bytes] = []
    bodies: list[bytes] = []
    size = 0
    for record in records:
        body = processing.filtered(record)
        if len(body) > most:
            raise RecordError(TOO_LARGE)
        if bodies and (single or size + len(body) + 1 > most):
            yield Payload(b"\n".join(bodies), held)
            held, bodies, size = [], [], 0
        size += len(body) + bool(bodies)  # the line's end between two
        held.append(record)
        bodies.append(body)
    if bodies:
        yield Payload(b"\n".join(bodies), held)


def assemble(results: Sequence[bytes], lines: bool) -> bytes:
    """One object of all results; with `lines` each ends with a newline, where it has none yet."""
    if lines:
        results = [r if r.endswith(b"\n") else r + b"\n" for r in results]
    return b"".join(results)


class Processing:
    """Filters and join of a job, for content of one type; raises RecordError for what they can't.

    A CSV row is an array of texts.
    """

    def __init__(self, settings: dict[str, str], content_type: str) -> None:
        """Raises PathError for an expression that is none, ValueError for another type."""
        given, wanted = settings.get("InputFilter", "$"), settings.get("OutputFilter", "$")
        self._joins = settings.get("JoinSource", "None") == "Input"
        self._input, self._output = jsonpath.parse(given), jsonpath.parse(wanted)
        self._filters_input, self._makes_output = given != "$", self._joins or wanted != "$"
        kind = content_type.partition(";")[0].strip().lower()
        if (self._filters_input or self._makes_output) and kind not in (CSV, JSON, *JSON_LINES):
            raise ValueError(kind)
        self._csv, self._whole = kind == CSV, kind == JSON
        self._kind = "CSV" if self._csv else "JSON" if self._whole else "JSONLINES"

    def filtered(self, record: bytes) -> bytes:
        """What the model gets of a record, which may be several lines where nothing is split."""
        if not self._filters_input:
            return record
        found = [self._select(self._input, one) for one in self._read(record, "input")]
        return b"\n".join(map(self._write, found))

    def result(self, payload: Payload, answer: bytes) -> bytes:
        """What the output keeps of the model's answer to a payload."""
        if not self._makes_output:
            return answer
        several = len(payload.records) > 1
        found = self._read(answer, "output from the algorithm", several)
        if self._joins:
            given = [one for r in payload.records for one in self._read(r, "input")]
            if len(given) != len(found):
                raise RecordError(
                    f"The algorithm answered {len(found)} records to {len(given)}: they can't be "
                    "joined"
                )
            found = [self._join(*pair) for pair in zip(given, found, strict=True)]
        lines = [self._write(self._select(self._output, one)) for one in found]
        return b"\n".join(lines) + (b"" if self._whole and not several else b"\n")

    def _join(self, given: Any, found: Any) -> Any:
        if self._csv:
            return [*given, *found]
        if isinstance(given, dict):
            return {**given, "SageMakerOutput": found}
        return {"SageMakerInput": given, "SageMakerOutput": found}

    def _select(self, path: jsonpath.Step, value: Any) -> Any:
        try:
            return path(value)
        except PathError as error:
            raise RecordError(f"The filter can't be applied: {error}") from None

    def _read(self, content: bytes, what: str, several: bool = False) -> list[Any]:
        try:
            text = content.decode()
            if self._csv:
                return [
                    row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row
                ]
            if self._whole and not several:
                return [json.loads(text)]
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        except (ValueError, csv.Error, RecursionError):
            raise RecordError(NOT_READ.format(what=what, kind=self._kind)) from None

    def _write(self, value: Any) -> bytes:
        if not self._csv:
            return json.dumps(value, ensure_ascii=False).encode()
        line = io.StringIO()
        row = value if isinstance(value, list) else [value]
        csv.writer(line, lineterminator="").writerow(row)
        return line.getvalue().encode()
