"""Processing jobs, carried out for real: what the program gets, what becomes of what it leaves."""

import itertools
import json
import time

import pytest
from botocore.exceptions import ClientError

from byoc import engines
from byoc.local import processing
from byoc.local.service import Context
from byoc.local.state import Resource

LOG_GROUP = "/aws/sagemaker/ProcessingJobs"
CODE = "/opt/ml/processing/code"
NUMBERS = itertools.count(1)

# Runs the program that was put into S3, as a ScriptProcessor's container does.
RUN = (
    "import json, os, pathlib, sys, time; "
    "ml = pathlib.Path(os.environ.get('SAGEMAKER_BASE_DIR', '/opt/ml')); "
    "exec((ml / 'processing/code/program.py').read_text())"
)


def given(name, uri, path=None, **members):
    """One entry of ProcessingInputs."""
    path = path or f"/opt/ml/processing/{name}"
    source = {"S3Uri": uri, "LocalPath": path, "S3DataType": "S3Prefix", "S3InputMode": "File"}
    return {"InputName": name, "S3Input": {**source, **members}}


def output(cloud, name="out", mode="EndOfJob", **members):
    """One entry of Outputs: /opt/ml/processing/NAME to NAME/ in the project's bucket."""
    target = {
        "S3Uri": f"s3://{cloud.aws.bucket}/{name}",
        "LocalPath": f"/opt/ml/processing/{name}",
        "S3UploadMode": mode,
    }
    return {"OutputName": name, "S3Output": {**target, **members}}


def request(cloud, image, program, *, inputs=(), outputs=None, count=1, **members):
    """A CreateProcessingJob request that runs `program`."""
    name = members.pop("name", f"processing-{next(NUMBERS)}")
    code = cloud.put(f"code/{name}/program.py", program)
    application = {"ImageUri": image, "ContainerEntrypoint": ["python", "-c", RUN]}
    cluster = {"InstanceCount": count, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 10}
    outputs = [output(cloud)] if outputs is None else outputs
    return {
        "ProcessingJobName": name,
        "AppSpecification": {**application, **members.pop("application", {})},
        "ProcessingInputs": [given("code", code, CODE), *inputs],
        "ProcessingOutputConfig": {"Outputs": outputs, **members.pop("config", {})},
        "ProcessingResources": {"ClusterConfig": {**cluster, **members.pop("cluster", {})}},
        "RoleArn": cloud.role,
        **members,
    }


def start(cloud, image, program="", **members):
    """Create a job; returns its name."""
    wanted = request(cloud, image, program, **members)
    cloud.sagemaker.create_processing_job(**wanted)
    return wanted["ProcessingJobName"]


def finish(cloud, job):
    """DescribeProcessingJob once the job has ended, however it ended."""
    deadline = time.monotonic() + 120
    while True:
        found = cloud.sagemaker.describe_processing_job(ProcessingJobName=job)
        if found["ProcessingJobStatus"] in ("Completed", "Failed", "Stopped"):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def process(cloud, image, program="", **members):
    """A processing job from its creation to its end."""
    return finish(cloud, start(cloud, image, program, **members))


def objects(cloud, prefix="out/"):
    """The objects below a prefix of the project's bucket, by the rest of their keys."""
    s3 = cloud.client("s3")
    found = s3.list_objects_v2(Bucket=cloud.aws.bucket, Prefix=prefix).get("Contents", [])
    return {
        one["Key"].removeprefix(prefix): cloud.get(f"s3://{cloud.aws.bucket}/{one['Key']}").decode()
        for one in found
    }


def is_running(cloud, job):
    """Whether the job's program has said something."""
    logs = cloud.client("logs")
    try:
        return "ready" in cloud.log(LOG_GROUP, f"{job}/")
    except (ValueError, logs.exceptions.ResourceNotFoundException):
        return False


