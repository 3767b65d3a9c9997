"""Pipe mode: a channel as a FIFO for each epoch, into which its objects are streamed from S3.

Source: Developer Guide, your-algorithms-training-algo-running-container and
model-access-training-data; API Reference, Channel.
"""

import contextlib
import errno
import os
import stat
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from byoc.local import recordio, storage
from byoc.local.storage import Object, StorageError

POLL = 0.01  # seconds between two looks whether the program has opened its pipe
GZIP = 31  # zlib's number for 15 bits of window, in a gzip wrapper
LAST = 10.0  # seconds that a stream has to end when its reader is gone


class Stream:
    """One channel of one host. `epoch` gives the objects of an epoch, in their order."""

    def __init__(
        self,
        s3: Any,
        channel: dict[str, Any],
        folder: Path,
        epoch: Callable[[int], Sequence[Object]],
    ) -> None:
        self._s3, self._folder, self._epoch = s3, folder, epoch
        self._name = channel["ChannelName"]
        self._compressed = channel["CompressionType"] == "Gzip"
        self._wrapped = channel["RecordWrapperType"] == "RecordIO"
        self._ended = threading.Event()
        self._failed: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self.error: Exception | None = None
        self._make(0)  # before the program starts, so that it finds it

    def start(self, failed: Callable[[], None]) -> None:
        """Serve epoch after epoch in a thread; calls `failed` when `error` says why it can't."""
        self._failed = failed
        self._thread.start()

    def stop(self) -> None:
        """End, once the program has ended."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(LAST)

    def _run(self) -> None:
        epoch = 0
        while (pipe := self._open(epoch)) is not None:
            try:
                with contextlib.suppress(BrokenPipeError):  # the program closed it early
                    for piece in self._content(self._epoch(epoch)):
                        _write(pipe, piece)
                # The next is there before this one ends. Source: Developer Guide, which has
                # programs look for it when they have closed this one.
                self._path(epoch).unlink(missing_ok=True)
                epoch += 1
                self._make(epoch)
            except Exception as error:
                self.error = error
                self._failed()
                self._ended.wait()  # a program must not take what it has got for all
                return
            finally:
                os.close(pipe)

    def _path(self, epoch: int) -> Path:
        return self._folder / f"{self._name}_{epoch}"

    def _make(self, epoch: int) -> None:
        os.mkfifo(self._path(epoch))
        self._path(epoch).chmod(0o666)  # the container's user may be another

    def _open(self, epoch: int) -> int | None:
        """The end to write to, once the program has opened the other; None when it has ended."""
        while not self._ended.wait(POLL):
            try:
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW
                pipe = os.open(self._path(epoch), flags)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    continue  # nobody reads
                return None  # the program removed it
            if stat.S_ISFIFO(os.fstat(pipe).st_mode):
                os.set_blocking(pipe, True)
                return pipe
            os.close(pipe)
            return None
        return None

    def _content(self, objects: Sequence[Object]) -> Iterator[bytes]:
        for one in objects:
            if not self._wrapped:
                yield from self._plain(one)
                continue
            size = sum(map(len, self._plain(one))) if self._compressed else one.size
            try:
                yield from recordio.record(size, self._plain(one))
            except ValueError as error:
                raise StorageError(f"The object {one.key} can't be wrapped: {error}.") from None

    def _plain(self, one: Object) -> Iterator[bytes]:
        pieces = storage.chunks(self._s3, one)
        return _decompressed(pieces, one) if self._compressed else pieces


def _decompressed(pieces: Iterator[bytes], one: Object) -> Iterator[bytes]:
    """What gzip holds, at most a piece at a time, with all members of a file."""
    decoder = zlib.decompressobj(GZIP)
    try:
        for piece in pieces:
            while piece:
                if decoder.eof:
                    decoder = zlib.decompressobj(GZIP)
                yield decoder.decompress(piece, storage.CHUNK)
                piece = decoder.unconsumed_tail or decoder.unused_data
        yield decoder.flush()
        if not decoder.eof:
            raise zlib.error("it ends too early")
    except zlib.error as error:
        raise StorageError(f"The object {one.key} is not gzip: {error}.") from None


def _write(pipe: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(pipe, view) :]
