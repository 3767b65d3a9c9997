"""Training jobs, carried out for real: what the program gets, what becomes of what it leaves."""

import io
import itertools
import json
import os
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from byoc import engines
from byoc.local import training
from byoc.local.service import Context
from byoc.local.state import Resource
from byoc.paths import home as byoc_home

LOG_GROUP = "/aws/sagemaker/TrainingJobs"


def archive(content):
    """The files of a tar.gz."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {m.name: tar.extractfile(m).read().decode() for m in tar if m.isfile()}


def statuses(job):
    return [t["Status"] for t in job["SecondaryStatusTransitions"]]


def test_a_job_from_its_data_to_its_artifact(cloud, toy):
    cloud.put("data/a.csv", "1")
    cloud.put("data/deep/b.csv", "22")
    cloud.put("data-of-others/c.csv", "333")
    job = cloud.train(
        toy,
        "data = ml / 'input/data/training'\n"
        "sizes = {str(p.relative_to(data)): p.stat().st_size for p in data.rglob('*.csv')}\n"
        "(ml / 'model/sizes.json').write_text(json.dumps(sizes))\n"
        "(ml / 'output/data/report.txt').write_text('good')",
        InputDataConfig=[cloud.channel("training", f"s3://{cloud.aws.bucket}/data/")],
    )
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    output = f"s3://{cloud.aws.bucket}/out/{job['TrainingJobName']}/output"
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"{output}/model.tar.gz"
    model = archive(cloud.get(f"{output}/model.tar.gz"))
    assert json.loads(model["sizes.json"]) == {"a.csv": 1, "deep/b.csv": 2}
    assert archive(cloud.get(f"{output}/output.tar.gz")) == {"report.txt": "good"}
    assert "FailureReason" not in job


def test_the_secondary_statuses_come_in_order_each_with_its_end(cloud, toy):
    job = cloud.train(toy)
    transitions = job["SecondaryStatusTransitions"]
    assert statuses(job) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    for earlier, later in itertools.pairwise(transitions):
        assert earlier["StartTime"] <= earlier["EndTime"] == later["StartTime"]
    assert all(t["StatusMessage"] for t in transitions)
    assert transitions[-1]["EndTime"]
    assert job["SecondaryStatus"] == "Completed"
    assert job["CreationTime"] <= job["TrainingStartTime"] <= job["TrainingEndTime"]
    assert job["TrainingTimeInSeconds"] >= 1


def test_describe_gives_back_what_was_asked_for(cloud, toy):
    request = cloud.request(
        toy,
        "",
        Environment={"A": "1"},
        hyperparameters={"max_depth": "4"},
        InputDataConfig=[cloud.channel("x", cloud.put("x/1", "1"), ContentType="text/csv")],
    )
    answer = cloud.sagemaker.create_training_job(**request)
    assert answer["TrainingJobArn"] == (
        f"arn:aws:sagemaker:us-east-1:{cloud.account}:training-job/{request['TrainingJobName']}"
    )
    job = cloud.finish(request["TrainingJobName"])
    for member, value in request.items():
        for key in value if isinstance(value, dict) else ():
            assert job[member][key] == value[key]
    assert job["InputDataConfig"][0]["ContentType"] == "text/csv"
    assert job["TrainingJobArn"] == answer["TrainingJobArn"]


def test_the_environment_is_the_platforms_and_no_more(cloud, toy):
    job = cloud.train(
        toy,
        "(ml / 'model/env.json').write_text(json.dumps(dict(os.environ)))",
        Environment={"MINE": "1", "GREETING": "from the request"},
    )
    model = archive(cloud.get(job["ModelArtifacts"]["S3ModelArtifacts"]))
    environment = json.loads(model["env.json"])
    assert environment["TRAINING_JOB_NAME"] == job["TrainingJobName"]
    assert environment["TRAINING_JOB_ARN"] == job["TrainingJobArn"]
    assert environment["MINE"] == "1"
    assert environment["GREETING"] == "from the request"
    strange = [n for n in environment if n.startswith(("SM_", "AWS_", "BYOC", "SAGEMAKER_"))]
    assert strange == []


def test_the_configuration_files_hold_strings_and_the_channels(cloud, toy):
    job = cloud.train(
        toy,
        "import shutil; shutil.copytree(ml / 'input/config', ml / 'model/config')",
        hyperparameters={"max_depth": "4", "flag": "True"},
        InputDataConfig=[
            cloud.channel("training", cloud.put("x/1", "1"), ContentType="text/csv"),
            cloud.channel("validation", cloud.put("y/1", "1")),
        ],
    )
    model = archive(cloud.get(job["ModelArtifacts"]["S3ModelArtifacts"]))
    hyperparameters = json.loads(model["config/hyperparameters.json"])
    assert (hyperparameters["max_depth"], hyperparameters["flag"]) == ("4", "True")
    channels = json.loads(model["config/inputdataconfig.json"])
    assert channels["training"]["ContentType"] == "text/csv"
    assert channels["validation"] == {
        "TrainingInputMode": "File",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "None",
    }
    resources = json.loads(model["config/resourceconfig.json"])
    assert resources["current_instance_type"] == "ml.m5.large"


@pytest.mark.parametrize(
    ("algorithm", "argv"),
    [
        ({}, ["train"]),
        ({"ContainerArguments": ["other", "x"]}, None),
        ({"ContainerEntrypoint": ["/bin/sh", "-c", "echo said $0", "me"]}, "said me"),
        ({"ContainerEntrypoint": ["/bin/echo"], "ContainerArguments": ["a", "b"]}, "a b"),
    ],
)
def test_entrypoint_and_arguments_of_the_request(cloud, toy, algorithm, argv):
    program = "print(*[pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])"
    job = cloud.train(toy, program, algorithm=algorithm)
    if argv is None:  # ContainerArguments take the place of `train`: there is no program `other`
        assert job["FailureReason"] == "AlgorithmError: , exit code: 127"
        return
    said = cloud.log(LOG_GROUP, job["TrainingJobName"])
    assert said == ["train"] if argv == ["train"] else [argv]


def test_metrics_are_the_last_values_and_all_are_in_cloudwatch(cloud, toy):
    definitions = [
        {"Name": "loss", "Regex": "loss=([0-9.]+)"},
        {"Name": "never", "Regex": "never=([0-9.]+)"},
        {"Name": "broken", "Regex": "broken=(.*)"},
    ]
    job = cloud.train(
        toy,
        "print('loss=0.9'); print('epoch 2 loss=0.5 loss=0.25', file=sys.stderr)\n"
        "print('broken=not a number')",
        algorithm={"MetricDefinitions": definitions},
    )
    (final,) = job["FinalMetricDataList"]
    assert (final["MetricName"], final["Value"]) == ("loss", 0.25)
    assert job["TrainingStartTime"] <= final["Timestamp"] <= job["TrainingEndTime"]
    (found,) = cloud.client("cloudwatch").get_metric_statistics(
        Namespace=LOG_GROUP,
        MetricName="loss",
        Dimensions=[{"Name": "Host", "Value": f"{job['TrainingJobName']}/algo-1"}],
        StartTime=job["CreationTime"].replace(second=0, microsecond=0),
        EndTime=job["CreationTime"].replace(year=job["CreationTime"].year + 1),
        Period=86400 * 366,
        Statistics=["SampleCount", "Minimum", "Maximum"],
    )["Datapoints"]
    assert (found["SampleCount"], found["Minimum"], found["Maximum"]) == (3, 0.25, 0.9)


def test_the_log_can_be_read_while_the_job_runs(cloud, toy, gate, until):
    job = cloud.start(toy, f"print('before'); {gate.program}; print(); print('after')")
    logs = cloud.client("logs")

    def streams():
        try:
            return logs.describe_log_streams(
                logGroupName=LOG_GROUP, logStreamNamePrefix=f"{job}/algo-1-"
            )["logStreams"]
        except logs.exceptions.ResourceNotFoundException:
            return []

    until(lambda: streams() and cloud.log(LOG_GROUP, job) == ["before"])
    assert cloud.sagemaker.describe_training_job(TrainingJobName=job)["SecondaryStatus"] == (
        "Training"
    )
    gate.open()
    cloud.finish(job)
    assert cloud.log(LOG_GROUP, job) == ["before", " ", "after"]


def test_a_thousand_lines_arrive_in_order(cloud, toy):
    job = cloud.train(toy, "for n in range(1200): print(n)")
    assert cloud.log(LOG_GROUP, job["TrainingJobName"]) == [str(n) for n in range(1200)]


# --- failures


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("sys.exit(1)", "AlgorithmError: , exit code: 1"),
        ("sys.exit(137)", "AlgorithmError: , exit code: 137"),
        (
            "(ml / 'output/failure').write_text('mend the data'); sys.exit(2)",
            "AlgorithmError: mend the data, exit code: 2",
        ),
    ],
)
def test_a_failure_has_the_programs_text_and_code(cloud, toy, program, reason):
    job = cloud.train(toy, f"(ml / 'model/half').write_text('x'); {program}")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"] == reason
    # AWS enters Uploading also on the way to Failed: amazon-sagemaker notebooks, issue 136.
    assert statuses(job) == ["Starting", "Downloading", "Training", "Uploading", "Failed"]
    assert job["SecondaryStatusTransitions"][-1]["EndTime"]
    assert "ModelArtifacts" not in job
    with pytest.raises(ClientError):
        cloud.get(f"s3://{cloud.aws.bucket}/out/{job['TrainingJobName']}/output/model.tar.gz")


def test_a_long_failure_is_cut_to_what_the_api_allows(cloud, toy):
    job = cloud.train(toy, "(ml / 'output/failure').write_text('é' * 5000); sys.exit(1)")
    assert job["FailureReason"].startswith("AlgorithmError: ééé")
    assert len(job["FailureReason"]) == 1024


def test_a_program_killed_from_outside_fails_with_137_and_no_noise(cloud, toy, alive, until):
    mark = f"mark-{cloud.account}"
    job = cloud.start(toy, "print('ready'); time.sleep(600)", Environment={"MARK": mark})
    until(lambda: "ready" in _log_or_nothing(cloud, job))
    for process in alive(mark):
        if process.name() != "unshare":
            process.kill()
    assert cloud.finish(job)["FailureReason"] == "AlgorithmError: , exit code: 137"
    assert cloud.log(LOG_GROUP, job) == ["ready"]


def test_a_failure_file_of_a_job_that_succeeds_means_nothing(cloud, toy):
    job = cloud.train(toy, "(ml / 'output/failure').write_text('oh')")
    assert job["TrainingJobStatus"] == "Completed"
    assert "FailureReason" not in job


def test_an_image_without_train_fails_with_127_and_dockers_words(cloud, write, tmp_path):
    folder = write(tmp_path / "empty", Dockerfile="FROM python:3.12\n")
    engines.engine().build(folder, "empty:1")
    job = cloud.train(cloud.push("empty:1"))
    assert job["FailureReason"] == "AlgorithmError: , exit code: 127"
    assert 'exec: "train": executable file not found in $PATH' in cloud.log(LOG_GROUP)


def test_no_objects_under_the_prefix(cloud, toy):
    channel = cloud.channel("training", f"s3://{cloud.aws.bucket}/nothing/here/")
    job = cloud.train(toy, InputDataConfig=[channel])
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(
        "ClientError: Data download failed:No S3 objects found under S3 URL "
        f'"s3://{cloud.aws.bucket}/nothing/here/" given in input data source.'
    )
    assert cloud.role in job["FailureReason"]
    assert statuses(job) == ["Starting", "Downloading", "Failed"]


def test_no_such_bucket(cloud, toy):
    channel = cloud.channel("training", f"s3://no-such-bucket-{cloud.account}/x/")
    job = cloud.train(toy, InputDataConfig=[channel])
    assert job["FailureReason"].startswith(
        "ClientError: Data download failed:No S3 objects found under S3 URL "
    )
    assert "ensure that the bucket exists in the selected region" in job["FailureReason"]


def test_an_output_bucket_that_is_not_there_fails_the_job(cloud, toy):
    job = cloud.train(
        toy, OutputDataConfig={"S3OutputPath": f"s3://no-such-bucket-{cloud.account}/out"}
    )
    assert job["TrainingJobStatus"] == "Failed"
    bucket = f"no-such-bucket-{cloud.account}"
    assert job["FailureReason"] == (
        f"ClientError: Artifact upload failed:The bucket {bucket} does not exist."
    )


LINKS = (
    "import os, shutil\n"
    "(ml / 'model/kept').write_text('kept')\n"
    "os.symlink('/etc/passwd', ml / 'model/file')\n"
    "os.symlink('/etc', ml / 'model/folder')\n"
    "shutil.rmtree(ml / 'output/data')\n"
    "os.symlink('/etc', ml / 'output/data')\n"
)


def test_a_link_goes_into_the_archive_as_a_link(cloud, toy):
    job = cloud.train(toy, LINKS)
    with tarfile.open(
        fileobj=io.BytesIO(cloud.get(job["ModelArtifacts"]["S3ModelArtifacts"]))
    ) as tar:
        found = {member.name: member.linkname for member in tar}
    assert found == {"kept": "", "file": "/etc/passwd", "folder": "/etc"}


def test_what_a_link_leads_to_is_never_uploaded(cloud, toy):
    output = {"S3OutputPath": f"s3://{cloud.aws.bucket}/links", "CompressionType": "NONE"}
    job = cloud.train(toy, LINKS, OutputDataConfig=output)
    assert job["TrainingJobStatus"] == "Completed"
    found = cloud.client("s3").list_objects_v2(Bucket=cloud.aws.bucket, Prefix="links/")
    names = [entry["Key"].rpartition("/output/")[2] for entry in found["Contents"]]
    assert names == ["model/kept"]


@pytest.mark.parametrize("folder", ["model", "output"])
def test_a_folder_that_became_a_link_is_not_followed(cloud, toy, folder):
    elsewhere = (
        f"import os, shutil\nshutil.rmtree(ml / '{folder}')\nos.symlink('/etc', ml / '{folder}')\n"
    )
    job = cloud.train(toy, elsewhere)
    assert job["TrainingJobStatus"] == "Completed"
    assert archive(cloud.get(job["ModelArtifacts"]["S3ModelArtifacts"])) == {}


def test_a_failure_that_is_a_link_is_not_read(cloud, toy):
    program = "import os\nos.symlink('/etc/passwd', ml / 'output/failure')\nsys.exit(1)"
    job = cloud.train(toy, program)
    assert job["FailureReason"] == "AlgorithmError: , exit code: 1"


# --- stopping

HANDLER = (
    "def stop(*_):\n"
    "    (ml / 'model/saved').write_text('in time'); print('stopping'); sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, stop)\n"
    "print('ready')\n"
    "while True: signal.pause()"
)


def test_stop_is_sigterm_and_what_was_saved_is_kept(cloud, toy, until):
    job = cloud.start(toy, HANDLER)
    describe = lambda: cloud.sagemaker.describe_training_job(TrainingJobName=job)  # noqa: E731
    until(lambda: describe()["SecondaryStatus"] == "Training")
    until(lambda: "ready" in _log_or_nothing(cloud, job))
    cloud.sagemaker.stop_training_job(TrainingJobName=job)
    assert describe()["TrainingJobStatus"] in ("Stopping", "Stopped")
    cloud.sagemaker.get_waiter("training_job_completed_or_stopped").wait(
        TrainingJobName=job, WaiterConfig=cloud.waiter
    )
    found = describe()
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert statuses(found) == ["Starting", "Downloading", "Training", "Stopping", "Stopped"]
    assert archive(cloud.get(found["ModelArtifacts"]["S3ModelArtifacts"])) == {"saved": "in time"}
    assert "FailureReason" not in found
    assert cloud.log(LOG_GROUP, job) == ["ready", "stopping"]


def _log_or_nothing(cloud, job):
    try:
        return cloud.log(LOG_GROUP, job)
    except (ClientError, ValueError):
        return []


def test_a_stopped_job_whose_program_exits_with_an_error_is_still_stopped(cloud, toy, until):
    job = cloud.start(toy, HANDLER.replace("sys.exit(0)", "sys.exit(143)"))
    until(lambda: "ready" in _log_or_nothing(cloud, job))
    cloud.sagemaker.stop_training_job(TrainingJobName=job)
    cloud.sagemaker.stop_training_job(TrainingJobName=job)  # asked twice: no harm
    assert cloud.finish(job)["TrainingJobStatus"] == "Stopped"


def test_a_job_can_be_stopped_as_soon_as_it_is_created(cloud, toy, alive, until):
    mark = f"mark-{cloud.account}"
    job = cloud.start(toy, HANDLER, Environment={"MARK": mark})
    cloud.sagemaker.stop_training_job(TrainingJobName=job)
    found = cloud.finish(job)
    assert found["TrainingJobStatus"] == "Stopped"
    assert statuses(found)[-2:] == ["Stopping", "Stopped"]
    until(lambda: not alive(mark))


def test_a_job_that_has_ended_cannot_be_stopped(cloud, toy):
    name = cloud.train(toy)["TrainingJobName"]
    with pytest.raises(ClientError, match="in status Completed") as caught:
        cloud.sagemaker.stop_training_job(TrainingJobName=name)
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_max_runtime_stops_the_job_and_keeps_what_was_saved(cloud, toy):
    job = cloud.train(toy, HANDLER, StoppingCondition={"MaxRuntimeInSeconds": 2})
    assert job["TrainingJobStatus"] == "Stopped"
    assert job["SecondaryStatus"] == "MaxRuntimeExceeded"
    assert statuses(job)[-1] == "MaxRuntimeExceeded"
    assert archive(cloud.get(job["ModelArtifacts"]["S3ModelArtifacts"])) == {"saved": "in time"}


def test_a_deaf_program_is_killed_after_the_grace(impatient, toy_tag, alive, until):
    mark = f"mark-{impatient.account}"
    job = impatient.start(
        impatient.push(toy_tag),
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "(ml / 'model/saved').write_text('early')\n"
        "print('ready')\n"
        "while True: signal.pause()",
        Environment={"MARK": mark},
    )
    until(lambda: "ready" in _log_or_nothing(impatient, job))
    impatient.sagemaker.stop_training_job(TrainingJobName=job)
    found = impatient.finish(job)
    assert found["TrainingJobStatus"] == "Stopped"
    assert archive(impatient.get(found["ModelArtifacts"]["S3ModelArtifacts"])) == {"saved": "early"}
    until(lambda: not alive(mark))


def test_only_a_job_that_has_ended_can_be_deleted(cloud, toy, gate, until):
    job = cloud.start(toy, gate.program)
    until(lambda: gate.reached)
    with pytest.raises(ClientError, match="in status InProgress") as caught:
        cloud.sagemaker.delete_training_job(TrainingJobName=job)
    assert caught.value.response["Error"]["Code"] == "ResourceInUse"
    gate.open()
    cloud.finish(job)
    cloud.sagemaker.delete_training_job(TrainingJobName=job)
    with pytest.raises(ClientError, match="Requested resource not found"):
        cloud.sagemaker.describe_training_job(TrainingJobName=job)
    assert cloud.train(toy, name=job)["TrainingJobStatus"] == "Completed"  # the name is free


# --- names, lists, several


def test_a_name_is_taken_once(cloud, toy):
    job = cloud.train(toy)
    with pytest.raises(ClientError, match="must be unique within an AWS account") as caught:
        cloud.start(toy, name=job["TrainingJobName"])
    assert caught.value.response["Error"]["Code"] == "ResourceInUse"
    found = cloud.sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])
    assert found["CreationTime"] == job["CreationTime"]


def test_what_is_not_there(cloud):
    for call in (cloud.sagemaker.describe_training_job, cloud.sagemaker.stop_training_job):
        with pytest.raises(ClientError, match="Requested resource not found") as caught:
            call(TrainingJobName="nothing")
        assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_several_jobs_run_at_once(cloud, toy, tmp_path, until):
    """Each waits for all others: jobs that ran one after another would never end."""
    program = (
        f"pathlib.Path({str(tmp_path)!r}, os.environ['TRAINING_JOB_NAME']).touch()\n"
        f"while len(list(pathlib.Path({str(tmp_path)!r}).glob('together-*'))) < 3: "
        "time.sleep(0.02)"
    )
    jobs = [cloud.start(toy, program, name=f"together-{n}") for n in range(3)]
    assert {cloud.finish(job)["TrainingJobStatus"] for job in jobs} == {"Completed"}


def test_a_job_runs_the_image_that_was_pushed(cloud, toy_folder):
    """And neither what lies in the folder now nor what was built under the same tag since."""
    engine = engines.engine()
    (toy_folder / "train").write_text("#!/bin/sh\necho first\n")
    engine.build(toy_folder, "moving:1")
    uri = cloud.push("moving:1")
    (toy_folder / "train").write_text("#!/bin/sh\necho second\n")
    first = cloud.train(uri)["TrainingJobName"]
    engine.build(toy_folder, "moving:1")
    built = cloud.train(uri)["TrainingJobName"]
    cloud.push("moving:1")
    pushed = cloud.train(uri)["TrainingJobName"]
    said = {job: cloud.log(LOG_GROUP, job) for job in (first, built, pushed)}
    assert said == {first: ["first"], built: ["first"], pushed: ["second"]}


def test_an_image_by_its_digest(cloud, toy):
    (details,) = cloud.client("ecr").describe_images(repositoryName="toy")["imageDetails"]
    uri = f"{toy.rpartition(':')[0]}@{details['imageDigest']}"
    assert cloud.train(uri)["TrainingJobStatus"] == "Completed"


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("{account}.dkr.ecr.us-east-1.amazonaws.com/absent:1", "Cannot find repository: absent in"),
        ("{account}.dkr.ecr.us-east-1.amazonaws.com/toy:absent", "not found"),
        ("{account}.dkr.ecr.us-east-1.amazonaws.com/toy", "not found"),  # means :latest
        (
            "{account}.dkr.ecr.eu-west-1.amazonaws.com/toy:1",
            "its region eu-west-1 is not us-east-1",
        ),
        ("999999999999.dkr.ecr.us-east-1.amazonaws.com/toy:1", "in registry ID: 999999999999"),
        ("python:3.12", "must be an Amazon ECR image"),
    ],
)
def test_an_image_that_cannot_be_had_is_refused_at_once(cloud, toy, image, said):
    uri = image.format(account=cloud.account)
    with pytest.raises(ClientError, match=said) as caught:
        cloud.start(uri)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"] == []


S3 = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/x/"}


def resources(**members):
    return {
        "ResourceConfig": {
            "InstanceType": "ml.m5.large",
            "InstanceCount": 1,
            "VolumeSizeInGB": 1,
            **members,
        }
    }


def channel(source=S3, name="x", **members):
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, **members}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (resources(KeepAlivePeriodInSeconds=60), "KeepAlivePeriodInSeconds"),
        ({"StoppingCondition": {"MaxPendingTimeInSeconds": 7200}}, "MaxPendingTimeInSeconds"),
        (
            {"InputDataConfig": [channel({**S3, "S3Uri": "https://bucket/x"})]},
            "an S3Uri that does not begin with s3://",
        ),
        ({"OutputDataConfig": {"S3OutputPath": "https://bucket/x"}}, "S3OutputPath"),
    ],
)
def test_what_is_not_done_is_refused_and_nothing_is_created(cloud, toy, change, said):
    with pytest.raises(ClientError, match=rf"does not implement CreateTrainingJob .*{said}"):
        cloud.start(toy, **change)
    assert cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"] == []


GROUPS = [{"InstanceGroupName": "a", "InstanceType": "ml.m5.large", "InstanceCount": 1}]
NO_KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"InputDataConfig": [channel(CompressionType="Gzip")]},
            "Invalid compression type for channel x: File mode only supports NONE, got Gzip",
        ),
        (
            {"InputDataConfig": [channel(RecordWrapperType="RecordIO")]},
            "File mode only supports NONE, got RecordIO",
        ),
        (
            {"InputDataConfig": [channel({**S3, "S3DataType": "AugmentedManifestFile"})]},
            "AugmentedManifestFile can only be used if the Channel's input mode is Pipe",
        ),
        (
            {"InputDataConfig": [{"ChannelName": "x", "DataSource": {}}]},
            "The channel x must have a data source",
        ),
        ({"InputDataConfig": [channel(), channel()]}, "names of input channels must be unique"),
        (
            {"InputDataConfig": [channel({**S3, "InstanceGroupNames": ["b"]})]},
            "names no instance group: b",
        ),
        (resources(InstanceGroups=GROUPS), "either InstanceGroups or InstanceType"),
        (resources(InstanceCount=0), "at least one instance"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 28 * 86_400 + 1}}, "at most 2419200"),
        ({"ResourceConfig": {"VolumeSizeInGB": 1}}, "must have InstanceType and InstanceCount"),
        ({"ResourceConfig": {"InstanceGroups": GROUPS * 2}}, "must be given and unique"),
        (
            {"OutputDataConfig": {"S3OutputPath": "s3://bucket/x", "KmsKeyId": NO_KEY}},
            "does not exist",
        ),
        (resources(VolumeKmsKeyId="alias/none"), "not found"),
        (
            {"VpcConfig": {"Subnets": ["subnet-0"], "SecurityGroupIds": ["sg-0"]}},
            "The subnet ID 'subnet-0' does not exist",
        ),
    ],
)
def test_what_aws_refuses_is_refused_and_nothing_is_created(cloud, toy, change, said):
    with pytest.raises(ClientError, match=said) as caught:
        cloud.start(toy, **change)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"] == []


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
@pytest.mark.parametrize(
    "members",
    [
        lambda text: {"Environment": {"KEY": text}},
        lambda text: {"hyperparameters": {"key": text}},
        lambda text: {"hyperparameters": {text: "value"}},
        lambda text: {"algorithm": {"ContainerArguments": [text]}},
        lambda text: {"algorithm": {"ContainerEntrypoint": [text]}},
    ],
)
def test_a_text_that_no_program_can_get_is_refused(cloud, toy, members, text):
    with pytest.raises(ClientError, match=r"1 validation error detected: .* pattern") as caught:
        cloud.start(toy, **members(text))
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_a_regular_expression_that_is_none_is_refused(cloud, toy):
    definitions = [{"Name": "loss", "Regex": "loss=("}]
    with pytest.raises(ClientError, match=r"loss=\( of the metric loss is not valid"):
        cloud.start(toy, algorithm={"MetricDefinitions": definitions})


def test_lists_filter_sort_and_paginate(cloud, toy):
    for name in ("b-good", "a-good", "c-bad"):
        cloud.train(toy, "sys.exit(1)" if name == "c-bad" else "", name=name)

    def names(**wanted):
        found = cloud.sagemaker.list_training_jobs(**wanted)["TrainingJobSummaries"]
        return [row["TrainingJobName"] for row in found]

    assert names() == ["b-good", "a-good", "c-bad"]  # API Reference: the default is Ascending
    assert names(SortOrder="Descending") == ["c-bad", "a-good", "b-good"]
    assert names(SortBy="Name", SortOrder="Ascending") == ["a-good", "b-good", "c-bad"]
    assert names(SortBy="Status", SortOrder="Descending")[0] == "c-bad"
    assert names(NameContains="GOOD") == ["b-good", "a-good"]
    assert names(StatusEquals="Failed") == ["c-bad"]
    created = cloud.sagemaker.describe_training_job(TrainingJobName="a-good")["CreationTime"]
    assert names(CreationTimeAfter=created) == ["c-bad"]
    assert names(CreationTimeBefore=created) == ["b-good"]
    pages = cloud.sagemaker.get_paginator("list_training_jobs").paginate(
        SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    pages = [[r["TrainingJobName"] for r in p["TrainingJobSummaries"]] for p in pages]
    assert pages == [["a-good", "b-good"], ["c-bad"]]
    with pytest.raises(ClientError, match="NextToken"):
        names(NextToken="made up")


def test_accounts_and_regions_do_not_see_each_other(open_cloud, toy_tag, account, other_account):
    clouds = [
        open_cloud(other_account),
        open_cloud(other_account, "eu-west-1"),
        open_cloud(account, "eu-west-1"),
    ]
    for cloud in clouds:
        image = cloud.push(toy_tag)
        job = cloud.train(image, "print(os.environ['TRAINING_JOB_ARN'])", name="same")
        assert job["TrainingJobStatus"] == "Completed"
        arn = f"arn:aws:sagemaker:{cloud.region}:{cloud.account}:training-job/same"
        assert job["TrainingJobArn"] == arn
        assert cloud.log(LOG_GROUP) == [arn]
        assert len(cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"]) == 1


def test_arns_are_of_the_regions_partition(open_cloud, toy_tag, account):
    cloud = open_cloud(account, "cn-north-1")
    job = cloud.train(cloud.push(toy_tag))
    assert job["TrainingJobArn"] == f"arn:aws-cn:sagemaker:cn-north-1:{account}:training-job/job-1"


def test_a_job_that_waits_for_its_turn_can_be_stopped(impatient, toy_tag):
    image = impatient.push(toy_tag)
    busy = [impatient.start(image, "time.sleep(600)", name=f"busy-{i}") for i in range(4)]
    impatient.start(image, name="waits")
    impatient.sagemaker.stop_training_job(TrainingJobName="waits")
    assert impatient.finish("waits")["TrainingJobStatus"] == "Stopped"
    for name in busy:
        impatient.sagemaker.stop_training_job(TrainingJobName=name)
    assert {impatient.finish(name)["TrainingJobStatus"] for name in busy} == {"Stopped"}


def test_a_metric_that_is_no_number_is_left_out(cloud, toy):
    job = cloud.train(
        toy,
        "print('loss=0.5'); print('loss=nan'); print('loss=inf')",
        AlgorithmSpecification={
            "TrainingImage": toy,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": r"loss=(\S+)"}],
        },
    )
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert [m["Value"] for m in job["FinalMetricDataList"]] == [0.5]


def test_a_key_may_hold_any_sign(cloud, toy):
    uri = f"s3://{cloud.aws.bucket}/run#1?a"
    job = cloud.train(
        toy, "(ml / 'model/x').write_text('here')", OutputDataConfig={"S3OutputPath": uri}
    )
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert archive(cloud.get(job["ModelArtifacts"]["S3ModelArtifacts"])) == {"x": "here"}


def test_names_that_differ_in_capitals_only_are_one_name(cloud, toy):
    cloud.train(toy, name="Case-A")
    with pytest.raises(ClientError, match="must be unique"):
        cloud.start(toy, name="case-a")


# --- several hosts

several = pytest.mark.skipif(
    not engines.engine("process").has_networks(), reason="this machine has no namespaces"
)

# Every host says its name to the others under theirs, and keeps what it heard.
MEET = """\
import socket, threading
config = json.loads((ml / "input/config/resourceconfig.json").read_text())
me, hosts = config["current_host"], config["hosts"]
server = socket.create_server((me, 7000), backlog=50)
def tell(host):
    while True:
        try:
            with socket.create_connection((host, 7000)) as s: return s.sendall(me.encode())
        except OSError: time.sleep(0.02)
