"""What a processing job leaves: files below its outputs' LocalPaths, each an object in S3.

Source: API Reference, ProcessingS3Output; Developer Guide, build-your-own-processing-container.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from byoc.local import storage
from byoc.optml import OptML

INTERVAL = 1.0  # seconds between two looks for new files; AWS does not say how often it looks


class Outputs:
    """Uploads the outputs of a ProcessingOutputConfig from every host's /opt/ml.

    Of files with the same path on several hosts, the first host's is taken: AWS does not say which.
    """

    def __init__(self, s3: Any, config: dict[str, Any], mls: Sequence[OptML]) -> None:
        self._s3, self._mls, self._key = s3, mls, config.get("KmsKeyId")
        self._outputs = [one["S3Output"] for one in config["Outputs"]]
        self._sent: dict[Path, tuple[int, int]] = {}  # what a file was like when it was uploaded

    @contextlib.contextmanager
    def continuously(self) -> Iterator[None]:
        """Upload new and changed files of Continuous outputs while the block runs."""
        ended = threading.Event()
        follower = threading.Thread(target=self._follow, args=(ended,), daemon=True)
        follower.start()
        try:
            yield
        finally:
            ended.set()
            follower.join()

    def finish(self, completed: bool) -> None:
        """Upload what is left of Continuous outputs and, if the job completed, the others.

        AWS does not say what becomes of the EndOfJob outputs of a job that did not complete; here
        they are not uploaded. Raises StorageError.
        """
        for output in self._outputs:
            if completed or output["S3UploadMode"] == "Continuous":
                self._upload(output)

    def _follow(self, ended: threading.Event) -> None:
        wanted = [one for one in self._outputs if one["S3UploadMode"] == "Continuous"]
        while wanted and not ended.wait(INTERVAL):
            for output in wanted:
                with contextlib.suppress(storage.StorageError):  # `finish` tries it again
                    self._upload(output)

    def _upload(self, output: dict[str, Any]) -> None:
        folders = [ml.local(output["LocalPath"]) for ml in self._mls]
        owned = [f for ml, f in zip(self._mls, folders, strict=True) if ml.owns(f)]
        new, state = {}, {}
        for name, path in storage.merge(owned).items():
            with contextlib.suppress(FileNotFoundError):  # the program removed it meanwhile
                known = path.lstat()
                state[path] = (known.st_size, known.st_mtime_ns)
                if self._sent.get(path) != state[path]:
                    new[name] = path
        storage.upload_files(self._s3, new, output["S3Uri"].rstrip("/"), self._key)
        self._sent |= state
