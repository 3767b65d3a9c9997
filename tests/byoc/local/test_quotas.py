"""Service quotas: what they stop, what Service Quotas says of them, how one gets more."""

import json

import pytest
from botocore.exceptions import ClientError

from byoc.local import quotas


def refusal(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def exceeded(name, limit, used, delta):
    """AWS's words."""
    return "ResourceLimitExceeded", (
        f"The account-level service limit '{name}' is {limit} Instances, with current utilization "
        f"of {used} Instances and a request delta of {delta} Instances. Please use AWS Service "
        "Quotas to request an increase for this quota. If AWS Service Quotas is not available, "
        "contact AWS support to request an increase for this quota."
    )


@pytest.fixture
def endpoint_of(cloud, toy):
    """CreateEndpoint's arguments for so many instances of a type."""
    cloud.sagemaker.create_model(
        ModelName="m", PrimaryContainer={"Image": toy}, ExecutionRoleArn=cloud.role
    )

    def configure(name, kind, count):
        variant = {"VariantName": "v", "ModelName": "m", "InstanceType": kind}
        cloud.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[{**variant, "InitialInstanceCount": count}],
        )
        return {"EndpointName": name, "EndpointConfigName": name}

    return configure


def test_an_endpoint_of_too_many_instances(cloud, endpoint_of):
    sagemaker = cloud.sagemaker
    name = "ml.m5.large for endpoint usage"
    too_many = endpoint_of("many", "ml.m5.large", 21)
    assert refusal(sagemaker.create_endpoint, **too_many) == exceeded(name, 20, 0, 21)
    assert sagemaker.list_endpoints()["Endpoints"] == []
    sagemaker.create_endpoint(**endpoint_of("one", "ml.m5.large", 1))
    more = endpoint_of("more", "ml.m5.large", 20)
    assert refusal(sagemaker.create_endpoint, **more) == exceeded(name, 20, 1, 20)
    gpu = endpoint_of("gpu", "ml.g5.xlarge", 1)
    name = "ml.g5.xlarge for endpoint usage"
    assert refusal(sagemaker.create_endpoint, **gpu) == exceeded(name, 0, 0, 1)


def test_a_training_job_uses_instances_while_it_runs(cloud, toy, gate):
    gpu = {"InstanceType": "ml.p3.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10}
    name = "ml.p3.2xlarge for training job usage"
    asked = cloud.request(toy, gate.program, ResourceConfig=gpu)
    create = cloud.sagemaker.create_training_job
    assert refusal(create, **asked) == exceeded(name, 0, 0, 1)
    assert cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"] == []
    cloud.client("service-quotas").request_service_quota_increase(
        ServiceCode="sagemaker", QuotaCode=quotas.code_of(name), DesiredValue=1
    )
    create(**asked)
    second = cloud.request(toy, ResourceConfig=gpu)
    assert refusal(create, **second) == exceeded(name, 1, 1, 1)
    gate.open()
    assert cloud.finish(asked["TrainingJobName"])["TrainingJobStatus"] == "Completed"
    create(**second)
    assert cloud.finish(second["TrainingJobName"])["TrainingJobStatus"] == "Completed"


def test_service_quotas_lists_all_in_pages(cloud):
    client = cloud.client("service-quotas")
    found = [
        quota
        for page in client.get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
        for quota in page["Quotas"]
    ]
    assert len({quota["QuotaCode"] for quota in found}) == len(found) == len(quotas.defaults())
    by_name = {quota["QuotaName"]: quota for quota in found}
    quota = by_name["ml.m5.large for training job usage"]
    assert quota == {
        "ServiceCode": "sagemaker",
        "ServiceName": "Amazon SageMaker",
        "QuotaArn": f"arn:aws:servicequotas:us-east-1:{cloud.account}:sagemaker/L-611FA074",
        "QuotaCode": "L-611FA074",
        "QuotaName": "ml.m5.large for training job usage",
        "Value": 100.0,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
        "QuotaAppliedAtLevel": "ACCOUNT",
    }
    assert by_name["ml.g5.xlarge for endpoint usage"]["Value"] == 0
    assert by_name["Number of instances across active endpoints"]["QuotaCode"] == "L-7A3DF611"


def test_an_increase_is_granted_in_this_account_and_region_alone(cloud, open_cloud):
    here, there = cloud.client("service-quotas"), open_cloud(cloud.account, "eu-west-1")
    asked = {"ServiceCode": "sagemaker", "QuotaCode": "L-614B09FD"}
    change = here.request_service_quota_increase(**asked, DesiredValue=30)["RequestedQuota"]
    assert (change["Status"], change["DesiredValue"]) == ("APPROVED", 30.0)
    assert json.loads(change["Requester"])["accountId"] == cloud.account
    assert here.get_service_quota(**asked)["Quota"]["Value"] == 30
    assert here.get_aws_default_service_quota(**asked)["Quota"]["Value"] == 20
    assert there.client("service-quotas").get_service_quota(**asked)["Quota"]["Value"] == 20
    history = here.list_requested_service_quota_change_history(ServiceCode="sagemaker")
    assert history["RequestedQuotas"] == [change]
    assert here.get_requested_service_quota_change(RequestId=change["Id"])["RequestedQuota"] == (
        change
    )
    code, _ = refusal(here.request_service_quota_increase, **asked, DesiredValue=30)
    assert code == "IllegalArgumentException"


def test_a_quota_that_is_not_there_and_another_service(cloud):
    client = cloud.client("service-quotas")
    code, message = refusal(
        client.get_service_quota, ServiceCode="sagemaker", QuotaCode="L-00000000"
    )
    assert code == "NoSuchResourceException"
    assert "L-00000000" in message
    others = client.list_aws_default_service_quotas(ServiceCode="vpc")["Quotas"]
    assert {quota["ServiceCode"] for quota in others} == {"vpc"}