def test_a_job_from_its_inputs_to_its_outputs(cloud, toy):
    cloud.put("data/a.csv", "1")
    cloud.put("data/deep/b.csv", "22")
    cloud.put("data-of-others/c.csv", "333")
    job = process(
        cloud,
        toy,
        "data, out = ml / 'processing/data', ml / 'processing/out'\n"
        "sizes = {str(p.relative_to(data)): p.stat().st_size for p in data.rglob('*.csv')}\n"
        "(out / 'deep').mkdir()\n"
        "(out / 'deep/sizes.json').write_text(json.dumps(sizes))\n"
        "(ml / 'output/message').write_text('two files')",
        inputs=[given("data", f"s3://{cloud.aws.bucket}/data/")],
    )
    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["ExitMessage"] == "two files"
    assert "FailureReason" not in job
    (found,) = objects(cloud).items()
    assert (found[0], json.loads(found[1])) == ("deep/sizes.json", {"a.csv": 1, "deep/b.csv": 2})
    times = [job[f"{name}Time"] for name in ("Creation", "ProcessingStart", "ProcessingEnd")]
    assert times == sorted(times)


def test_describe_gives_back_what_was_asked_for_and_the_tags_are_kept(cloud, toy):
    wanted = request(
        cloud,
        toy,
        "",
        Environment={"A": "1"},
        Tags=[{"Key": "k", "Value": "v"}],
        NetworkConfig={"EnableInterContainerTrafficEncryption": True},
        ExperimentConfig={"ExperimentName": "e"},
        StoppingCondition={"MaxRuntimeInSeconds": 600},
    )
    arn = cloud.sagemaker.create_processing_job(**wanted)["ProcessingJobArn"]
    name = wanted["ProcessingJobName"]
    assert arn == f"arn:aws:sagemaker:us-east-1:{cloud.account}:processing-job/{name}"
    job = finish(cloud, name)
    tags = wanted.pop("Tags")
    assert cloud.sagemaker.list_tags(ResourceArn=arn)["Tags"] == tags
    sent = wanted.pop("ProcessingInputs")[0]["S3Input"]
    defaults = {"S3DataDistributionType": "FullyReplicated", "S3CompressionType": "None"}
    assert job["ProcessingInputs"][0]["S3Input"] == {**sent, **defaults}
    assert {member: job[member] for member in wanted} == wanted


def test_the_program_finds_its_configuration_and_environment(cloud, toy):
    wanted = request(
        cloud,
        toy,
        "import shutil; shutil.copytree(ml / 'config', ml / 'processing/out/config')\n"
        "(ml / 'processing/out/env.json').write_text(json.dumps(dict(os.environ)))\n"
        "(ml / 'processing/out/ml.json').write_text(json.dumps(sorted(os.listdir(ml))))",
        Environment={"MINE": "1"},
        application={"ContainerArguments": ["--x", "1"]},
    )
    arn = cloud.sagemaker.create_processing_job(**wanted)["ProcessingJobArn"]
    job = finish(cloud, wanted["ProcessingJobName"])
    found = {name: json.loads(text) for name, text in objects(cloud).items()}
    assert found["config/resourceconfig.json"] == {"current_host": "algo-1", "hosts": ["algo-1"]}
    config = found["config/processingjobconfig.json"]
    code = job["ProcessingInputs"][0]["S3Input"] | {"S3DownloadMode": "StartOfJob"}
    assert config == {
        "ProcessingJobArn": arn,
        "ProcessingJobName": wanted["ProcessingJobName"],
        "AppSpecification": wanted["AppSpecification"],
        "Environment": {"MINE": "1"},
        "ProcessingInputs": [{"InputName": "code", "S3Input": code}],
        "ProcessingOutputConfig": {"Outputs": [output(cloud)], "KmsKeyId": None},
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1,
                "InstanceType": "ml.m5.large",
                "VolumeSizeInGB": 10,
                "VolumeKmsKeyId": None,
            }
        },
        "RoleArn": cloud.role,
        "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
    }
    assert found["env.json"]["MINE"] == "1"
    strange = [n for n in found["env.json"] if n.startswith(("TRAINING_", "SM_", "AWS_"))]
    assert strange == []
    assert found["ml.json"] == ["config", "output", "processing"]


