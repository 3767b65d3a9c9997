"""Lines for stdout, written some at a time: each write wakes the engine's logging, which would take
longer than an answer.
"""

import sys
import threading
from collections.abc import Callable
from select import PIPE_BUF

SECONDS = 0.05  # that a line waits at most


class Log:
    """`later` calls a function after some seconds, also when the server is about to end."""

    def __init__(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        self.later, self.lock = later, threading.Lock()
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        with self.lock:
            self.lines.append(line)
            if len(self.lines) == 1:
                self.later(SECONDS, self.write)

    def write(self) -> None:
        """In blocks of at most PIPE_BUF bytes: the lines of two workers never mix."""
        with self.lock:
            lines, self.lines = self.lines, []
        block = ""
        for line in [*lines, ""]:
            if not line or len(block) + len(line) >= PIPE_BUF:
                sys.stdout.write(block)
                sys.stdout.flush()
                block = ""
            block += line + "\n"
