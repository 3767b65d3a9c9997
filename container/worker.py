"""gunicorn's workers: an event loop for asgi.py, threads for app.py; and what they lack."""

import asyncio
import os
from typing import Any, ClassVar

import contract
from gunicorn.workers.base import Worker  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker  # type: ignore[import-untyped]

HEAD_BYTES = 64 * 1024  # of a request line and headers, at most
# From the first byte of a request to its last; the platform itself waits for 60 s.
REQUEST_SECONDS = contract.setting("SAGEMAKER_MODEL_SERVER_TIMEOUT", 60)


class WithoutGroups(Worker):
    def init_process(self) -> None:
        """Here gunicorn 26.2 changes to its user and group, but not out of the other groups; with
        --initgroups it leaves those and stays in its first, root.
        """
        if self.cfg.uid != os.geteuid():
            os.setgroups([])
        super().init_process()


class Threads(WithoutGroups, ThreadWorker):
    """For app.py."""

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """After SIGTERM gunicorn 26.2 waits for events for the whole graceful timeout, and so sits
        out its 25 seconds if a caller keeps one idle connection open. Looking every second, it
        finds that the connection has timed out, and leaves.
        """
        super().wait_for_and_dispatch_events(min(timeout, 1.0))


class Protocol(HttpToolsProtocol):
    """uvicorn 0.54 waits for the rest of a request, and for headers without end, for ever."""

    deadline: asyncio.TimerHandle | None = None
    head = 0  # bytes so far

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle = self.cycle
        if cycle and not cycle.more_body and not cycle.response_complete:
            self.finished()  # the request is whole
        elif self.deadline is None:
            self.deadline = self.loop.call_later(REQUEST_SECONDS, self.transport.close)
        in_head = cycle is None or cycle.scope is not self.scope
        self.head = self.head + len(data) if in_head else 0
        if self.head > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The headers are over 64 KB: send fewer.")

    def on_response_complete(self) -> None:
        self.finished()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self.finished()
        super().connection_lost(exc)

    def finished(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


class EventLoop(WithoutGroups, UvicornWorker):
    """For asgi.py."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "http": Protocol,
        "ws": "none",
        "lifespan": "off",
        "access_log": False,  # a line a ping would fill CloudWatch
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": 65,  # longer than a caller's: else it may send as we close
    }
