"""A model's files from S3 to `/opt/ml/model`.

Source: API Reference, ContainerDefinition, S3ModelDataSource; AWS re:Post, "Failed to extract
model data archive" (links).
"""

import gzip
import shutil
import tarfile
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from botocore.exceptions import BotoCoreError, ClientError

from byoc.local.errors import not_implemented, validation
from byoc.local.storage import split

PIECE = 1024 * 1024  # bytes read at a time
BLOCK = 4096  # bytes that even an empty file takes on a disk
PADDING = 16 * 1024 * 1024  # bytes of zeros after an archive's end
HEADER = 1024 * 1024  # bytes of one tar header, which tarfile keeps in memory


class ModelDataError(Exception):
    """Model data that can't be fetched or unpacked; the message is the FailureReason."""


class NoSpace(ModelDataError):
    """Model data that take more than the volume has left."""


class _Unsound(Exception):
    """Why an archive can't be unpacked."""


@dataclass
class Budget:
    """What fetching may use: `space` in bytes, `deadline` on the monotonic clock."""

    space: int
    deadline: float
    stopped: threading.Event = field(default_factory=threading.Event)
    used: int = 0

    def spend(self, count: int) -> None:
        """Account for `count` more bytes on the disk; raises ModelDataError if too many."""
        self.used += count
        if self.used > self.space:
            raise NoSpace(
                f"The model data needs more than the {self.space:,} bytes of the instance's volume."
            )
        if time.monotonic() > self.deadline:
            raise ModelDataError(
                "Downloading and extracting the model data took longer than allowed."
            )
        if self.stopped.is_set():
            raise ModelDataError("The instance was stopped.")


@dataclass(frozen=True)
class Source:
    """Where a container definition says that its model data is."""

    uri: str
    prefix: bool
    archive: bool

    @property
    def place(self) -> tuple[str, str]:
        return split(self.uri)


def source_of(container: dict[str, Any]) -> Source | None:
    """The model data of a container definition, or None."""
    if url := container.get("ModelDataUrl"):
        return Source(url, prefix=False, archive=True)
    if given := container.get("ModelDataSource", {}).get("S3DataSource"):
        prefix, archive = given["S3DataType"] == "S3Prefix", given["CompressionType"] == "Gzip"
        return Source(given["S3Uri"], prefix, archive)
    return None


def check(s3: Any, container: dict[str, Any]) -> None:
    """Refuse at CreateModel what can't be fetched later; raises AWSError."""
    if "ModelDataUrl" in container and "ModelDataSource" in container:
        raise validation("ModelDataUrl and ModelDataSource can't be given both.")
    if container.get("Mode") == "MultiModel":
        return _check_prefix(s3, container)
    given = container.get("ModelDataSource", {})
    if "ModelDataSource" in container and "S3DataSource" not in given:
        raise validation("ModelDataSource needs an S3DataSource.")
    for member in ("ModelAccessConfig", "HubAccessConfig", "ManifestS3Uri", "ManifestEtag", "ETag"):
        if member in given.get("S3DataSource", {}):
            raise not_implemented(f"CreateModel with {member}")
    source = source_of(container)
    if source is None:
        return
    if not source.uri.startswith("s3://"):
        raise not_implemented("CreateModel with model data at an https URL")
    if "ModelDataUrl" in container and not source.uri.endswith(".tar.gz"):
        raise validation(
            f"Invalid ModelDataUrl {source.uri}: it must point to a single gzip compressed tar "
            "archive (.tar.gz suffix)."
        )
    if source.prefix and source.archive:
        raise validation("CompressionType Gzip needs S3DataType S3Object.")
    if source.prefix and not source.uri.endswith("/"):
        raise validation(f"Invalid S3Uri {source.uri}: a key name prefix ends with a slash (/).")
    try:
        found = next(_objects(s3, source), None)
    except (ClientError, BotoCoreError):
        found = None
    if found is None:
        raise validation(f"Could not find model data at {source.uri}.")


