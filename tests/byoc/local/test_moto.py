"""moto where we corrected it: who one is, buckets' settings, filtered logs."""

import json
import time

import pytest
from botocore.exceptions import ClientError


def test_who_one_is(cloud, clients, make_role):
    iam = cloud.client("iam")
    user = iam.create_user(UserName="u")["User"]
    role = make_role(iam, "guest")

    def whoami(key, token=None):
        sts = clients.client(
            "sts",
            endpoint_url=cloud.url,
            region_name=cloud.region,
            aws_access_key_id=key,
            aws_secret_access_key="any",
            aws_session_token=token,
        )
        found = sts.get_caller_identity()
        return found["Account"], found["Arn"], found["UserId"]

    root = f"arn:aws:iam::{cloud.account}:root"
    assert whoami(cloud.account) == (cloud.account, root, cloud.account)
    key = iam.create_access_key(UserName="u")["AccessKey"]["AccessKeyId"]
    assert whoami(key) == (cloud.account, user["Arn"], user["UserId"])
    session = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="me")
    keys = session["Credentials"]
    account, arn, user_id = whoami(keys["AccessKeyId"], keys["SessionToken"])
    assert (account, arn) == (
        cloud.account,
        f"arn:aws:sts::{cloud.account}:assumed-role/guest/me",
    )
    assert user_id == f"{iam.get_role(RoleName='guest')['Role']['RoleId']}:me"


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("get_bucket_metrics_configuration", {"Id": "x"}),
        ("put_bucket_metrics_configuration", {"Id": "x", "MetricsConfiguration": {"Id": "x"}}),
        ("get_bucket_analytics_configuration", {"Id": "x"}),
        ("get_bucket_intelligent_tiering_configuration", {"Id": "x"}),
        ("get_bucket_metadata_configuration", {}),
        ("put_bucket_request_payment", {"RequestPaymentConfiguration": {"Payer": "Requester"}}),
        ("get_bucket_abac", {}),
    ],
)
def test_settings_of_a_bucket_that_would_not_be_kept_are_refused(cloud, method, arguments):
    cloud.put("x", b"")
    with pytest.raises(ClientError) as caught:
        getattr(cloud.client("s3"), method)(Bucket=cloud.aws.bucket, **arguments)
    assert caught.value.response["Error"]["Code"] == "NotImplementedException"


def test_the_owner_of_a_bucket_pays(cloud):
    cloud.put("x", b"")
    s3 = cloud.client("s3")
    assert s3.get_bucket_request_payment(Bucket=cloud.aws.bucket)["Payer"] == "BucketOwner"
    with pytest.raises(s3.exceptions.NoSuchBucket):
        s3.get_bucket_request_payment(Bucket="there-is-none")


@pytest.mark.parametrize(
    ("asked", "content", "told"),
    [
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
        ("bytes=0-9", b"0123456789", "bytes 0-9/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=4-2", b"0123456789", None),
    ],
)
def test_a_range_of_an_object(cloud, asked, content, told):
    cloud.put("x", "0123456789")
    s3, bucket = cloud.client("s3"), cloud.aws.bucket
    found = s3.get_object(Bucket=bucket, Key="x", Range=asked)
    assert found["Body"].read() == content
    assert found.get("ContentRange") == told
    assert found["ContentLength"] == len(content)
    assert found["ETag"] == s3.head_object(Bucket=bucket, Key="x")["ETag"]


def test_a_range_that_there_is_not(cloud):
    cloud.put("x", "0123456789")
    s3, bucket = cloud.client("s3"), cloud.aws.bucket
    with pytest.raises(ClientError, match="InvalidRange"):
        s3.get_object(Bucket=bucket, Key="x", Range="bytes=10-12")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.get_object(Bucket=bucket, Key="x", Range="bytes=1-2", IfMatch='"another"')
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="y", Range="bytes=1-2")


def test_a_template_with_resources_of_sagemaker_is_refused_whole(cloud):
    cloudformation = cloud.client("cloudformation")
    bucket = {"Type": "AWS::S3::Bucket"}
    model = {"Type": "AWS::SageMaker::Model", "Properties": {"ModelName": "m"}}
    template = json.dumps({"Resources": {"Bucket": bucket, "Model": model}})
    refused = pytest.raises(
        ClientError, match="not implement CloudFormation's AWS::SageMaker::Model"
    )
    with refused:
        cloudformation.create_stack(StackName="s", TemplateBody=template)
    assert cloudformation.describe_stacks()["Stacks"] == []
    with refused:
        cloudformation.create_change_set(
            StackName="s", ChangeSetName="c", ChangeSetType="CREATE", TemplateBody=template
        )
    assert cloud.client("s3").list_buckets()["Buckets"] == []


@pytest.fixture
def streams(cloud):
    """Three log streams, written to in turn."""
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName="g")
    for name in ("job-1/a", "job-2/a", "job-1/b"):
        logs.create_log_stream(logGroupName="g", logStreamName=name)
    start = int(time.time()) * 1000
    for number, name in enumerate(("job-1/b", "job-2/a", "job-1/a")):
        event = {"timestamp": start + number, "message": name}
        logs.put_log_events(logGroupName="g", logStreamName=name, logEvents=[event])
    return logs


@pytest.mark.parametrize(
    ("members", "messages"),
    [
        ({}, ["job-1/b", "job-2/a", "job-1/a"]),
        ({"logStreamNamePrefix": "job-1/"}, ["job-1/b", "job-1/a"]),
        ({"logStreamNamePrefix": "job-3/"}, []),
        ({"logStreamNames": ["job-2/a"]}, ["job-2/a"]),
        ({"logStreamNamePrefix": "job-", "filterPattern": '"job-2"'}, ["job-2/a"]),
    ],
)
def test_filtered_log_events_by_stream_and_in_order(streams, members, messages):
    found = streams.filter_log_events(logGroupName="g", **members)["events"]
    assert [event["message"] for event in found] == messages


def test_streams_are_named_or_prefixed(streams):
    with pytest.raises(ClientError) as caught:
        streams.filter_log_events(
            logGroupName="g", logStreamNames=["job-1/a"], logStreamNamePrefix="job-1"
        )
    assert caught.value.response["Error"]["Code"] == "InvalidParameterException"
