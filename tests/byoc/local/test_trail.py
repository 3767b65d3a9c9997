"""CloudTrail's event history of what was called."""

import datetime as dt
import json

import pytest
from botocore.exceptions import ClientError


def events(cloud, **attributes):
    wanted = [{"AttributeKey": k, "AttributeValue": v} for k, v in attributes.items()]
    pages = cloud.client("cloudtrail").get_paginator("lookup_events")
    return [e for p in pages.paginate(LookupAttributes=wanted) for e in p["Events"]]


def record(event):
    return json.loads(event["CloudTrailEvent"])


def test_a_call_is_there_with_who_what_and_what_came_of_it(cloud, toy):
    created = cloud.sagemaker.create_model(
        ModelName="m", PrimaryContainer={"Image": toy}, ExecutionRoleArn=cloud.role
    )
    (event,) = events(cloud, EventName="CreateModel")
    assert (event["EventSource"], event["Username"], event["ReadOnly"]) == (
        "sagemaker.amazonaws.com",
        "root",
        "false",
    )
    assert event["Resources"][0] == {"ResourceType": "AWS::SageMaker::Model", "ResourceName": "m"}
    found = record(event)
    assert found["userIdentity"] == {
        "type": "Root",
        "principalId": cloud.account,
        "arn": f"arn:aws:iam::{cloud.account}:root",
        "accountId": cloud.account,
        "accessKeyId": cloud.account,
    }
    assert found["requestParameters"] == {
        "modelName": "m",
        "primaryContainer": {"image": toy},
        "executionRoleArn": cloud.role,
    }
    assert found["responseElements"] == {"modelArn": created["ModelArn"]}
    assert found["requestID"] == created["ResponseMetadata"]["RequestId"]
    assert (found["awsRegion"], found["recipientAccountId"]) == ("us-east-1", cloud.account)
    assert found["managementEvent"] is True
    assert event["EventId"] == found["eventID"]


def test_a_refused_call_has_its_error(cloud):
    with pytest.raises(ClientError):
        cloud.sagemaker.describe_endpoint(EndpointName="absent")
    (event,) = events(cloud, EventName="DescribeEndpoint")
    found = record(event)
    assert (event["ReadOnly"], found["errorCode"]) == ("true", "ValidationException")
    assert "absent" in found["errorMessage"]
    assert found["responseElements"] is None


def test_calls_of_every_protocol_are_named(cloud):
    cloud.client("iam").create_user(UserName="u")
    cloud.client("ec2").describe_vpcs()
    cloud.client("ecr").create_repository(repositoryName="repository")
    cloud.client("lambda").list_functions()
    cloud.put("key", b"")
    cloud.client("route53").list_hosted_zones()
    found = {(e["EventName"], e["EventSource"]) for e in events(cloud)}
    assert found >= {
        ("CreateUser", "iam.amazonaws.com"),
        ("DescribeVpcs", "ec2.amazonaws.com"),
        ("CreateRepository", "ecr.amazonaws.com"),
        ("ListFunctions", "lambda.amazonaws.com"),
        ("CreateBucket", "s3.amazonaws.com"),
        ("ListHostedZones", "route53.amazonaws.com"),
    }
    (user,) = events(cloud, ResourceName="u")
    assert record(user)["responseElements"]["user"]["userName"] == "u"
    (bucket,) = events(cloud, ResourceType="AWS::S3::Bucket")
    assert bucket["EventName"] == "CreateBucket"


def test_calls_on_data_and_the_platforms_own_are_not_there(cloud, toy):
    cloud.put("data/rows.csv", "1,2")
    cloud.client("s3").list_objects_v2(Bucket=cloud.aws.bucket)
    cloud.client("s3").head_bucket(Bucket=cloud.aws.bucket)
    cloud.client("cloudwatch").put_metric_data(
        Namespace="n", MetricData=[{"MetricName": "m", "Value": 1.0}]
    )
    channel = cloud.channel("training", f"s3://{cloud.aws.bucket}/data/")
    job = cloud.train(toy, InputDataConfig=[channel])
    assert job["TrainingJobStatus"] == "Completed"
    cloud.create_endpoint(toy)
    assert cloud.deployed()["EndpointStatus"] == "InService"
    cloud.invoke("x")
    mine = {
        "CreateBucket",
        "CreateRepository",
        "DescribeRepositories",
        "GetAuthorizationToken",
        "PutImage",
        "CreateRole",
        "CreateTrainingJob",
        "DescribeTrainingJob",
        "CreateModel",
        "CreateEndpointConfig",
        "CreateEndpoint",
        "DescribeEndpoint",
    }
    found = {event["EventName"] for event in events(cloud)}
    assert {"CreateBucket", "CreateTrainingJob", "CreateEndpoint"} <= found
    assert found - mine <= {"LookupEvents", "BatchGetImage", "GetCallerIdentity"}
    assert events(cloud, EventName="CreateLogStream") == []


def test_users_and_sessions_are_told_apart(cloud, clients, make_role):
    iam = cloud.client("iam")
    iam.create_user(UserName="ann")
    user = iam.create_access_key(UserName="ann")["AccessKey"]
    session = cloud.client("sts").assume_role(
        RoleArn=make_role(iam, "guest"), RoleSessionName="bob"
    )["Credentials"]
    for keys in (user, session):
        clients.client(
            "sagemaker",
            endpoint_url=cloud.url,
            region_name=cloud.region,
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys.get("SessionToken"),
        ).list_models()
    (ann,), (bob,) = events(cloud, Username="ann"), events(cloud, Username="bob")
    assert record(ann)["userIdentity"]["type"] == "IAMUser"
    assert record(bob)["userIdentity"]["type"] == "AssumedRole"
    assert record(bob)["userIdentity"]["arn"].endswith(":assumed-role/guest/bob")
    assert events(cloud, AccessKeyId=user["AccessKeyId"]) == [ann]
    (made,) = events(cloud, EventName="CreateAccessKey")
    assert user["SecretAccessKey"] not in made["CloudTrailEvent"]


def test_the_newest_first_in_pages_and_between_two_times(cloud):
    client = cloud.client("cloudtrail")
    for number in range(5):
        cloud.client("sqs").create_queue(QueueName=f"q{number}")
    wanted = [{"AttributeKey": "EventName", "AttributeValue": "CreateQueue"}]
    first = client.lookup_events(LookupAttributes=wanted, MaxResults=2)
    second = client.lookup_events(LookupAttributes=wanted, NextToken=first["NextToken"])
    names = [
        r["ResourceName"] for p in (first, second) for e in p["Events"] for r in e["Resources"]
    ]
    assert names == ["q4", "q3", "q2", "q1", "q0"]
    assert "NextToken" not in second
    today = dt.datetime.now(dt.UTC)
    past, future = today - dt.timedelta(days=1), today + dt.timedelta(days=1)
    between = client.lookup_events(LookupAttributes=wanted, StartTime=past, EndTime=future)
    assert len(between["Events"]) == 5
    assert client.lookup_events(EndTime=past)["Events"] == []
    with pytest.raises(client.exceptions.InvalidTimeRangeException):
        client.lookup_events(StartTime=future, EndTime=past)
    with pytest.raises(client.exceptions.InvalidNextTokenException):
        client.lookup_events(NextToken="none")


def test_accounts_and_regions_have_histories_of_their_own(cloud, open_cloud):
    cloud.client("sqs").create_queue(QueueName="q")
    assert events(cloud, EventName="CreateQueue")
    assert events(open_cloud(cloud.account, "eu-west-1"), EventName="CreateQueue") == []
