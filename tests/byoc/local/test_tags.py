"""Tags on everything that the local SageMaker keeps."""

import pytest
from botocore.exceptions import ClientError

TAGS = [{"Key": "project", "Value": "toy"}, {"Key": "empty", "Value": ""}]


@pytest.fixture
def arns(cloud, toy):
    """One resource of each kind, created with tags."""
    sagemaker = cloud.sagemaker
    job = sagemaker.create_training_job(**cloud.request(toy, Tags=TAGS))
    model = sagemaker.create_model(
        ModelName="m", PrimaryContainer={"Image": toy}, ExecutionRoleArn=cloud.role, Tags=TAGS
    )
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large"}
    config = sagemaker.create_endpoint_config(
        EndpointConfigName="c",
        ProductionVariants=[{**variant, "InitialInstanceCount": 1}],
        Tags=TAGS,
    )
    endpoint = sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c", Tags=TAGS)
    return [
        answer[f"{kind}Arn"]
        for kind, answer in (
            ("TrainingJob", job),
            ("Model", model),
            ("EndpointConfig", config),
            ("Endpoint", endpoint),
        )
    ]


def test_tags_are_kept_added_changed_and_deleted(cloud, arns):
    sagemaker = cloud.sagemaker
    for arn in arns:
        assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == TAGS
        sagemaker.add_tags(
            ResourceArn=arn,
            Tags=[{"Key": "project", "Value": "new"}, {"Key": "more", "Value": "1"}],
        )
        sagemaker.delete_tags(ResourceArn=arn, TagKeys=["empty", "absent"])
        assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [
            {"Key": "project", "Value": "new"},
            {"Key": "more", "Value": "1"},
        ]


def test_what_is_not_there_or_anothers_has_no_tags(cloud, arns, open_cloud):
    absent = arns[0].rpartition("/")[0] + "/absent"
    other = open_cloud("000012345678").sagemaker
    for client, arn in ((cloud.sagemaker, absent), (other, arns[0])):
        with pytest.raises(ClientError, match="Could not find resource") as caught:
            client.list_tags(ResourceArn=arn)
        assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_fifty_tags_and_not_one_more(cloud, arns):
    many = [{"Key": f"key-{n}", "Value": "x"} for n in range(48)]
    cloud.sagemaker.add_tags(ResourceArn=arns[0], Tags=many)
    with pytest.raises(ClientError) as caught:
        cloud.sagemaker.add_tags(ResourceArn=arns[0], Tags=[{"Key": "more", "Value": "x"}])
    assert caught.value.response["Error"]["Code"] == "ResourceLimitExceeded"
    cloud.sagemaker.add_tags(ResourceArn=arns[0], Tags=[{"Key": "key-1", "Value": "new"}])
    listed = cloud.sagemaker.list_tags(ResourceArn=arns[0], MaxResults=50)
    tags = {tag["Key"]: tag["Value"] for tag in listed["Tags"]}
    assert (len(tags), tags["key-1"]) == (50, "new")


def test_awss_own_keys_are_refused(cloud, arns):
    for key in ("aws:cloudformation:stack-name", "AWS:x"):
        with pytest.raises(ClientError) as caught:
            cloud.sagemaker.add_tags(ResourceArn=arns[0], Tags=[{"Key": key, "Value": "x"}])
        assert caught.value.response["Error"]["Code"] == "ValidationException"
        with pytest.raises(ClientError, match="not allowed for external use"):
            cloud.sagemaker.create_endpoint_config(
                EndpointConfigName="new",
                ProductionVariants=[{"VariantName": "v", "ModelName": "m"}],
                Tags=[{"Key": key, "Value": "x"}],
            )
    assert cloud.sagemaker.list_tags(ResourceArn=arns[0])["Tags"] == TAGS


def test_a_key_is_given_once(cloud, arns):
    twice = [{"Key": "same", "Value": "1"}, {"Key": "same", "Value": "2"}]
    with pytest.raises(ClientError, match="Duplicate tag key") as caught:
        cloud.sagemaker.add_tags(ResourceArn=arns[0], Tags=twice)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert cloud.sagemaker.list_tags(ResourceArn=arns[0])["Tags"] == TAGS