@pytest.mark.parametrize(
    ("application", "said"),
    [
        ({"ContainerEntrypoint": ["/bin/echo", "a"]}, "a"),
        ({"ContainerEntrypoint": ["/bin/echo"], "ContainerArguments": ["a", "b"]}, "a b"),
        ({"ContainerEntrypoint": ["none"]}, 'exec: "none": executable file not found in $PATH'),
    ],
)
def test_entrypoint_and_arguments_of_the_request(cloud, toy, application, said):
    job = process(cloud, toy, application=application)
    assert cloud.log(LOG_GROUP, f"{job['ProcessingJobName']}/algo-1-") == [said]
    failed = job.get("FailureReason")
    assert failed == ("AlgorithmError: , exit code: 127" if "none" in said else None)


@pytest.mark.parametrize("arguments", [None, ["other"]])
def test_the_images_own_program_runs_when_none_is_named(cloud, write, tmp_path, arguments):
    dockerfile = 'FROM python:3.12\nENTRYPOINT ["/bin/echo", "own"]\nCMD ["usual"]\n'
    engines.engine().build(write(tmp_path / "own", Dockerfile=dockerfile), "own:1")
    wanted = request(cloud, cloud.push("own:1"), "")
    del wanted["AppSpecification"]["ContainerEntrypoint"]
    if arguments:
        wanted["AppSpecification"]["ContainerArguments"] = arguments
    cloud.sagemaker.create_processing_job(**wanted)
    assert finish(cloud, wanted["ProcessingJobName"])["ProcessingJobStatus"] == "Completed"
    assert cloud.log(LOG_GROUP) == [f"own {arguments[0] if arguments else 'usual'}"]


def test_a_job_needs_neither_inputs_nor_outputs(cloud, toy):
    wanted = request(cloud, toy, "", application={"ContainerEntrypoint": ["/bin/true"]})
    del wanted["ProcessingInputs"], wanted["ProcessingOutputConfig"]
    cloud.sagemaker.create_processing_job(**wanted)
    job = finish(cloud, wanted["ProcessingJobName"])
    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")


def test_a_manifest_names_what_is_fetched(cloud, toy):
    cloud.put("data/a", "1")
    cloud.put("data/b", "2")
    names = [{"prefix": f"s3://{cloud.aws.bucket}/data/"}, "b"]
    manifest = cloud.put("manifest", json.dumps(names))
    job = process(
        cloud,
        toy,
        "import shutil; shutil.copytree(ml / 'processing/data', ml / 'processing/out/data')",
        inputs=[given("data", manifest, S3DataType="ManifestFile")],
    )
    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    assert objects(cloud) == {"data/b": "2"}


def test_outputs_are_encrypted_with_the_jobs_key(cloud, toy):
    key = cloud.client("kms").create_key()["KeyMetadata"]["KeyId"]
    program = "(ml / 'processing/out/x').write_text('x')"
    process(cloud, toy, program, config={"KmsKeyId": key})
    found = cloud.client("s3").head_object(Bucket=cloud.aws.bucket, Key="out/x")
    assert found["SSEKMSKeyId"].endswith(key)


def test_what_an_instance_uses_is_in_cloudwatch(cloud, toy):
    job = process(cloud, toy, "time.sleep(1)")
    found = cloud.client("cloudwatch").list_metrics(Namespace=LOG_GROUP)["Metrics"]
    names = {one["MetricName"] for one in found}
    assert names == {"CPUUtilization", "MemoryUtilization", "DiskUtilization"}
    host = {"Name": "Host", "Value": f"{job['ProcessingJobName']}/algo-1"}
    assert all(one["Dimensions"] == [host] for one in found)


# --- outputs


