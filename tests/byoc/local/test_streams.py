"""Pipe and FastFile: what a program reads, epoch after epoch, and what ends a stream."""

import gzip
import io
import json
import struct
import tarfile

import pytest
from botocore.exceptions import ClientError

# Reads an epoch of the channel `x`; waits for its pipe as the Developer Guide has programs do.
READ = """import time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
def epoch(number, size=-1, name='x'):
    pipe = ml / f'input/data/{name}_{number}'
    while not pipe.exists(): time.sleep(0.005)
    with pipe.open('rb') as stream:
        return stream.read(size)
def keep(**found): (ml / 'model/found.json').write_text(json.dumps(found))
"""


def model(cloud, job):
    """What the program kept in its model."""
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    content = cloud.get(job["ModelArtifacts"]["S3ModelArtifacts"])
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return json.loads(tar.extractfile("found.json").read())


def pipe(cloud, uri, **members):
    return {"InputDataConfig": [cloud.channel("x", uri, InputMode="Pipe", **members)]}


@pytest.fixture
def letters(cloud):
    """Five objects below data/, each a letter and a line's end."""
    for letter in "abcde":
        cloud.put(f"data/{letter}", f"{letter}\n")
    return f"s3://{cloud.aws.bucket}/data/"


def test_each_epoch_is_all_objects_one_after_the_other(cloud, toy, letters):
    program = (
        f"{READ}config = json.loads((ml / 'input/config/inputdataconfig.json').read_text())\n"
        "import stat; kind = stat.S_ISFIFO((ml / 'input/data/x_0').stat().st_mode)\n"
        "keep(epochs=[epoch(n).decode() for n in range(3)], config=config, fifo=kind)"
    )
    job = cloud.train(toy, program, **pipe(cloud, letters, ContentType="text/csv"))
    found = model(cloud, job)
    assert found["epochs"] == ["a\nb\nc\nd\ne\n"] * 3
    assert found["fifo"] is True
    assert found["config"] == {
        "x": {
            "TrainingInputMode": "Pipe",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
            "ContentType": "text/csv",
        }
    }


def test_the_mode_of_the_job_is_that_of_its_channels(cloud, toy, letters):
    channels = [cloud.channel("x", letters), cloud.channel("y", letters, InputMode="File")]
    program = f"{READ}keep(x=epoch(0).decode(), y=(ml / 'input/data/y/b').read_text())"
    job = cloud.train(
        toy, program, algorithm={"TrainingInputMode": "Pipe"}, InputDataConfig=channels
    )
    assert model(cloud, job) == {"x": "a\nb\nc\nd\ne\n", "y": "b\n"}


def test_a_pipe_that_is_closed_early_goes_on_with_the_next_epoch(cloud, toy):
    content = bytes(range(256)) * 4096  # more than a pipe holds
    uri = cloud.put("data/large", content)
    program = (
        f"{READ}first = epoch(0, 10); second = epoch(1)\n"
        "keep(first=first.hex(), same=second == bytes(range(256)) * 4096)"
    )
    found = model(cloud, cloud.train(toy, program, **pipe(cloud, uri)))
    assert found == {"first": bytes(range(10)).hex(), "same": True}


def test_a_pipe_that_nobody_opens_holds_nothing_up(cloud, toy, letters):
    job = cloud.train(toy, f"{READ}keep()", **pipe(cloud, letters))
    assert model(cloud, job) == {}


def test_a_program_that_ends_in_mid_stream(cloud, toy):
    uri = cloud.put("data/large", bytes(2**20))
    program = f"stream = (ml / 'input/data/x_0').open('rb'); stream.read(9); {READ}keep()"
    assert model(cloud, cloud.train(toy, program, **pipe(cloud, uri))) == {}


def test_a_job_that_reads_can_be_stopped(cloud, toy, gate, until, letters):
    job = cloud.start(toy, f"{READ}epoch(0); {gate.program}; epoch(1)", **pipe(cloud, letters))
    until(lambda: gate.reached)
    cloud.sagemaker.stop_training_job(TrainingJobName=job)
    assert cloud.finish(job)["TrainingJobStatus"] == "Stopped"


def test_shuffling_is_another_in_each_epoch_and_the_same_for_a_seed(cloud, toy, letters):
    program = f"{READ}keep(epochs=[epoch(n).decode() for n in range(4)])"

    def epochs(seed):
        shuffled = pipe(cloud, letters, ShuffleConfig={"Seed": seed})
        return model(cloud, cloud.train(toy, program, **shuffled))["epochs"]

    first = epochs(1)
    assert all(sorted(epoch.split()) == list("abcde") for epoch in first)
    assert len(set(first)) > 1
    assert epochs(1) == first
    assert epochs(2) != first


def test_shards_are_dealt_anew_in_each_epoch(cloud, toy, letters):
    channel = cloud.channel("x", letters, InputMode="Pipe", ShuffleConfig={"Seed": 3})
    channel["DataSource"]["S3DataSource"]["S3DataDistributionType"] = "ShardedByS3Key"
    program = (
        f"{READ}host = json.loads((ml / 'input/config/resourceconfig.json').read_text())\n"
        "found = [epoch(n).decode() for n in range(3)]\n"
        "(ml / 'checkpoints' / host['current_host']).write_text(json.dumps(found))"
    )
    job = cloud.train(
        toy,
        program,
        InputDataConfig=[channel],
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1},
        CheckpointConfig={"S3Uri": f"s3://{cloud.aws.bucket}/seen"},
    )
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    seen = [
        json.loads(cloud.get(f"s3://{cloud.aws.bucket}/seen/{host}"))
        for host in ("algo-1", "algo-2")
    ]
    for one, other in zip(*seen, strict=True):
        assert sorted((one + other).split()) == list("abcde")
    assert len({"".join(sorted(epoch)) for epoch in seen[0]}) > 1


