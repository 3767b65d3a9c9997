"""connect: what it refuses, what it leaves in the environment, and whose identity it accepts."""

import os
import subprocess
import sys

import boto3
import pytest

from byoc import ByocError, connect
from byoc.connect import keys_of, regions


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"target": "azure"}, 'target is \'azure\': it must be "local" or "aws".'),
        ({"account_id": 12345678}, "loses leading zeros: pass it as a string"),
        ({"account_id": 123456789012}, "pass it as a string"),
        ({"account_id": "12345"}, "must be a string of twelve digits"),
        ({"account_id": "1234-5678-9012"}, "must be a string of twelve digits"),
        ({"account_id": "123456789012\n"}, "must be a string of twelve digits"),
        ({"account_id": "١٢٣٤٥٦٧٨٩٠١٢"}, "must be a string of twelve digits"),
        ({"region": "eu-west-99"}, "region is 'eu-west-99'"),
        ({"region": ""}, "region is ''"),
        ({"project": "Penguins"}, "project is 'Penguins'"),
        ({"project": "a--b"}, "project is 'a--b'"),
        ({"project": "1st"}, "project is '1st'"),
        ({"project": "a" * 25}, "at most 24 characters, not 25"),
        ({"project": None}, "project is None"),
    ],
)
@pytest.mark.parametrize("target", ["local", "aws"])
def test_a_wrong_value_is_refused_in_one_sentence(environment, arguments, said, target):
    before = dict(os.environ)
    with pytest.raises(ByocError) as caught:
        connect(**{"target": target, "account_id": "123456789012", **arguments})
    sentence = str(caught.value)
    assert said in sentence
    assert sentence.endswith(".") or sentence.endswith(").")
    assert "\n" not in sentence.replace("\\n", "")
    assert dict(os.environ) == before


def test_a_notebook_shows_the_sentence_alone():
    error = ByocError("Do this.")
    assert error._render_traceback_() == ["Do this."]


def test_who_has_taken_on_a_role_stays_in_it(cloud, account):
    os.environ.update(keys_of(cloud.role.rpartition("/")[2], cloud.url, account, "us-east-1"))
    connect("local", account)
    assert ":assumed-role/" in boto3.client("sts").get_caller_identity()["Arn"]
    connect("local", "000012345678")  # a role of another account is none of this one
    assert boto3.client("sts").get_caller_identity()["Arn"] == "arn:aws:iam::000012345678:root"
    assert "AWS_SESSION_TOKEN" not in os.environ


def test_the_names_follow_from_account_region_and_project(cloud, account):
    aws = connect("local", account, "eu-west-1", "my-fish")
    assert aws.bucket == f"sagemaker-my-fish-{account}-eu-west-1"
    assert aws.role == f"arn:aws:iam::{account}:role/my-fish-execution-eu-west-1"
    assert aws.tags == [{"Key": "project", "Value": "my-fish"}]
    for shown in (account, "eu-west-1", "my-fish", aws.bucket, aws.role, "local"):
        assert shown in repr(aws)


def test_the_longest_project_still_gives_a_name_that_s3_takes(open_cloud, account):
    longest = max(regions(), key=len)
    aws = connect("local", account, longest, "p" * 24)
    assert len(aws.bucket) <= 63
    boto3.client("s3").create_bucket(
        Bucket=aws.bucket, CreateBucketConfiguration={"LocationConstraint": longest}
    )


def test_clients_reach_the_local_aws_as_that_account(cloud, account):
    connect("local", account, "eu-west-1")
    assert boto3.client("sts").get_caller_identity()["Account"] == account
    topic = boto3.client("sns").create_topic(Name="t")["TopicArn"]
    assert topic == f"arn:aws:sns:eu-west-1:{account}:t"
    code = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert child.stdout.strip() == account, child.stderr


def test_a_second_connect_moves_to_the_other_account(cloud):
    for account, region in (("000012345678", "eu-west-1"), ("999912345678", "us-west-2")):
        connect("local", account, region)
        assert boto3.client("sts").get_caller_identity()["Account"] == account
        assert boto3.client("sagemaker").meta.region_name == region


def test_what_would_lead_past_the_local_aws_is_taken_away(cloud, account, monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    connect("local", account)
    assert boto3.client("sts").get_caller_identity()["Account"] == account
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_STS"):
        assert name not in os.environ


def test_the_sdk_is_told_to_report_to_nobody(cloud):
    with open(os.environ["SAGEMAKER_USER_CONFIG_OVERRIDE"]) as file:
        assert "TelemetryOptOut: true" in file.read()


@pytest.fixture
def no_credentials(environment, monkeypatch):
    """A machine that nobody has signed in on."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_aws_without_credentials_stops(no_credentials):
    with pytest.raises(ByocError, match=r"no AWS identity could be established .*sign in"):
        connect("aws", "123456789012")


@pytest.fixture
def signed_in(cloud, monkeypatch):
    """A real identity, of the test's account, as only STS tells it; nothing else answers."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", cloud.url)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    return cloud


def test_aws_with_the_credentials_of_the_account(signed_in, account):
    aws = connect("aws", account, "eu-west-1")
    assert (aws.target, aws.account_id, aws.region) == ("aws", account, "eu-west-1")
    assert "your account" in repr(aws)
    assert boto3.client("sagemaker").meta.endpoint_url.endswith("sagemaker.eu-west-1.amazonaws.com")


def test_aws_with_the_credentials_of_another_account_stops(signed_in, account):
    with pytest.raises(ByocError) as caught:
        connect("aws", "000012345678")
    assert f"belong to account {account}, but account_id is 000012345678" in str(caught.value)
    assert signed_in.client("s3").list_buckets()["Buckets"] == []
    assert signed_in.client("ecr").describe_repositories()["repositories"] == []


def test_aws_stops_while_the_environment_leads_to_the_local_aws(cloud, account):
    with pytest.raises(ByocError, match="AWS_ENDPOINT_URL leads to the local AWS"):
        connect("aws", account)


def test_a_proxy_of_the_user_is_not_asked_for_the_local_aws(environment, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("NO_PROXY", "example.org")
    aws = connect("local", "000012345678")
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "example.org,127.0.0.1"
    assert boto3.client("sts").get_caller_identity()["Account"] == aws.account_id
