"""Text to rows of numbers, strictly: what is not plainly a number is refused by row and column.

Python and numpy are too kind here: float() takes "1_0" and "nan", JSON takes NaN, true counts
as 1, 1e400 becomes infinity, and of a key given twice the first is lost without a word.
"""

import json
import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

Names = list[str]  # of the features


LARGEST = float(np.finfo(np.float32).max)  # the model is trained on float32


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


def from_csv(text: str, names: Names) -> np.ndarray:
    """One row a line, no header. numpy reads it fast; if it can't, the slow way finds out why."""
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    try:
        rows = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        rows = np.empty((0, 0))
    if rows.shape != (len(lines), len(names)):
        rows = np.array([csv_row(line, row, names) for row, line in enumerate(lines, 1)])
    return checked(rows, names)


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


def from_json(text: str, names: Names) -> np.ndarray:
    """{"data": [[...]]}, {"instances": [[...]]} or [[...]]."""
    rows = unwrap(decode(text, "The body"), ("data", "instances"), "The body")
    if not isinstance(rows, list) or not rows:
        raise BadRows('The body holds no rows: send {"data": [[...], ...]}, a list a row.')
    return from_lists(rows, names)


def from_jsonlines(text: str, names: Names) -> np.ndarray:
    """One JSON value a line: [...], {"features": [...]} or {"data": [...]}."""
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    rows = (
        unwrap(decode(line, f"Row {row}"), ("features", "data"), f"Row {row}")
        for row, line in enumerate(lines, 1)
    )
    return from_lists(list(rows), names)


def from_lists(rows: list[Any], names: Names) -> np.ndarray:
    if (
        set(map(type, rows)) != {list}
        or set(map(len, rows)) != {len(names)}
        or set(map(type, chain.from_iterable(rows))) != {float}
    ):
        for row, cells in enumerate(rows, 1):
            if not isinstance(cells, list):
                raise BadRows(f"Row {row} is {brief(cells)}, not a list of {len(names)} numbers.")
            expect_length(cells, row, names)
            for column, cell in enumerate(cells):
                if type(cell) is not float:
                    raise BadRows(f"{place(row, column, names)}: {brief(cell)} is not a number.")
    return checked(np.array(rows), names)


def checked(rows: np.ndarray, names: Names) -> np.ndarray:
    """The rows as float32, as the model was trained; every number must be one there too."""
    bad = ~(np.abs(rows) <= LARGEST)  # so that NaN is bad too
    if bad.any():
        row, column = np.argwhere(bad)[0]
        value = rows[row, column]
        why = "is not a number" if np.isnan(value) else "is too large (at most 3.4e38)"
        raise BadRows(f"{place(row + 1, column, names)}: {value} {why}.")
    return rows.astype(np.float32)


def place(row: int, column: int, names: Names) -> str:
    return f"Row {row}, column {column + 1} ({names[column]})"


def expect_length(cells: Sequence[Any], row: int, names: Names) -> None:
    if len(cells) != len(names):
        wanted = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise BadRows(f"Row {row} must have {len(names)} values ({wanted}), not {len(cells)}.")


def brief(value: Any) -> str:
    """The value as a message shows it: cut short, and only the kind of what may be nested."""
    if isinstance(value, (list, dict, float)):
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
