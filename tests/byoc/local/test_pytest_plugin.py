"""The fixture `local_aws` in somebody else's tests: a pytest of its own runs each example."""

import json
import os
import subprocess
import sys

import psutil
import pytest

SPREAD = """\
import json, os, pathlib
import boto3, pytest

@pytest.mark.parametrize("number", range(4))
def test_the_account_is_empty(local_aws, local_aws_server, number):
    assert boto3.client("sts").get_caller_identity()["Account"] == local_aws.account_id
    assert boto3.client("s3").list_buckets()["Buckets"] == []
    boto3.client("s3").create_bucket(Bucket=f"b-{local_aws.account_id}")
    seen = [os.environ["PYTEST_XDIST_WORKER"], local_aws.url, local_aws_server.pid]
    pathlib.Path(f"seen-{number}.json").write_text(json.dumps(seen))
"""

LEFT_RUNNING = """\
import json, os
import boto3

ROLE = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"},
        "Action": "sts:AssumeRole"}
USED = []

def test_that_leaves_a_job_and_an_endpoint(local_aws):
    USED.append(local_aws)
    image = local_aws.push("toy", "toy:1")
    role = boto3.client("iam").create_role(
        RoleName="r", AssumeRolePolicyDocument=json.dumps({"Statement": ROLE}))["Role"]["Arn"]
    boto3.client("s3").create_bucket(Bucket="b-left")
    sagemaker = boto3.client("sagemaker")
    sagemaker.create_training_job(
        TrainingJobName="sleeps", RoleArn=role,
        AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
        HyperParameters={"program": json.dumps("time.sleep(600)")},
        OutputDataConfig={"S3OutputPath": "s3://b-left/"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 3600})
    sagemaker.create_model(
        ModelName="m", PrimaryContainer={"Image": image}, ExecutionRoleArn=role)
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[
        {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large",
         "InitialInstanceCount": 1}])
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")

def test_that_comes_after_it():
    sagemaker = USED[0].client("sagemaker")
    assert sagemaker.list_endpoints()["Endpoints"] == []
    (job,) = sagemaker.list_training_jobs()["TrainingJobSummaries"]
    assert job["TrainingJobStatus"] in ("Stopping", "Stopped")
    assert "AWS_ENDPOINT_URL" not in os.environ
"""


@pytest.fixture
def run(tmp_path, home):
    """Run an example with a pytest that knows nothing of this repository but what is installed."""

    def run_example(example, *arguments):
        (tmp_path / "test_example.py").write_text(example)
        command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", tmp_path]
        command += ["-p", "no:cacheprovider", *arguments, tmp_path]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run_example


def test_each_worker_has_a_server_and_each_test_an_account(run, tmp_path, until):
    assert "4 passed" in run(SPREAD, "-n", "2")
    seen = [json.loads(file.read_text()) for file in tmp_path.glob("seen-*.json")]
    workers, urls, pids = map(set, zip(*seen, strict=True))
    assert workers == {"gw0", "gw1"}
    assert (len(urls), len(pids)) == (2, 2)
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_what_a_test_leaves_running_is_stopped_after_it(run, toy_folder):
    assert "2 passed" in run(LEFT_RUNNING)
