"""Copies of requests for a shadow variant, whose answers are only captured and counted.

Source: Developer Guide, model-shadow-deployment; API Reference, CreateEndpointConfig.
"""

import random
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from byoc.local.connections import NoAnswer, TimedOut, Unreachable
from byoc.local.endpoint_metrics import Invocation

if TYPE_CHECKING:
    from byoc.local.variants import Variant

WORKERS = 8  # copies under way at a time
WAITING = 256  # copies that may wait; more are dropped, so that nobody waits for them


class Shadow:
    """Sends a share (0 to 1) of an endpoint's requests to the shadow variant too."""

    def __init__(self, variant: "Variant", share: float) -> None:
        self.variant, self._share = variant, share
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="shadow")
        self._room = threading.BoundedSemaphore(WAITING)

    def copy(self, body: bytes, headers: Mapping[str, str], seconds: float, limit: int) -> None:
        """Send a request if it is one of the share; returns at once.

        `seconds` is how long the container has, `limit` how many bytes its answer may have.
        """
        if random.random() >= self._share or not self._room.acquire(blocking=False):
            return
        received = time.monotonic()

        def ask() -> None:
            try:
                self._ask(body, headers, received, seconds, limit)
            finally:
                self._room.release()

        try:
            self._pool.submit(ask)
        except RuntimeError:  # the variant is being replaced
            self._room.release()

    def close(self) -> None:
        """Send no more; what is under way may end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(
        self, body: bytes, headers: Mapping[str, str], received: float, seconds: float, limit: int
    ) -> None:
        taken = self.variant.take(None, set())
        if taken is None:
            return
        instance, replica, token = taken
        sent, status = time.monotonic(), 0
        try:
            exchange = replica.connections.send("/invocations", body, headers, sent + seconds)
            try:
                content = exchange.read(limit)
                status = exchange.status
                capture, good = self.variant.capture, 200 <= status < 300 and len(content) <= limit
                if good and capture is not None:
                    capture.note(received, body, headers, content, exchange.headers)
            finally:
                exchange.close()
        except Unreachable:
            instance.suspect()
        except (TimedOut, NoAnswer):
            pass  # counted as an error of the model
        finally:
            replica.leave(token)
            count = max(1, len(self.variant.instances))
            model, before = time.monotonic() - sent, sent - received
            self.variant.meter.count(Invocation(status, count, model, before))
