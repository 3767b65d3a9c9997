"""Pseudonyms, generalisation and suppression; k-anonymity and l-diversity; attacks that count.

A table is a list of rows, each a mapping of column names to values. Two rows are in one class when
they agree on the quasi-identifiers: what somebody outside may know of a person. Python's standard
library is all that this file needs, so that it runs in any image that has Python.

Sources: L. Sweeney, k-anonymity: a model for protecting privacy, IJUFKS 10 (2002);
A. Machanavajjhala et al., l-diversity: privacy beyond k-anonymity, ICDE 2006; RFC 2104 (HMAC).
"""

import hashlib
import hmac
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

Row = Mapping[str, Any]
Rows = Sequence[Row]

KEY_BYTES = 32  # RFC 2104, section 3: a key shorter than the hash weakens it
SHOWN = 32  # hexadecimal digits; RFC 2104, section 5: no less than half of the hash


def pseudonym(key: bytes, *identifiers: object) -> str:
    """HMAC-SHA256 of the identifiers under a secret key: 128 bits as 32 hexadecimal digits.

    The parts are told apart: ("1", "23") and ("12", "3") get different pseudonyms. Raises
    ValueError for a key that is too short to be random, or for no identifiers at all.
    """
    if len(key) < KEY_BYTES:
        raise ValueError(
            f"The key has {len(key)} bytes: it must have at least {KEY_BYTES} random ones, "
            "else it can be guessed like a name."
        )
    if not identifiers:
        raise ValueError("There is nothing to make a pseudonym of.")
    message = json.dumps([str(part) for part in identifiers]).encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:SHOWN]


def classes(rows: Iterable[Row], quasi: Sequence[str]) -> dict[tuple[str, ...], list[Row]]:
    """The rows that agree on the quasi-identifiers, by what they agree on.

    Raises ValueError for an empty table or a column that is not there: both would look safe.
    """
    found: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        missing = [name for name in quasi if name not in row]
        if missing:
            raise ValueError(f"There is no column {missing[0]!r}: the table has {', '.join(row)}.")
        found[tuple(str(row[name]) for name in quasi)].append(row)
    if not found:
        raise ValueError("The table has no rows.")
    return dict(found)


def k_anonymity(rows: Iterable[Row], quasi: Sequence[str]) -> int:
    """How many rows the smallest class has: each is one of at least k."""
    return min(len(members) for members in classes(rows, quasi).values())


def l_diversity(rows: Iterable[Row], quasi: Sequence[str], sensitive: str) -> int:
    """How many different sensitive values the poorest class has (distinct l-diversity)."""
    return min(_values(members, sensitive) for members in classes(rows, quasi).values())


def alone(rows: Iterable[Row], quasi: Sequence[str]) -> list[Row]:
    """The rows that are the only one of their class: whoever knows that much has found them."""
    return [members[0] for members in classes(rows, quasi).values() if len(members) == 1]


def exposed(rows: Iterable[Row], quasi: Sequence[str], sensitive: str) -> list[Row]:
    """The rows in whose class all share one sensitive value: it is known without finding them."""
    found = classes(rows, quasi).values()
    return [row for members in found if _values(members, sensitive) == 1 for row in members]


def link(known: Rows, released: Rows, on: Sequence[str]) -> list[tuple[Row, Row]]:
    """A linkage attack: who is known, and the one released row that agrees on the columns `on`.

    A match counts only when it is alone on both sides, so that nobody is guessed at.
    """
    here, there = classes(known, on), classes(released, on)
    return [
        (members[0], there[values][0])
        for values, members in here.items()
        if len(members) == 1 and len(there.get(values, [])) == 1
    ]


def interval(value: float, width: float) -> float:
    """The middle of the interval that holds the value; intervals of `width` begin at zero."""
    if not width > 0 or not math.isfinite(value):
        raise ValueError(f"An interval of width {width} can't be found for {value}.")
    size = Decimal(str(width))  # of decimals: as floats 0.3 would lie below 3 * 0.1
    return float((Decimal(str(value)) // size + Decimal("0.5")) * size)


def generalise(rows: Rows, widths: Mapping[str, float]) -> list[dict[str, Any]]:
    """The rows with each number of the columns in `widths` replaced by its interval's middle."""
    return [
        {**row, **{name: interval(float(row[name]), width) for name, width in widths.items()}}
        for row in rows
    ]


def suppress(rows: Rows, quasi: Sequence[str], k: int) -> list[Row]:
    """The rows whose class has at least k, sorted: the order of a table identifies too."""
    kept = [
        row for members in classes(rows, quasi).values() if len(members) >= k for row in members
    ]
    return sorted(kept, key=lambda row: json.dumps(row, sort_keys=True, default=str))


def _values(rows: Rows, column: str) -> int:
    return len({str(row[column]) for row in rows})
