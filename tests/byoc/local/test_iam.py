"""Roles that SageMaker may be given, who may give them, and SimulatePrincipalPolicy."""

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


def test_users_have_their_groups_policies_too(cloud):
    iam = cloud.client("iam")
    user = iam.create_user(UserName="u")["User"]["Arn"]
    group = iam.create_group(GroupName="g")["Group"]["Arn"]
    iam.put_user_policy(
        UserName="u", PolicyName="own", PolicyDocument=policy("Allow", "s3:GetObject")
    )
    iam.put_group_policy(
        GroupName="g", PolicyName="shared", PolicyDocument=policy("Allow", "s3:PutObject")
    )
    iam.add_user_to_group(GroupName="g", UserName="u")

    def allowed(source, **members):
        results = iam.simulate_principal_policy(
            PolicySourceArn=source, ActionNames=["s3:GetObject", "s3:PutObject"], **members
        )["EvaluationResults"]
        return [r["EvalActionName"] for r in results if r["EvalDecision"] == "allowed"]

    assert allowed(user) == ["s3:GetObject", "s3:PutObject"]
    assert allowed(group) == ["s3:PutObject"]
    assert allowed(user, PolicyInputList=[policy("Deny", "s3:Put*")]) == ["s3:GetObject"]


def test_conditions_are_decided_by_the_entries_of_the_request(cloud, make_role):
    iam = cloud.client("iam")
    source = make_role(iam, "conditional")
    statement = {
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": "*",
        "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    }
    iam.put_role_policy(
        RoleName="conditional",
        PolicyName="p",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    entry = {
        "ContextKeyName": "iam:PassedToService",
        "ContextKeyValues": ["sagemaker.amazonaws.com"],
        "ContextKeyType": "string",
    }
    for entries, decision, missing in (
        ([], "implicitDeny", ["iam:PassedToService"]),
        ([entry], "allowed", []),
    ):
        (result,) = iam.simulate_principal_policy(
            PolicySourceArn=source, ActionNames=["iam:PassRole"], ContextEntries=entries
        )["EvaluationResults"]
        assert (result["EvalDecision"], result["MissingContextValues"]) == (decision, missing)


def test_awss_own_policies_are_there(cloud, make_role):
    iam = cloud.client("iam")
    source = make_role(iam, "full")
    arn = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"
    iam.attach_role_policy(RoleName="full", PolicyArn=arn)
    (attached,) = iam.list_attached_role_policies(RoleName="full")["AttachedPolicies"]
    assert attached == {"PolicyName": "AmazonSageMakerFullAccess", "PolicyArn": arn}
    results = iam.simulate_principal_policy(
        PolicySourceArn=source, ActionNames=["sagemaker:CreateTrainingJob", "iam:CreateUser"]
    )["EvaluationResults"]
    assert [r["EvalDecision"] for r in results] == ["allowed", "implicitDeny"]
    with pytest.raises(ClientError, match="does not exist"):
        iam.attach_role_policy(RoleName="full", PolicyArn=f"{arn}x")


def create_model(client, role):
    """CreateModel with an image that is not there: the role is looked at first."""
    with pytest.raises(ClientError) as caught:
        client.create_model(
            ModelName="m",
            PrimaryContainer={"Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/none"},
            ExecutionRoleArn=role,
        )
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


ACCEPTED = (
    "ValidationException",
    (
        "Cannot find repository: none in registry ID: 123456789012 Please check if your ECR "
        "repository exists and the role has proper pull permissions for SageMaker: "
        "ecr:BatchCheckLayerAvailability, ecr:BatchGetImage, ecr:GetDownloadUrlForLayer"
    ),
)


@pytest.mark.parametrize(
    "trust",
    [
        None,
        {"Service": "lambda.amazonaws.com"},
        {"AWS": "*"},
    ],
)
def test_a_role_that_sagemaker_cannot_take_on_is_refused(cloud, trust):
    arn = f"arn:aws:iam::{cloud.account}:role/sub/r"
    if trust is not None:
        document = json.loads(json.dumps(TRUST))
        document["Statement"]["Principal"] = trust
        cloud.client("iam").create_role(
            RoleName="r", Path="/sub/", AssumeRolePolicyDocument=json.dumps(document)
        )
    assert create_model(cloud.sagemaker, arn) == (
        "ValidationException",
        f"Could not assume role {arn}. Please ensure that the role exists and allows principal "
        "'sagemaker.amazonaws.com' to assume the role.",
    )
    with pytest.raises(ClientError, match="Could not assume role"):
        cloud.sagemaker.create_training_job(
            **{**cloud.request("123456789012.dkr.ecr.us-east-1.amazonaws.com/none"), "RoleArn": arn}
        )
    assert cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"] == []


def test_a_role_of_another_account_is_refused(cloud, open_cloud):
    other = open_cloud("000012345678")
    code, message = create_model(cloud.sagemaker, other.role)
    assert (code, message) == ("AccessDeniedException", "Cross-account pass role is not allowed.")


@pytest.fixture
def sagemaker_of(cloud, clients):
    """SageMaker's client for other keys than the account's own."""

    def open_client(keys, token=None):
        return clients.client(
            "sagemaker",
            endpoint_url=cloud.url,
            region_name=cloud.region,
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=token,
        )

    return open_client


def test_a_user_needs_pass_role(cloud, sagemaker_of):
    iam = cloud.client("iam")
    user = iam.create_user(UserName="u")["User"]["Arn"]
    client = sagemaker_of(iam.create_access_key(UserName="u")["AccessKey"])
    refused = f"User: {user} is not authorized to perform: iam:PassRole on resource: {cloud.role} "
    nothing = "because no identity-based policy allows the iam:PassRole action"

    def put(effect, service):
        statement = {
            "Effect": effect,
            "Action": "iam:PassRole",
            "Resource": f"arn:aws:iam::{cloud.account}:role/*",
            "Condition": {"StringEquals": {"iam:PassedToService": service}},
        }
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName="u", PolicyName=effect, PolicyDocument=document)

    assert create_model(client, cloud.role) == ("AccessDeniedException", refused + nothing)
    put("Allow", "lambda.amazonaws.com")
    assert create_model(client, cloud.role) == ("AccessDeniedException", refused + nothing)
    put("Allow", "sagemaker.amazonaws.com")
    assert create_model(client, cloud.role) == ACCEPTED
    put("Deny", "sagemaker.amazonaws.com")
    assert create_model(client, cloud.role) == (
        "AccessDeniedException",
        f"{refused}with an explicit deny in an identity-based policy",
    )


def test_a_session_has_what_role_session_policy_and_boundary_all_allow(
    cloud, sagemaker_of, make_role
):
    iam, sts = cloud.client("iam"), cloud.client("sts")
    arn = make_role(iam, "worker")
    iam.put_role_policy(
        RoleName="worker", PolicyName="pass", PolicyDocument=policy("Allow", "iam:PassRole")
    )

    def client(**members):
        keys = sts.assume_role(RoleArn=arn, RoleSessionName="me", **members)["Credentials"]
        return sagemaker_of(keys, keys["SessionToken"])

    assert create_model(client(), cloud.role) == ACCEPTED
    code, message = create_model(client(Policy=policy("Allow", "s3:*")), cloud.role)
    assert code == "AccessDeniedException"
    assert f"User: arn:aws:sts::{cloud.account}:assumed-role/worker/me is not" in message
    boundary = iam.create_policy(PolicyName="b", PolicyDocument=policy("Allow", "s3:*"))
    iam.put_role_permissions_boundary(
        RoleName="worker", PermissionsBoundary=boundary["Policy"]["Arn"]
    )
    assert create_model(client(), cloud.role)[0] == "AccessDeniedException"
