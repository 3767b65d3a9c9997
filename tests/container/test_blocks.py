"""The fast way of reading against the careful one, which is the oracle; and blocks cut anywhere."""

import shutil
import signal
import tracemalloc
from pathlib import Path

import blocks
import dataset
import numpy as np
import pytest
from contract import UserError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

CONTAINER = Path(dataset.__file__).parent
CELLS = st.one_of(
    st.decimals(-(10**6), 10**6, places=3).map(str),
    st.integers(-(10**9), 10**9).map(str),
    st.floats(width=32).map(repr),
    st.text("0123456789.-+e_ ", max_size=9),
)
LABELS = st.one_of(st.sampled_from("xyz"), st.text("aé ,\"\n\r0\0\t'", max_size=20))
LINES = st.one_of(
    st.tuples(CELLS, CELLS, st.sampled_from(["x", "y", "a longer label", " é "])).map(",".join),
    st.tuples(CELLS, CELLS, LABELS).map(",".join),
    st.sampled_from(["", "a,b,label", ",,", '1,2,"a ""quoted""\r\nlabel"', "1,2", '1,"2,x']),
)
FILES = st.lists(LINES, max_size=12).flatmap(
    lambda lines: st.sampled_from(["\n", "\r\n", "\r"]).map(lambda end: end.join(lines).encode())
)


def read():
    """The table, its labels as text, or what is wrong with it."""
    try:
        table = dataset.read_channel("training")
    except UserError as error:
        return str(error)
    labels = [table.classes[label] for label in table.labels]
    return table.features.tobytes(), labels, table.classes, table.columns, table.sha256


def never(*_):
    raise ValueError("not plain")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=FILES, size=st.integers(1, 80))
@example(content=b'1,2,x\n1,2,"q\n1,2,phantom\n"\n3,4,y\n', size=8)
@example(content=b"\xef\xbb\xbf1,2,\xc3\xa9\r\n3,4,\xff\r\n", size=3)
@example(content=b"\n\n\na,b,label\n\n1,2,x\n", size=1)
def test_fast_and_careful_agree_wherever_blocks_are_cut(ml, monkeypatch, content, size):
    ml.channel("training", data=content, later=b"5,6,x\n")
    monkeypatch.setattr(dataset, "BLOCK", size)
    fast = read()
    with monkeypatch.context() as careful:
        careful.setattr(blocks, "read", never)
        careful.setattr(dataset, "BLOCK", 2**20)
        assert read() == fast


@given(st.lists(st.decimals(-(10**8), 10**8, places=4).map(str), min_size=1, max_size=50))
def test_numbers_are_what_float_gives(texts):
    columns = len(texts) + 1
    line = ",".join([*texts, "x"]).encode()
    features, _ = blocks.read(line, columns, blocks.Labels())
    assert features.tolist() == [[float(np.float32(text)) for text in texts]]


@pytest.mark.parametrize("count", [1, 2, 300, 5000])
def test_labels_in_any_number_and_length(ml, count):
    names = [f"{'a label ' * (number % 8)}{number}" for number in range(count)]
    expected = names * 3
    ml.channel("training", data="".join(f"{n},1,{name}\n" for n, name in enumerate(expected)))
    table = dataset.read_channel("training")
    assert table.classes == sorted(names)
    assert [table.classes[label] for label in table.labels] == expected
    assert table.features[:, 0].tolist() == list(range(len(expected)))


def test_what_is_read_takes_little_more_than_the_table(ml):
    rows = 200_000
    ml.channel("training", data="39.1,18.7,181,3750,Adelie\n" * rows)
    tracemalloc.start()
    try:
        table = dataset.read_channel("training")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    held = table.features.nbytes + table.labels.nbytes
    assert held == rows * (4 * 4 + 1)
    assert peak < 5 * held + 2**24 * dataset.THREADS


def test_sigterm_while_reading_ends_it_at_once(ml, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(CONTAINER, own, ignore=shutil.ignore_patterns("__pycache__"))
    slow = "import time; print('reading', flush=True); time.sleep(1); return whole(*arguments)"
    with (own / "blocks.py").open("a") as file:
        file.write(f"\n\nwhole = read\n\n\ndef read(*arguments):\n    {slow}\n")
    ml.channel("training", data="39.1,18.7,181,3750,Adelie\n" * 10**6)
    process = ml.start(folder=own)
    assert any("reading" in line for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert output.count("reading") < 10**6 * 26 / dataset.BLOCK / 2  # not to the end
    assert not ml.model.exists()
