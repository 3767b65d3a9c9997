"""gunicorn's threaded worker, made to leave all of root's groups and to stop soon."""

import os

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]


class Worker(ThreadWorker):
    def init_process(self) -> None:
        """Here gunicorn 26.2 changes to its user and group, but not out of the other groups; with
        --initgroups it leaves those and stays in its first, root.
        """
        if self.cfg.uid != os.geteuid():
            os.setgroups([])
        super().init_process()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """After SIGTERM gunicorn 26.2 waits for events for the whole graceful timeout, and so sits
        out its 25 seconds if a caller keeps one idle connection open. Looking every second, it
        finds that the connection has timed out, and leaves.
        """
        super().wait_for_and_dispatch_events(min(timeout, 1.0))
