"""A model's files: what is unpacked, what is refused, and when fetching is given up."""

import gzip
import io
import tarfile
import threading
import time

import pytest

from byoc.local import model_data
from byoc.local.model_data import Budget, ModelDataError


@pytest.fixture
def s3(cloud):
    cloud.put("ready", b"")  # makes the bucket
    return cloud.client("s3")


@pytest.fixture
def fetch(cloud, s3, tmp_path):
    """Fetch an archive of this content with a budget; returns the files by name."""

    def run(content, **budget):
        uri = cloud.put("model.tar.gz", content)
        folder = tmp_path / "deep/model"
        given = Budget(**{"space": 2**30, "deadline": time.monotonic() + 60, **budget})
        model_data.fetch(s3, {"ModelDataUrl": uri}, folder, given)
        return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}

    return run


def tar_of(name, content=b"", **settings):
    """A tar.gz with a good file and one more member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("good.txt"))
        member = tarfile.TarInfo(name)
        member.size = len(content)
        for key, value in settings.items():
            setattr(member, key, value)
        tar.addfile(member, io.BytesIO(content))
    return packed(buffer.getvalue())


def packed(content):
    """In gzip without the time: pytest's workers must find the same parameters."""
    return gzip.compress(content, mtime=0)


SOUND = tar_of("more.txt", b"a model")


def swollen():
    """The beginning of an archive whose one file would take ten gigabytes."""
    member = tarfile.TarInfo("zeros")
    member.size = 10 * 2**30
    return packed(member.tobuf() + bytes(10240))


def test_an_archive_is_unpacked(fetch):
    assert fetch(SOUND) == {"good.txt", "more.txt"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tar_of("../escaped"), "outside"),
        (tar_of("a/../../escaped"), "outside"),
        (tar_of("link", type=tarfile.SYMTYPE, linkname="good.txt"), "neither a file nor a folder"),
        (tar_of("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "link"),
        (tar_of("hard", type=tarfile.LNKTYPE, linkname="good.txt"), "hard"),
        (tar_of("pipe", type=tarfile.FIFOTYPE), "pipe"),
        (tar_of("disk", type=tarfile.BLKTYPE), "disk"),
        (b"", "not a sound tar.gz"),
        (b"not an archive", "not a sound tar.gz"),
        (SOUND[: len(SOUND) // 2], "not a sound tar.gz"),
        (SOUND[:-8] + bytes(4) + SOUND[-4:], "CRC"),
        (SOUND[:-4] + bytes(4), "not a sound tar.gz"),
        (SOUND + b"more", "not a sound tar.gz"),
        (packed(b"x" * 2000), "not a sound tar.gz"),
        (gzip.decompress(SOUND), "not a sound tar.gz"),  # tar without gz
        (packed(gzip.decompress(SOUND) + bytes(2**25)), "goes on after its end"),
    ],
    ids=lambda value: value if isinstance(value, str) else "archive",
)
def test_an_archive_that_is_refused(fetch, tmp_path, content, said):
    with pytest.raises(ModelDataError, match="Failed to extract model data archive") as caught:
        fetch(content)
    assert said in str(caught.value)
    assert not list(tmp_path.rglob("escaped"))


def test_an_absolute_name_stays_inside(fetch, tmp_path):
    files = fetch(tar_of(f"{tmp_path}/elsewhere/absolute"))
    assert not (tmp_path / "elsewhere").exists()
    assert any(name.endswith("absolute") for name in files)


def test_an_archive_larger_than_the_volume_is_given_up_before_it_is_written(fetch, tmp_path):
    with pytest.raises(ModelDataError, match="needs more than the 1,073,741,824 bytes"):
        fetch(swollen())
    assert not (tmp_path / "deep/model/zeros").exists()


def test_many_small_files_are_counted_too(fetch):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for number in range(300):
            tar.addfile(tarfile.TarInfo(f"{number}"))
    with pytest.raises(ModelDataError, match="needs more"):
        fetch(buffer.getvalue(), space=2**20)


def test_a_header_that_swells_is_refused(fetch):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 2**33
    with pytest.raises(ModelDataError, match="header"):
        fetch(packed(header.tobuf(tarfile.GNU_FORMAT) + bytes(10240)))


def test_fetching_ends_at_its_deadline_and_when_the_instance_is_stopped(fetch):
    with pytest.raises(ModelDataError, match="longer than allowed"):
        fetch(SOUND, deadline=time.monotonic() - 1)
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(ModelDataError, match="stopped"):
        fetch(SOUND, stopped=stopped)


def source(uri, kind="S3Prefix", compression="None"):
    given = {"S3Uri": uri, "S3DataType": kind, "CompressionType": compression}
    return {"ModelDataSource": {"S3DataSource": given}}


def uncompressed(s3, container, folder, space=2**30):
    model_data.fetch(s3, container, folder, Budget(space, time.monotonic() + 60))
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_prefix_is_copied_with_its_folders(cloud, s3, tmp_path):
    cloud.put("m/weights", b"1")
    cloud.put("m/code/run.py", b"2")
    cloud.put("model-of-another", b"3")
    prefix = f"s3://{cloud.aws.bucket}/m/"
    assert uncompressed(s3, source(prefix), tmp_path) == {"weights": b"1", "code/run.py": b"2"}


def test_one_object_is_a_file_of_its_last_name_or_an_archive(cloud, s3, tmp_path):
    uri = cloud.put("m/deep/weights.bin", b"1")
    assert uncompressed(s3, source(uri, "S3Object"), tmp_path / "a") == {"weights.bin": b"1"}
    uri = cloud.put("m/archive", SOUND)
    found = uncompressed(s3, source(uri, "S3Object", "Gzip"), tmp_path / "b")
    assert found == {"good.txt": b"", "more.txt": b"a model"}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["m/a", "m/a/b"], "clashes"),
        (["m/folder/"], "must not be empty"),
        (["m/../x"], "two dots"),
        (["m/" + "x" * 256], "255"),
    ],
)
def test_keys_that_cannot_be_files(cloud, s3, tmp_path, keys, said):
    for key in keys:
        cloud.put(key, b"")
    with pytest.raises(ModelDataError, match=said):
        uncompressed(s3, source(f"s3://{cloud.aws.bucket}/m/"), tmp_path / "model")


def test_uncompressed_data_larger_than_the_volume(cloud, s3, tmp_path):
    uri = cloud.put("m/weights", bytes(2**20))
    with pytest.raises(ModelDataError, match="needs more"):
        uncompressed(s3, source(uri, "S3Object"), tmp_path, space=2**19)


def test_an_object_that_has_gone_is_named_in_the_words_of_aws(cloud, s3, tmp_path):
    uri = f"s3://{cloud.aws.bucket}/nothing.tar.gz"
    with pytest.raises(ModelDataError) as caught:
        uncompressed(s3, {"ModelDataUrl": uri}, tmp_path)
    assert str(caught.value) == (
        f'Failed to download model data for container "container_1" from URL: "{uri}". Please '
        "ensure that there is an object located at the URL and that the role passed to CreateModel "
        "has permissions to download the object."
    )
