"""The CSV files of a channel as a table, and the table in parts with the same mix of labels."""

import csv
import hashlib
import io
import os
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

import blocks
import contract
import memory
import numpy as np
import rows
from contract import UserError

BLOCK = 2**19  # bytes: what a processor works on then fits its cache
THREADS = os.cpu_count() or 1
Part = tuple[np.ndarray, np.ndarray]  # float32 features; the labels as numbers of blocks.Labels


class Table(NamedTuple):
    features: np.ndarray  # float32
    labels: np.ndarray  # of each row its label's place in `classes`
    classes: list[str]  # sorted
    columns: list[str]  # names; the label's is the last
    sha256: str  # of all files, one after the other

    def part(self, chosen: np.ndarray) -> "Table":
        """The rows that are true in `chosen`."""
        rows = np.flatnonzero(chosen)  # numpy takes rows by number sooner than by truth
        return self._replace(features=self.features.take(rows, axis=0), labels=self.labels[rows])


def read_channel(name: str, columns: Sequence[str] = ()) -> Table | None:
    """Every .csv file of a channel, the label last in a row; None if there is no such channel.

    `columns`: the names that headers must agree with, if these are known from another channel.
    """
    folder = contract.channel_dir(name)
    if contract.channels().get(name, {}).get("TrainingInputMode") == "Pipe":
        raise UserError(f"Channel {name!r} is a pipe: use TrainingInputMode File or FastFile.")
    if not folder.is_dir():
        return None
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".csv" and p.is_file())
    parts: list[Part] = []
    with memory.kept(), ThreadPoolExecutor(THREADS) as threads:
        reader = Reader(list(columns), threads)
        for path in paths:
            with path.open("rb", buffering=0) as file:
                parts.extend(reader.parts(file, path.relative_to(folder)))
    parts = [part for part in parts if len(part[1])]
    if not parts:
        what = "no row of data" if paths else "no .csv file"
        raise UserError(f"Channel {name!r} ({folder}) holds {what}.")
    features, numbers = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    met = np.zeros(len(reader.labels.texts), bool)
    met[numbers] = True  # not all: what follows a quote was perhaps read in vain
    classes, place = np.unique(np.array(list(reader.labels.texts))[met], return_inverse=True)
    rank = np.zeros(len(met), np.min_scalar_type(len(classes)))
    rank[met] = place
    labels = rank[numbers]
    digest = reader.digest.hexdigest()
    return Table(features, labels, classes.tolist(), reader.columns, digest)


class Reader:
    """Reads files into parts of one table."""

    def __init__(self, columns: list[str], threads: ThreadPoolExecutor) -> None:
        self.columns, self.threads = columns, threads
        self.labels, self.digest = blocks.Labels(), hashlib.sha256()

    def parts(self, file: BinaryIO, name: Path) -> Iterator[Part]:
        """The rows of a file in their order: of plain blocks by numpy, of others one by one.

        Blocks ahead are read in the threads meanwhile. A quoted cell may go on in the next block,
        so from the first quote on the rest of the file is read row by row.
        """
        content = self.blocks(file)
        ahead: deque[tuple[bytes, Future[Part] | None]] = deque()
        line, begun = 0, False
        while True:
            while begun and len(ahead) < 2 * THREADS and (block := next(content, b"")):
                work = self.threads.submit(blocks.read, block, len(self.columns), self.labels)
                ahead.append((block, work))
            block, done = ahead.popleft() if ahead else (next(content, b""), None)
            if not block:
                return
            try:
                if done is None:
                    raise ValueError("the names or the number of the columns are not known yet")
                part = done.result()
                yield part
                line += len(part[1])  # in a plain block each line is a row
            except ValueError:
                quoted = b'"' in block
                rest = chain([block], (b for b, _ in ahead), content) if quoted else [block]
                if not begun and not quoted:  # only as far as the first row
                    cut = block.find(b"\n") + 1 or len(block)
                    content, rest = chain(filter(None, [block[cut:]]), content), [block[:cut]]
                    block = block[:cut]
                part, begun = self.careful(rest, name, line, begun)
                yield part
                if quoted:
                    return
                line += block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n")

    def blocks(self, file: BinaryIO) -> Iterator[bytes]:
        """The file's bytes, cut at ends of lines; without a byte order mark, as Excel writes it."""
        rest, mark = bytearray(), b"\xef\xbb\xbf"
        while piece := file.read(BLOCK):
            self.digest.update(piece)
            cut = piece.rfind(b"\n") + 1
            rest += piece[:cut] or piece
            if cut:
                yield bytes(rest.removeprefix(mark))
                mark, rest = b"", bytearray(piece[cut:])
        if rest:
            yield bytes(rest.removeprefix(mark))

    def careful(
        self, content: Iterable[bytes], file: Path, line: int, begun: bool
    ) -> tuple[Part, bool]:
        """(rows of blocks that follow `line` lines, whether the file's first row was met)."""
        features, labels = array("f"), array("i")
        for place, cells in records(content, file, line):
            here = f"{file}, line {place}"
            if len(cells) < 2 or len(cells) != len(self.columns or cells):
                wanted = len(self.columns) or "features and a label, with commas between"
                raise UserError(f"{here}: {len(cells)} column(s) instead of {wanted}.")
            if not begun and not any(map(rows.is_number, cells[:-1])):
                begun, self.columns = True, header(cells, self.columns, here)
                continue
            begun, self.columns = True, self.columns or unnamed(cells)
            features.extend(numbers(cells, self.columns, here))
            labels.append(self.labels.number(cells[-1]))
        shape = len(labels), max(len(self.columns) - 1, 0)
        return (np.array(features, np.float32).reshape(shape), np.array(labels, np.int32)), begun


