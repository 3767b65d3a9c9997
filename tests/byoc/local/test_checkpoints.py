"""Checkpoints: what lies in S3 is in the container, and what it writes is in S3."""

import contextlib

import pytest
from botocore.exceptions import ClientError

SAVE = "(ml / 'checkpoints/step').write_text('3')"


def kept(cloud, prefix="saved/"):
    """The objects below a prefix of the project's bucket, with what they hold."""
    s3 = cloud.client("s3")
    found = {}
    for entry in s3.list_objects_v2(Bucket=cloud.aws.bucket, Prefix=prefix).get("Contents", []):
        with contextlib.suppress(s3.exceptions.NoSuchKey):  # it has gone meanwhile
            content = cloud.get(f"s3://{cloud.aws.bucket}/{entry['Key']}")
            found[entry["Key"].removeprefix(prefix)] = content.decode()
    return found


def config(cloud, **members):
    return {"CheckpointConfig": {"S3Uri": f"s3://{cloud.aws.bucket}/saved", **members}}


def test_what_a_job_saves_is_there_for_the_next(cloud, toy):
    program = (
        "step = ml / 'checkpoints/deep/step'; step.parent.mkdir(exist_ok=True)\n"
        "last = int(step.read_text()) if step.exists() else 0\n"
        "step.write_text(str(last + 1))"
    )
    job = cloud.train(toy, program, **config(cloud))
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["CheckpointConfig"] == {
        "S3Uri": f"s3://{cloud.aws.bucket}/saved",
        "LocalPath": "/opt/ml/checkpoints/",
    }
    assert kept(cloud) == {"deep/step": "1"}
    cloud.train(toy, program, **config(cloud))
    assert kept(cloud) == {"deep/step": "2"}


def test_another_folder_below_opt_ml(cloud, toy):
    program = "(ml / 'mine/step').write_text('1')"
    job = cloud.train(toy, program, **config(cloud, LocalPath="/opt/ml/mine"))
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert kept(cloud) == {"step": "1"}


def test_files_are_sent_while_the_program_runs_and_deletions_too(cloud, toy, gate, until):
    program = f"{SAVE}; (ml / 'checkpoints/old').unlink(); {gate.program}"
    cloud.put("saved/old", "0")
    cloud.put("saved-by-others/step", "0")
    job = cloud.start(toy, program, **config(cloud))
    until(lambda: kept(cloud) == {"step": "3"})
    cloud.put("saved/late", "from S3")  # is neither fetched nor deleted
    gate.open()
    assert cloud.finish(job)["TrainingJobStatus"] == "Completed"
    assert kept(cloud) == {"step": "3", "late": "from S3"}
    assert kept(cloud, "saved-by-others/") == {"step": "0"}


def test_a_program_that_fails_leaves_its_checkpoints(cloud, toy):
    job = cloud.train(toy, f"{SAVE}; sys.exit(3)", **config(cloud))
    assert job["FailureReason"] == "AlgorithmError: , exit code: 3"
    assert kept(cloud) == {"step": "3"}


def test_a_host_that_is_killed_leaves_its_checkpoints(cloud, toy, gate, alive, until):
    mark = f"mark-{cloud.account}"
    program = f"{SAVE}; {gate.program}"
    job = cloud.start(toy, program, Environment={"MARK": mark}, **config(cloud))
    until(lambda: gate.reached)
    for process in alive(mark):
        if process.name() != "unshare":
            process.kill()
    assert cloud.finish(job)["FailureReason"] == "AlgorithmError: , exit code: 137"
    assert kept(cloud) == {"step": "3"}


def test_a_job_that_is_stopped_leaves_what_it_saved_at_last(cloud, toy, gate, until):
    program = f"signal.signal(signal.SIGTERM, lambda *_: ({SAVE}, sys.exit(0)))\n{gate.program}"
    job = cloud.start(toy, program, **config(cloud))
    until(lambda: gate.reached)
    cloud.sagemaker.stop_training_job(TrainingJobName=job)
    assert cloud.finish(job)["TrainingJobStatus"] == "Stopped"
    assert kept(cloud) == {"step": "3"}


