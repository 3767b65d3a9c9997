"""The model registry: groups, versions, approval, and a model from a package."""

import json

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def group(cloud):
    cloud.sagemaker.create_model_package_group(
        ModelPackageGroupName="penguins",
        ModelPackageGroupDescription="all of them",
        Tags=[{"Key": "project", "Value": "p"}],
    )
    return "penguins"


@pytest.fixture
def register(cloud, group):
    """Register the next version of the group; returns its ARN."""

    def create(**members):
        request = {"ModelPackageGroupName": group, **members}
        return cloud.sagemaker.create_model_package(**request)["ModelPackageArn"]

    return create


def inference(image, **container):
    return {
        "Containers": [{"Image": image, **container}],
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["text/csv"],
        "SupportedRealtimeInferenceInstanceTypes": ["ml.m5.large"],
        "SupportedTransformInstanceTypes": ["ml.m5.large"],
    }


def everything(image):
    source = {"ContentType": "application/json", "S3Uri": "s3://b/statistics.json"}
    return {
        "ModelPackageDescription": "the first",
        "InferenceSpecification": inference(image, Environment={"A": "1"}),
        "ModelApprovalStatus": "PendingManualApproval",
        "MetadataProperties": {"CommitId": "abc", "GeneratedBy": "me"},
        "ModelMetrics": {"ModelQuality": {"Statistics": source}},
        "DriftCheckBaselines": {"ModelDataQuality": {"Statistics": source}},
        "CustomerMetadataProperties": {"accuracy": "0.9"},
        "Domain": "MACHINE_LEARNING",
        "Task": "OTHER",
        "SamplePayloadUrl": "s3://b/payload.tar.gz",
        "AdditionalInferenceSpecifications": [{"Name": "more", **inference(image)}],
        "SkipModelValidation": "All",
        "SourceUri": "s3://b/model.tar.gz",
        "ModelCard": {
            "ModelCardContent": json.dumps({"model_overview": {}}),
            "ModelCardStatus": "Draft",
        },
        "ModelLifeCycle": {"Stage": "Development", "StageStatus": "PendingApproval"},
    }


def test_a_group_is_described_listed_and_deleted(cloud, group):
    found = cloud.sagemaker.describe_model_package_group(ModelPackageGroupName=group)
    assert found["ModelPackageGroupDescription"] == "all of them"
    assert found["ModelPackageGroupStatus"] == "Completed"
    (row,) = cloud.sagemaker.list_model_package_groups(NameContains="PENG")[
        "ModelPackageGroupSummaryList"
    ]
    assert row["ModelPackageGroupArn"] == found["ModelPackageGroupArn"]
    with pytest.raises(ClientError, match="already exists"):
        cloud.sagemaker.create_model_package_group(ModelPackageGroupName="Penguins")
    cloud.sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    with pytest.raises(ClientError, match="does not exist"):
        cloud.sagemaker.describe_model_package_group(ModelPackageGroupName=group)


def test_every_member_of_a_version_is_kept(cloud, register, toy):
    members = everything(toy)
    arn = register(**members)
    assert arn.endswith(f":{cloud.account}:model-package/penguins/1")
    found = cloud.sagemaker.describe_model_package(ModelPackageName=arn)
    assert {name: found[name] for name in members} == members
    assert found["ModelPackageVersion"] == 1
    assert found["ModelPackageStatus"] == "Completed"
    tags = cloud.sagemaker.list_tags(ResourceArn=arn)["Tags"]
    assert tags == [{"Key": "project", "Value": "p"}]


def test_versions_are_counted_listed_and_never_given_twice(cloud, register):
    arns = [register(), register(), register(ModelApprovalStatus="Approved")]
    cloud.sagemaker.delete_model_package(ModelPackageName=arns[1])
    cloud.sagemaker.delete_model_package(ModelPackageName=arns[2])
    assert register(ModelApprovalStatus="Approved").endswith("/4")

    def listed(**filters):
        request = {"ModelPackageGroupName": "penguins", **filters}
        rows = cloud.sagemaker.list_model_packages(**request)["ModelPackageSummaryList"]
        return [row["ModelPackageVersion"] for row in rows]

    assert listed() == [1, 4]
    assert listed(SortOrder="Descending") == [4, 1]
    assert listed(ModelApprovalStatus="Approved") == [4]
    assert listed(ModelApprovalStatus="Rejected") == []
    pages = cloud.sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName="penguins", PaginationConfig={"PageSize": 1}
    )
    assert [len(page["ModelPackageSummaryList"]) for page in pages] == [1, 1]
    assert cloud.sagemaker.list_model_packages()["ModelPackageSummaryList"] == []
    with pytest.raises(ClientError, match="still has model packages"):
        cloud.sagemaker.delete_model_package_group(ModelPackageGroupName="penguins")


