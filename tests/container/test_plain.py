"""The fast way reads what the careful way reads, or leaves it to that."""

import json
from itertools import product

import numpy as np
import plain
import pytest
import rows
from hypothesis import example, given
from hypothesis import strategies as st

NAMES = ["a", "b"]
READERS = {"csv": rows.from_csv, "json": rows.from_json, "jsonlines": rows.from_jsonlines}
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-(2**99), 2**99)
LARGE = st.integers(-(10**40), 10**40)
TABLES = st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=1, max_size=5)
# What is nearly a table: numbers and their neighbours, of every spelling.
MARKS = "0123456789.,+-eE_ \t\r\n\x0b[]{}"
WORDS = ["],[", "]\n[", "1,2\n", "[1,2]", "\r\n", "nan", "NaN", "1e400", "true", "null", '"data":']
WORDS += ['"a"', "\ufeff", "\u0663", "007", "-0", "1.", ".5", "9" * 30, "9" * 39]
SCRAPS = st.lists(st.sampled_from([*MARKS, *WORDS]), max_size=12).map("".join)


def written(kind, table):
    if kind == "csv":
        return "\n".join(",".join(map(repr, row)) for row in table)
    return json.dumps(table) if kind == "json" else "\n".join(map(json.dumps, table))


def careful(monkeypatch, kind, body):
    """What the careful way makes of it: rows or the complaint."""
    with monkeypatch.context() as patch:
        for name in READERS:
            patch.setattr(plain, name, lambda body, columns: None)
        try:
            return READERS[kind](body, NAMES).tolist()
        except rows.BadRows as fault:
            return str(fault)


def read(kind, body):
    try:
        return READERS[kind](body, NAMES).tolist()
    except rows.BadRows as fault:
        return str(fault)


@pytest.fixture(scope="module")
def patches():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.parametrize("kind", READERS)
@given(text=SCRAPS | st.tuples(LARGE, NUMBERS).map("{0[0]},{0[1]}".format))
@example(text="1,2\n\n3,4")
@example(text="1,2\n3,4\r\n\n")
@example(text="1 2,3")
@example(text="[1,2],[3,4]")
@example(text="[1\n2]")
@example(text='{"data": [[1,2]]')
@example(text='{"data": [[1,2]], "data": [[3,4]]}')
@example(text="[[1,2],[3,4],]")
@example(text="[[1,2]],[[3,4]]")
def test_whatever_is_sent_both_ways_agree(patches, kind, text):
    assert read(kind, text.encode()) == careful(patches, kind, text.encode())


@pytest.mark.parametrize("kind", READERS)
@given(table=TABLES)
def test_what_programs_write_is_read_fast(kind, table):
    found = getattr(plain, kind)(written(kind, table).encode(), 2)
    assert found is not None
    assert found.tolist() == np.array(table, float).astype(np.float32).tolist()


@pytest.mark.parametrize(("kind", "bad"), [*product(READERS, [None, 0, 7, 49_999])])
def test_a_body_of_many_pieces_keeps_its_rows_and_its_faults(kind, bad):
    table = [[row, row / 8] for row in range(50_000)]
    if bad is not None:
        table[bad] = [1, 2, 3]
    body = written(kind, table).encode()
    assert len(body) > 4 * plain.PIECE
    if bad is None:
        assert np.array_equal(READERS[kind](body, NAMES), np.array(table, np.float32))
    else:
        assert read(kind, body) == f"Row {bad + 1} must have 2 values (a, b), not 3."


@pytest.mark.parametrize(("piece", "kind"), [*product(range(1, 14), READERS)])
def test_pieces_may_end_anywhere(monkeypatch, piece, kind):
    monkeypatch.setattr(plain, "PIECE", piece)
    table = [[1, 22], [333, 4.5], [-6, 7e3], [0, 9]]
    assert getattr(plain, kind)(written(kind, table).encode(), 2).tolist() == table
    for broken in ("1,2\n\n3,4", "1,2\n3", "[[1,2],[3]]", "[1,2]\n\n[3,4]", "[[1,[2]],[3,4]]"):
        assert getattr(plain, kind)(broken.encode(), 2) is None
