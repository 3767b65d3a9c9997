"""SimulatePrincipalPolicy, which the SageMaker SDK asks before it uses a role."""

import json

import pytest
from botocore.exceptions import ClientError

TRUST = {
    "Version": "2012-10-17",
    "Statement": {
        "Effect": "Allow",
        "Principal": {"Service": "sagemaker.amazonaws.com"},
        "Action": "sts:AssumeRole",
    },
}


def policy(effect, action, resource="*"):
    statement = {"Effect": effect, "Action": action, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def role(cloud):
    iam = cloud.client("iam")
    created = iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.put_role_policy(
        RoleName="r",
        PolicyName="inline",
        PolicyDocument=policy("Allow", ["s3:Get*", "s3:Put*"], "arn:aws:s3:::mine/*"),
    )
    arn = iam.create_policy(PolicyName="deny", PolicyDocument=policy("Deny", "s3:PutObject"))
    iam.attach_role_policy(RoleName="r", PolicyArn=arn["Policy"]["Arn"])
    return created["Role"]["Arn"]


def test_each_action_on_each_resource_is_decided(cloud, role):
    results = cloud.client("iam").simulate_principal_policy(
        PolicySourceArn=role,
        ActionNames=["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
        ResourceArns=["arn:aws:s3:::mine/x", "arn:aws:s3:::other/x"],
    )["EvaluationResults"]
    decided = {
        (r["EvalActionName"], r["EvalResourceName"].split(":")[-1]): r["EvalDecision"]
        for r in results
    }
    assert decided == {
        ("s3:GetObject", "mine/x"): "allowed",
        ("s3:GetObject", "other/x"): "implicitDeny",
        ("s3:PutObject", "mine/x"): "explicitDeny",
        ("s3:PutObject", "other/x"): "explicitDeny",
        ("s3:DeleteObject", "mine/x"): "implicitDeny",
        ("s3:DeleteObject", "other/x"): "implicitDeny",
    }


def test_a_role_that_is_not_there(cloud):
    with pytest.raises(ClientError) as caught:
        cloud.client("iam").simulate_principal_policy(
            PolicySourceArn=f"arn:aws:iam::{cloud.account}:role/absent",
            ActionNames=["s3:GetObject"],
        )
    error = caught.value.response["Error"]
    assert (error["Code"], "absent" in error["Message"]) == ("NoSuchEntity", True)


def test_a_user_is_refused_and_not_guessed(cloud):
    with pytest.raises(ClientError, match="SimulatePrincipalPolicy for anything but a role"):
        cloud.client("iam").simulate_principal_policy(
            PolicySourceArn=f"arn:aws:iam::{cloud.account}:user/me", ActionNames=["s3:GetObject"]
        )
