"""A local AWS as long as a block, and as long as the process that made it."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from byoc.errors import ByocError
from byoc.local import LocalAWS


def buckets(aws):
    return [bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"]]


def test_two_run_side_by_side_and_end_with_their_blocks():
    with LocalAWS() as one, LocalAWS() as other:
        servers = [psutil.Process(aws.pid) for aws in (one, other)]
        folders = [one.work, other.work]
        one.client("s3").create_bucket(Bucket="mine")
        assert (buckets(one), buckets(other)) == (["mine"], [])
        assert buckets(one.account("222222222222")) == []
        assert all(folder.is_dir() for folder in folders)
    assert not any(server.is_running() for server in servers)
    assert not any(folder.exists() for folder in folders)
    assert one.url == other.url == ""


def test_a_push_makes_the_repository_once(toy_folder):
    with LocalAWS() as aws:
        uris = [aws.push(toy_folder, "toy:1"), aws.push(toy_folder, "toy:2")]
        host = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
        assert uris == [f"{host}/toy:1", f"{host}/toy:2"]
        ecr = aws.client("ecr")
        (image,) = ecr.describe_images(repositoryName="toy")["imageDetails"]
        assert sorted(image["imageTags"]) == ["1", "2"]


def test_it_ends_and_leaves_nothing_when_its_process_is_killed(until):
    program = (
        "import os\n"
        "from byoc.local import LocalAWS\n"
        "with LocalAWS() as aws:\n"
        "    print(aws.pid, aws.work.parent, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    pid, folder = done.stdout.split()
    until(lambda: not psutil.pid_exists(int(pid)))
    assert not Path(folder).exists()


def test_the_environment_names_account_region_and_server():
    aws = LocalAWS("111111111111", "eu-west-1", url="http://127.0.0.1:1")
    names = ("AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_ENDPOINT_URL")
    seen = [aws.environment[name] for name in names]
    assert seen == ["111111111111", "eu-west-1", "http://127.0.0.1:1"]


@pytest.mark.parametrize("place", [("12345", "us-east-1"), ("123456789012", "nowhere")])
def test_an_account_or_region_that_can_not_be_is_refused(place):
    with pytest.raises(ByocError, match=f"{place[0]}|{place[1]}"):
        LocalAWS(*place)


def test_it_starts_without_the_services_that_nobody_asked_for():
    """moto's CloudFormation imports most of moto, which takes seconds."""
    code = "import sys, byoc.local.server; print([m for m in sys.modules if m in sys.argv])"
    heavy = ["moto.cloudformation", "moto.ec2", "moto.apigateway", "moto.awslambda"]
    done = subprocess.run(
        [sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