def test_a_continuous_output_is_uploaded_while_the_job_runs(cloud, toy, gate, until):
    outputs = [output(cloud, "live", "Continuous"), output(cloud, "late")]
    job = start(
        cloud,
        toy,
        "(ml / 'processing/live/a').write_text('1'); (ml / 'processing/late/a').write_text('1')\n"
        f"{gate.program}\n"
        "(ml / 'processing/live/a').write_text('22'); (ml / 'processing/live/b').write_text('3')\n"
        "sys.exit(1)",
        outputs=outputs,
    )
    until(lambda: objects(cloud, "live/") == {"a": "1"})
    assert objects(cloud, "late/") == {}
    gate.open()
    assert finish(cloud, job)["ProcessingJobStatus"] == "Failed"
    assert objects(cloud, "live/") == {"a": "22", "b": "3"}
    assert objects(cloud, "late/") == {}  # it did not come to its end


def test_links_are_not_followed(cloud, toy):
    job = process(
        cloud,
        toy,
        "out = ml / 'processing/out'; (out / 'kept').write_text('kept')\n"
        "os.symlink('/etc/passwd', out / 'file'); os.symlink('/etc', out / 'folder')\n"
        "os.rmdir(ml / 'processing/other'); os.symlink('/etc', ml / 'processing/other')\n"
        "os.symlink('/etc/passwd', ml / 'output/message')",
        outputs=[output(cloud), output(cloud, "other")],
    )
    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    assert objects(cloud) == {"kept": "kept"}
    assert objects(cloud, "other/") == {}
    assert "ExitMessage" not in job


def test_an_output_path_that_is_gone_gives_nothing(cloud, toy):
    job = process(cloud, toy, "os.rmdir(ml / 'processing/out')")
    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    assert objects(cloud) == {}


def test_an_output_bucket_that_is_not_there_fails_the_job(cloud, toy):
    bucket = f"no-such-bucket-{cloud.account}"
    job = process(
        cloud,
        toy,
        "(ml / 'processing/out/x').write_text('x')",
        outputs=[output(cloud, S3Uri=f"s3://{bucket}/x")],
    )
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"] == (
        f"ClientError: Data upload failed:The bucket {bucket} does not exist."
    )


# --- failures


@pytest.mark.parametrize(
    ("program", "reason", "message"),
    [
        ("sys.exit(1)", "AlgorithmError: , exit code: 1", None),
        (
            "(ml / 'output/message').write_text('mend the data'); sys.exit(2)",
            "AlgorithmError: mend the data, exit code: 2",
            "mend the data",
        ),
        (
            "(ml / 'output/message').write_bytes(bytes([255]))",
            "ClientError: The file /opt/ml/output/message is not UTF-8 encoded.",
            None,
        ),
    ],
)
def test_a_failure_has_the_programs_message_and_code(cloud, toy, program, reason, message):
    job = process(cloud, toy, f"(ml / 'processing/out/half').write_text('x'); {program}")
    assert (job["ProcessingJobStatus"], job["FailureReason"]) == ("Failed", reason)
    assert job.get("ExitMessage") == message
    assert objects(cloud) == {}


def test_the_exit_message_is_the_first_kilobyte(cloud, toy):
    job = process(cloud, toy, "(ml / 'output/message').write_text('a' + 'é' * 5000)")
    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["ExitMessage"] == "a" + "é" * 511  # the 1,024th byte is half a character


@pytest.mark.parametrize("bucket", [None, "no-such-bucket"])
def test_an_input_that_is_not_there_fails_the_job(cloud, toy, bucket):
    uri = f"s3://{bucket or cloud.aws.bucket}/nothing/here/"
    job = process(cloud, toy, inputs=[given("data", uri)])
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(
        f'ClientError: Data download failed:No S3 objects found under S3 URL "{uri}" given'
    )


def test_data_that_the_volume_cannot_hold_fail_the_job(own_server, toy_tag):
    cloud, _ = own_server(disk=0.0000001)
    job = process(cloud, cloud.push(toy_tag), "print('more bytes than there is room for')")
    assert job["FailureReason"] == "ClientError: Data download failed:Insufficient disk space"


