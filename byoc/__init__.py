"""Bring your own container to Amazon SageMaker: what the book and the `byoc` command use."""

from byoc.connect import Connection, connect
from byoc.errors import ByocError

__all__ = ["ByocError", "Connection", "connect"]
