"""The Resource Groups Tagging API over SageMaker and the other services together."""

import pytest
from botocore.exceptions import ClientError

TAGS = [{"Key": "project", "Value": "toy"}, {"Key": "stage", "Value": "test"}]


@pytest.fixture
def arns(cloud, toy):
    """A model and a KMS key of the project, and a model of another."""
    sagemaker, made = cloud.sagemaker, []
    for name, tags in (("mine", TAGS), ("other", [{"Key": "project", "Value": "x"}])):
        answer = sagemaker.create_model(
            ModelName=name, PrimaryContainer={"Image": toy}, ExecutionRoleArn=cloud.role, Tags=tags
        )
        made.append(answer["ModelArn"])
    kms = cloud.client("kms")
    key = kms.create_key(Tags=[{"TagKey": "project", "TagValue": "toy"}])["KeyMetadata"]["Arn"]
    return [*made, key]


@pytest.fixture
def tagging(cloud):
    return cloud.client("resourcegroupstaggingapi")


def found(tagging, **members):
    pages = tagging.get_paginator("get_resources").paginate(**members)
    return {r["ResourceARN"] for page in pages for r in page["ResourceTagMappingList"]}


def test_resources_are_found_by_tag_type_and_arn(tagging, arns):
    mine, other, key = arns
    toy = [{"Key": "project", "Values": ["toy"]}]
    assert found(tagging, TagFilters=toy) == {mine, key}
    assert found(tagging, TagFilters=[*toy, {"Key": "stage"}]) == {mine}
    assert found(tagging, ResourceTypeFilters=["sagemaker:model"]) == {mine, other}
    assert found(tagging, ResourceTypeFilters=["sagemaker"], TagFilters=toy) == {mine}
    assert found(tagging, ResourceTypeFilters=["sagemaker:endpoint"]) == set()
    assert found(tagging, ResourceARNList=[other, key]) == {other, key}
    page = tagging.get_resources(TagFilters=toy, ResourceTypeFilters=["sagemaker"])
    (row,) = page["ResourceTagMappingList"]
    assert row["Tags"] == TAGS


def test_pages(tagging, arns):
    first = tagging.get_resources(ResourcesPerPage=2)
    assert len(first["ResourceTagMappingList"]) == 2
    last = tagging.get_resources(ResourcesPerPage=2, PaginationToken=first["PaginationToken"])
    rows = [*first["ResourceTagMappingList"], *last["ResourceTagMappingList"]]
    assert {row["ResourceARN"] for row in rows} == set(arns)
    assert last["PaginationToken"] == ""


def test_keys_and_values(tagging, arns):
    assert tagging.get_tag_keys()["TagKeys"] == ["project", "stage"]
    assert tagging.get_tag_values(Key="project")["TagValues"] == ["toy", "x"]


def test_tags_come_and_go_on_all_at_once(cloud, tagging, arns):
    absent = arns[0].replace("mine", "absent")
    answer = tagging.tag_resources(ResourceARNList=[*arns, absent], Tags={"owner": "me"})
    assert list(answer["FailedResourcesMap"]) == [absent]
    assert found(tagging, TagFilters=[{"Key": "owner", "Values": ["me"]}]) == set(arns)
    tags = cloud.sagemaker.list_tags(ResourceArn=arns[0])["Tags"]
    assert {"Key": "owner", "Value": "me"} in tags
    answer = tagging.untag_resources(ResourceARNList=arns, TagKeys=["owner"])
    assert answer["FailedResourcesMap"] == {}
    assert found(tagging, TagFilters=[{"Key": "owner"}]) == set()


def test_repositories_of_ecr_are_among_them(cloud, tagging):
    ecr = cloud.client("ecr")
    tags = [{"Key": "project", "Value": "toy"}]
    made = ecr.create_repository(repositoryName="tagged", tags=tags)["repository"]
    arn = made["repositoryArn"]
    assert found(tagging, ResourceTypeFilters=["ecr:repository"]) == {arn}
    tagging.tag_resources(ResourceARNList=[arn], Tags={"stage": "test"})
    tagging.untag_resources(ResourceARNList=[arn], TagKeys=["project"])
    stage = [{"Key": "stage", "Value": "test"}]
    assert ecr.list_tags_for_resource(resourceArn=arn)["tags"] == stage


def test_another_account_or_region_sees_nothing(cloud, arns, open_cloud):
    elsewhere = open_cloud(cloud.account, "eu-west-1").client("resourcegroupstaggingapi")
    assert found(elsewhere) == set()


def test_wrong_requests(tagging):
    for members in (
        {"ResourceARNList": ["arn:aws:sqs:us-east-1:1:q"], "TagFilters": [{"Key": "a"}]},
        {"ResourcesPerPage": 101},
    ):
        with pytest.raises(ClientError) as caught:
            tagging.get_resources(**members)
        assert caught.value.response["Error"]["Code"] == "InvalidParameterException"
