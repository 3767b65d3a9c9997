"""S3 as the platform uses it: channels and model archives in, artifacts out."""

import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from botocore.exceptions import ClientError


class StorageError(Exception):
    """Data that can't be fetched or unpacked; the message is for a FailureReason."""


def split(uri: str) -> tuple[str, str]:
    """`s3://bucket/key` as bucket and key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def download_prefix(s3: Any, uri: str, folder: Path) -> int:
    """Every object whose key begins with the URI's, into `folder`; returns how many.

    As File mode does it: a prefix that names a folder gives the paths below it.
    Source: API Reference, S3DataSource.
    """
    bucket, prefix = split(uri)
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        for answer in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in answer.get("Contents", []):
                key = entry["Key"]
                if key.endswith("/"):
                    continue  # a console's folder marker
                target = _inside(folder, _below(key, prefix))
                try:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    s3.download_file(bucket, key, str(target))
                except OSError:  # keys such as `a` and `a/b` can't both be files
                    raise StorageError(f"The object key {key} can't be a file here.") from None
                count += 1
    except ClientError as error:
        raise StorageError(f"{error}") from None
    return count


def exists(s3: Any, uri: str) -> bool:
    """Whether there is an object at the URI."""
    bucket, key = split(uri)
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError:
        return False
    return True


def extract_model(s3: Any, uri: str, folder: Path) -> None:
    """Unpack a `model.tar.gz`; members that lead outside the folder, and links, are refused.

    Source of the rule on links: AWS re:Post, "Failed to extract model data archive".
    """
    bucket, key = split(uri)
    archive = folder.with_suffix(".tar.gz")
    try:
        s3.download_file(bucket, key, str(archive))
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive, "r:gz") as tar:
            members = tar.getmembers()
            bad = next((m for m in members if not (m.isfile() or m.isdir())), None)
            if bad is not None:
                raise StorageError(f"it holds {bad.name}, which is neither a file nor a folder")
            tar.extractall(folder, members=members, filter="data")
    except ClientError as error:
        raise StorageError(f"{error}") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise StorageError(f"it is not a sound tar.gz archive ({error})") from None
    finally:
        archive.unlink(missing_ok=True)


def upload_archive(s3: Any, folder: Path, uri: str) -> None:
    """The contents of `folder` as one tar.gz at the URI."""
    archive = folder.with_suffix(".tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, arcname=str(path.relative_to(folder)), recursive=False)
    bucket, key = split(uri)
    try:
        with archive.open("rb") as file:
            s3.upload_fileobj(file, bucket, key)
    except ClientError as error:
        raise StorageError(f"{error}") from None
    finally:
        archive.unlink()


def _below(key: str, prefix: str) -> str:
    folder = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
    if key.startswith(folder):
        return key[len(folder) :]
    return key[prefix.rfind("/") + 1 :]


def _inside(folder: Path, name: str) -> Path:
    if ".." in PurePosixPath(name).parts:
        raise StorageError(f"The object key {name} leads outside its channel.")
    return folder / name.lstrip("/")
