"""Which objects a channel holds, and which host gets which."""

import json

import pytest

from byoc.local import channels
from byoc.local.storage import StorageError


@pytest.fixture
def s3(cloud):
    cloud.put("ready", b"")
    return cloud.client("s3")


def channel(uri, kind="S3Prefix", distribution="FullyReplicated", **members):
    source = {"S3DataType": kind, "S3Uri": uri, "S3DataDistributionType": distribution}
    return {"ChannelName": "x", "DataSource": {"S3DataSource": source}, **members}


def paths(objects):
    return [found.path for found in objects]


def test_a_manifest_names_its_objects_and_keeps_their_paths(cloud, s3):
    for key in ("data/deep/1", "data/2", "data/not-listed"):
        cloud.put(key, key)
    content = [{"prefix": f"s3://{cloud.aws.bucket}/data/"}, "deep/1", "2", "2"]
    uri = cloud.put("a.manifest", json.dumps(content))
    found = channels.objects(s3, channel(uri, "ManifestFile"), "role")
    assert paths(found) == ["deep/1", "2"]
    assert [o.key for o in found] == ["data/deep/1", "data/2"]
    assert [o.size for o in found] == [11, 6]


@pytest.mark.parametrize(
    "content",
    [
        "not JSON",
        "{}",
        "[]",
        '["1"]',
        '[{"prefix": "s3://{bucket}/data/"}]',
        '[{"prefix": "s3://"}, "1"]',
        '[{"prefix": "data/"}, "1"]',
        '[{"prefix": "s3://{bucket}/data/"}, 1]',
        '[{"prefix": "s3://{bucket}/data/"}, ""]',
        '[{"prefix": 1}, "1"]',
    ],
)
def test_a_manifest_of_another_form_is_refused_in_one_sentence(cloud, s3, content):
    uri = cloud.put("a.manifest", content.replace("{bucket}", cloud.aws.bucket))
    with pytest.raises(StorageError, match=r'The manifest "s3://.*" is not of the form') as caught:
        channels.objects(s3, channel(uri, "ManifestFile"), "role")
    assert "\n" not in str(caught.value)


def test_a_manifest_must_exist_and_so_must_what_it_lists(cloud, s3):
    prefix = f"s3://{cloud.aws.bucket}/data/"
    uri = cloud.put("a.manifest", json.dumps([{"prefix": prefix}, "absent"]))
    with pytest.raises(StorageError, match=f"There is no object {prefix}absent"):
        channels.objects(s3, channel(uri, "ManifestFile"), "role")
    with pytest.raises(StorageError, match="No S3 objects found under S3 URL"):
        channels.objects(s3, channel(f"{uri}.absent", "ManifestFile"), "role")


HOSTS = ["algo-1", "algo-2", "algo-3"]


def test_every_host_gets_everything_or_a_share(cloud, s3):
    for n in range(7):
        cloud.put(f"data/{n}", "x")
    uri = f"s3://{cloud.aws.bucket}/data/"
    found = channels.objects(s3, channel(uri), "role")
    assert [paths(p) for p in channels.share(found, channel(uri), HOSTS)] == [paths(found)] * 3
    sharded = channel(uri, distribution="ShardedByS3Key")
    shares = [paths(part) for part in channels.share(found, sharded, HOSTS)]
    assert [len(part) for part in shares] == [3, 2, 2]
    assert sorted(path for part in shares for path in part) == paths(found)
    assert [paths(part) for part in channels.share(found, sharded, HOSTS)] == shares


def test_a_seed_decides_who_gets_what(cloud, s3):
    for n in range(20):
        cloud.put(f"data/{n:02}", "x")
    uri = f"s3://{cloud.aws.bucket}/data/"
    found = channels.objects(s3, channel(uri), "role")

    def shares(seed):
        shuffled = channel(uri, distribution="ShardedByS3Key", ShuffleConfig={"Seed": seed})
        return [paths(part) for part in channels.share(found, shuffled, HOSTS)]

    assert shares(1) == shares(1) != shares(2)
    assert sorted(path for part in shares(1) for path in part) == paths(found)


def test_with_more_hosts_than_objects_some_get_none(cloud, s3):
    uri = cloud.put("data/only", "x")
    found = channels.objects(s3, channel(uri), "role")
    shares = channels.share(found, channel(uri, distribution="ShardedByS3Key"), HOSTS)
    assert [paths(part) for part in shares] == [["only"], [], []]
