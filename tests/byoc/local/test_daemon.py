"""The one local AWS of a user: started, found again and stopped, with all that it runs."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import boto3
import psutil
import pytest

from byoc import ByocError, connect, engines
from byoc.local import daemon


@pytest.fixture
def own_home(tmp_path, monkeypatch, environment):
    """A user on whose machine no local AWS runs; what the test starts is stopped."""
    monkeypatch.setenv("BYOC_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    daemon.down()


def test_up_is_idempotent_and_down_ends_it(own_home, alive, until):
    assert daemon.status() is None
    first = daemon.up()
    assert daemon.up() == first == daemon.status()
    assert first.url.startswith("http://127.0.0.1:")
    assert psutil.pid_exists(first.pid)
    (listening,) = {
        c.laddr.ip
        for c in psutil.Process(first.pid).net_connections()
        if c.status == psutil.CONN_LISTEN
    }
    assert listening == "127.0.0.1"
    assert daemon.down() is True
    assert daemon.status() is None
    assert daemon.down() is False
    until(lambda: not alive(str(own_home)))


def test_another_process_finds_it(own_home):
    here = daemon.up()
    code = "from byoc.local import daemon; print(daemon.up().pid)"
    others = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert {int(other.communicate(timeout=60)[0]) for other in others} == {here.pid}


def test_two_at_the_same_time_start_one(own_home):
    code = "from byoc.local import daemon; print(daemon.up().pid)"
    starters = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    found = {int(starter.communicate(timeout=120)[0]) for starter in starters}
    assert len(found) == 1
    assert psutil.pid_exists(found.pop())  # it outlives who started it


def sleeps(process):
    try:
        return "/bin/sleep" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def busy(own_home, account, write, tmp_path, make_role):
    """A job and an endpoint of two instances that only an end by force ends, being started.

    A function that starts them and returns the text by which their processes are known.
    """
    program = "#!/bin/sh\necho ready\nwhile true; do /bin/sleep 600; done\n"
    folder = write(
        tmp_path / "image",
        Dockerfile="FROM x\nCOPY train serve /opt/program/\nENV PATH=/opt/program:$PATH\n"
        "LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true\n",
        train=program,
        serve=program,
    )

    def start():
        aws = connect("local", account)
        make_role(boto3.client("iam"), aws.role.rpartition("/")[2])
        boto3.client("s3").create_bucket(Bucket=aws.bucket)
        engines.engine().build(folder, "busy:1")
        repository = boto3.client("ecr").create_repository(repositoryName="busy")["repository"]
        image = engines.engine().push("busy:1", repository["repositoryUri"])
        sagemaker, mark = boto3.client("sagemaker"), {"MARK": f"mark-{account}"}
        sagemaker.create_training_job(
            TrainingJobName="busy",
            AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
            RoleArn=aws.role,
            OutputDataConfig={"S3OutputPath": f"s3://{aws.bucket}/out"},
            ResourceConfig={
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 1,
            },
            StoppingCondition={},
            Environment=mark,
        )
        sagemaker.create_model(
            ModelName="busy",
            PrimaryContainer={"Image": image, "Environment": mark},
            ExecutionRoleArn=aws.role,
        )
        variant = {"VariantName": "v", "ModelName": "busy", "InstanceType": "ml.m5.large"}
        sagemaker.create_endpoint_config(
            EndpointConfigName="busy", ProductionVariants=[{**variant, "InitialInstanceCount": 2}]
        )
        sagemaker.create_endpoint(EndpointName="busy", EndpointConfigName="busy")
        return mark["MARK"]

    return start


STAGES = pytest.mark.parametrize("processes", [0, 1, 3], ids=["at once", "one runs", "all run"])


@STAGES
def test_down_ends_jobs_and_endpoints(processes, busy, own_home, alive, until):
    mark = busy()
    until(lambda: sum(map(sleeps, alive(mark))) >= processes)
    assert daemon.down()
    until(lambda: not alive(mark))
    until(lambda: not alive(str(own_home)))
    assert not (own_home / "local-aws").exists()


@STAGES
def test_after_a_kill_the_next_up_leaves_nothing_of_it(processes, busy, own_home, alive, until):
    mark = busy()
    until(lambda: sum(map(sleeps, alive(mark))) >= processes)
    first = daemon.status()
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: daemon.status() is None)
    daemon.up()
    until(lambda: not alive(mark))
    assert list((own_home / "local-aws").iterdir()) == []
    assert (
        boto3.client("sagemaker", endpoint_url=daemon.status().url).list_endpoints()["Endpoints"]
        == []
    )


def test_a_port_of_a_killed_one_is_free_again(own_home, until):
    first = daemon.up()
    port = int(first.url.rpartition(":")[2])
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: daemon.status() is None)
    assert daemon.up(port).url == first.url


def test_what_is_kept_is_there_again(own_home, open_cloud, account, toy_folder, until):
    def cloud():
        return open_cloud(account)

    before = cloud()
    engines.engine().build(toy_folder, "toy:1")
    toy = before.push("toy:1")
    trained = before.train(toy)
    running = before.start(toy, "time.sleep(600)")
    data = trained["ModelArtifacts"]["S3ModelArtifacts"]
    before.create_endpoint(toy, ModelDataUrl=data)
    before.deployed()
    before.sagemaker.add_tags(
        ResourceArn=before.sagemaker.describe_endpoint(EndpointName="toy")["EndpointArn"],
        Tags=[{"Key": "team", "Value": "penguins"}],
    )
    before.client("kms").create_key()
    before.client("sqs").create_queue(QueueName="queue")
    before.client("secretsmanager").create_secret(Name="key", SecretBinary=b"secret")
    described = before.sagemaker.describe_training_job(TrainingJobName=trained["TrainingJobName"])
    assert daemon.down(keep=True)
    assert daemon.status() is None

    after = cloud()
    again = after.sagemaker.describe_training_job(TrainingJobName=trained["TrainingJobName"])
    for answer in (described, again):
        del answer["ResponseMetadata"]
    assert again == described
    lost = after.sagemaker.describe_training_job(TrainingJobName=running)
    assert (lost["TrainingJobStatus"], lost["FailureReason"]) == (
        "Failed",
        "InternalServerError: the local AWS was stopped while the job ran.",
    )
    found = after.deployed()
    assert found["EndpointStatus"] == "InService", found
    assert json.loads(after.invoke("hello")["Body"].read())["model"] == {
        "model/model.txt": "a model"
    }
    assert after.sagemaker.list_tags(ResourceArn=found["EndpointArn"])["Tags"] == [
        {"Key": "team", "Value": "penguins"}
    ]
    assert len(after.client("kms").list_keys()["Keys"]) == 1
    assert len(after.client("sqs").list_queues()["QueueUrls"]) == 1
    kept = after.client("secretsmanager").get_secret_value(SecretId="key")
    assert kept["SecretBinary"] == b"secret"
    assert after.train(toy, name="later")["TrainingJobStatus"] == "Completed"
    assert daemon.down()

    assert cloud().client("s3").list_buckets()["Buckets"] == []


def test_a_kept_serverless_endpoint_serves_again(own_home, open_cloud, account, toy_folder):
    before = open_cloud(account)
    engines.engine().build(toy_folder, "toy:1")
    before.sagemaker.create_model(
        ModelName="toy",
        PrimaryContainer={"Image": before.push("toy:1")},
        ExecutionRoleArn=before.role,
    )
    config = {"MemorySizeInMB": 1024, "MaxConcurrency": 1}
    before.sagemaker.create_endpoint_config(
        EndpointConfigName="toy",
        ProductionVariants=[{"VariantName": "v", "ModelName": "toy", "ServerlessConfig": config}],
    )
    before.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="toy")
    before.deployed()
    before.invoke("x")
    assert daemon.down(keep=True)

    after = open_cloud(account)
    found = after.deployed()
    assert found["EndpointStatus"] == "InService", found
    assert found["ProductionVariants"][0]["CurrentServerlessConfig"] == config
    assert json.loads(after.invoke("x")["Body"].read())["body"] == "x"


def test_a_kept_queue_of_an_asynchronous_endpoint_goes_on(
    own_home, open_cloud, account, toy_folder, until, gate
):
    before = open_cloud(account)
    engines.engine().build(toy_folder, "toy:1")
    before.sagemaker.create_model(
        ModelName="toy",
        PrimaryContainer={"Image": before.push("toy:1")},
        ExecutionRoleArn=before.role,
    )
    orders = json.dumps({"program": f"{gate.program}; self.answer(200, b'done')"})
    given = before.put("in", orders)
    output = {"S3OutputPath": f"s3://{before.aws.bucket}/out"}
    variant = {"VariantName": "v", "ModelName": "toy", "InstanceType": "ml.m5.large"}
    before.sagemaker.create_endpoint_config(
        EndpointConfigName="toy",
        ProductionVariants=[{**variant, "InitialInstanceCount": 1}],
        AsyncInferenceConfig={"OutputConfig": output},
    )
    before.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="toy")
    before.deployed()
    sent = before.client("sagemaker-runtime").invoke_endpoint_async(
        EndpointName="toy", InputLocation=given, ContentType="application/orders"
    )
    until(lambda: gate.reached)
    assert daemon.down(keep=True)

    after = open_cloud(account)
    gate.open()
    out = {"Bucket": after.aws.bucket, "Prefix": "out/"}
    until(lambda: after.client("s3").list_objects_v2(**out).get("Contents"))
    assert after.get(sent["OutputLocation"]) == b"done"


def test_what_was_kept_and_cannot_be_read_is_not_lost(own_home):
    own_home.mkdir()
    daemon.kept().write_bytes(b"of another version")
    with pytest.raises(ByocError, match="can't be read by this version"):
        daemon.up()
    assert daemon.kept().read_bytes() == b"of another version"


def test_a_killed_one_does_not_stop_the_next(own_home, until):
    first = daemon.up()
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: daemon.status() is None)
    second = daemon.up()
    assert second.pid != first.pid
    with urllib.request.urlopen(f"{second.url}{daemon.STATUS}", timeout=60) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("record", ["", "not JSON", "[]", '{"url": "http://127.0.0.1:1"}'])
def test_a_broken_record_is_no_daemon(own_home, record):
    own_home.mkdir()
    (own_home / "local-aws.json").write_text(record)
    assert daemon.status() is None


def test_another_process_under_the_recorded_id_is_not_ours(own_home):
    own_home.mkdir()
    record = f'{{"url": "http://127.0.0.1:1", "pid": {os.getpid()}, "started": 1.0}}'
    (own_home / "local-aws.json").write_text(record)
    assert daemon.status() is None
    assert daemon.down() is False  # and is not stopped


def test_a_port_that_is_taken_is_said_in_one_sentence(own_home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ByocError, match=rf"did not start: Port {port} is in use") as caught:
            daemon.up(port)
    assert "\n" not in str(caught.value)
    assert daemon.status() is None
    assert daemon.up(port).url == f"http://127.0.0.1:{port}"


def test_the_shells_profile_does_not_matter_to_it(own_home, account, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    connect("local", account)
    with pytest.raises(boto3.client("sagemaker").exceptions.ClientError, match="Cannot find repo"):
        boto3.client("sagemaker").create_model(
            ModelName="m",
            PrimaryContainer={"Image": f"{account}.dkr.ecr.us-east-1.amazonaws.com/absent:1"},
        )
