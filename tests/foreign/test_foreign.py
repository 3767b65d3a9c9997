"""Containers that share nothing with ours: they train, are deployed and answer.

Each folder is one; all of them learn the same line from the same rows. They know only /opt/ml, so
they need a machine where it can be mounted.
"""

import io
import re
import tarfile
from pathlib import Path

import pytest

from byoc import engines
from byoc.engines import sandbox

pytestmark = pytest.mark.skipif(not sandbox.available(), reason="this machine has no namespaces")

ROWS = "0,1\n1,3\n2,5\n4,9\n"  # y = 1 + 2·x
TOOLKIT = {"sagemaker_submit_directory": '"/opt/line"'}  # the toolkit reads JSON


@pytest.fixture
def push(cloud, home):
    """Build a container of this folder and push it; returns the image's URI."""

    def build_and_push(name):
        return cloud.push(engines.engine().build(Path(__file__).with_name(name), f"{name}:1").tag)

    return build_and_push


@pytest.fixture
def train(cloud):
    """A training job on ROWS, or on other rows; returns its description."""

    def run(image, rows=ROWS, **hyperparameters):
        cloud.put("line/rows.csv", rows)
        channel = cloud.channel("training", f"s3://{cloud.aws.bucket}/line/")
        return cloud.train(image, hyperparameters=hyperparameters, InputDataConfig=[channel])

    return run


@pytest.fixture
def deploy(cloud):
    """An endpoint in service with the model of a training job."""

    def create(image, job):
        assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
        cloud.create_endpoint(image, ModelDataUrl=job["ModelArtifacts"]["S3ModelArtifacts"])
        endpoint = cloud.deployed()
        log = "/aws/sagemaker/Endpoints/toy"
        assert endpoint["EndpointStatus"] == "InService", cloud.log(log)

    return create


def numbers(answer):
    """Those of a response, however they are laid out."""
    return [float(text) for text in re.findall(r"-?\d+\.\d+", answer["Body"].read().decode())]


@pytest.mark.parametrize(
    ("trains", "serves", "hyperparameters"),
    [
        ("without_libraries", "without_libraries", {}),
        ("perl", "perl", {}),
        ("training_toolkit", "inference_toolkit", TOOLKIT),
    ],
    ids=["without-libraries", "perl", "toolkits-of-aws"],
)
def test_trains_deploys_and_answers(cloud, push, train, deploy, trains, serves, hyperparameters):
    job = train(push(trains), decimals="1", **hyperparameters)
    deploy(push(serves), job)
    answer = cloud.invoke("10\n-3\n", ContentType="text/csv", Accept="text/csv")
    assert answer["ContentType"].startswith("text/csv")
    assert numbers(answer) == [21.0, -5.0]
    runtime = cloud.client("sagemaker-runtime")
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        cloud.invoke("ten", ContentType="text/csv")
    assert caught.value.response["OriginalStatusCode"] in (400, 500)
    cloud.delete_endpoint()


@pytest.mark.parametrize(
    ("name", "hyperparameters", "reason"),
    [
        ("without_libraries", {}, "a row is not two numbers"),
        ("perl", {}, "row 2 has 3 values, not 2"),
        ("training_toolkit", TOOLKIT, "ExecuteUserScriptError"),
    ],
    ids=["without-libraries", "perl", "training-toolkit"],
)
def test_a_failure_says_why(push, train, name, hyperparameters, reason):
    job = train(push(name), rows="0,1\n1,3,5\n", **hyperparameters)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: ")
    assert reason in job["FailureReason"]
    assert job["FailureReason"].endswith(", exit code: 1")


def test_a_shell_script_stops_when_it_is_told_and_keeps_its_model(cloud, push, until):
    cloud.put("line/rows.csv", ROWS)
    job = cloud.start(
        push("perl"),
        hyperparameters={"epochs": "100000"},
        InputDataConfig=[cloud.channel("training", f"s3://{cloud.aws.bucket}/line/")],
    )
    group = "/aws/sagemaker/TrainingJobs"
    until(lambda: cloud.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"])
    until(lambda: cloud.log(group, job))
    cloud.sagemaker.stop_training_job(TrainingJobName=job)
    found = cloud.finish(job)
    assert found["TrainingJobStatus"] == "Stopped"
    assert cloud.log(group, job)[-1].startswith("stopped after epoch ")
    assert cloud.get(found["ModelArtifacts"]["S3ModelArtifacts"])


def test_the_training_toolkit_passes_on_what_the_job_says(cloud, push, train):
    job = train(push("training_toolkit"), decimals="2", **TOOLKIT)
    log = cloud.log("/aws/sagemaker/TrainingJobs", job["TrainingJobName"])
    assert 'hosts: ["algo-1"] on ml.m5.large' in log
    assert 'hyperparameters: {"decimals":2}' in log
    assert any("fit.py --decimals 2" in line for line in log)


def test_two_model_servers_at_once_do_not_meet(cloud, push):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        model = b'{"a": 1, "b": 2, "decimals": 1}'
        member = tarfile.TarInfo("line.json")
        member.size = len(model)
        tar.addfile(member, io.BytesIO(model))
    data = cloud.put("model.tar.gz", archive.getvalue())
    image = push("inference_toolkit")
    for name in ("one", "two"):
        cloud.create_endpoint(image, name, ModelDataUrl=data)
    for name in ("one", "two"):
        assert cloud.deployed(name)["EndpointStatus"] == "InService"
        assert numbers(cloud.invoke("10", name, ContentType="text/csv")) == [21.0]
