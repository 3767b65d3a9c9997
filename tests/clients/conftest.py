"""What every client's story needs: an account with a bucket and a role, and a way to tell it."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from byoc.connect import local_variables

STORIES = Path(__file__).with_name("stories")
TEMPLATE = Path(__file__).parents[2] / "infra/template.yaml"


@pytest.fixture
def project(cloud):
    """The bucket and the role of the book's own template, with training data."""
    aws = cloud.aws
    cloudformation = cloud.client("cloudformation")
    cloudformation.create_stack(
        StackName=aws.project,
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": "Project", "ParameterValue": aws.project}],
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Tags=aws.tags,
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=aws.project, WaiterConfig=cloud.waiter
    )
    cloud.client("s3").put_object(Bucket=aws.bucket, Key="training/rows.csv", Body=b"1,2\n")
    return aws


@pytest.fixture
def tell(cloud, project, toy, tmp_path, until) -> Callable[[Path, str], str]:
    """Run a story of stories/ with a client's own Python; returns what it printed.

    The program sees the variables of `byoc env` and nothing else of this process.
    """

    def run(python: Path, story: str) -> str:
        done = subprocess.run(
            [python, STORIES / story, toy, project.bucket, project.role],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                **local_variables(cloud.url, cloud.account, cloud.region),
            },
        )
        assert done.returncode == 0, done.stdout
        until(lambda: not cloud.sagemaker.list_endpoints()["Endpoints"])
        assert cloud.sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
        assert cloud.sagemaker.list_models()["Models"] == []
        return done.stdout

    return run
