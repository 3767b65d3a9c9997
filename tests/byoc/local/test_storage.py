"""S3 as the platform uses it, and what it refuses to unpack."""

import io
import os
import tarfile

import pytest

from byoc.local import storage
from byoc.local.storage import StorageError


@pytest.fixture
def s3(cloud):
    cloud.put("ready", b"")
    return cloud.client("s3")


def files(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("data/", {"a.csv": "1", "deep/b.csv": "2"}),
        ("data", {"a.csv": "1", "deep/b.csv": "2", "data.csv": "3"}),
        ("data/a.csv", {"a.csv": "1"}),
        ("data/deep", {"b.csv": "2"}),
        ("data/de", {"deep/b.csv": "2"}),
        ("nothing/", {}),
    ],
)
def test_a_prefix_gives_the_paths_below_it(cloud, s3, tmp_path, prefix, expected):
    for key, text in (("data/a.csv", "1"), ("data/deep/b.csv", "2"), ("data.csv", "3")):
        cloud.put(key, text)
    cloud.put("data/marker/", "")  # as the console makes a folder
    uri = f"s3://{cloud.aws.bucket}/{prefix}"
    assert storage.download_prefix(s3, uri, tmp_path / "channel") == len(expected)
    assert files(tmp_path / "channel") == expected


def test_a_key_that_is_also_a_folder_is_refused_by_name(cloud, s3, tmp_path):
    for key in ("clash/a", "clash/a/b"):
        cloud.put(key, "x")
    with pytest.raises(StorageError, match="object key clash/a/b can't be a file"):
        storage.download_prefix(s3, f"s3://{cloud.aws.bucket}/clash/", tmp_path / "channel")


def test_a_key_that_leads_outside_is_refused(cloud, s3, tmp_path):
    channel = tmp_path / "a/b/channel"
    for key in ("bad/../../escaped", "abs//etc/escaped"):
        s3.put_object(Bucket=cloud.aws.bucket, Key=key, Body=b"x")
    with pytest.raises(StorageError, match="leads outside"):
        storage.download_prefix(s3, f"s3://{cloud.aws.bucket}/bad/", channel)
    storage.download_prefix(s3, f"s3://{cloud.aws.bucket}/abs/", channel)
    assert files(channel) == {"etc/escaped": "x"}
    assert not [p for p in tmp_path.rglob("escaped") if channel not in p.parents]


def test_two_keys_that_are_one_path_are_refused(cloud, s3, tmp_path):
    for key in ("twice/a/b", "twice/a//b"):
        s3.put_object(Bucket=cloud.aws.bucket, Key=key, Body=b"x")
    with pytest.raises(StorageError, match="can't be a file"):
        storage.download_prefix(s3, f"s3://{cloud.aws.bucket}/twice/", tmp_path / "channel")


def test_what_this_machine_cannot_keep_is_told_and_nothing_is_left(cloud, s3, tmp_path):
    for n in range(20):
        cloud.put(f"long/{n}", "x")
    cloud.put(f"long/{'x' * 300}", "x")
    with pytest.raises(StorageError, match=r"File name too long \(.*xxx"):
        storage.download_prefix(s3, f"s3://{cloud.aws.bucket}/long/", tmp_path / "channel")
    assert not (tmp_path / "channel").exists()


def test_an_object_that_is_gone_meanwhile_is_told_and_nothing_is_left(cloud, s3, tmp_path):
    cloud.put("going/1", "x")
    cloud.put("going/2", "x")
    objects = storage.list_prefix(s3, f"s3://{cloud.aws.bucket}/going/")
    s3.delete_object(Bucket=cloud.aws.bucket, Key="going/2")
    with pytest.raises(StorageError, match="NoSuchKey"):
        storage.download(s3, objects, tmp_path / "channel")
    assert not (tmp_path / "channel").exists()


def test_many_objects_and_large_ones_arrive_whole(cloud, s3, tmp_path):
    large = os.urandom(20_000_000)
    cloud.put("many/large", large)
    for n in range(100):
        cloud.put(f"many/{n}", f"{n}")
    assert storage.download_prefix(s3, f"s3://{cloud.aws.bucket}/many/", tmp_path / "m") == 101
    assert (tmp_path / "m/large").read_bytes() == large
    assert all((tmp_path / f"m/{n}").read_text() == f"{n}" for n in range(100))


def test_a_download_that_is_cancelled_ends_early(cloud, s3, tmp_path):
    for n in range(50):
        cloud.put(f"many/{n:02}", "x")
    objects = storage.list_prefix(s3, f"s3://{cloud.aws.bucket}/many/")
    storage.download(s3, objects, tmp_path / "m", cancelled=lambda: (tmp_path / "m/00").exists())
    assert 0 < len(files(tmp_path / "m")) < 50