@pytest.mark.parametrize("trap", ["signal.SIG_IGN", "lambda *_: sys.exit(0)"])
def test_a_job_can_be_stopped(impatient, toy_tag, until, trap):
    program = f"import signal; signal.signal(signal.SIGTERM, {trap})\n"
    program += "(ml / 'output/message').write_text('half')\n"
    program += "print('ready', flush=True); time.sleep(600)"
    job = start(impatient, impatient.push(toy_tag), program)
    until(lambda: is_running(impatient, job))
    for _ in range(2):  # the second changes nothing
        impatient.sagemaker.stop_processing_job(ProcessingJobName=job)
    found = finish(impatient, job)
    assert (found["ProcessingJobStatus"], found["ExitMessage"]) == ("Stopped", "half")
    assert "FailureReason" not in found
    with pytest.raises(ClientError, match="the processing job is in status Stopped"):
        impatient.sagemaker.stop_processing_job(ProcessingJobName=job)


def test_a_job_whose_time_is_over_is_stopped(impatient, toy_tag):
    job = process(
        impatient,
        impatient.push(toy_tag),
        "time.sleep(600)",
        StoppingCondition={"MaxRuntimeInSeconds": 1},
    )
    assert job["ProcessingJobStatus"] == "Stopped"
    assert (job["ProcessingEndTime"] - job["ProcessingStartTime"]).total_seconds() >= 1


def test_a_job_shares_its_turn_with_training_and_can_be_stopped_while_it_waits(own_server, toy_tag):
    cloud, _ = own_server(parallel_jobs=1)
    image = cloud.push(toy_tag)
    busy = cloud.start(image, "time.sleep(600)")
    job = start(cloud, image)
    cloud.sagemaker.stop_processing_job(ProcessingJobName=job)
    assert finish(cloud, job)["ProcessingJobStatus"] == "Stopped"
    cloud.sagemaker.stop_training_job(TrainingJobName=busy)
    assert cloud.finish(busy)["TrainingJobStatus"] == "Stopped"
    assert process(cloud, image)["ProcessingJobStatus"] == "Completed"


def test_a_job_that_was_under_way_when_the_local_aws_stopped_has_failed(own_server, toy_tag):
    cloud, server = own_server()
    job = process(cloud, cloud.push(toy_tag))
    context = Context(server.platform, cloud.account, cloud.region)
    for status in ("InProgress", "Stopping", "Completed"):
        resource = Resource("x", "arn", {**job, "ProcessingJobStatus": status})
        processing.resume(context, resource)
        ended = "Completed" if status == "Completed" else "Failed"
        assert resource.data["ProcessingJobStatus"] == ended
        assert ("the local AWS was stopped" in resource.data.get("FailureReason", "")) == (
            ended == "Failed"
        )


# --- several hosts

several = pytest.mark.skipif(
    not engines.engine("process").has_networks(), reason="this machine has no namespaces"
)


@several
def test_several_hosts_share_the_data_and_what_they_leave_becomes_one(cloud, toy):
    for name in "abc":
        cloud.put(f"data/{name}", name)
    data = f"s3://{cloud.aws.bucket}/data/"
    job = process(
        cloud,
        toy,
        "config = json.loads((ml / 'config/resourceconfig.json').read_text())\n"
        "me = config['current_host']\n"
        "found = [sorted(os.listdir(ml / 'processing' / n)) for n in ('part', 'whole')]\n"
        "(ml / 'processing/out' / me).write_text(json.dumps([config['hosts'], *found]))\n"
        "(ml / 'output/message').write_text(f'{me} ')",
        inputs=[
            given("part", data, S3DataDistributionType="ShardedByS3Key"),
            given("whole", data),
        ],
        count=2,
    )
    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    hosts, whole = ["algo-1", "algo-2"], ["a", "b", "c"]
    found = {name: json.loads(text) for name, text in objects(cloud).items()}
    assert found == {"algo-1": [hosts, ["a", "c"], whole], "algo-2": [hosts, ["b"], whole]}
    assert job["ExitMessage"] == "algo-1 algo-2 "


