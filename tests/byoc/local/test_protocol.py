"""Requests checked by AWS's own service model, in AWS's words, and answers shaped by it."""

import datetime as dt
import json

import pytest

from byoc.local import protocol
from byoc.local.errors import AWSError

JOB = {
    "TrainingJobName": "job",
    "AlgorithmSpecification": {"TrainingInputMode": "File"},
    "RoleArn": "arn:aws:iam::123456789012:role/role",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
    "StoppingCondition": {},
}


def parse(operation, **request):
    return protocol.parse(operation, json.dumps(request).encode())


def refusal(operation, **request):
    with pytest.raises(AWSError) as caught:
        parse(operation, **request)
    return caught.value.code, caught.value.message


def test_a_good_request_passes_as_it_is():
    request = {**JOB, "Tags": [{"Key": "a", "Value": "b"}], "HyperParameters": {"a": "1"}}
    assert parse("CreateTrainingJob", **request) == request


def test_members_that_the_model_does_not_know_are_ignored():
    assert parse("DescribeModel", ModelName="m", Surprise=1) == {"ModelName": "m"}


def test_null_means_absent():
    assert parse("ListModels", NameContains=None) == {}


def test_times_come_as_numbers_or_text():
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    texts = moment.isoformat(), "2026-01-02T03:04:05Z", "2026-01-02T03:04:05"
    for value in (moment.timestamp(), *texts):
        assert parse("ListModels", CreationTimeAfter=value)["CreationTimeAfter"] == moment


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        ({"TrainingJobName": None}, ["null|trainingJobName|Member must not be null"]),
        (
            {"TrainingJobName": "under_score"},
            [
                "under_score|trainingJobName|Member must satisfy regular expression pattern: "
                "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
            ],
        ),
        (
            {"AlgorithmSpecification": {}},
            ["null|algorithmSpecification.trainingInputMode|Member must not be null"],
        ),
        (
            {"RoleArn": None, "OutputDataConfig": {}},
            [
                "null|roleArn|Member must not be null",
                "null|outputDataConfig.s3OutputPath|Member must not be null",
            ],
        ),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 0}},
            [
                "0|stoppingCondition.maxRuntimeInSeconds|Member must have value greater than or "
                "equal to 1"
            ],
        ),
        (
            {"RoleArn": "short"},
            [
                "short|roleArn|Member must have length greater than or equal to 20",
                "short|roleArn|Member must satisfy regular expression pattern: "
                "arn:aws[a-z\\-]*:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+",
            ],
        ),
        (
            {"InputDataConfig": [{"ChannelName": "a"}]},
            ["null|inputDataConfig.1.member.dataSource|Member must not be null"],
        ),
    ],
)
def test_violations_are_counted_and_worded_as_aws_does(change, problems):
    request = {k: v for k, v in {**JOB, **change}.items() if v is not None}
    code, message = refusal("CreateTrainingJob", **request)
    assert code == "ValidationException"
    count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected: "
    assert message.startswith(count)
    for problem in problems:
        value, path, rule = problem.split("|")
        shown = "Value null" if value == "null" else f"Value '{value}'"
        assert f"{shown} at '{path}' failed to satisfy constraint: {rule}" in message


def test_values_of_an_enumeration():
    code, message = refusal("CreateTrainingJob", **JOB, ResourceConfig={"InstanceType": "ml.x"})
    assert code == "ValidationException"
    assert "Value 'ml.x' at 'resourceConfig.instanceType' failed to satisfy constraint: " in message
    assert "Member must satisfy enum value set: [" in message
    assert "ml.m5.large" in message


def test_too_many_hyperparameters():
    many = {str(n): "x" for n in range(101)}
    _, message = refusal("CreateTrainingJob", **JOB, HyperParameters=many)
    assert "at 'hyperParameters' failed to satisfy constraint: " in message
    assert "Member must have length less than or equal to 100" in message


@pytest.mark.parametrize(
    ("operation", "request_members", "path"),
    [
        ("CreateTrainingJob", {**JOB, "HyperParameters": {"n": 5}}, "n"),
        ("CreateTrainingJob", {**JOB, "Tags": {"a": "b"}}, "Tags"),
        ("CreateTrainingJob", {**JOB, "EnableNetworkIsolation": "yes"}, "nableNetworkIsolation"),
        ("CreateTrainingJob", {**JOB, "RoleArn": 5}, "oleArn"),
        ("ListModels", {"MaxResults": True}, "axResults"),
        ("ListModels", {"MaxResults": 1.5}, "axResults"),
        ("ListModels", {"CreationTimeAfter": "soon"}, "reationTimeAfter"),
        ("ListModels", {"CreationTimeAfter": 1e300}, "reationTimeAfter"),
    ],
)
def test_values_of_another_type(operation, request_members, path):
    code, message = refusal(operation, **request_members)
    assert code == "SerializationException"
    assert path.lower() in message.lower()


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 1e39])
def test_a_number_that_the_type_does_not_hold(weight):
    variant = {"VariantName": "v", "InitialVariantWeight": weight}
    members = {"EndpointConfigName": "c", "ProductionVariants": [variant]}
    code, message = refusal("CreateEndpointConfig", **members)
    assert code == "SerializationException"
    assert "initialVariantWeight" in message
    code, message = refusal("ListModels", MaxResults=10**400)
    assert code == "SerializationException"


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"{", b"[]", b'"text"', b"5", b"\xff\xfe", b"null"]
)
def test_a_body_that_is_not_a_json_object(body):
    with pytest.raises(AWSError) as caught:
        protocol.parse("ListModels", body)
    assert caught.value.code == "SerializationException"


def test_an_empty_body_is_an_empty_request():
    assert protocol.parse("ListModels", b"") == {}


def test_an_answer_holds_only_what_the_model_has_and_what_was_set():
    moment = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    answer = {
        "ModelName": "m",
        "CreationTime": moment,
        "VpcConfig": None,
        "secret": 1,
        "PrimaryContainer": {"Environment": {"a": "b"}, "more": 1},
    }
    assert json.loads(protocol.render("DescribeModel", answer)) == {
        "ModelName": "m",
        "CreationTime": moment.timestamp(),
        "PrimaryContainer": {"Environment": {"a": "b"}},
    }
    assert protocol.render("DeleteModel", None) == b""
