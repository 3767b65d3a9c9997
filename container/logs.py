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
        text, start = "\n".join([*lines, ""]), 0
        while start < len(text):
            last = text.rfind("\n", start, start + PIPE_BUF)
            end = last + 1 or text.index("\n", start) + 1
            sys.stdout.write(text[start:end])
            sys.stdout.flush()
            start = end
