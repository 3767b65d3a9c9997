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
