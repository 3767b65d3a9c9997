"""What the local AWS does by itself, again and again, as long as it serves."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Clock:
    """Calls a function every `interval` seconds in a thread of its own, until it is stopped."""

    def __init__(self, interval: float, work: Callable[[], None]) -> None:
        self._interval, self._work = interval, work
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what it is doing may take a few seconds."""
        self._stopped.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            try:
                self._work()
            except Exception:  # a fault of ours must not stop the clock
                log.exception("%s", self._work)
