"""The pytest fixture `local_aws`, there wherever byoc is installed."""

import random
from collections.abc import Iterator

import boto3
import pytest

from byoc.cleanup import delete_endpoint
from byoc.connect import in_the_way
from byoc.local import LocalAWS


@pytest.fixture(scope="session")
def local_aws_server() -> Iterator[LocalAWS]:
    """One local AWS for the session (for each worker of pytest-xdist)."""
    with LocalAWS() as aws:
        yield aws


@pytest.fixture
def local_aws(local_aws_server: LocalAWS, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAWS]:
    """An empty account of a local AWS, to which boto3 and the SDKs are led for this test.

    What the test leaves running is stopped after it.
    """
    aws = local_aws_server.account(f"{random.randrange(10**11, 10**12)}")
    for name in in_the_way():
        monkeypatch.delenv(name, raising=False)
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    yield aws
    sagemaker = aws.client("sagemaker")
    for page in sagemaker.get_paginator("list_endpoints").paginate():
        for endpoint in page["Endpoints"]:
            delete_endpoint(sagemaker, endpoint["EndpointName"])
    running = sagemaker.get_paginator("list_training_jobs").paginate(StatusEquals="InProgress")
    for page in running:
        for job in page["TrainingJobSummaries"]:
            sagemaker.stop_training_job(TrainingJobName=job["TrainingJobName"])
