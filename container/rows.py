"""Bodies to rows of numbers, strictly: what is not plainly a number is refused by row and column.

Python and numpy are too kind here: float() takes "1_0" and "nan", JSON takes NaN, true counts
as 1, 1e400 becomes infinity, and of a key given twice the first is lost without a word.

Each type has two ways: `plain.py` reads fast what is written plainly, as programs write it; what
it leaves is read here with care, which takes longer and says what is wrong.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plain
from plain import LARGEST

Names = list[str]  # of the features


class BadRows(Exception):
    """The sender's fault; the message says where and what to do."""


def is_number(text: str) -> bool:
    try:
        return float(text) is not None
    except ValueError:
        return False


def number(text: str) -> float:
    """A plain decimal number that fits float32; a ValueError says what it is instead."""
    if not is_number(text) or "_" in text or not text.isascii() or math.isnan(float(text)):
        raise ValueError(f"{brief(text)} is not a number")
    if abs(float(text)) > LARGEST:
        raise ValueError(f"{brief(text)} is too large (at most 3.4e38)")
    return float(text)


def from_csv(body: bytes, names: Names) -> np.ndarray:
    """One row a line, no header."""
    rows = plain.csv(body, len(names))
    if rows is not None:
        return rows
    lines = enumerate(lines_of(body), 1)
    return np.array([csv_row(line, row, names) for row, line in lines], np.float32)


def csv_row(line: str, row: int, names: Names) -> list[float]:
    cells = line.split(",")
    if row == 1 and line.strip() and not any(map(is_number, cells)):
        raise BadRows(
            f"Row 1 ({brief(line)}) holds no number: send rows of {len(names)} numbers, "
            "without a header line."
        )
    expect_length(cells if line.strip() else [], row, names)
    values = []
    for column, cell in enumerate(cells):
        try:
            values.append(number(cell))
        except ValueError as why:
            raise BadRows(f"{place(row, column, names)}: {why}.") from None
    return values


def from_json(body: bytes, names: Names) -> np.ndarray:
    """{"data": [[...]]}, {"instances": [[...]]} or [[...]]."""
    rows = plain.json(body, len(names))
    if rows is not None:
        return rows
    return from_lists(json_rows(body), names)


def json_rows(body: bytes) -> list[Any]:
    """The rows, whatever they hold."""
    value = unwrap(decode(text_of(body), "The body"), ("data", "instances"), "The body")
    if not isinstance(value, list) or not value:
        raise BadRows('The body holds no rows: send {"data": [[...], ...]}, a list a row.')
    return value


def from_jsonlines(body: bytes, names: Names) -> np.ndarray:
    """One JSON value a line: [...], {"features": [...]} or {"data": [...]}."""
    rows = plain.jsonlines(body, len(names))
    if rows is not None:
        return rows
    return from_lists(jsonlines_rows(body), names)


def jsonlines_rows(body: bytes) -> list[Any]:
    """The rows, whatever they hold."""
    return [
        unwrap(decode(line, f"Row {row}"), ("features", "data"), f"Row {row}")
        for row, line in enumerate(lines_of(body), 1)
    ]


def text_of(body: bytes) -> str:
    try:
        text = body.decode("utf-8-sig")  # Excel writes a byte order mark
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise BadRows(f"Line {line} is not UTF-8: send the text in UTF-8.") from None
    if not text.strip():
        raise BadRows("The body is empty: send at least one row.")
    return text


def lines_of(body: bytes) -> list[str]:
    return text_of(body).replace("\r\n", "\n").rstrip("\n").split("\n")


def from_lists(rows: list[Any], names: Names) -> np.ndarray:
    for row, cells in enumerate(rows, 1):
        if not isinstance(cells, list):
            raise BadRows(f"Row {row} is {brief(cells)}, not a list of {len(names)} numbers.")
        expect_length(cells, row, names)
        for column, cell in enumerate(cells):
            why = ""
            if type(cell) is not float or math.isnan(cell):
                why = f"{brief(cell)} is not a number"
            elif abs(cell) > LARGEST:
                why = f"{cell} is too large (at most 3.4e38)"
            if why:
                raise BadRows(f"{place(row, column, names)}: {why}.")
    return np.array(rows, np.float32)


def place(row: int, column: int, names: Names) -> str:
    return f"Row {row}, column {column + 1} ({names[column]})"


def expect_length(cells: Sequence[Any], row: int, names: Names) -> None:
    if len(cells) != len(names):
        wanted = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise BadRows(f"Row {row} must have {len(names)} values ({wanted}), not {len(cells)}.")


def brief(value: Any) -> str:
    """The value as a message shows it: cut short, and only the kind of what may be nested."""
    if isinstance(value, (list, dict)) or (type(value) is float and value == value):
        return {list: "a list", dict: "an object", float: "a number"}[type(value)]
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise BadRows("The JSON has an object with the same key twice: send each key once.")
    return dict(pairs)


# Whole numbers as float too: a huge one becomes infinity, which `checked` refuses.
DECODER = json.JSONDecoder(object_pairs_hook=unique, parse_int=float)


def decode(text: str, what: str) -> Any:
    try:
        return DECODER.decode(text)
    except RecursionError:
        raise BadRows(f"{what} is nested too deeply: send a list of numbers a row.") from None
    except ValueError as error:
        raise BadRows(f"{what} is not JSON: {error}.") from None


def unwrap(value: Any, keys: tuple[str, str], what: str) -> Any:
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or not value.keys() <= set(keys):
        raise BadRows(f"{what} must have one key, {' or '.join(map(repr, keys))}.")
    return next(iter(value.values()))
