"""IAM policy documents, evaluated as the IAM User Guide has it."""

import pytest

from byoc.local import policies
from byoc.local.errors import AWSError

ROLE = "arn:aws:iam::123456789012:role/team/x"


def decide(*statements, action="iam:PassRole", resource=ROLE, principal=None, **values):
    known = {name.replace("_", ":"): value for name, value in values.items()}
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return policies.decide([document], action, resource, known, principal)


def allow(condition=None, **members):
    found = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "*", **members}
    return {**found, "Condition": condition} if condition else found


def deny(condition=None, **members):
    return {**allow(condition, **members), "Effect": "Deny"}


@pytest.mark.parametrize(
    ("statements", "decision"),
    [
        ([], "implicitDeny"),
        ([allow()], "allowed"),
        ([allow(Action="IAM:pass*")], "allowed"),
        ([allow(Action=["s3:*", "iam:Pass?ole"])], "allowed"),
        ([allow(Action="iam:Pass")], "implicitDeny"),
        ([allow(Resource="arn:aws:iam::*:role/team/*")], "allowed"),
        ([allow(Resource="arn:aws:iam::123456789012:role/TEAM/x")], "implicitDeny"),
        ([allow(Resource="arn:aws:iam::123456789012:role/team/[x]")], "implicitDeny"),
        ([{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}], "allowed"),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], "implicitDeny"),
        ([{"Effect": "Allow", "Action": "*", "NotResource": "*/x"}], "implicitDeny"),
        ([{"Effect": "Allow", "Action": "*", "NotResource": "*/y"}], "allowed"),
        ([allow(), deny(Resource="*/x")], "explicitDeny"),
        ([deny(Resource="*/y"), allow()], "allowed"),
    ],
)
def test_actions_and_resources(statements, decision):
    assert decide(*statements) == decision


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}, True),
        ({"StringEquals": {"IAM:passedtoservice": ["x", "sagemaker.amazonaws.com"]}}, True),
        ({"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}, False),
        ({"StringNotEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}, True),
        ({"StringNotEquals": {"iam:PassedToService": ["a", "sagemaker.amazonaws.com"]}}, False),
        ({"StringLike": {"iam:PassedToService": "sage*"}}, True),
        ({"StringEqualsIgnoreCase": {"iam:PassedToService": "SageMaker.amazonaws.com"}}, True),
        ({"StringEquals": {"aws:absent": "x"}}, False),
        ({"StringEqualsIfExists": {"aws:absent": "x"}}, True),
        ({"StringNotEquals": {"aws:absent": "x"}}, True),
        ({"Null": {"aws:absent": "true"}}, True),
        ({"Null": {"iam:PassedToService": "true"}}, False),
        ({"Bool": {"aws:secure": True}}, True),
        ({"NumericLessThan": {"s3:keys": "11"}}, True),
        ({"NumericGreaterThanEquals": {"s3:keys": 11}}, False),
        ({"ForAnyValue:StringEquals": {"aws:tags": ["a", "c"]}}, True),
        ({"ForAllValues:StringEquals": {"aws:tags": ["a", "c"]}}, False),
        ({"StringEquals": {"iam:PassedToService": "${aws:service}.amazonaws.com"}}, True),
    ],
)
def test_conditions(condition, holds):
    values = {
        "iam_PassedToService": "sagemaker.amazonaws.com",
        "aws_secure": "true",
        "aws_service": "sagemaker",
        "s3_keys": "10",
        "aws_tags": ["a", "b"],
    }
    assert decide(allow(condition), **values) == ("allowed" if holds else "implicitDeny")
    assert decide(allow(), deny(condition), **values) == ("explicitDeny" if holds else "allowed")


@pytest.mark.parametrize(
    ("principal", "decision"),
    [
        ({"Service": "sagemaker.amazonaws.com"}, "allowed"),
        ({"Service": ["lambda.amazonaws.com", "sagemaker.amazonaws.com"]}, "allowed"),
        ({"Service": "lambda.amazonaws.com"}, "implicitDeny"),
        ({"AWS": "*"}, "implicitDeny"),
        ("*", "allowed"),
    ],
)
def test_principals(principal, decision):
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}
    service = ("Service", "sagemaker.amazonaws.com")
    assert decide(statement, action="sts:AssumeRole", principal=service) == decision


@pytest.mark.parametrize(
    "statement",
    [
        allow({"DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}),
        allow({"ForSomeValue:StringEquals": {"aws:tags": "x"}}),
        allow(NotPrincipal={"AWS": "*"}),
    ],
)
def test_what_is_not_understood_is_refused_and_not_guessed(statement):
    with pytest.raises(AWSError, match="does not implement IAM policies with"):
        decide(statement, aws_tags=["x"])
