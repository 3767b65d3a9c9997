"""Images of other accounts: their repository's policy decides."""

import json

import pytest
from botocore.exceptions import ClientError

PULL = ["ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage", "ecr:BatchCheckLayerAvailability"]


@pytest.fixture
def foreign(cloud, open_cloud, toy_tag):
    """The toy image in another account, and a function that opens its repository."""
    other = open_cloud(f"{10**12 - 1 - int(cloud.account):012d}")
    uri = other.push(toy_tag)

    def allow(principal, actions):
        statement = {"Effect": "Allow", "Principal": principal, "Action": actions}
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        other.client("ecr").set_repository_policy(
            repositoryName=toy_tag.partition(":")[0], policyText=json.dumps(policy)
        )

    return uri, allow


def create_model(cloud, uri):
    cloud.sagemaker.create_model(
        ModelName="m", PrimaryContainer={"Image": uri}, ExecutionRoleArn=cloud.role
    )


@pytest.mark.parametrize("create", ["model", "job"])
def test_another_accounts_image_needs_a_repository_policy(cloud, foreign, create):
    uri, _ = foreign
    with pytest.raises(ClientError) as caught:
        create_model(cloud, uri) if create == "model" else cloud.start(uri)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert caught.value.response["Error"]["Message"] == (
        f"The repository of your image {uri} does not grant ecr:GetDownloadUrlForLayer, "
        "ecr:BatchGetImage, ecr:BatchCheckLayerAvailability permission to "
        "sagemaker.amazonaws.com service principal."
    )
    assert cloud.sagemaker.list_models()["Models"] == []
    assert cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"] == []


@pytest.mark.parametrize("who", ["service", "account", "role"])
def test_a_repository_policy_opens_the_image(cloud, foreign, who):
    uri, allow = foreign
    principals = {
        "service": {"Service": "sagemaker.amazonaws.com"},
        "account": {"AWS": f"arn:aws:iam::{cloud.account}:root"},
        "role": {"AWS": [cloud.role]},
    }
    allow(principals[who], PULL)
    create_model(cloud, uri)
    assert cloud.train(uri)["TrainingJobStatus"] == "Completed"


def test_a_repository_policy_must_allow_all_of_a_pull(cloud, foreign):
    uri, allow = foreign
    allow({"Service": "sagemaker.amazonaws.com"}, PULL[:2])
    with pytest.raises(ClientError, match="does not grant ecr:BatchCheckLayerAvailability perm"):
        create_model(cloud, uri)


def test_a_model_takes_no_oci_manifest(cloud, toy, toy_tag):
    ecr, name = cloud.client("ecr"), toy_tag.partition(":")[0]
    (pushed,) = ecr.batch_get_image(repositoryName=name, imageIds=[{"imageTag": "1"}])["images"]
    for kind in ("manifest", "index"):
        media_type = f"application/vnd.oci.image.{kind}.v1+json"
        manifest = {**json.loads(pushed["imageManifest"]), "mediaType": media_type}
        text = json.dumps(manifest)
        ecr.put_image(repositoryName=name, imageManifest=text, imageTag=kind)
        uri = f"{toy.rpartition(':')[0]}:{kind}"
        with pytest.raises(ClientError) as caught:
            create_model(cloud, uri)
        assert caught.value.response["Error"] == {
            "Code": "ValidationException",
            "Message": f"Unsupported manifest media type {media_type} for image {uri}. "
            "Ensure that valid manifest media type is used for specified image.",
        }
    assert cloud.sagemaker.list_models()["Models"] == []
    uri = f"{toy.rpartition(':')[0]}:manifest"
    assert cloud.train(uri)["TrainingJobStatus"] == "Completed"  # reports are of models alone
