"""A container's output in CloudWatch Logs, as it is written."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from botocore.exceptions import ClientError

from byoc.local.clients import REFUSED

BATCH = 500  # events of one PutLogEvents; AWS allows 10,000
BATCH_SIZE = 1_000_000  # bytes of them; AWS allows 1,048,576, with 26 for each event
MESSAGE = 200_000  # characters of an event; AWS allows 256 KiB
INTERVAL = 0.2  # seconds between two deliveries


class LogStream:
    """One log stream; created at once, so that it exists even when nothing is printed.

    Where the client's role may not write logs, there are none, as on AWS.
    """

    def __init__(self, client: Any, group: str, stream: str) -> None:
        self.group, self.stream, self._client = group, stream, client
        with _refusals_ignored():
            try:
                client.create_log_group(logGroupName=group)
            except client.exceptions.ResourceAlreadyExistsException:
                pass
        with _refusals_ignored():
            client.create_log_stream(logGroupName=group, logStreamName=stream)

    def follow(self, lines: Iterable[str], each: Callable[[str], None] | None = None) -> None:
        """Deliver `lines` as they come, until they end; calls `each` with every line."""
        pending: queue.Queue[dict | None] = queue.Queue()
        delivery = threading.Thread(target=self._deliver, args=(pending,), daemon=True)
        delivery.start()
        for line in lines:
            message = line[:MESSAGE] or " "  # CloudWatch refuses an empty message
            pending.put({"timestamp": int(time.time() * 1000), "message": message})
            if each is not None:
                each(line)
        pending.put(None)
        delivery.join()

    def _deliver(self, pending: "queue.Queue[dict | None]") -> None:
        event = pending.get()
        while event is not None:
            batch: list[dict] = []
            size, deadline = _size(event), time.monotonic() + INTERVAL
            while event and len(batch) < BATCH and (size <= BATCH_SIZE or not batch):
                batch.append(event)
                try:
                    event = pending.get(timeout=max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    event = {}
                size += _size(event)
            self._put(batch)
            if event == {}:
                event = pending.get()

    def _put(self, events: list[dict]) -> None:
        with _refusals_ignored():
            try:
                self._client.put_log_events(
                    logGroupName=self.group, logStreamName=self.stream, logEvents=events
                )
            except self._client.exceptions.ResourceNotFoundException:
                pass  # the group was deleted meanwhile


@contextlib.contextmanager
def _refusals_ignored() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != REFUSED:
            raise


def _size(event: dict | None) -> int:
    """Bytes of an event as CloudWatch counts them."""
    return len(event["message"].encode()) + 26 if event else 0
