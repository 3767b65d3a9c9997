"""A training job's checkpoints: one folder on each host, and the same files in S3.

Source: Developer Guide, model-checkpoints; API Reference, CheckpointConfig.
"""

import contextlib
import logging
import os
import posixpath
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from byoc.local import storage
from byoc.local.errors import not_implemented, validation
from byoc.optml import OptML

log = logging.getLogger(__name__)

DEFAULT = "/opt/ml/checkpoints"
TAKEN = ("input", "model", "output")  # of /opt/ml
INTERVAL = 2.0  # seconds between two looks at the folder; AWS does not say how often it looks

Signature = tuple[int, int, int]  # a file's inode, size and time of change


def check(config: dict[str, Any] | None) -> None:
    """Raise AWSError for a place that can't be kept; set the default that AWS describes."""
    if config is None:
        return
    path = posixpath.normpath(config.setdefault("LocalPath", f"{DEFAULT}/"))
    below = path.removeprefix("/opt/ml/")
    if below == path:
        raise not_implemented("CreateTrainingJob with a LocalPath that is not below /opt/ml/")
    if below.partition("/")[0] in TAKEN:
        raise validation(f"The LocalPath {path} of CheckpointConfig is one that SageMaker uses.")
    if not config["S3Uri"].startswith("s3://"):
        raise not_implemented("CreateTrainingJob with checkpoints that are not at s3://")


class Folder:
    """The checkpoints of one host: fetched at its start, then kept the same in S3."""

    def __init__(self, s3: Any, config: dict[str, Any], ml: OptML) -> None:
        self._s3, self._ml = s3, ml
        self._uri = config["S3Uri"].rstrip("/")
        local = posixpath.normpath(config["LocalPath"])
        self.path = ml.path / local.removeprefix("/opt/ml/")
        self._kept: dict[str, Signature] = {}

    def fetch(self, work: Path, limit: float | None) -> None:
        """Lay out what lies in S3, if `work` and its limit in GiB have room; raises StorageError.

        What is added in S3 later is not fetched.
        """
        objects = storage.list_prefix(self._s3, f"{self._uri}/")
        storage.check_space(work, sum(one.size for one in objects), limit)
        storage.download(self._s3, objects, self.path)
        self._kept = self._files()

    def send(self) -> None:
        """Upload what has changed, delete what is gone; raises StorageError.

        A file that is written to meanwhile is sent again the next time. Links are not followed.
        """
        if not self._ml.owns(self.path):
            return  # the program put a link in its place
        files = self._files()
        for name, signature in files.items():
            if self._kept.get(name) != signature and self._upload(name):
                self._kept[name] = signature
        for name in self._kept.keys() - files.keys():
            storage.delete(self._s3, f"{self._uri}/{name}")
            del self._kept[name]

    def _upload(self, name: str) -> bool:
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            file = os.fdopen(os.open(self.path / name, flags), "rb")
        except OSError:
            return False  # it has gone, or become a link
        with file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return False
            storage.upload(self._s3, file, f"{self._uri}/{name}")
        return True

    def _files(self) -> dict[str, Signature]:
        found: dict[str, Signature] = {}
        for place, _, names in os.walk(self.path):
            for path in (Path(place) / name for name in names):
                try:
                    seen = path.lstat()
                except OSError:
                    continue
                if stat.S_ISREG(seen.st_mode):
                    signature = seen.st_ino, seen.st_size, seen.st_ctime_ns
                    found[path.relative_to(self.path).as_posix()] = signature
        return found


class Keeper:
    """Sends the hosts' checkpoints every few seconds, in a thread of its own."""

    def __init__(self, folders: Sequence[Folder]) -> None:
        self._folders = folders
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> "Keeper":
        if self._folders:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        if self._folders:
            self._thread.join()
        if kind is not None:  # what is saved is kept, and the error that came first is told
            with contextlib.suppress(Exception):
                send(self._folders)

    def _keep(self) -> None:
        while not self._ended.wait(INTERVAL):
            try:
                send(self._folders)
            except Exception as error:  # tried again: only the last time decides
                log.warning("checkpoints could not be sent: %s", error)


def fetch(folders: Sequence[Folder], work: Path, limit: float | None) -> None:
    """Lay out every host's checkpoints; raises StorageError."""
    try:
        for folder in folders:
            folder.fetch(work, limit)
    except storage.StorageError as error:
        raise storage.StorageError(f"Checkpoint download failed:{error}") from None


def send(folders: Sequence[Folder]) -> None:
    """Send every host's checkpoints; raises StorageError.

    What several hosts keep under one name is that of whoever changed it last, as on AWS.
    """
    for folder in folders:
        folder.send()
