"""An answer in WSGI's own terms: what moto gives, and what a container's answer becomes."""

import random
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


def request_id() -> str:
    """A new id, without a system call: nobody must be unable to guess it."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


@dataclass
class Answer:
    """Status line, headers and body."""

    status: str
    headers: list[tuple[str, str]]
    chunks: Iterable[bytes]

    def __call__(self, environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        start_response(self.status, self.headers)
        return self.chunks

    @property
    def status_code(self) -> int:
        return int(self.status.split()[0])

    @property
    def whole(self) -> bytes:
        """The body, read to its end and kept."""
        if not isinstance(self.chunks, list):
            chunks, self.chunks = self.chunks, [b"".join(self.chunks)]
            if hasattr(chunks, "close"):
                chunks.close()
        return b"".join(self.chunks)
