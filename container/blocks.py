"""Plain CSV to numbers with numpy: a block of many whole lines at once.

Plain: no quotes, so each comma ends a cell and each line break a row. What is not so plain is a
ValueError here; dataset.py then reads the block row by row and finds out what is wrong.
"""

import threading
from collections.abc import Callable

import numpy as np
import rows
from cells import WORD, decimals, split, words

LONGEST = 8 * WORD  # bytes of a label
FIRST = np.array([(1 << 8 * count) - 1 for count in range(WORD + 1)], np.uint64)  # n bytes' bits
MIXER = np.random.default_rng(0).integers(2**64, size=1 + LONGEST // WORD, dtype=np.uint64) | 1


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
    starts, stops = split(padded)
    if len(stops) != np.count_nonzero(np.frombuffer(text, np.uint8) == ord("\n")) * columns:
        raise ValueError("rows that differ in length")
    starts, stops = starts.reshape(-1, columns), stops.reshape(-1, columns)
    if (np.frombuffer(padded, np.uint8)[stops[:, -1]] != ord("\n")).any():
        raise ValueError("rows that differ in length")
    word = words(padded)

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
    spelled = [lengths.astype(np.uint64)]
    for offset in range(0, longest, WORD):
        spelled.append(word[begins + offset] & FIRST.take(np.clip(lengths - offset, 0, WORD)))
    return spelled
