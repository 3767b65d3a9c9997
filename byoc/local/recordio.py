"""RecordIO, in which Pipe mode wraps each object when RecordWrapperType asks for it.

A record is a magic number, the length (little-endian, 32 bits each), the content, and zeros up to
a multiple of four bytes. Source: dmlc-core, recordio.h; sagemaker-python-sdk, amazon/common.py.
"""

import struct
from collections.abc import Iterable, Iterator

MAGIC = 0xCED7230A
LONGEST = 2**29 - 1  # bytes: the upper three bits of the length say whether a record goes on


def record(size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """One record of `size` bytes, a piece at a time; raises ValueError for one that is too long."""
    if size > LONGEST:
        raise ValueError(f"a RecordIO record has at most {LONGEST} bytes, not {size}")
    yield struct.pack("<II", MAGIC, size)
    yield from chunks
    yield bytes(-size % 4)
