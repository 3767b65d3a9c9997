"""SageMaker's service quotas, and the Service Quotas API for them.

Source: AWS General Reference, "Amazon SageMaker AI endpoints and quotas"; API Reference (Service
Quotas). The names are AWS's, and the codes where public sources give them; other codes are made
from the name. The values are not AWS's: a new account there may train on nothing and host on
`ml.t2.medium` alone. Here types without an accelerator have room, and those with one have none,
so that both answers can be seen. An increase is granted at once.
"""

import functools
import hashlib
import json
import re
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from byoc.local import protocol
from byoc.local.errors import AWSError
from byoc.local.service import Context, operation_of
from byoc.local.state import POSITION, Resource, now

TRAINING, ENDPOINT = "training job usage", "endpoint usage"
TRANSFORM, PROCESSING = "transform job usage", "processing job usage"
UNDER_WAY = ("InProgress", "Stopping")  # statuses of jobs that use instances

ACCELERATED = re.compile(r"ml\.(gr?|p|trn|inf|dl)\d")
SERVICE = {"ServiceCode": "sagemaker", "ServiceName": "Amazon SageMaker"}
PAGE = 100  # entries of an answer when MaxResults is absent

operation = operation_of("service-quotas")


@dataclass(frozen=True)
class Usage:
    """What instances are used for: the name and value of the total, the value of each type."""

    total: str
    of_all: int
    of_a_type: int
    shape: str  # of the service model, which lists the types


USAGES = {
    TRAINING: Usage(
        "Number of instances across all training jobs", 200, 100, "TrainingInstanceType"
    ),
    ENDPOINT: Usage(
        "Number of instances across active endpoints", 100, 20, "ProductionVariantInstanceType"
    ),
    TRANSFORM: Usage(
        "Number of instances across all transform jobs", 100, 20, "TransformInstanceType"
    ),
    PROCESSING: Usage(
        "Number of instances across all processing jobs", 100, 20, "ProcessingInstanceType"
    ),
}
CODES = {
    "Number of instances across all training jobs": "L-00C91CB5",
    "Number of instances across active endpoints": "L-7A3DF611",
    "Number of instances across all transform jobs": "L-60D2A6F0",
    "Number of instances across all processing jobs": "L-F311B08F",
    "ml.m5.large for training job usage": "L-611FA074",
    "ml.m5.large for endpoint usage": "L-614B09FD",
    "ml.m5.large for transform job usage": "L-236AE59F",
    "ml.m5.large for processing job usage": "L-8541302D",
    "ml.m5.xlarge for training job usage": "L-CCE2AFA6",
    "ml.m5.xlarge for endpoint usage": "L-2F737F8D",
    "ml.m5.xlarge for processing job usage": "L-0307F515",
    "ml.c5.4xlarge for training job usage": "L-E7898792",
    "ml.g4dn.xlarge for training job usage": "L-3F53BF0F",
    "ml.g5.xlarge for endpoint usage": "L-1928E07B",
    "ml.g5.12xlarge for endpoint usage": "L-65C4BD00",
    "ml.p3.2xlarge for endpoint usage": "L-1623D0BE",
    "ml.p5.48xlarge for training job usage": "L-82E1C851",
}


@functools.cache
def defaults() -> dict[str, float]:
    """The value of each quota, by its name, in an account that asked for no increase."""
    model = protocol.service()
    values: dict[str, float] = {}
    for name, usage in USAGES.items():
        values[usage.total] = usage.of_all
        for kind in model.shape_for(usage.shape).enum:
            room = 0 if ACCELERATED.match(kind) else usage.of_a_type
            values[f"{kind} for {name}"] = room
    return values


def code_of(name: str) -> str:
    """The quota's code: AWS's where it is known, else one made from the name."""
    return CODES.get(name) or f"L-{hashlib.sha256(name.encode()).hexdigest()[:8].upper()}"


@functools.cache
def _names() -> dict[str, str]:
    """The names of the quotas by their codes."""
    return {code_of(name): name for name in defaults()}


def check(context: Context, usage: str, instances: Mapping[str, int]) -> None:
    """Raise ResourceLimitExceeded if the account can't have so many more instances in use.

    Hold `platform.state.lock` from here until the new resource is in its table.
    """
    used = in_use(context, usage)
    wanted = [(f"{kind} for {usage}", used[kind], count) for kind, count in instances.items()]
    wanted.append((USAGES[usage].total, used.total(), sum(instances.values())))
    for name, utilization, delta in wanted:
        limit = _value(context, name)
        if utilization + delta > limit:
            raise AWSError(
                "ResourceLimitExceeded",
                f"The account-level service limit '{name}' is {limit:.0f} Instances, with current "
                f"utilization of {utilization} Instances and a request delta of {delta} "
                "Instances. Please use AWS Service Quotas to request an increase for this quota. "
                "If AWS Service Quotas is not available, contact AWS support to request an "
                "increase for this quota.",
            )


def in_use(context: Context, usage: str) -> "Counter[str]":
    """How many instances of each type the account uses in the region."""
    used: Counter[str] = Counter()
    if usage == TRAINING:
        for job in context.table("training-job").values():
            if job.data["TrainingJobStatus"] in ("InProgress", "Stopping"):
                used.update(of_job(job.data["ResourceConfig"]))
    if usage == PROCESSING:
        for job in context.table("processing-job").values():
            if job.data["ProcessingJobStatus"] in UNDER_WAY:
                used.update(of_job(job.data["ProcessingResources"]["ClusterConfig"]))
    if usage == TRANSFORM:
        for job in context.table("transform-job").values():
            if job.data["TransformJobStatus"] in UNDER_WAY:
                used.update(of_job(job.data["TransformResources"]))
    if usage == ENDPOINT:
        for endpoint in context.table("endpoint").values():
            used.update(endpoint.runtime.instance_types)
    return used