def header(cells: list[str], columns: list[str], here: str) -> list[str]:
    """The names in a file's first row, which must be those of the files before it."""
    if len(set(cells)) < len(cells) or "" in cells:
        raise UserError(f"{here}: the header {cells} must give each column its own name.")
    if columns not in ([], cells, unnamed(cells)):
        raise UserError(f"{here}: the header {cells} is not that of the other files.")
    return cells


def numbers(cells: list[str], columns: list[str], here: str) -> list[float]:
    """The features of a row, which must have a label too."""
    values = []
    for column, cell in enumerate(cells[:-1]):
        try:
            values.append(rows.number(cell))
        except ValueError as why:
            raise UserError(f"{here}, column {column + 1} ({columns[column]}): {why}.") from None
    if not cells[-1]:
        raise UserError(f"{here}, column {len(cells)} ({columns[-1]}): the label is empty.")
    return values


def records(content: Iterable[bytes], file: Path, line: int) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row that is not blank."""
    reader = csv.reader(lines(content, file, line), strict=True)
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                yield line + reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise UserError(f"{file}, line {line + reader.line_num}: not CSV: {error}.") from None


def lines(content: Iterable[bytes], file: Path, line: int) -> Iterator[str]:
    for raw in chain.from_iterable(map(io.BytesIO, content)):
        line += 1
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise UserError(f"{file}, line {line}: not UTF-8; save the file in UTF-8.") from None
        yield from io.StringIO(text, newline="")  # a carriage return alone ends a line too


def unnamed(cells: list[str]) -> list[str]:
    return [f"feature_{column}" for column in range(1, len(cells))] + ["label"]


def recoded(table: Table, classes: list[str]) -> Table:
    """The table with the labels as places in other classes; -1 for a label that is not there."""
    places = {label: place for place, label in enumerate(classes)}
    place = np.array([places.get(label, -1) for label in table.classes], np.int32)
    return table._replace(labels=place[table.labels], classes=classes)


def members(labels: np.ndarray, random: np.random.Generator) -> Iterator[np.ndarray]:
    """The rows of each label, in random order: the base of both divisions."""
    order = labels.argsort(kind="stable")
    ends = np.cumsum(np.bincount(labels))
    for rows_of_label in np.split(order, ends[:-1]):
        if len(rows_of_label):
            yield random.permutation(rows_of_label)


def hold_out(table: Table, share: float, random: np.random.Generator) -> tuple[Table, Table]:
    """(training, held out): the share of each label's rows is held out."""
    held = np.zeros(len(table.labels), bool)
    for shuffled in members(table.labels, random):
        held[shuffled[: round(len(shuffled) * share)]] = True
    return table.part(~held), table.part(held)


def folds(labels: np.ndarray, number: int, random: np.random.Generator) -> np.ndarray:
    """The fold of each row: each label spread evenly over all."""
    fold = np.empty(len(labels), np.min_scalar_type(number))
    for shuffled in members(labels, random):
        fold[shuffled] = np.arange(len(shuffled)) % number
    return fold