def test_every_host_has_the_checkpoints_and_keeps_its_own(cloud, toy):
    cloud.put("saved/shared", "0")
    job = cloud.train(
        toy,
        "host = json.loads((ml / 'input/config/resourceconfig.json').read_text())['current_host']\n"
        "assert (ml / 'checkpoints/shared').read_text() == '0'\n"
        "(ml / 'checkpoints' / host).write_text(host)",
        ResourceConfig={
            "InstanceType": "ml.m5.large",
            "InstanceCount": 2,
            "VolumeSizeInGB": 1,
        },
        **config(cloud),
    )
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert kept(cloud) == {"shared": "0", "algo-1": "algo-1", "algo-2": "algo-2"}


def test_links_are_not_followed(cloud, toy, tmp_path):
    (tmp_path / "secret").write_text("secret")
    job = cloud.train(
        toy,
        f"{SAVE}; (ml / 'checkpoints/link').symlink_to({str(tmp_path / 'secret')!r})\n"
        f"(ml / 'checkpoints/folder').symlink_to({str(tmp_path)!r})",
        **config(cloud),
    )
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert kept(cloud) == {"step": "3"}


def test_a_folder_that_became_a_link_is_left_alone(cloud, toy, tmp_path):
    cloud.put("saved/step", "1")
    (tmp_path / "secret").write_text("secret")
    cloud.train(
        toy,
        "import shutil; shutil.rmtree(ml / 'checkpoints')\n"
        f"(ml / 'checkpoints').symlink_to({str(tmp_path)!r})",
        **config(cloud),
    )
    assert kept(cloud) == {"step": "1"}


def test_no_bucket_at_the_start_fails_the_job(cloud, toy):
    job = cloud.train(toy, CheckpointConfig={"S3Uri": "s3://nobodys-bucket/x"})
    assert job["FailureReason"] == (
        "ClientError: Checkpoint download failed:The bucket nobodys-bucket does not exist."
    )


def test_a_bucket_that_may_not_be_used_fails_the_job(cloud, toy, open_cloud, other_account):
    other = open_cloud(other_account)
    other.put("saved/step", "1")
    uri = f"s3://{other.aws.bucket}/saved"
    job = cloud.train(toy, CheckpointConfig={"S3Uri": uri})
    assert job["FailureReason"] == (
        "ClientError: Checkpoint download failed:Access Denied (AccessDenied)"
    )


def test_a_bucket_that_goes_meanwhile_fails_the_job_at_its_end(cloud, toy, gate, until):
    cloud.client("s3").create_bucket(Bucket=f"going-{cloud.account}")
    uri = f"s3://going-{cloud.account}/saved"
    job = cloud.start(toy, f"{SAVE}; {gate.program}", CheckpointConfig={"S3Uri": uri})
    until(lambda: gate.reached)
    s3 = cloud.client("s3")
    for entry in s3.list_objects_v2(Bucket=f"going-{cloud.account}").get("Contents", []):
        s3.delete_object(Bucket=f"going-{cloud.account}", Key=entry["Key"])
    s3.delete_bucket(Bucket=f"going-{cloud.account}")
    gate.open()
    assert cloud.finish(job)["FailureReason"] == (
        f"ClientError: Checkpoint upload failed:The bucket going-{cloud.account} does not exist."
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"S3Uri": "s3://b/x", "LocalPath": "/opt/ml/model/a"}, "is one that SageMaker uses"),
        ({"S3Uri": "s3://b/x", "LocalPath": "/opt/ml/x/../input"}, "is one that SageMaker uses"),
        ({"S3Uri": "s3://b/x", "LocalPath": "/tmp/x"}, "does not implement .* not below /opt/ml/"),
        ({"S3Uri": "s3://b/x", "LocalPath": "/opt/ml"}, "does not implement .* not below /opt/ml/"),
        ({"S3Uri": "https://b/x"}, "does not implement .* not at s3://"),
    ],
)
def test_a_place_that_cannot_be_kept_is_refused(cloud, toy, change, said):
    with pytest.raises(ClientError, match=said):
        cloud.start(toy, CheckpointConfig=change)
    assert cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"] == []