def test_approval_and_metadata_change_and_each_change_is_an_event(cloud, register, until):
    sqs, events = cloud.client("sqs"), cloud.client("events")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    pattern = {
        "source": ["aws.sagemaker"],
        "detail-type": ["SageMaker Model Package State Change"],
        "detail": {"ModelPackageGroupName": ["penguins"], "ModelApprovalStatus": ["Approved"]},
    }
    events.put_rule(Name="approved", EventPattern=json.dumps(pattern))
    target = f"arn:aws:sqs:{cloud.region}:{cloud.account}:q"
    events.put_targets(Rule="approved", Targets=[{"Id": "0", "Arn": target}])
    arn = register(CustomerMetadataProperties={"a": "1", "b": "2"})
    cloud.sagemaker.update_model_package(
        ModelPackageArn=arn,
        ModelApprovalStatus="Approved",
        ApprovalDescription="good",
        CustomerMetadataProperties={"c": "3"},
        CustomerMetadataPropertiesToRemove=["a"],
    )
    found = cloud.sagemaker.describe_model_package(ModelPackageName=arn)
    assert found["CustomerMetadataProperties"] == {"b": "2", "c": "3"}
    assert found["ApprovalDescription"] == "good"
    (message,) = until(lambda: sqs.receive_message(QueueUrl=url).get("Messages"))
    event = json.loads(message["Body"])
    assert event["resources"] == [arn]
    assert event["detail"]["ModelApprovalStatus"] == "Approved"
    assert event["detail"]["ModelPackageVersion"] == 1
    assert event["detail"]["Tags"] == {"project": "p"}


def test_only_an_approved_version_is_deployed(cloud, register, toy):
    arn = register(InferenceSpecification=inference(toy, Environment={"A": "1"}))
    request = {
        "ModelName": "m",
        "PrimaryContainer": {"ModelPackageName": arn, "Environment": {"B": "2"}},
        "ExecutionRoleArn": cloud.role,
    }
    with pytest.raises(ClientError, match="PendingManualApproval, not Approved"):
        cloud.sagemaker.create_model(**request)
    assert cloud.sagemaker.list_models()["Models"] == []
    cloud.sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    cloud.sagemaker.create_model(**request)
    found = cloud.sagemaker.describe_model(ModelName="m")["PrimaryContainer"]
    assert found == request["PrimaryContainer"]
    cloud.configure("c", {"AllTraffic": "m"})
    cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="c")
    assert cloud.deployed()["EndpointStatus"] == "InService"
    cloud.delete_endpoint()


def test_a_package_without_a_group(cloud, toy):
    made = cloud.sagemaker.create_model_package(
        ModelPackageName="alone", InferenceSpecification=inference(toy)
    )
    found = cloud.sagemaker.describe_model_package(ModelPackageName="alone")
    assert found["ModelPackageArn"] == made["ModelPackageArn"]
    assert "ModelApprovalStatus" not in found
    (row,) = cloud.sagemaker.list_model_packages()["ModelPackageSummaryList"]
    assert row["ModelPackageName"] == "alone"
    answer = cloud.sagemaker.batch_describe_model_package(
        ModelPackageArnList=[made["ModelPackageArn"], f"{made['ModelPackageArn']}-gone"]
    )
    assert list(answer["ModelPackageSummaries"]) == [made["ModelPackageArn"]]
    assert len(answer["BatchDescribeModelPackageErrorMap"]) == 1


def test_a_groups_policy(cloud, group):
    wanted = {"ModelPackageGroupName": group}
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    with pytest.raises(ClientError, match="Cannot find resource policy"):
        cloud.sagemaker.get_model_package_group_policy(**wanted)
    cloud.sagemaker.put_model_package_group_policy(**wanted, ResourcePolicy=policy)
    assert cloud.sagemaker.get_model_package_group_policy(**wanted)["ResourcePolicy"] == policy
    cloud.sagemaker.delete_model_package_group_policy(**wanted)
    with pytest.raises(ClientError, match="Cannot find resource policy"):
        cloud.sagemaker.get_model_package_group_policy(**wanted)


def test_a_repeated_request_makes_one_version(register):
    assert register(ClientToken="t") == register(ClientToken="t")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"ModelPackageName": "both"}, "Cannot determine which one to use"),
        ({"Tags": [{"Key": "k", "Value": "v"}]}, "tags of its group"),
        ({"ModelCard": {"ModelCardContent": "{", "ModelCardStatus": "Draft"}}, "not valid JSON"),
        ({"CertifyForMarketplace": True}, "does not implement"),
        ({"ModelPackageGroupName": "none"}, "does not exist"),
        ({"SecurityConfig": {"KmsKeyId": "none"}}, "none"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_registered(cloud, register, members, said):
    with pytest.raises(ClientError, match=said):
        register(**members)
    found = cloud.sagemaker.list_model_packages(ModelPackageType="Both")
    assert found["ModelPackageSummaryList"] == []