def test_an_object_in_pieces(cloud, s3, monkeypatch):
    monkeypatch.setattr(storage, "CHUNK", 4)
    (found,) = storage.list_prefix(s3, cloud.put("large", "0123456789"))
    assert list(storage.chunks(s3, found)) == [b"0123", b"4567", b"89"]
    (empty,) = storage.list_prefix(s3, cloud.put("empty", ""))
    assert list(storage.chunks(s3, empty)) == []


def test_an_object_that_changes_between_its_pieces(cloud, s3, monkeypatch):
    monkeypatch.setattr(storage, "CHUNK", 4)
    (found,) = storage.list_prefix(s3, cloud.put("large", "0123456789"))
    pieces = storage.chunks(s3, found)
    assert next(pieces) == b"0123"
    cloud.put("large", "9876543210")
    with pytest.raises(storage.StorageError, match="PreconditionFailed"):
        next(pieces)


def test_of_what_several_folders_hold_the_first_ones_wins(tmp_path, write):
    first = write(tmp_path / "1", **{"same": "1", "file": "1", "place__a": "1"})
    second = write(tmp_path / "2", **{"same": "2", "file__below": "2", "place__b": "2"})
    third = write(tmp_path / "3", place="3", more="3")
    merged = storage.merge([first, second, third])
    found = {name: path.read_text() for name, path in merged.items() if path.is_file()}
    assert found == {"same": "1", "file": "1", "more": "3", "place/a": "1", "place/b": "2"}
    assert list(merged) == sorted(merged)


def test_what_the_disk_or_the_limit_cannot_hold_is_refused(tmp_path):
    (tmp_path / "held").write_bytes(b"x" * 1000)
    storage.check_space(tmp_path, 24, limit=1024 / storage.GIB)
    storage.check_space(tmp_path, 10_000, limit=None)
    for needed, limit in ((25, 1024 / storage.GIB), (1 << 60, None)):
        with pytest.raises(StorageError, match="Insufficient disk space"):
            storage.check_space(tmp_path, needed, limit)


def test_a_bucket_that_can_not_be_is_told(s3, tmp_path):
    with pytest.raises(StorageError, match="Invalid bucket name"):
        storage.list_prefix(s3, "s3:///x")
    assert not storage.exists(s3, "s3:///x")


def test_a_bucket_that_is_not_there(s3, tmp_path):
    with pytest.raises(StorageError, match=r"^The bucket no-such-bucket-at-all does not exist"):
        storage.download_prefix(s3, "s3://no-such-bucket-at-all/x/", tmp_path / "channel")
    (tmp_path / "model").mkdir()
    with pytest.raises(StorageError, match=r"^The bucket no-such-bucket-at-all does not exist"):
        storage.upload_archive(
            s3, storage.merge([tmp_path / "model"]), "s3://no-such-bucket-at-all/m.tar.gz"
        )
    assert not storage.exists(s3, "s3://no-such-bucket-at-all/m.tar.gz")


def test_what_goes_up_comes_down_the_same(cloud, s3, tmp_path, write):
    write(tmp_path / "model", **{"a.txt": "1", "deep__run": "#!/bin/sh\n", "empty__x": ""})
    uri = f"s3://{cloud.aws.bucket}/m/model.tar.gz"
    storage.upload_archive(s3, storage.merge([tmp_path / "model"]), uri)
    assert storage.exists(s3, uri)
    with tarfile.open(fileobj=io.BytesIO(cloud.get(uri))) as tar:
        tar.extractall(tmp_path / "again", filter="data")
    assert files(tmp_path / "again") == files(tmp_path / "model")
    assert os.access(tmp_path / "again/deep/run", os.X_OK)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "model"]
    with tarfile.open(fileobj=io.BytesIO(cloud.get(uri))) as tar:
        assert tar.getnames() == ["a.txt", "deep", "deep/run", "empty", "empty/x"]


def test_an_empty_model_is_an_empty_archive(cloud, s3, tmp_path):
    (tmp_path / "model").mkdir()
    uri = f"s3://{cloud.aws.bucket}/m/model.tar.gz"
    storage.upload_archive(s3, storage.merge([tmp_path / "model"]), uri)
    with tarfile.open(fileobj=io.BytesIO(cloud.get(uri))) as tar:
        tar.extractall(tmp_path / "again", filter="data")
    assert files(tmp_path / "again") == {}