def test_gzip_is_unpacked_and_recordio_is_wrapped_around_each_object(cloud, toy):
    cloud.put("data/a", gzip.compress(b"first") + gzip.compress(b" half"))
    uri = cloud.put("data/b", gzip.compress(b"2" * 100_000))
    uri = uri.removesuffix("b")
    program = f"{READ}keep(content=epoch(0).hex())"

    def read(**members):
        job = cloud.train(toy, program, **pipe(cloud, uri, CompressionType="Gzip", **members))
        return bytes.fromhex(model(cloud, job)["content"])

    assert read() == b"first half" + b"2" * 100_000
    wrapped = read(RecordWrapperType="RecordIO")
    assert wrapped == (
        struct.pack("<II", 0xCED7230A, 10)
        + b"first half\0\0"
        + struct.pack("<II", 0xCED7230A, 100_000)
        + b"2" * 100_000
    )


def test_what_is_not_gzip_fails_the_job(cloud, toy):
    uri = cloud.put("data/a", b"plain")
    job = cloud.train(toy, f"{READ}epoch(0); keep()", **pipe(cloud, uri, CompressionType="Gzip"))
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(
        "ClientError: Data download failed:The object data/a is not gzip: "
    )


def test_an_object_that_goes_fails_the_job_and_is_no_end_of_data(cloud, toy, gate, until, letters):
    saves = "(ml / 'checkpoints/step').write_text('1')"
    job = cloud.start(
        toy,
        f"{READ}epoch(0); {gate.program}; {saves}; epoch(1)",
        CheckpointConfig={"S3Uri": f"s3://{cloud.aws.bucket}/saved"},
        **pipe(cloud, letters),
    )
    until(lambda: gate.reached)
    cloud.client("s3").delete_object(Bucket=cloud.aws.bucket, Key="data/c")
    gate.open()
    found = cloud.finish(job)
    assert found["TrainingJobStatus"] == "Failed"
    assert found["FailureReason"].startswith("ClientError: Data download failed:")
    assert "NoSuchKey" in found["FailureReason"]
    assert cloud.get(f"s3://{cloud.aws.bucket}/saved/step") == b"1"


def test_no_objects_fail_the_job_before_it_starts(cloud, toy):
    uri = cloud.put("data/a", "a").removesuffix("data/a") + "other/"
    job = cloud.train(toy, **pipe(cloud, uri))
    assert job["FailureReason"].startswith("ClientError: Data download failed:No S3 objects found")


def test_streamed_data_do_not_count_for_the_volume(own_server, toy_tag):
    cloud, _ = own_server(disk=1e-6)  # a kilobyte
    uri = cloud.put("data/large", bytes(2**20))
    program = f"{READ}keep(size=len(epoch(0)))"
    found = cloud.train(cloud.push(toy_tag), program, **pipe(cloud, uri))
    assert model(cloud, found) == {"size": 2**20}


def test_fast_file_is_files_that_cannot_be_written_to(cloud, toy, letters):
    channel = cloud.channel("x", letters, InputMode="FastFile")
    program = (
        f"{READ}folder = ml / 'input/data/x'\n"
        "config = json.loads((ml / 'input/config/inputdataconfig.json').read_text())\n"
        "def refused(change):\n"
        "    try: change()\n"
        "    except OSError: return True\n"
        "keep(files={p.name: p.read_text() for p in folder.iterdir()}, config=config,\n"
        "     written=refused(lambda: (folder / 'a').write_text('1')),\n"
        "     made=refused(lambda: (folder / 'new').write_text('1')),\n"
        "     gone=refused(lambda: (folder / 'a').unlink()))"
    )
    found = model(cloud, cloud.train(toy, program, InputDataConfig=[channel]))
    assert found["files"] == {letter: f"{letter}\n" for letter in "abcde"}
    assert found["config"]["x"]["TrainingInputMode"] == "File"
    assert found["written"] is found["made"] is found["gone"] is True


SOURCE = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/x/"}


@pytest.mark.parametrize(
    ("mode", "source", "members", "said"),
    [
        ("Pipe", {"S3DataType": "AugmentedManifestFile"}, {}, "does not implement .*Augmented"),
        ("FastFile", {"S3DataType": "AugmentedManifestFile"}, {}, "can only be used if"),
        ("FastFile", {"S3DataType": "ManifestFile"}, {}, "FastFile mode has S3Prefix only"),
        ("FastFile", {}, {"CompressionType": "Gzip"}, "FastFile mode only supports NONE"),
        ("FastFile", {}, {"RecordWrapperType": "RecordIO"}, "FastFile mode only supports NONE"),
    ],
)
def test_what_a_mode_does_not_have_is_refused(cloud, toy, mode, source, members, said):
    channel = {
        "ChannelName": "x",
        "InputMode": mode,
        "DataSource": {"S3DataSource": {**SOURCE, **source}},
        **members,
    }
    with pytest.raises(ClientError, match=said):
        cloud.start(toy, InputDataConfig=[channel])
    assert cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"] == []


def test_a_channel_cannot_have_the_name_of_a_pipe(cloud, toy, letters):
    channels = [cloud.channel("x", letters, InputMode="Pipe"), cloud.channel("x_1", letters)]
    with pytest.raises(ClientError, match="A channel has the name of a pipe of x"):
        cloud.start(toy, InputDataConfig=channels)
