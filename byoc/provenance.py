"""A log of data transformations that shows when it was changed: one JSON record a line, in a chain.

A record says what a step read and wrote (rows and SHA-256 of each), with which parameters, by
which code, in which image; it holds the hash of the record before it and its own. Who changes a
record breaks the chain. Who rewrites all that follows too does not: therefore keep the last hash,
the head, where the writer of the log can't reach it, and verify against it.

The idea is that of certificate logs (RFC 9162), with a list for a tree. Python's standard library
is all that this file needs; only `check_form` takes jsonschema.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

Record = dict[str, Any]

BEGINNING = "0" * 64  # what the first record has for the hash of the one before
_HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_DATA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "rows": {"type": "integer", "minimum": 0},
        "sha256": _HASH,
    },
    "required": ["name", "rows", "sha256"],
    "additionalProperties": False,
}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "A step of a data transformation",
    "type": "object",
    "properties": {
        "step": {"type": "string", "minLength": 1},
        "at": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$"},
        "inputs": {"type": "array", "items": _DATA},
        "outputs": {"type": "array", "items": _DATA, "minItems": 1},
        "parameters": {"type": "object"},
        "code": _HASH,
        "image": {"type": ["string", "null"], "pattern": "^sha256:[0-9a-f]{64}$"},
        "previous": _HASH,
        "hash": _HASH,
    },
    "additionalProperties": False,
}
SCHEMA["required"] = list(SCHEMA["properties"])  # type: ignore[call-overload]


class BrokenLog(ValueError):
    """The log is not what was written; the sentence says which record, and what of it."""


@dataclass(frozen=True)
class Data:
    """A CSV file as a log speaks of it."""

    name: str
    content: bytes

    def described(self) -> dict[str, Any]:
        """Its name, its rows without the header, and its SHA-256."""
        lines = list(csv.reader(io.StringIO(self.content.decode())))
        return {"name": self.name, "rows": max(len(lines) - 1, 0), "sha256": sha256(self.content)}


@dataclass
class Log:
    """Records in order; `Log.read(text)` verifies before it lets anything be added."""

    records: list[Record] = field(default_factory=list)

    @classmethod
    def read(cls, text: str, head: str | None = None) -> "Log":
        """The log that `text` holds; raises BrokenLog if it is not whole."""
        return cls(verify(text, head))

    @property
    def head(self) -> str:
        """The hash of the last record, which stands for all of them."""
        return self.records[-1]["hash"] if self.records else BEGINNING

    def add(
        self,
        step: str,
        inputs: Sequence[Data],
        outputs: Sequence[Data],
        parameters: Mapping[str, Any],
        code: Iterable[ModuleType | Path],
        image: str | None = None,
    ) -> Record:
        """Append a record of what was done just now, and return it."""
        record = {
            "step": step,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "inputs": [data.described() for data in inputs],
            "outputs": [data.described() for data in outputs],
            "parameters": dict(parameters),
            "code": code_digest(code),
            "image": image,
            "previous": self.head,
        }
        self.records.append({**record, "hash": hash_of(record)})
        return self.records[-1]

    def text(self) -> str:
        """As JSON Lines."""
        return "".join(json.dumps(record) + "\n" for record in self.records)


def verify(text: str, head: str | None = None) -> list[Record]:
    """The records of a log that is whole; else BrokenLog names the first that is not.

    Each record must have its own hash and that of the one before; what a step read, an earlier
    one must have written (the first may bring anything in). `head`: the hash that the last record
    had when it was written down elsewhere.
    """
    records: list[Record] = []
    previous, written = BEGINNING, set[str]()
    for number, line in enumerate(text.splitlines(), 1):
        try:
            record = json.loads(line)
            here = f"Record {number} ({record['step']})"
            claimed, before = record["hash"], record["previous"]
            inputs = [data["sha256"] for data in record["inputs"]]
            outputs = [data["sha256"] for data in record["outputs"]]
        except (ValueError, LookupError, TypeError):
            raise BrokenLog(f"Line {number} is not a record.") from None
        if claimed != hash_of(record):
            raise BrokenLog(f"{here} was changed: its content does not have its hash.")
        if before != previous:
            raise BrokenLog(f"{here} does not follow the record before it: one is missing or new.")
        if number > 1 and not written.issuperset(inputs):
            raise BrokenLog(f"{here} has an input that no step before it wrote.")
        records.append(record)
        previous = claimed
        written.update(outputs)
    if head is not None and previous != head:
        raise BrokenLog(f"The last of {len(records)} records is not the one that was anchored.")
    return records


def check_form(records: Iterable[Record]) -> int:
    """How many records fit SCHEMA; raises BrokenLog for the first that does not."""
    import jsonschema

    validator, number = jsonschema.Draft202012Validator(SCHEMA), 0
    for number, record in enumerate(records, 1):
        for error in validator.iter_errors(record):
            raise BrokenLog(f"Record {number}, {error.json_path}: {error.message}.")
    return number


def written_by(records: Iterable[Record], content: bytes) -> Record:
    """The step that wrote exactly this file; raises BrokenLog if none did."""
    digest = sha256(content)
    for record in records:
        if any(data["sha256"] == digest for data in record["outputs"]):
            return record
    raise BrokenLog(f"No step wrote the file with SHA-256 {digest}.")


def code_digest(code: Iterable[ModuleType | Path]) -> str:
    """SHA-256 over the files of the code, each by its own, in this order."""
    paths = [Path(str(c.__file__)) if isinstance(c, ModuleType) else c for c in code]
    return sha256("".join(sha256(path.read_bytes()) for path in paths).encode())


def hash_of(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record without its own hash, in one spelling."""
    content = {name: value for name, value in record.items() if name != "hash"}
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
