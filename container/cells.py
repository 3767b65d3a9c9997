"""The cells of plain CSV with numpy, all of a block at once: where they are, and their numbers.

Eight bytes are a word of 64 bits, and a few sums over the words of all cells read all their
numbers.
"""

import numpy as np

WORD = 8
POWERS = 10.0 ** np.arange(WORD + 1)


def split(text: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Where each cell begins and where it stops: at a comma, or at a line's end."""
    content = np.frombuffer(text, np.uint8)
    stops = np.flatnonzero((content == ord(",")) | (content == ord("\n")))
    return np.concatenate([[0], stops[:-1] + 1]), stops


def words(padded: bytes) -> np.ndarray:
    """The word that begins at each byte but the last seven, whether or not that byte's address is
    a multiple of 8.
    """
    return np.ndarray(len(padded) - WORD + 1, "<u8", padded, strides=(1,))


def each(byte: int) -> np.uint64:
    """The word with this value in each byte."""
    return np.uint64(int.from_bytes(bytes([byte] * WORD), "little"))


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