@several
def test_one_host_that_fails_takes_the_others_with_it(impatient, toy_tag):
    job = process(
        impatient,
        impatient.push(toy_tag),
        "me = json.loads((ml / 'config/resourceconfig.json').read_text())['current_host']\n"
        "(ml / 'output/message').write_text(me)\n"
        "sys.exit(3) if me == 'algo-2' else time.sleep(600)",
        count=2,
    )
    assert job["FailureReason"] == "AlgorithmError: algo-2, exit code: 3"


# --- refusals and lists


def test_names_are_unique_until_the_job_is_deleted(cloud, toy, gate):
    job = start(cloud, toy, gate.program, name="mine")
    for name in ("mine", "MINE"):
        with pytest.raises(ClientError, match=r"a job with this name already exists") as caught:
            start(cloud, toy, name=name)
        assert caught.value.response["Error"]["Code"] == "ResourceInUse"
    with pytest.raises(ClientError, match="is in status InProgress") as caught:
        cloud.sagemaker.delete_processing_job(ProcessingJobName=job)
    assert caught.value.response["Error"]["Code"] == "ResourceInUse"
    gate.open()
    finish(cloud, job)
    cloud.sagemaker.delete_processing_job(ProcessingJobName=job)
    assert process(cloud, toy, name="mine")["ProcessingJobStatus"] == "Completed"


def test_a_job_that_is_not_there(cloud):
    for call in (cloud.sagemaker.describe_processing_job, cloud.sagemaker.stop_processing_job):
        with pytest.raises(ClientError, match="Could not find requested job with name: none"):
            call(ProcessingJobName="none")
    with pytest.raises(ClientError) as caught:
        cloud.sagemaker.delete_processing_job(ProcessingJobName="none")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFound"


def test_quotas_count_the_instances_of_jobs_under_way(cloud, toy, gate):
    with pytest.raises(ClientError, match=r"'ml.p3.2xlarge for processing job usage' is 0"):
        start(cloud, toy, cluster={"InstanceType": "ml.p3.2xlarge"})
    job = start(cloud, toy, gate.program)
    with pytest.raises(ClientError, match=r"current utilization of 1 .* delta of 20") as caught:
        start(cloud, toy, count=20)
    assert caught.value.response["Error"]["Code"] == "ResourceLimitExceeded"
    gate.open()
    finish(cloud, job)


S3 = {"S3Uri": "s3://b/x", "S3DataType": "S3Prefix", "S3InputMode": "File"}
OUT = {"S3Uri": "s3://b/x", "S3UploadMode": "EndOfJob"}
NO_KEY = "12345678-1234-1234-1234-123456789012"


def put(name, place, **members):
    return {"InputName": name, "S3Input": {**S3, "LocalPath": place, **members}}


def taken(name, place, **members):
    return {"OutputName": name, "S3Output": {**OUT, "LocalPath": place, **members}}


def inputs(*entries):
    return {"ProcessingInputs": list(entries)}


def outputs(*entries, **members):
    return {"ProcessingOutputConfig": {"Outputs": list(entries), **members}}


def cluster(**members):
    wanted = {"InstanceType": "ml.m5.large", "VolumeSizeInGB": 1, **members}
    return {"ProcessingResources": {"ClusterConfig": wanted}}


