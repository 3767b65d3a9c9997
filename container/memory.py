"""What becomes of memory that numpy's arrays no longer need.

glibc gives it back to the kernel at once. The next array gets new pages, each of which is cleared
at its first use: with arrays of half a megabyte that takes as long as the work on them.
Source: mallopt(3), malloc_trim(3).
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
MOST, USUAL = 32 * 2**20, 128 * 2**10  # bytes
libc = ctypes.CDLL(None)


def keep(size: int = MOST) -> None:
    """Keep freed arrays of up to that many bytes, and as much at the heap's end, for the next."""
    if hasattr(libc, "mallopt"):  # only in glibc
        libc.mallopt(MMAP_THRESHOLD, size)
        libc.mallopt(TRIM_THRESHOLD, size)


@contextmanager
def kept() -> Iterator[None]:
    """Keep it for as long as the block runs, then give it back."""
    keep()
    try:
        yield
    finally:
        keep(USUAL)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)
