"""Secrets Manager, as the chapter on privacy uses it: moto's, behind our front."""

import datetime as dt
import json

import pytest

NAME = "byoc-penguins-key"


@pytest.fixture
def manager(cloud):
    manager = cloud.client("secretsmanager")
    manager.create_secret(Name=NAME, SecretBinary=b"first", Tags=cloud.aws.tags)
    return manager


def staged(manager, stage):
    return manager.get_secret_value(SecretId=NAME, VersionStage=stage)["SecretBinary"]


def test_a_new_version_moves_the_stages(manager):
    assert manager.get_secret_value(SecretId=NAME)["SecretBinary"] == b"first"
    with pytest.raises(manager.exceptions.ResourceNotFoundException):
        staged(manager, "AWSPREVIOUS")
    for value in (b"second", b"third"):
        manager.put_secret_value(SecretId=NAME, SecretBinary=value)
    assert (staged(manager, "AWSCURRENT"), staged(manager, "AWSPREVIOUS")) == (b"third", b"second")
    stages = manager.describe_secret(SecretId=NAME)["VersionIdsToStages"].values()
    assert sorted(stage for version in stages for stage in version) == ["AWSCURRENT", "AWSPREVIOUS"]


def test_a_name_is_taken_once(manager):
    with pytest.raises(manager.exceptions.ResourceExistsException):
        manager.create_secret(Name=NAME, SecretBinary=b"other")
    assert manager.get_secret_value(SecretId=NAME)["SecretBinary"] == b"first"


def test_what_is_forced_is_gone_and_its_name_free(manager):
    manager.delete_secret(SecretId=NAME, ForceDeleteWithoutRecovery=True)
    with pytest.raises(manager.exceptions.ResourceNotFoundException):
        manager.get_secret_value(SecretId=NAME)
    assert manager.list_secrets(IncludePlannedDeletion=True)["SecretList"] == []
    manager.create_secret(Name=NAME, SecretBinary=b"again")


def test_accounts_and_regions_are_apart(manager, cloud, open_cloud):
    assert manager.list_secrets()["SecretList"][0]["Tags"] == cloud.aws.tags
    elsewhere = open_cloud(cloud.account, "eu-west-1").client("secretsmanager")
    assert elsewhere.list_secrets()["SecretList"] == []


def test_the_trail_names_the_call_and_hides_the_secret(manager, cloud):
    manager.put_secret_value(SecretId=NAME, SecretBinary=b"very-secret")
    manager.get_secret_value(SecretId=NAME)
    since = dt.datetime.now() - dt.timedelta(hours=1)
    events = cloud.client("cloudtrail").lookup_events(StartTime=since)["Events"]
    found = {e["EventName"]: e["CloudTrailEvent"] for e in events}
    assert {"CreateSecret", "PutSecretValue", "GetSecretValue"} <= found.keys()
    for text in found.values():
        assert "very-secret" not in text
        assert "dmVyeS1zZWNyZXQ" not in text  # the same in base 64
    assert json.loads(found["GetSecretValue"])["requestParameters"]["secretId"] == NAME


def test_a_role_to_which_nobody_gave_it_may_not_read_it(manager, cloud):
    arn = manager.describe_secret(SecretId=NAME)["ARN"]
    found = cloud.client("iam").simulate_principal_policy(
        PolicySourceArn=cloud.role,
        ActionNames=["secretsmanager:GetSecretValue"],
        ResourceArns=[arn],
    )
    assert found["EvaluationResults"][0]["EvalDecision"] == "implicitDeny"