A, B = "/opt/ml/processing/a", "/opt/ml/processing/b"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (inputs(put("a", "/opt/ml/input")), "must begin with /opt/ml/processing/"),
        (inputs(put("a", "/opt/ml/processing/../x")), "must begin with /opt/ml/processing/"),
        (inputs({"InputName": "a", "S3Input": S3}), "The input a must have a LocalPath"),
        (inputs({"InputName": "a"}), "must have an S3Input or a DatasetDefinition"),
        (inputs(put("a", A), put("a", B)), "names of inputs must be unique"),
        (inputs(put("a", A), put("b", f"{A}/")), "must have different LocalPaths"),
        (inputs(put("a", A, S3CompressionType="Gzip")), "only if its S3InputMode is Pipe"),
        (outputs(taken("a", "/tmp/a")), "must begin with /opt/ml/processing/"),
        (outputs(taken("a", A), taken("a", B)), "names of outputs must be unique"),
        (outputs({"OutputName": "a", "S3Output": OUT}), "The output a must have a LocalPath"),
        (outputs({"OutputName": "a"}), "must have an S3Output or a FeatureStoreOutput"),
        ({**inputs(put("a", A)), **outputs(taken("a", A))}, "must have different LocalPaths"),
        (outputs(taken("a", A), KmsKeyId=NO_KEY), "does not exist"),
        (cluster(VolumeKmsKeyId="alias/none"), "not found"),
        (cluster(SelectedInstanceCount=1), "is read-only"),
        ({"ProcessingResources": {"ClusterConfig": {"VolumeSizeInGB": 1}}}, "an InstanceType"),
        (
            {"NetworkConfig": {"VpcConfig": {"Subnets": ["s-0"], "SecurityGroupIds": ["g-0"]}}},
            "The subnet ID 's-0' does not exist",
        ),
        ({"Environment": {"A": "a\0b"}}, "pattern"),
        ({"AppSpecification": {"ImageUri": "none"}}, "Invalid image URI none"),
    ],
)
def test_what_aws_refuses_is_refused_and_nothing_is_created(cloud, toy, change, said):
    with pytest.raises(ClientError, match=said) as caught:
        cloud.sagemaker.create_processing_job(**{**request(cloud, toy, ""), **change})
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert cloud.sagemaker.list_processing_jobs()["ProcessingJobSummaries"] == []


DATASET = {"InputName": "a", "DatasetDefinition": {"LocalPath": A}}
FEATURES = {"OutputName": "a", "FeatureStoreOutput": {"FeatureGroupName": "g"}}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (inputs(put("a", A, S3InputMode="Pipe")), "S3InputMode Pipe"),
        (inputs(DATASET), "DatasetDefinition"),
        (inputs({**put("a", A), "AppManaged": True}), "an AppManaged input"),
        (inputs(put("a", A, S3Uri="https://h/x")), "an S3Uri that does not begin with s3://"),
        (outputs(FEATURES), "FeatureStoreOutput"),
        (outputs({**taken("a", A), "AppManaged": True}), "an AppManaged output"),
        (cluster(InstancePreferences=[{"InstanceType": "ml.m5.large"}]), "InstancePreferences"),
    ],
)
def test_what_is_not_done_is_refused_and_named(cloud, toy, change, what):
    with pytest.raises(ClientError, match=f"CreateProcessingJob with {what}") as caught:
        cloud.sagemaker.create_processing_job(**{**request(cloud, toy, ""), **change})
    assert caught.value.response["Error"]["Code"] == "NotImplementedException"


def test_lists_filter_sort_and_paginate(cloud, toy):
    for name in ("b-good", "a-good", "c-bad"):
        process(cloud, toy, "sys.exit(1)" if name == "c-bad" else "", name=name)

    def names(**wanted):
        found = cloud.sagemaker.list_processing_jobs(**wanted)["ProcessingJobSummaries"]
        return [row["ProcessingJobName"] for row in found]

    assert names() == ["b-good", "a-good", "c-bad"]  # API Reference: the default is Ascending
    assert names(SortBy="Name", SortOrder="Descending") == ["c-bad", "b-good", "a-good"]
    assert names(StatusEquals="Failed") == ["c-bad"]
    assert names(NameContains="GOOD", MaxResults=1) == ["b-good"]
    (row,) = cloud.sagemaker.list_processing_jobs(NameContains="bad")["ProcessingJobSummaries"]
    assert row["FailureReason"] == "AlgorithmError: , exit code: 1"