for host in hosts: threading.Thread(target=tell, args=(host,)).start()
heard = []
for _ in hosts:
    with server.accept()[0] as s: heard.append(s.recv(99).decode())
(ml / f"model/{me}.json").write_text(json.dumps({"heard": sorted(heard), "config": config}))
print("met", len(heard))
"""


@several
@pytest.mark.parametrize("isolated", [True, False])
def test_hosts_reach_each_other_by_name_and_know_each_other(cloud, toy, isolated):
    job = cloud.train(toy, MEET, **resources(InstanceCount=3), EnableNetworkIsolation=isolated)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    model = archive(cloud.get(job["ModelArtifacts"]["S3ModelArtifacts"]))
    hosts = ["algo-1", "algo-2", "algo-3"]
    assert sorted(model) == [f"{host}.json" for host in hosts]
    for host in hosts:
        found = json.loads(model[f"{host}.json"])
        assert found["heard"] == hosts
        assert found["config"] == {
            "current_group_name": "homogeneousCluster",
            "current_host": host,
            "current_instance_type": "ml.m5.large",
            "hosts": hosts,
            "instance_groups": [
                {
                    "instance_group_name": "homogeneousCluster",
                    "instance_type": "ml.m5.large",
                    "hosts": hosts,
                }
            ],
            "network_interface_name": "eth0",
            "topology": None,
        }
        assert cloud.log(LOG_GROUP, f"{job['TrainingJobName']}/{host}-") == ["met 3"]


RANK = """\
config = json.loads((ml / "input/config/resourceconfig.json").read_text())
me = config["current_host"]
"""


@several
def test_what_several_hosts_leave_becomes_one_archive_and_the_first_host_wins(cloud, toy):
    job = cloud.train(
        toy,
        RANK + "for where in ('model', 'output/data'):\n"
        "    (ml / where / me).write_text(me)\n"
        "    (ml / where / 'same').write_text(me)\n"
        "if me == 'algo-1': (ml / 'model/clash').write_text('a file')\n"
        "else: (ml / 'model/clash').mkdir(); (ml / 'model/clash/x').write_text('below it')",
        **resources(InstanceCount=2),
    )
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    output = f"s3://{cloud.aws.bucket}/out/{job['TrainingJobName']}/output"
    both = {"algo-1": "algo-1", "algo-2": "algo-2", "same": "algo-1"}
    assert archive(cloud.get(f"{output}/output.tar.gz")) == both
    assert archive(cloud.get(f"{output}/model.tar.gz")) == {**both, "clash": "a file"}


@several
def test_when_one_host_fails_the_job_fails_and_the_others_end(cloud, toy, alive, until):
    mark = f"mark-{cloud.account}"
    job = cloud.train(
        toy,
        RANK + "if me == 'algo-2':\n"
        "    (ml / 'output/failure').write_text('the second one'); sys.exit(3)\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "time.sleep(600)",
        Environment={"MARK": mark},
        **resources(InstanceCount=3),
    )
    assert job["FailureReason"] == "AlgorithmError: the second one, exit code: 3"
    assert "ModelArtifacts" not in job
    until(lambda: not alive(mark))


@several
def test_a_job_of_several_hosts_is_stopped_on_all(cloud, toy, until):
    handler = "print('ready'); signal.signal(signal.SIGTERM, stop)\ntime.sleep(600)"
    job = cloud.start(
        toy,
        RANK + "def stop(*_): (ml / 'model' / me).write_text('in time'); sys.exit(0)\n" + handler,
        **resources(InstanceCount=2),
    )
    for host in ("algo-1", "algo-2"):
        until(lambda host=host: "ready" in _log_or_nothing(cloud, f"{job}/{host}-"))
    cloud.sagemaker.stop_training_job(TrainingJobName=job)
    found = cloud.finish(job)
    assert found["TrainingJobStatus"] == "Stopped"
    model = archive(cloud.get(found["ModelArtifacts"]["S3ModelArtifacts"]))
    assert model == {"algo-1": "in time", "algo-2": "in time"}


LOOK = (
    RANK + "data = ml / 'input/data'\n"
    "found = sorted(str(p.relative_to(data)) for p in data.rglob('*'))\n"
    "(ml / 'model' / me).write_text(json.dumps(found))\n"
)


@several
def test_data_are_dealt_to_the_hosts_or_given_to_all(cloud, toy):
    for n in (1, 2):
        cloud.put(f"data/{n}", "x")
    uri = f"s3://{cloud.aws.bucket}/data/"
    shard = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "ShardedByS3Key"}
    config = "(ml / f'model/config-{me}').write_bytes((ml / 'input/config/inputdataconfig.json')"
    job = cloud.train(
        toy,
        LOOK + config + ".read_bytes())",
        InputDataConfig=[cloud.channel("all", uri), channel(shard, "part")],
        **resources(InstanceCount=3),
    )
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    model = archive(cloud.get(job["ModelArtifacts"]["S3ModelArtifacts"]))
    everything = ["all", "all/1", "all/2", "part"]
    assert json.loads(model["algo-1"]) == [*everything, "part/1"]
    assert json.loads(model["algo-2"]) == [*everything, "part/2"]
    assert json.loads(model["algo-3"]) == everything  # more hosts than objects: an empty folder
    config = json.loads(model["config-algo-3"])
    assert config["part"]["S3DistributionType"] == "ShardedByS3Key"
    assert config["all"]["S3DistributionType"] == "FullyReplicated"


@several
def test_instance_groups_are_numbered_through_and_get_their_channels(cloud, toy):
    groups = [
        {"InstanceGroupName": name, "InstanceType": f"ml.{kind}", "InstanceCount": count}
        for name, kind, count in (("workers", "m5.large", 2), ("servers", "c5.xlarge", 1))
    ]
    uri = cloud.put("data/1", "x")
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "InstanceGroupNames": ["workers"]}
    job = cloud.train(
        toy,
        LOOK + "print(json.dumps(config))",
        InputDataConfig=[channel(source, "mine")],
        ResourceConfig={"InstanceGroups": groups, "VolumeSizeInGB": 1},
    )
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    model = archive(cloud.get(job["ModelArtifacts"]["S3ModelArtifacts"]))
    seen = {host: json.loads(found) for host, found in model.items()}
    assert seen == {"algo-1": ["mine", "mine/1"], "algo-2": ["mine", "mine/1"], "algo-3": []}
    (said,) = cloud.log(LOG_GROUP, f"{job['TrainingJobName']}/algo-3-")
    config = json.loads(said)
    assert (config["current_group_name"], config["current_instance_type"]) == (
        "servers",
        "ml.c5.xlarge",
    )
    assert [group["hosts"] for group in config["instance_groups"]] == [
        ["algo-1", "algo-2"],
        ["algo-3"],
    ]


# --- input and output


def test_a_manifest_lays_its_objects_out(cloud, toy):
    for key in ("data/deep/1", "data/2", "data/3"):
        cloud.put(key, "x")
    content = [{"prefix": f"s3://{cloud.aws.bucket}/data/"}, "deep/1", "2"]
    source = {"S3DataType": "ManifestFile", "S3Uri": cloud.put("m", json.dumps(content))}
    job = cloud.train(toy, LOOK, InputDataConfig=[channel(source)])
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    model = archive(cloud.get(job["ModelArtifacts"]["S3ModelArtifacts"]))
    assert json.loads(model["algo-1"]) == ["x", "x/2", "x/deep", "x/deep/1"]


def test_a_manifest_that_is_wrong_fails_the_job(cloud, toy):
    source = {"S3DataType": "ManifestFile", "S3Uri": cloud.put("m", "[1]")}
    job = cloud.train(toy, InputDataConfig=[channel(source)])
    assert job["FailureReason"].startswith("ClientError: Data download failed:The manifest")


def test_an_uncompressed_model_is_its_files(cloud, toy):
    job = cloud.train(
        toy,
        "(ml / 'model/a').write_text('1'); (ml / 'model/deep').mkdir()\n"
        "(ml / 'model/deep/b').write_text('2'); (ml / 'output/data/c').write_text('3')",
        OutputDataConfig={
            "S3OutputPath": f"s3://{cloud.aws.bucket}/out",
            "CompressionType": "NONE",
        },
    )
    output = f"s3://{cloud.aws.bucket}/out/{job['TrainingJobName']}/output"
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"{output}/model"
    assert cloud.get(f"{output}/model/a") == b"1"
    assert cloud.get(f"{output}/model/deep/b") == b"2"
    assert archive(cloud.get(f"{output}/output.tar.gz")) == {"c": "3"}
    listed = cloud.client("s3").list_objects_v2(Bucket=cloud.aws.bucket, Prefix="out/")
    assert listed["KeyCount"] == 3


def test_artifacts_carry_a_checksum_and_are_encrypted_with_the_key(cloud, toy):
    key = cloud.client("kms").create_key()["KeyMetadata"]
    cloud.client("kms").create_alias(AliasName="alias/mine", TargetKeyId=key["KeyId"])
    for key_id in (None, "alias/mine"):
        output = {"S3OutputPath": f"s3://{cloud.aws.bucket}/out"}
        job = cloud.train(
            toy, OutputDataConfig={**output, **({"KmsKeyId": key_id} if key_id else {})}
        )
        artifacts = job["ModelArtifacts"]["S3ModelArtifacts"]
        head = cloud.client("s3").head_object(
            Bucket=cloud.aws.bucket,
            Key=artifacts.removeprefix(f"s3://{cloud.aws.bucket}/"),
            ChecksumMode="ENABLED",
        )
        assert head["ChecksumSHA256"]
        assert head.get("ServerSideEncryption") == ("aws:kms" if key_id else None)
        assert job["OutputDataConfig"]["KmsKeyId"] == (key_id or "")


def test_a_job_that_wrote_nothing_has_an_empty_artifact_and_no_output(cloud, toy):
    job = cloud.train(toy, "pass")
    assert archive(cloud.get(job["ModelArtifacts"]["S3ModelArtifacts"])) == {}
    listed = cloud.client("s3").list_objects_v2(Bucket=cloud.aws.bucket, Prefix="out/")
    assert [entry["Key"].rpartition("/")[2] for entry in listed["Contents"]] == ["model.tar.gz"]


def test_describe_gives_what_aws_sets_when_the_request_does_not(cloud, toy):
    uri = cloud.put("x/1", "1")
    job = cloud.train(toy, InputDataConfig=[cloud.channel("x", uri)], StoppingCondition={})
    (found,) = job["InputDataConfig"]
    assert (found["CompressionType"], found["RecordWrapperType"]) == ("None", "None")
    source = found["DataSource"]["S3DataSource"]
    assert source["S3DataDistributionType"] == "FullyReplicated"
    assert job["OutputDataConfig"]["CompressionType"] == "GZIP"
    assert job["StoppingCondition"]["MaxRuntimeInSeconds"] == 86400
    assert not job["AlgorithmSpecification"]["EnableSageMakerMetricsTimeSeries"]
    transitions = {t["Status"]: t for t in job["SecondaryStatusTransitions"]}
    assert job["TrainingStartTime"] == transitions["Downloading"]["StartTime"]
    assert job["TrainingEndTime"] == transitions["Completed"]["StartTime"]
    assert {status: t["StatusMessage"] for status, t in transitions.items()} == {
        "Starting": "Preparing the instances for training",
        "Downloading": "Downloading the training image",
        "Training": "Training image download completed. Training in progress.",
        "Uploading": "Uploading generated training model",
        "Completed": "Training job completed",
    }


def test_a_vpc_that_exists_is_kept(cloud, toy):
    ec2 = cloud.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    vpc = {"Subnets": [subnet], "SecurityGroupIds": [group]}
    assert cloud.train(toy, VpcConfig=vpc)["VpcConfig"] == vpc


@several
def test_an_isolated_job_reaches_nothing(cloud, toy):
    host, port = cloud.url.removeprefix("http://").split(":")
    job = cloud.train(
        toy,
        f"import socket; s = socket.socket(); print(s.connect_ex(({host!r}, {port})) == 0)",
        EnableNetworkIsolation=True,
    )
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["EnableNetworkIsolation"]
    assert cloud.log(LOG_GROUP, job["TrainingJobName"]) == ["False"]


def test_lists_know_no_warm_pools_and_no_plans(cloud, toy):
    cloud.train(toy)
    plan = f"arn:aws:sagemaker:us-east-1:{cloud.account}:training-plan/x"
    for wanted in ({"WarmPoolStatusEquals": "Available"}, {"TrainingPlanArnEquals": plan}):
        assert cloud.sagemaker.list_training_jobs(**wanted)["TrainingJobSummaries"] == []


def test_the_use_of_the_instance_is_in_cloudwatch(cloud, toy):
    job = cloud.train(toy, "time.sleep(1.5)")
    dimensions = [{"Name": "Host", "Value": f"{job['TrainingJobName']}/algo-1"}]
    found = cloud.client("cloudwatch").list_metrics(Namespace=LOG_GROUP, Dimensions=dimensions)
    assert {metric["MetricName"] for metric in found["Metrics"]} == {
        "CPUUtilization",
        "MemoryUtilization",
        "DiskUtilization",
    }


# --- races, limits, restarts


def test_of_two_creations_of_one_name_at_once_one_wins(cloud, toy):
    request = cloud.request(toy, "", name="wanted")

    def create(_):
        try:
            return cloud.sagemaker.create_training_job(**request)["TrainingJobArn"]
        except ClientError as error:
            return error.response["Error"]["Code"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(8)))
    assert answers.count("ResourceInUse") == 7
    assert cloud.finish("wanted")["TrainingJobStatus"] == "Completed"


def test_fifty_jobs_at_once_finish_four_at_a_time(cloud, toy, tmp_path):
    program = (
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "me = here / os.environ['TRAINING_JOB_NAME']; me.touch()\n"
        "print(len(list(here.iterdir()))); me.unlink()"
    )
    names = [cloud.start(toy, program, name=f"many-{n:02}") for n in range(50)]
    jobs = [cloud.finish(name) for name in names]
    assert {job["TrainingJobStatus"] for job in jobs} == {"Completed"}
    assert max(int(cloud.log(LOG_GROUP, name)[0]) for name in names) <= 4


@pytest.mark.parametrize("stage", ["Starting", "Downloading", "Training", "Uploading"])
def test_a_job_can_be_stopped_at_every_stage(impatient, toy_tag, stage, until, alive):
    cloud = impatient  # a program that has no handler yet when the signal comes is killed soon
    toy, mark = cloud.push(toy_tag), f"mark-{cloud.account}"
    for n in range(200 if stage == "Downloading" else 1):
        cloud.put(f"data/{n}", "x")
    program = {
        "Training": HANDLER,
        "Uploading": "(ml / 'model/big').write_bytes(os.urandom(30_000_000))",
    }
    job = cloud.start(
        toy,
        program.get(stage, "pass"),
        InputDataConfig=[cloud.channel("x", f"s3://{cloud.aws.bucket}/data/")],
        Environment={"MARK": mark},
    )
    later = ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    later = later[later.index(stage) :]
    describe = cloud.sagemaker.describe_training_job
    until(lambda: describe(TrainingJobName=job)["SecondaryStatus"] in later)
    try:
        cloud.sagemaker.stop_training_job(TrainingJobName=job)
        cloud.sagemaker.stop_training_job(TrainingJobName=job)
    except ClientError:
        pass  # it has ended meanwhile
    found = cloud.finish(job)
    stopped = "Stopping" in statuses(found)
    assert found["TrainingJobStatus"] == ("Stopped" if stopped else "Completed")
    assert statuses(found)[-1] == found["SecondaryStatus"] == found["TrainingJobStatus"]
    until(lambda: not alive(mark))


def test_jobs_that_wait_run_in_the_order_of_their_creation(own_server, toy_tag):
    cloud, _ = own_server(parallel_jobs=1)
    image = cloud.push(toy_tag)
    jobs = [cloud.finish(job) for job in [cloud.start(image, "pass") for _ in range(6)]]
    assert {job["TrainingJobStatus"] for job in jobs} == {"Completed"}
    for earlier, later in itertools.pairwise(jobs):
        assert earlier["TrainingEndTime"] <= later["TrainingStartTime"]


def test_a_container_beyond_the_memory_is_killed_with_awss_words(own_server, toy_tag):
    cloud, _ = own_server(memory=0.1)
    greedy = "hoard = []\nwhile True: hoard.append(bytearray(1 << 22)); time.sleep(0.01)"
    job = cloud.train(cloud.push(toy_tag), greedy)
    assert job["FailureReason"] == (
        "ClientError: Please use an instance type with more memory, or reduce the size of job "
        "data processed on an instance."
    )


def test_data_beyond_the_disk_are_not_fetched(own_server, toy_tag, until):
    cloud, server = own_server(disk=0.001)
    channels = [cloud.channel("x", cloud.put("data", b"x" * 1_500_000))]
    job = cloud.train(cloud.push(toy_tag), InputDataConfig=channels)
    assert job["FailureReason"] == "ClientError: Data download failed:Insufficient disk space"
    assert statuses(job) == ["Starting", "Downloading", "Failed"]
    until(lambda: not any(files for _, _, files in os.walk(server.platform.work)))


def test_a_fault_of_the_platform_is_retried_as_often_as_wished(own_server, toy_folder, gate, until):
    cloud, _ = own_server(parallel_jobs=1)
    (toy_folder / "mark").write_text("an image of this test's own")
    (toy_folder / "Dockerfile").write_text(
        (toy_folder / "Dockerfile").read_text() + "COPY mark /opt/program/\n"
    )
    image = engines.engine().build(toy_folder, "fleeting:1")
    uri = cloud.push("fleeting:1")
    first = cloud.start(uri, gate.program)
    until(lambda: gate.reached)
    second = cloud.start(uri, RetryStrategy={"MaximumRetryAttempts": 2})
    shutil.rmtree(byoc_home() / "images/sha256" / image.id.removeprefix("sha256:"))
    gate.open()
    assert cloud.finish(first)["TrainingJobStatus"] == "Completed"
    job = cloud.finish(second)
    assert job["FailureReason"].startswith("InternalServerError: ")
    assert statuses(job) == [*["Starting", "Downloading", "Training"] * 3, "Failed"]
    assert job["RetryStrategy"] == {"MaximumRetryAttempts": 2}


def test_what_had_not_ended_when_the_local_aws_was_stopped_has_failed(own_server):
    cloud, server = own_server()
    context = Context(server.platform, cloud.account, cloud.region)
    jobs = []
    for status in ("InProgress", "Stopping", "Completed"):
        data = {
            "TrainingJobName": status,
            "TrainingJobArn": status,
            "CreationTime": training.now(),
            "TrainingJobStatus": status,
            "SecondaryStatus": "Training",
            "SecondaryStatusTransitions": [{"Status": "Training", "StartTime": training.now()}],
        }
        data["TrainingJobArn"] = context.arn("training-job", status)
        jobs.append(Resource(status, data["TrainingJobArn"], data))
        context.table("training-job")[status] = jobs[-1]
        training.resume(context, jobs[-1])
    found = [cloud.finish(job.name) for job in jobs]
    assert [job["TrainingJobStatus"] for job in found] == ["Failed", "Failed", "Completed"]
    assert found[0]["FailureReason"] == (
        "InternalServerError: the local AWS was stopped while the job ran."
    )
    assert statuses(found[0]) == ["Training", "Failed"]
    assert "FailureReason" not in found[2]
