"""gunicorn's threaded worker, made to stop soon."""

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]


class Worker(ThreadWorker):
    """After SIGTERM gunicorn 26.2 waits for events for the whole graceful timeout, and so sits out
    its 25 seconds if a caller keeps one idle connection open. Looking every second, it finds that
    the connection has timed out, and leaves.
    """

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(min(timeout, 1.0))
