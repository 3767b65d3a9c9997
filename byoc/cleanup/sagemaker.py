"""SageMaker's endpoints, models, packages and jobs."""

import time
from collections.abc import Callable
from typing import Any

from botocore import xform_name
from botocore.exceptions import ClientError, WaiterError

from byoc.cleanup.kinds import Clients, Item, Kind
from byoc.connect import Connection

IN_PROGRESS = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


def is_own(arn: str, aws: Connection, clients: Clients) -> bool:
    """Whether a SageMaker resource carries the project's tag."""
    return aws.tags[0] in clients("sagemaker").list_tags(ResourceArn=arn)["Tags"]


def delete_endpoint(sagemaker: Any, name: str) -> None:
    """Delete an endpoint and wait until it is gone; one in progress first comes to its end."""
    wanted = {"EndpointName": name}
    try:
        while sagemaker.describe_endpoint(**wanted)["EndpointStatus"] in IN_PROGRESS:
            time.sleep(0.5)
        sagemaker.delete_endpoint(**wanted)
    except ClientError as error:
        if "Could not find" not in str(error):
            raise
    waiter = sagemaker.get_waiter("endpoint_deleted")
    waiter.wait(**wanted, WaiterConfig={"Delay": 1, "MaxAttempts": 600})


def _listed(operation: str, kind: str, member: str) -> Callable[[Connection, Clients], list[Item]]:
    def list_items(aws: Connection, clients: Clients) -> list[Item]:
        pages = clients("sagemaker").get_paginator(operation).paginate()
        found = [row for page in pages for row in page[member or f"{kind}s"]]
        own = [row for row in found if is_own(row[f"{kind}Arn"], aws, clients)]
        return [Item("sagemaker", kind, row[f"{kind}Name"]) for row in own]

    return list_items


def _delete_endpoint(item: Item, clients: Clients) -> None:
    delete_endpoint(clients("sagemaker"), item.name)


def _delete_at_once(item: Item, clients: Clients) -> None:
    delete = getattr(clients("sagemaker"), f"delete_{xform_name(item.kind)}")
    delete(**{f"{item.kind}Name": item.name})


def _list_packages(aws: Connection, clients: Clients) -> list[Item]:
    """The versions in the project's groups, which carry no tags of their own."""
    found = []
    for group in GROUPS.list_items(aws, clients):
        pages = clients("sagemaker").get_paginator("list_model_packages")
        for page in pages.paginate(ModelPackageGroupName=group.name):
            summaries = page["ModelPackageSummaryList"]
            found += [Item("sagemaker", "ModelPackage", s["ModelPackageArn"]) for s in summaries]
    return found


def _delete_job(item: Item, clients: Clients) -> None:
    sagemaker, kind = clients("sagemaker"), xform_name(item.kind)
    wanted = {f"{item.kind}Name": item.name}
    _stop(sagemaker, kind, wanted)
    waiter = sagemaker.get_waiter(f"{kind}_completed_or_stopped")
    try:
        waiter.wait(**wanted, WaiterConfig={"Delay": 1, "MaxAttempts": 600})
    except WaiterError:
        pass  # it has failed, which is an end too
    getattr(sagemaker, f"delete_{kind}")(**wanted)


def _delete_tuning_job(item: Item, clients: Clients) -> None:
    """Stop it, wait for its end, delete it; boto3 has no waiter for tuning jobs."""
    sagemaker, wanted = clients("sagemaker"), {"HyperParameterTuningJobName": item.name}
    _stop(sagemaker, "hyper_parameter_tuning_job", wanted)
    describe = sagemaker.describe_hyper_parameter_tuning_job
    while describe(**wanted)["HyperParameterTuningJobStatus"] in ("InProgress", "Stopping"):
        time.sleep(0.5)
    sagemaker.delete_hyper_parameter_tuning_job(**wanted)


def _stop(sagemaker: Any, kind: str, wanted: dict[str, str]) -> None:
    try:
        getattr(sagemaker, f"stop_{kind}")(**wanted)
    except ClientError:
        pass  # it has ended


def _kind(name: str, plural: str, delete: Callable[[Item, Clients], Any], member: str = "") -> Kind:
    return Kind(name, _listed(f"list_{plural}", name, member), delete)


ENDPOINTS = _kind("Endpoint", "endpoints", _delete_endpoint)
ENDPOINT_CONFIGS = _kind("EndpointConfig", "endpoint_configs", _delete_at_once)
MODELS = _kind("Model", "models", _delete_at_once)
TUNING_JOBS = _kind(
    "HyperParameterTuningJob",
    "hyper_parameter_tuning_jobs",
    _delete_tuning_job,
    "HyperParameterTuningJobSummaries",
)
PACKAGES = Kind("ModelPackage", _list_packages, _delete_at_once)
GROUPS = _kind(
    "ModelPackageGroup",
    "model_package_groups",
    _delete_at_once,
    "ModelPackageGroupSummaryList",
)
TRAINING_JOBS = _kind("TrainingJob", "training_jobs", _delete_job, "TrainingJobSummaries")
PROCESSING_JOBS = _kind("ProcessingJob", "processing_jobs", _delete_job, "ProcessingJobSummaries")
