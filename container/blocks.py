"""Plain CSV to numbers with numpy: a block of many whole lines at once.

Plain: no quotes, so each comma ends a cell and each line break a row. Eight bytes are a word of 64
bits, and a few sums over the words of all cells read all their numbers. What is not so plain is a
ValueError here; dataset.py then reads the block row by row and finds out what is wrong.
"""

import threading
from collections.abc import Callable

import numpy as np
import rows

WORD = 8
LONGEST = 8 * WORD  # bytes of a label
POWERS = 10.0 ** np.arange(WORD + 1)
FIRST = np.array([(1 << 8 * count) - 1 for count in range(WORD + 1)], np.uint64)  # n bytes' bits
MIXER = np.random.default_rng(0).integers(2**64, size=1 + LONGEST // WORD, dtype=np.uint64) | 1


def each(byte: int) -> np.uint64:
    """The word with this value in each byte."""
    return np.uint64(int.from_bytes(bytes([byte] * WORD), "little"))


class Labels:
    """A number for each different text, in the order of their coming. Threads may share it."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}
        self.lock = threading.RLock()
        # Sorted mixed words, these words themselves, and the text's number.
        unsigned, signed = np.zeros(0, np.uint64), np.zeros(0, np.int32)
        self.known = unsigned, np.zeros((len(MIXER), 0), np.uint64), signed

    def number(self, text: str) -> int:
        with self.lock:
            return self.texts.setdefault(text, len(self.texts))

    def numbers(self, words: list[np.ndarray], text: Callable[[int], str]) -> np.ndarray:
        """The number of each text, given as its length and its words; `text(i)` reads one."""
        mixed = sum(word * mixer for word, mixer in zip(words, MIXER, strict=False))
        for _ in range(2):
            keys, spelled, numbers = self.known
            if len(keys):
                place = np.minimum(keys.searchsorted(mixed), len(keys) - 1)
                if all((s.take(place) == w).all() for s, w in zip(spelled, words, strict=False)):
                    return numbers.take(place)
            self.learn(words, mixed, text)
        raise ValueError("two labels that mix to the same number")

    def learn(self, words: list[np.ndarray], mixed: np.ndarray, text: Callable[[int], str]) -> None:
        with self.lock:
            keys, spelled, numbers = self.known
            found, first = np.unique(mixed, return_index=True)
            new = ~np.isin(found, keys)
            found, first = found[new], first[new]
            added = np.zeros((len(MIXER), len(first)), np.uint64)
            added[: len(words)] = [word[first] for word in words]
            fresh = [self.number(text(row)) for row in first]
            keys = np.concatenate([keys, found])
            order = keys.argsort()
            spelled = np.concatenate([spelled, added], axis=1)[:, order]
            numbers = np.concatenate([numbers, np.array(fresh, np.int32)])[order]
            self.known = keys[order], spelled, numbers


def read(block: bytes, columns: int, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """(float32 features, numbers of the labels) of whole lines with that many columns."""
    text = block.replace(b"\r\n", b"\n") if b"\r" in block else block
    text += b"" if text.endswith(b"\n") else b"\n"
    if b'"' in text or b"\r" in text:
        raise ValueError("quotes, or line breaks of old")
    padded = text + bytes(LONGEST + WORD)
    content = np.frombuffer(padded, np.uint8)
    stops = np.flatnonzero((content == ord(",")) | (content == ord("\n")))
    starts = np.concatenate([[0], stops[:-1] + 1])
    if len(stops) != text.count(b"\n") * columns:
        raise ValueError("rows that differ in length")
    starts, stops = starts.reshape(-1, columns), stops.reshape(-1, columns)
    if (content[stops[:, -1]] != ord("\n")).any():
        raise ValueError("rows that differ in length")
    # The word that begins at each byte, whether or not that byte's address is a multiple of 8.
    word = np.ndarray(len(padded) - WORD + 1, "<u8", padded, strides=(1,))

    def cell(start: int, stop: int) -> str:
        return text[start:stop].decode().strip()

    begins, ends = starts[:, :-1].ravel(), stops[:, :-1].ravel()
    values, plain = decimals(word[begins], ends - begins)
    for index in np.flatnonzero(~plain):
        values[index] = rows.number(cell(begins[index], ends[index]))
    begins, ends = starts[:, -1], stops[:, -1]
    numbers = labels.numbers(
        spelling(word, begins, ends - begins), lambda row: label(cell(begins[row], ends[row]))
    )
    return values.astype(np.float32).reshape(-1, columns - 1), numbers


def label(text: str) -> str:
    if not text:
        raise ValueError("the label is empty")
    return text


def spelling(word: np.ndarray, begins: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Of each text its length and its words, filled up with zeros."""
    longest = int(lengths.max())
    if longest > LONGEST:
        raise ValueError("a long label")
    words = [lengths.astype(np.uint64)]
    for offset in range(0, longest, WORD):
        words.append(word[begins + offset] & FIRST.take(np.clip(lengths - offset, 0, WORD)))
    return words


def decimals(word: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(value, whether it is one) of each cell that is digits, perhaps with a point and a minus.

    The first character is a word's lowest byte. With at most eight digits, digits and power of ten
    are exact in float64, so their quotient is what float() gives: the nearest there is.
    """
    minus = (word & np.uint64(0xFF)) == ord("-")
    size = lengths - minus
    fits = (size >= 1) & (size <= WORD - minus)
    # Only the cell, moved up so that its last character is the highest byte.
    empty = (WORD * (WORD - np.clip(size, 1, WORD))).astype(np.uint64)
    word = (word >> (minus * np.uint64(WORD))) << empty
    # The lowest byte that is a point: the only one that the first line makes zero.
    other = word ^ each(ord("."))
    point = (other - each(1)) & ~other & each(0x80)
    point = (point & -point) >> np.uint64(7)  # one bit: the lowest of that byte; or none
    pointed = point != 0
    before = point - pointed  # all bits below
    after = ~(before | point * np.uint64(0xFF))
    after_count = (np.bitwise_count(after) >> 3) * pointed
    word = (word & after) | ((word & before) << np.uint64(WORD))  # the digits close up
    digits = size - pointed
    fits &= digits >= 1
    blank = (WORD * (WORD - np.clip(digits, 1, WORD))).astype(np.uint64)
    word ^= each(ord("0")) << blank
    fits &= ((word + each(0x7F - 9)) | word) & each(0x80) == 0  # each byte is at most 9
    # Neighbours become numbers of two digits, then of four, then of eight.
    word = (word * np.uint64(10) + (word >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    word = (word * np.uint64(100) + (word >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    word = (word * np.uint64(10_000) + (word >> np.uint64(32))) & np.uint64(0x00000000FFFFFFFF)
    values = word / POWERS.take(after_count)
    return np.where(minus, -values, values), fits
