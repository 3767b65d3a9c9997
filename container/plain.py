"""The fast way to rows of numbers, for bodies that are written plainly. None: read with care.

Nothing that is wrong may pass here; what is right but unusual, such as `+1`, `.5` or a byte order
mark, is left to `rows.py`. orjson reads numbers strictly, as JSON writes them. Meanwhile it holds
Python's lock, and a ping would wait: a large body goes through it in pieces.
"""

import re
import struct
from itertools import chain

import cells
import numpy as np
import orjson

LARGEST = float(np.finfo(np.float32).max)  # the model is trained on float32
PIECE = 128 * 1024  # bytes
SHORT = 1024  # bytes; orjson begins sooner than numpy
NUMERALS = b"0123456789+-.eE "
ONE_LINE = NUMERALS + b","
SPACE = b" \t\r\n"
OPENING = re.compile(rb'[ \t\r\n]*(\{[ \t\r\n]*"(?:data|instances)"[ \t\r\n]*:)?[ \t\r\n]*\[')
BETWEEN = re.compile(rb"[ \t\r\n]*(,[ \t\r\n]*(?=\[)|\Z)")


def one_csv(body: bytes, form: struct.Struct) -> tuple[float, ...] | None:
    """A single row; `form` is that of so many float32.

    Without numpy, which takes longer to set out than all of this.
    """
    line = body.rstrip(b"\r\n")
    try:
        if not line.translate(None, delete=ONE_LINE):
            return form.unpack(form.pack(*orjson.loads(b"[%b]" % line)))
    except (ValueError, OverflowError, struct.error):
        pass
    return None


def one_json(body: bytes, form: struct.Struct) -> tuple[float, ...] | None:
    """The same of [[...]], alone or as the one value of an object."""
    if body.count(b'"') not in (0, 2):  # the same key twice would not be noticed
        return None
    try:
        value = orjson.loads(body)
        rows = (value.get("data") or value["instances"]) if type(value) is dict else value
        (row,) = rows
        if type(rows) is list and type(row) is list and {*map(type, row)} <= {float, int}:
            return form.unpack(form.pack(*row))
    except (KeyError, TypeError, ValueError, OverflowError, struct.error):
        pass
    return None


def csv(body: bytes, columns: int) -> np.ndarray | None:
    """Rows of that many numbers, a line a row."""
    parts, start, size = [], 0, len(body)
    while size and body[size - 1] in b"\r\n":
        size -= 1
    while start < size:
        end = body.find(b"\n", start + PIECE, size) + 1 or size
        lines = body[start:end].replace(b"\r\n", b"\n")
        lines += b"" if lines.endswith(b"\n") else b"\n"
        separators = lines.translate(None, delete=NUMERALS)
        rows = len(separators) // columns
        if separators != (b"," * (columns - 1) + b"\n") * rows:
            return None
        numbers = float32(numbers_of(lines))
        if numbers is None:
            return None
        parts.append(numbers)
        start = end
    return np.concatenate(parts).reshape(-1, columns) if parts else None


def numbers_of(lines: bytes) -> np.ndarray:
    """All numbers of whole lines, one after the other; NaN if one of them is none."""
    if len(lines) > SHORT:
        padded = lines + bytes(cells.WORD)
        starts, stops = cells.split(padded)
        numbers, good = cells.decimals(cells.words(padded)[starts], stops - starts)
        if good.all():
            return numbers
    try:  # a few, or longer ones, or such as 1e5
        return np.array(orjson.loads(b"[" + lines[:-1].replace(b"\n", b",") + b"]"), float)
    except orjson.JSONDecodeError:
        return np.array([np.nan])


def json(body: bytes, columns: int) -> np.ndarray | None:
    """[[...], ...], alone or as the one value of an object."""
    opening, rest = OPENING.match(body), body.rstrip(SPACE)
    if opening and opening[1]:
        opening = opening if rest.endswith(b"}") else None
        rest = rest[:-1].rstrip(SPACE)
    if not opening or not rest.endswith(b"]"):
        return None
    return lists(rest[opening.end() : -1].strip(SPACE), columns)


def jsonlines(body: bytes, columns: int) -> np.ndarray | None:
    """A line a row: [...]."""
    body = body.rstrip(b"\n")
    inner = body.replace(b"]\n[", b"],[")
    rows = None if b"\n" in inner else lists(inner, columns)
    return rows if rows is not None and len(rows) == body.count(b"\n") + 1 else None


def lists(inner: bytes, columns: int) -> np.ndarray | None:
    """Rows of that many numbers: `[...], [...]`."""
    parts, start = [], 0
    while start < len(inner):
        end = inner.find(b"]", start + PIECE) + 1 or len(inner)
        next_row = BETWEEN.match(inner, end)
        try:
            rows = orjson.loads(b"[" + inner[start:end] + b"]")
            numbers = list(chain.from_iterable(rows))
        except (orjson.JSONDecodeError, TypeError):
            return None
        if not next_row or {*map(type, rows)} != {list} or {*map(len, rows)} != {columns}:
            return None
        if not {*map(type, numbers)} <= {int, float}:  # true is neither
            return None
        part = float32(np.fromiter(numbers, float, len(numbers)))
        if part is None:
            return None
        parts.append(part)
        start = next_row.end()
    return np.concatenate(parts).reshape(-1, columns) if parts else None


def float32(numbers: np.ndarray) -> np.ndarray | None:
    """The numbers as float32, if all fit; NaN does not."""
    fits = np.count_nonzero(np.abs(numbers) <= LARGEST) == len(numbers)
    return numbers.astype(np.float32) if fits else None
