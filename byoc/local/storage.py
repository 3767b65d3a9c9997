"""S3 as the platform uses it: channels and model archives in, artifacts out."""

import contextlib
import errno
import io
import os
import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import ClientError, ParamValidationError

WORKERS = 8  # transfers at a time
CHUNK = 2**23  # bytes that are fetched at a time where data are streamed
SPARE = 2**28  # bytes of this machine's disk that nobody may take
GIB = 1 << 30
# What S3 or its client answer to a bucket or key that is not there or can't be.
REFUSALS = (ClientError, ParamValidationError, S3UploadFailedError)
NO_SPACE = "Insufficient disk space"  # AWS's words. Source: sagemaker-python-sdk, issue 128


class StorageError(Exception):
    """Data that can't be fetched or unpacked; the message is for a FailureReason."""


@dataclass(frozen=True)
class Object:
    """An object of `size` bytes, and the path it has in its folder on disk."""

    bucket: str
    key: str
    size: int
    path: str


def split(uri: str) -> tuple[str, str]:
    """`s3://bucket/key` as bucket and key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def list_prefix(s3: Any, uri: str) -> list[Object]:
    """Every object whose key begins with the URI's, in the order of the keys.

    As File mode lays them out: a prefix that names a folder gives the paths below it.
    Source: API Reference, S3DataSource.
    """
    bucket, prefix = split(uri)
    found = []
    with _errors_told():
        for answer in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            found += [
                Object(bucket, entry["Key"], entry["Size"], _below(entry["Key"], prefix))
                for entry in answer.get("Contents", [])
                if not entry["Key"].endswith("/")  # a console's folder marker
            ]
    return found


def find(s3: Any, uri: str, path: str) -> Object:
    """The one object at the URI, to lie at `path`; raises StorageError when there is none."""
    bucket, key = split(uri)
    try:
        return Object(bucket, key, s3.head_object(Bucket=bucket, Key=key)["ContentLength"], path)
    except REFUSALS as error:
        raise StorageError(f"There is no object {uri} ({error})") from None


def read(s3: Any, uri: str) -> bytes:
    """The content of one object."""
    bucket, key = split(uri)
    with _errors_told():
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def chunks(s3: Any, wanted: Object) -> Iterator[bytes]:
    """The object's content, a piece at a time; raises StorageError if it changes meanwhile."""
    position, total = 0, wanted.size
    same: dict[str, str] = {}
    with _errors_told():
        while position < total:
            answer = s3.get_object(
                Bucket=wanted.bucket,
                Key=wanted.key,
                Range=f"bytes={position}-{position + CHUNK - 1}",
                **same,
            )
            total, same = (
                int(answer["ContentRange"].rpartition("/")[2]),
                {"IfMatch": answer["ETag"]},
            )
            piece = answer["Body"].read()
            position += len(piece)
            yield piece


def write(s3: Any, content: bytes, uri: str, key_id: str | None = None) -> None:
    """`content` as one object, encrypted with the KMS key `key_id` if there is one."""
    with _errors_told():
        _upload(s3, io.BytesIO(content), uri, key_id)


