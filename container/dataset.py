"""The CSV files of a channel as a table, and the table in parts with the same mix of labels."""

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import contract
import numpy as np
import rows
from contract import UserError


class Table(NamedTuple):
    features: np.ndarray  # float32
    labels: np.ndarray  # text
    columns: list[str]  # names; the label's is the last
    sha256: str  # of all files, one after the other

    def part(self, chosen: np.ndarray) -> "Table":
        return self._replace(features=self.features[chosen], labels=self.labels[chosen])


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
    digest, columns = hashlib.sha256(), list(columns)
    features: list[list[float]] = []
    labels: list[str] = []
    for path in paths:
        content, file = path.read_bytes(), path.relative_to(folder)
        digest.update(content)
        columns = read_file(content, file, columns, features, labels)
    if not labels:
        what = "no row of data" if paths else "no .csv file"
        raise UserError(f"Channel {name!r} ({folder}) holds {what}.")
    return Table(np.array(features, np.float32), np.array(labels), columns, digest.hexdigest())


def read_file(
    content: bytes,
    file: Path,
    columns: list[str],
    features: list[list[float]],
    labels: list[str],
) -> list[str]:
    """Add a file's rows to `features` and `labels`; return the names of its columns."""
    for index, (line, cells) in enumerate(records(content, file)):
        here = f"{file}, line {line}"
        if len(cells) < 2 or len(cells) != len(columns or cells):
            wanted = len(columns) or "features and a label, with commas between"
            raise UserError(f"{here}: {len(cells)} column(s) instead of {wanted}.")
        if index == 0 and not any(map(rows.is_number, cells[:-1])):
            if len(set(cells)) < len(cells) or "" in cells:
                raise UserError(f"{here}: the header {cells} must give each column its own name.")
            if columns not in ([], cells, unnamed(cells)):
                raise UserError(f"{here}: the header {cells} is not that of the other files.")
            columns = cells
            continue
        columns = columns or unnamed(cells)
        features.append([])
        for column, cell in enumerate(cells[:-1]):
            try:
                features[-1].append(rows.number(cell))
            except ValueError as why:
                raise UserError(
                    f"{here}, column {column + 1} ({columns[column]}): {why}."
                ) from None
        if not cells[-1]:
            raise UserError(f"{here}, column {len(cells)} ({columns[-1]}): the label is empty.")
        labels.append(cells[-1])
    return columns


def records(content: bytes, file: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row that is not blank."""
    try:
        text = content.decode("utf-8-sig")  # Excel writes a byte order mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}, line {line}: not UTF-8; save the file in UTF-8.") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: not CSV: {error}.") from None


def unnamed(cells: list[str]) -> list[str]:
    return [f"feature_{column}" for column in range(1, len(cells))] + ["label"]


def shuffled_ranks(
    labels: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Each row's place among the rows of its label, in random order: the base of both divisions."""
    place, count = np.empty(len(labels), int), np.empty(len(labels), int)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        place[members], count[members] = np.arange(len(members)), len(members)
    return place, count


def hold_out(table: Table, share: float, random: np.random.Generator) -> tuple[Table, Table]:
    """(training, held out): the share of each label's rows is held out."""
    place, count = shuffled_ranks(table.labels, random)
    held = place < np.round(count * share)
    return table.part(~held), table.part(held)


def folds(labels: np.ndarray, number: int, random: np.random.Generator) -> np.ndarray:
    """The fold of each row: each label spread evenly over all."""
    return shuffled_ranks(labels, random)[0] % number
