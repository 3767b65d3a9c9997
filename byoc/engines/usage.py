"""What the containers of this process use, sampled by one thread; who takes too much is killed.

As the kernel's OOM killer does it to a container: SIGKILL to all of it, so that it ends with 137.
"""

import threading
import time
from dataclasses import dataclass
from typing import Protocol

import psutil

INTERVAL = 0.5  # seconds between two samples
TOTAL_MEMORY = psutil.virtual_memory().total  # bytes


@dataclass(frozen=True)
class Usage:
    """`cpu` in percent, 100 for each processor in full use; `memory` in bytes.

    `memory_percent` is the share of what the container may have at most.
    """

    cpu: float
    memory: int
    memory_percent: float


class Watched(Protocol):
    """A container as the watch sees it; `memory_limit` in bytes."""

    pid: int
    memory_limit: int | None
    usage: Usage | None

    def kill_for_memory(self) -> None: ...


class Watch:
    """Samples every container that was added, until it is removed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, Watched] = {}
        self._before: dict[int, tuple[float, float]] = {}  # when, and the CPU seconds until then
        self._thread: threading.Thread | None = None

    def add(self, container: Watched) -> None:
        """Begin to sample; the thread ends itself when nothing is left to watch."""
        with self._lock:
            self._watched[container.pid] = container
            if self._thread is None:
                self._thread = threading.Thread(target=self._sample_all, daemon=True)
                self._thread.start()

    def remove(self, container: Watched) -> None:
        """Sample it no more."""
        with self._lock:
            self._watched.pop(container.pid, None)
            self._before.pop(container.pid, None)

    def _sample_all(self) -> None:
        while True:
            time.sleep(INTERVAL)
            with self._lock:
                watched = list(self._watched.values())
                if not watched:
                    self._thread = None
                    return
            for container in watched:
                self._sample(container)

    def _sample(self, container: Watched) -> None:
        processes = _tree(container.pid)
        seconds, memory = 0.0, 0
        for process in processes:
            try:
                times = process.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
                memory += process.memory_info().rss
            except psutil.Error:
                continue
        moment = time.monotonic()
        with self._lock:
            if container.pid not in self._watched:
                return
            before = self._before.get(container.pid)
            self._before[container.pid] = moment, seconds
        cpu = max(0.0, 100 * (seconds - before[1]) / (moment - before[0])) if before else 0.0
        limit = container.memory_limit
        most = min(limit or TOTAL_MEMORY, TOTAL_MEMORY)
        container.usage = Usage(cpu, memory, min(100.0, 100 * memory / most))
        if limit is not None and memory > limit and _memory_once(processes) > limit:
            container.kill_for_memory()


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _memory_once(processes: list[psutil.Process]) -> int:
    """Bytes of all, with what several of them share counted once, where the system tells."""
    total = 0
    for process in processes:
        try:
            memory = process.memory_full_info()
        except psutil.Error:
            continue
        total += getattr(memory, "pss", memory.rss)
    return total


WATCH = Watch()