def of_job(resources: Mapping[str, Any]) -> "Counter[str]":
    """The instances of a training job's ResourceConfig or of its like for other jobs."""
    count: Counter[str] = Counter()
    for group in resources.get("InstanceGroups") or [resources]:
        if "InstanceType" in group:
            count[group["InstanceType"]] += group.get("InstanceCount", 1)
    return count


class OfAnotherService(Exception):
    """The request is about the quotas of another service than SageMaker."""


@operation
def list_service_quotas(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List SageMaker's quotas with the values that hold in this account."""
    _only_sagemaker(request)
    wanted = request.get("QuotaCode")
    rows = [
        _quota(context, name, _value(context, name))
        for code, name in sorted(_names().items())
        if wanted in (None, code)
    ]
    return _page(request, rows, "Quotas")


@operation
def get_service_quota(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show one of SageMaker's quotas with the value that holds in this account."""
    name = _find(request)
    return {"Quota": _quota(context, name, _value(context, name))}


@operation
def list_aws_default_service_quotas(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List SageMaker's quotas with the values of a new account."""
    _only_sagemaker(request)
    rows = [_default(context, name) for _, name in sorted(_names().items())]
    return _page(request, rows, "Quotas")


@operation
def get_aws_default_service_quota(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show one of SageMaker's quotas with the value of a new account."""
    return {"Quota": _default(context, _find(request))}


@operation
def request_service_quota_increase(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Raise one of SageMaker's quotas; granted at once."""
    name, wanted = _find(request), request["DesiredValue"]
    with context.platform.state.lock:
        if wanted <= _value(context, name):
            raise AWSError(
                "IllegalArgumentException",
                "You must provide a quota value greater than the current quota value.",
            )
        identity, moment = uuid.uuid4().hex, now()
        root = f"arn:{context.partition}:iam::{context.account}:root"
        data = {
            **SERVICE,
            "Id": identity,
            "QuotaCode": code_of(name),
            "QuotaName": name,
            "DesiredValue": wanted,
            "Status": "APPROVED",
            "Created": moment,
            "LastUpdated": moment,
            "Requester": json.dumps({"accountId": context.account, "callerArn": root}),
            "QuotaArn": _arn(context, name, context.account),
            "GlobalQuota": False,
            "Unit": "None",
            "QuotaRequestedAtLevel": "ACCOUNT",
        }
        arn = f"{data['QuotaArn']}/{identity}"
        _requests(context)[identity] = Resource(identity, arn, data)
    return {"RequestedQuota": data}


@operation
def get_requested_service_quota_change(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show a request for an increase."""
    found = _requests(context).get(request["RequestId"])
    if found is None:
        raise OfAnotherService
    return {"RequestedQuota": found.data}


@operation
def list_requested_service_quota_change_history(
    context: Context, request: dict[str, Any]
) -> dict[str, Any]:
    """List the requests for increases of SageMaker's quotas."""
    if request.get("ServiceCode", "sagemaker") != "sagemaker":
        raise OfAnotherService
    return _history(context, request)


@operation
def list_requested_service_quota_change_history_by_quota(
    context: Context, request: dict[str, Any]
) -> dict[str, Any]:
    """List the requests for increases of one quota."""
    _find(request)
    return _history(context, request)


def _requests(context: Context) -> dict[str, Resource]:
    return context.table("service-quota-request")


def _value(context: Context, name: str) -> float:
    requests = list(_requests(context).values())
    asked = [found.data for found in requests if found.data["QuotaName"] == name]
    return asked[-1]["DesiredValue"] if asked else defaults()[name]


def _find(request: dict[str, Any]) -> str:
    _only_sagemaker(request)
    name = _names().get(request["QuotaCode"])
    if name is None:
        raise AWSError(
            "NoSuchResourceException",
            f"The request failed because the quota {request['QuotaCode']} does not exist for "
            "the service sagemaker.",
        )
    return name


def _only_sagemaker(request: dict[str, Any]) -> None:
    if request["ServiceCode"] != "sagemaker":
        raise OfAnotherService


def _arn(context: Context, name: str, account: str) -> str:
    place = f"{context.partition}:servicequotas:{context.region}:{account}"
    return f"arn:{place}:sagemaker/{code_of(name)}"


def _quota(context: Context, name: str, value: float, account: str | None = None) -> dict[str, Any]:
    return {
        **SERVICE,
        "QuotaArn": _arn(context, name, context.account if account is None else account),
        "QuotaCode": code_of(name),
        "QuotaName": name,
        "Value": value,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
        "QuotaAppliedAtLevel": "ACCOUNT",
    }


def _default(context: Context, name: str) -> dict[str, Any]:
    return _quota(context, name, defaults()[name], account="")


def _history(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    with context.platform.state.lock:
        rows = [
            found.data
            for found in reversed(_requests(context).values())
            if request.get("Status", "APPROVED") == "APPROVED"
            and request.get("QuotaCode") in (None, found.data["QuotaCode"])
        ]
    return _page(request, rows, "RequestedQuotas")


def _page(request: dict[str, Any], rows: list[dict[str, Any]], member: str) -> dict[str, Any]:
    token = request.get("NextToken", "0")
    if not POSITION.fullmatch(token):
        raise AWSError("InvalidPaginationTokenException", "Invalid input was provided.")
    end = int(token) + request.get("MaxResults", PAGE)
    answer: dict[str, Any] = {member: rows[int(token) : end]}
    if end < len(rows):
        answer["NextToken"] = f"{end}"
    return answer