def _check_prefix(s3: Any, container: dict[str, Any]) -> None:
    """The same for many models, whose archives have a prefix of S3.

    Source: create-multi-model-endpoint, S3ModelDataSource; that there must be an object:
    aws/sagemaker-python-sdk#1144.
    """
    url = container.get("ModelDataUrl", "")
    if not url.startswith("s3://"):
        raise validation("A container with Mode MultiModel needs a ModelDataUrl, a prefix in S3.")
    try:
        found = next(_objects(s3, Source(url, prefix=True, archive=False)), None)
    except (ClientError, BotoCoreError):
        found = None
    if found is None:
        raise validation(f"Could not find model data at {url}.")


def fetch(s3: Any, container: dict[str, Any], folder: Path, budget: Budget) -> None:
    """Put the model's files into `folder`; raises ModelDataError in the words of AWS."""
    folder.mkdir(parents=True, exist_ok=True)
    source = source_of(container)
    if source is None:
        return
    try:
        if source.archive:
            _extract(s3, source, folder, budget)
        else:
            _copy(s3, source, folder, budget)
    except (ClientError, BotoCoreError):
        raise ModelDataError(
            f'Failed to download model data for container "container_1" from URL: "{source.uri}". '
            "Please ensure that there is an object located at the URL and that the role passed to "
            "CreateModel has permissions to download the object."
        ) from None
    except _Unsound as error:
        raise ModelDataError(
            'Failed to extract model data archive for container "container_1" from URL: '
            f'"{source.uri}": {error}. Please ensure that the object located at the URL is a valid '
            "tar.gz archive."
        ) from None


def _objects(s3: Any, source: Source) -> Iterator[str]:
    """The keys of all objects that a source means."""
    bucket, key = source.place
    if not source.prefix:
        s3.head_object(Bucket=bucket, Key=key)
        yield key
        return
    for answer in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
        for entry in answer.get("Contents", []):
            yield entry["Key"]


def _copy(s3: Any, source: Source, folder: Path, budget: Budget) -> None:
    bucket, prefix = source.place
    for key in _objects(s3, source):
        name = key[len(prefix) :] if source.prefix else key.rpartition("/")[2]
        parts = name.split("/")
        if any(not p.strip() or p in (".", "..") or "\0" in p or len(p) > 255 for p in parts):
            raise ModelDataError(
                f'The object key "{key}" can\'t be a file of the model: a file or folder name must '
                "not be empty, a dot, two dots, or longer than 255 bytes."
            )
        target = folder.joinpath(*parts)
        body = s3.get_object(Bucket=bucket, Key=key)["Body"]
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                budget.spend(BLOCK)
                for piece in body.iter_chunks(PIECE):
                    budget.spend(len(piece))
                    file.write(piece)
        except OSError:  # keys such as `a` and `a/b` can't both be files
            raise ModelDataError(
                f'The object key "{key}" clashes with another file or folder of the model.'
            ) from None


class _Header(tarfile.TarInfo):
    """A tar header that is not larger than any honest one."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        header = super().frombuf(buf, encoding, errors)
        if header.type not in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE) and header.size > HEADER:
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


class _Metered:
    """A file whose reading is watched: an archive that only swells is given up in time."""

    def __init__(self, file: IO[bytes], budget: Budget) -> None:
        self._file, self._budget = file, budget

    def read(self, size: int = -1) -> bytes:
        self._budget.spend(0)
        return self._file.read(size)


def _extract(s3: Any, source: Source, folder: Path, budget: Budget) -> None:
    bucket, key = source.place
    body = s3.get_object(Bucket=bucket, Key=key)["Body"]
    try:
        with gzip.open(body) as content:
            metered: Any = _Metered(content, budget)  # type: ignore[arg-type]
            with tarfile.open(
                fileobj=metered, mode="r|", bufsize=PIECE, tarinfo=_Header
            ) as archive:
                for member in archive:
                    archive.members = []  # type: ignore[attr-defined]
                    if not (member.isfile() or member.isdir()):
                        raise _Unsound(
                            f"it holds {member.name}, which is neither a file nor a folder"
                        )
                    budget.spend(member.size + BLOCK)
                    archive.extract(member, folder, filter="data")
            if len(metered.read(PADDING)) == PADDING:  # to the end, where the checksum is
                raise _Unsound("it goes on after its end")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise _Unsound(f"it is not a sound tar.gz archive ({error})") from None