def download(
    s3: Any,
    objects: Sequence[Object],
    folder: Path,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Fetch `objects` into `folder`, several at a time, until `cancelled`.

    Raises StorageError, and leaves nothing, when one can't be fetched or keys such as `a` and
    `a/b` can't both be files.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def fetch(wanted: Object, target: Path) -> None:
        if cancelled():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        body = s3.get_object(Bucket=wanted.bucket, Key=wanted.key)["Body"]
        with target.open("wb") as file:
            shutil.copyfileobj(body, file, 1 << 20)

    try:
        targets = _targets(objects, folder)
        with _errors_told(), ThreadPoolExecutor(WORKERS) as pool:
            futures = [pool.submit(fetch, *pair) for pair in zip(objects, targets, strict=True)]
            try:
                for future in futures:
                    future.result()
            finally:
                pool.shutdown(cancel_futures=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def download_prefix(s3: Any, uri: str, folder: Path) -> int:
    """Every object whose key begins with the URI's, into `folder`; returns how many."""
    objects = list_prefix(s3, uri)
    download(s3, objects, folder)
    return len(objects)


def exists(s3: Any, uri: str) -> bool:
    """Whether there is an object at the URI."""
    bucket, key = split(uri)
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except REFUSALS:
        return False
    return True


def check_space(work: Path, needed: int, limit: float | None) -> None:
    """Raise StorageError unless `needed` bytes fit on the disk of `work` and its limit in GiB."""
    if needed > space_left(work, limit):
        raise StorageError(NO_SPACE)


def space_left(work: Path, limit: float | None) -> int:
    """Bytes that the disk of `work`, and its limit in GiB, still have room for."""
    free = shutil.disk_usage(work).free - SPARE
    return free if limit is None else max(0, min(free, int(limit * GIB) - _held(work)))


def merge(folders: Sequence[Path]) -> dict[str, Path]:
    """What lies in the folders, by its path below them; of what clashes, the first folder's.

    Links are not followed: where they lead on this machine is not what the container meant.
    """
    merged: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            above = [merged.get(str(parent)) for parent in name.parents]
            if all(place is None or _is_folder(place) for place in above):
                merged.setdefault(str(name), path)
    return dict(sorted(merged.items()))


def upload_archive(
    s3: Any,
    contents: dict[str, Path],
    uri: str,
    key_id: str | None = None,
    scratch: Path | None = None,
) -> None:
    """`contents` (path in the archive → file or folder) as one tar.gz at the URI.

    `key_id` is the KMS key that encrypts it; `scratch` the folder in which the archive is made. The
    object carries its SHA-256.
    """
    with _errors_told(), tempfile.TemporaryFile(dir=scratch) as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as tar:
            for name, path in contents.items():
                tar.add(path, arcname=name, recursive=False)
        file.seek(0)
        _upload(s3, file, uri, key_id)


def upload_files(s3: Any, contents: dict[str, Path], uri: str, key_id: str | None = None) -> None:
    """Each file of `contents`, but no link, as an object of its own below the URI."""
    files = {n: p for n, p in contents.items() if p.is_file() and not p.is_symlink()}

    def send(name: str) -> None:
        with files[name].open("rb") as file:
            _upload(s3, file, f"{uri}/{name}", key_id)

    with _errors_told(), ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(send, files))


def upload(s3: Any, file: IO[bytes], uri: str) -> None:
    """An open file as the object at the URI."""
    with _errors_told():
        _upload(s3, file, uri, None)


def delete(s3: Any, uri: str) -> None:
    """Delete the object at the URI, if it is there."""
    bucket, key = split(uri)
    with _errors_told():
        s3.delete_object(Bucket=bucket, Key=key)


def _upload(s3: Any, file: IO[bytes], uri: str, key_id: str | None) -> None:
    bucket, key = split(uri)
    extra = {"ChecksumAlgorithm": "SHA256"}
    if key_id:
        extra |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_id}
    s3.upload_fileobj(file, bucket, key, ExtraArgs=extra)


@contextlib.contextmanager
def _errors_told() -> Iterator[None]:
    """S3's errors and this machine's as what they are."""
    try:
        yield
    except ClientError as error:
        told = error.response["Error"]
        if told["Code"] == "NoSuchBucket":
            raise StorageError(f"The bucket {told['BucketName']} does not exist.") from None
        raise StorageError(f"{told['Message']} ({told['Code']})") from None
    except REFUSALS as error:
        raise StorageError(f"{error}") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(NO_SPACE) from None
        raise StorageError(f"{error.strerror or error} ({error.filename})") from None


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _held(folder: Path) -> int:
    """Bytes of all files below; of what goes meanwhile, nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _targets(objects: Sequence[Object], folder: Path) -> list[Path]:
    """Where each object goes; raises StorageError for a path that can't be there."""
    paths = [PurePosixPath(_inside(wanted.path)) for wanted in objects]
    files = Counter(paths)
    for wanted, path in zip(objects, paths, strict=True):
        if files[path] > 1 or any(parent in files for parent in path.parents):
            raise StorageError(f"The object key {wanted.key} can't be a file here.")
    return [folder / path for path in paths]


def _below(key: str, prefix: str) -> str:
    folder = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
    if key.startswith(folder):
        return key[len(folder) :]
    return key[prefix.rfind("/") + 1 :]


def _inside(name: str) -> str:
    if ".." in PurePosixPath(name).parts:
        raise StorageError(f"The object key {name} leads outside its channel.")
    return name.lstrip("/")
