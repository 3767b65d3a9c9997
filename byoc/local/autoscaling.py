"""Application Auto Scaling of endpoints' variants; `scaler` does it. Other services are moto's.

Source: API Reference of Application Auto Scaling; Developer Guide, endpoint-auto-scaling.
"""

import re
import uuid
from collections.abc import Iterable
from typing import Any

from byoc.local import endpoints, scaling_schedule, tags, tracking
from byoc.local.errors import AWSError, not_implemented, validation
from byoc.local.hosting import ENDPOINT
from byoc.local.quotas import OfAnotherService
from byoc.local.scaler import ACTION, ACTIVITY, POLICY, TARGET, Scaler
from byoc.local.service import Context, operation_of
from byoc.local.snapshot import RESUME
from byoc.local.state import POSITION, Resource, now

DIMENSION = "sagemaker:variant:DesiredInstanceCount"
RESOURCE = re.compile(r"endpoint/([^/]+)/variant/([^/]+)")
PAGE = 50  # entries of an answer at most. Source: API Reference, MaxResults
KEPT = ("ServiceNamespace", "ResourceId", "ScalableDimension")
ROLE = (
    "role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/"
    "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
)

operation = operation_of("application-autoscaling")


@operation
def register_scalable_target(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Let a variant's number of containers be scaled, and bring it within the bounds at once."""
    _only_variants(request, "RegisterScalableTarget")
    name, bounds = request["ResourceId"], ("MinCapacity", "MaxCapacity", "SuspendedState")
    with context.platform.state.lock:
        _check_variant(context, name)
        target = context.table(TARGET).get(name)
        data = dict(target.data) if target else _new_target(context, request)
        data |= {member: request[member] for member in bounds if member in request}
        _check_bounds(data)
        if target is None:
            place = f"{context.region}:{context.account}:scalable-target/{uuid.uuid4().hex}"
            arn = f"arn:{context.partition}:application-autoscaling:{place}"
            tags.check(request.get("Tags", {}))
            target = Resource(name, arn, data, dict(request.get("Tags", {})))
            context.table(TARGET)[name] = target
            _start(context, target)
        elif "Tags" in request:
            raise validation("To tag a scalable target that exists, use the TagResource operation.")
        target.data |= data
        target.runtime.adjust()
    return {"ScalableTargetARN": target.arn}


@operation
def deregister_scalable_target(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Scale the variant no more; its policies, scheduled actions and alarms go with it."""
    _only_variants(request, "DeregisterScalableTarget")
    with context.platform.state.lock:
        _remove(context, _target(context, request))
    return {}


@operation
def describe_scalable_targets(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show the variants that can be scaled, with their bounds."""
    wanted = request.get("ResourceIds")
    rows = [
        row | {"ScalableTargetARN": target.arn}
        for target, row in _rows(context, request, TARGET)
        if not wanted or target.name in wanted
    ]
    return _page(request, rows, "ScalableTargets")


@operation
def put_scaling_policy(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Scale a variant's containers so that a metric stays near its target; refuse step and
    predictive scaling, and metric mathematics."""
    _only_variants(request, "PutScalingPolicy")
    with context.platform.state.lock:
        _target(context, request)
        key = f"{request['ResourceId']} {request['PolicyName']}"
        policy = context.table(POLICY).get(key)
        kind = request.get("PolicyType", "TargetTrackingScaling" if policy else "StepScaling")
        if kind != "TargetTrackingScaling":
            raise not_implemented(f"PutScalingPolicy with PolicyType {kind} for SageMaker")
        member = "TargetTrackingScalingPolicyConfiguration"
        config = request.get(member, policy.data[member] if policy else None)
        _check_tracking(config)
        if policy is None:
            known = {kept: request[kept] for kept in ("PolicyName", *KEPT)}
            data = known | {"PolicyType": kind, "CreationTime": now()}
            policy = Resource(key, _arn(context, request, "scalingPolicy", "policyName"), data)
        policy.data[member] = config
        policy.data["Alarms"] = tracking.put_alarms(context, policy)
        context.table(POLICY)[key] = policy
        return {"PolicyARN": policy.arn, "Alarms": policy.data["Alarms"]}


@operation
def describe_scaling_policies(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show the policies with their alarms."""
    wanted = request.get("PolicyNames")
    rows = [
        row | {"PolicyARN": policy.arn}
        for policy, row in _rows(context, request, POLICY)
        if not wanted or row["PolicyName"] in wanted
    ]
    return _page(request, rows, "ScalingPolicies")


@operation
def delete_scaling_policy(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Delete the policy and its alarms; the containers stay as they are."""
    _only_variants(request, "DeleteScalingPolicy")
    with context.platform.state.lock:
        key = f"{request['ResourceId']} {request['PolicyName']}"
        policy = context.table(POLICY).pop(key, None)
        if policy is None:
            raise _missing("scaling policy", request, f"policy name: {request['PolicyName']}")
        tracking.delete_alarms(context, [a["AlarmName"] for a in policy.data["Alarms"]])
    return {}


@operation
def put_scheduled_action(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Set a variant's bounds at a time, at a rate or by cron; refuse cron's L, W and #."""
    _only_variants(request, "PutScheduledAction")
    with context.platform.state.lock:
        target = _target(context, request)
        key = f"{request['ResourceId']} {request['ScheduledActionName']}"
        action = context.table(ACTION).get(key)
        data = {"CreationTime": now(), **(action.data if action else {}), **request}
        if "Schedule" not in data:
            raise validation("Schedule is required for a new scheduled action.")
        scaling_schedule.parse(data["Schedule"], data.get("Timezone", "UTC"), data["CreationTime"])
        if not data.get("ScalableTargetAction"):
            raise validation("Either MinCapacity or MaxCapacity must be given.")
        _check_bounds(target.data | data["ScalableTargetAction"])
        arn = _arn(context, request, "scheduledAction", "scheduledActionName")
        context.table(ACTION)[key] = Resource(key, action.arn if action else arn, data)
    return {}


@operation
def describe_scheduled_actions(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show the scheduled actions."""
    wanted = request.get("ScheduledActionNames")
    rows = [
        row | {"ScheduledActionARN": action.arn}
        for action, row in _rows(context, request, ACTION)
        if not wanted or row["ScheduledActionName"] in wanted
    ]
    return _page(request, rows, "ScheduledActions")


@operation
def delete_scheduled_action(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Delete the scheduled action; the bounds stay as they are."""
    _only_variants(request, "DeleteScheduledAction")
    name = request["ScheduledActionName"]
    with context.platform.state.lock:
        if context.table(ACTION).pop(f"{request['ResourceId']} {name}", None) is None:
            raise _missing("scheduled action", request, f"scheduled action name: {name}")
    return {}


@operation
def describe_scaling_activities(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show what was scaled, when and why, the latest first; refuse those that were not scaled."""
    if request.get("IncludeNotScaledActivities", False):
        raise not_implemented("DescribeScalingActivities with IncludeNotScaledActivities")
    rows = [row for _, row in _rows(context, request, ACTIVITY)]
    rows.sort(key=lambda row: row["StartTime"], reverse=True)
    return _page(request, rows, "ScalingActivities")


@operation
def list_tags_for_resource(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show the tags of a scalable target."""
    with context.platform.state.lock:
        return {"Tags": dict(_tagged(context, request).tags)}


@operation
def tag_resource(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Add or change tags of a scalable target."""
    with context.platform.state.lock:
        tags.add(_tagged(context, request), request["Tags"])
    return {}


@operation
def untag_resource(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Remove tags of a scalable target."""
    with context.platform.state.lock:
        tags.remove(_tagged(context, request), request["TagKeys"])
    return {}


def _start(context: Context, target: Resource) -> None:
    target.runtime = Scaler(context, target)
    target.runtime.start()


def _interrupted(context: Context, activity: Resource) -> None:
    if activity.data["StatusCode"] == "InProgress":
        said = "The local AWS was stopped while the activity was in progress."
        activity.data |= {"StatusCode": "Failed", "StatusMessage": said, "EndTime": now()}


RESUME[TARGET] = _start
RESUME[ACTIVITY] = _interrupted


def _with_the_endpoint(context: Context, endpoint: Resource) -> None:
    """Source: Developer Guide, endpoint-delete-with-scaling."""
    for target in list(context.table(TARGET).values()):
        if target.name.split("/")[1] == endpoint.name:
            _remove(context, target)


endpoints.ON_DELETE.append(_with_the_endpoint)


def _remove(context: Context, target: Resource) -> None:
    """Take the target away with all that hangs on it. Source: DeregisterScalableTarget."""
    target.runtime.end()
    for kind in (POLICY, ACTION):
        for key, resource in list(context.table(kind).items()):
            if resource.data["ResourceId"] == target.name:
                alarms = [a["AlarmName"] for a in resource.data.get("Alarms", [])]
                tracking.delete_alarms(context, alarms)
                del context.table(kind)[key]
    del context.table(TARGET)[target.name]


def _only_variants(request: dict[str, Any], name: str) -> None:
    """Pass on what is not SageMaker's; refuse what is not a variant's number of instances."""
    if request["ServiceNamespace"] != "sagemaker":
        raise OfAnotherService
    if request["ScalableDimension"] != DIMENSION:
        if not request["ScalableDimension"].startswith("sagemaker:"):
            raise validation("Unsupported service namespace, resource type or scalable dimension")
        raise not_implemented(f"{name} with {request['ScalableDimension']}")
    if RESOURCE.fullmatch(request["ResourceId"]) is None:
        raise validation("Unsupported service namespace, resource type or scalable dimension")


def _check_variant(context: Context, name: str) -> None:
    """AWS does not say its words for this."""
    _, endpoint, _, variant = name.split("/")
    found = context.table(ENDPOINT.table).get(endpoint)
    summaries = found.data.get("ProductionVariants", []) if found else []
    summary = next((s for s in summaries if s["VariantName"] == variant), None)
    if summary is None:
        raise validation(f"SageMaker variant doesn't exist or is not in service: {name}")
    if "CurrentServerlessConfig" in summary:
        raise validation(f"The variant has no instances, it is serverless: {name}")


def _new_target(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    if not {"MinCapacity", "MaxCapacity"} <= set(request):
        raise validation(
            "MinCapacity and MaxCapacity must be specified when registering a new scalable target"
        )
    kinds = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")
    return {kept: request[kept] for kept in KEPT} | {
        "RoleARN": f"arn:{context.partition}:iam::{context.account}:{ROLE}",
        "CreationTime": now(),
        "SuspendedState": dict.fromkeys(kinds, False),
    }


def _check_bounds(data: dict[str, Any]) -> None:
    low, high = data["MinCapacity"], data["MaxCapacity"]
    if low == 0:
        raise not_implemented("MinCapacity 0: only endpoints with inference components reach it")
    if low < 0:
        raise validation("Minimum capacity must be at least 0")
    if low > high:
        raise validation("Maximum capacity cannot be less than minimum capacity")


def _check_tracking(config: dict[str, Any] | None) -> None:
    if config is None:
        raise validation("TargetTrackingScalingPolicyConfiguration is required.")
    predefined = config.get("PredefinedMetricSpecification")
    custom = config.get("CustomizedMetricSpecification")
    if (predefined is None) == (custom is None):
        raise validation("Exactly one of a predefined and a customized metric must be specified.")
    if (
        predefined is not None
        and (kind := predefined["PredefinedMetricType"]) != tracking.INVOCATIONS
    ):
        if kind.startswith("SageMaker"):
            raise not_implemented(f"PutScalingPolicy with {kind}")
        raise validation(f"The metric {kind} is not one of the namespace sagemaker.")
    if custom is not None:
        if "Metrics" in custom:
            raise not_implemented("PutScalingPolicy with metric mathematics")
        if not {"MetricName", "Namespace", "Statistic"} <= set(custom):
            raise validation("A customized metric needs MetricName, Namespace and Statistic.")
    if not config["TargetValue"] > 0:
        raise validation("TargetValue must be greater than 0.")
    if min(config.get("ScaleOutCooldown", 0), config.get("ScaleInCooldown", 0)) < 0:
        raise validation("Cooldowns must not be negative.")


def _target(context: Context, request: dict[str, Any]) -> Resource:
    target = context.table(TARGET).get(request["ResourceId"])
    if target is None:
        raise AWSError(
            "ObjectNotFoundException",
            f"No scalable target registered for {_words(request)}",
        )
    return target


def _missing(what: str, request: dict[str, Any], name: str) -> AWSError:
    return AWSError("ObjectNotFoundException", f"No {what} found for {_words(request)}, {name}")


def _words(request: dict[str, Any]) -> str:
    return (
        f"service namespace: {request['ServiceNamespace']}, resource ID: {request['ResourceId']}, "
        f"scalable dimension: {request['ScalableDimension']}"
    )


def _tagged(context: Context, request: dict[str, Any]) -> Resource:
    arn = request["ResourceARN"]
    for target in context.table(TARGET).values():
        if target.arn == arn:
            return target
    raise AWSError("ResourceNotFoundException", f"The resource {arn} was not found.")


def _arn(context: Context, request: dict[str, Any], kind: str, member: str) -> str:
    name = request[f"{member[0].upper()}{member[1:]}"]
    place = f"{context.region}:{context.account}:{kind}:{uuid.uuid4()}"
    where = f"resource/sagemaker/{request['ResourceId']}:{member}/{name}"
    return f"arn:{context.partition}:autoscaling:{place}:{where}"


def _rows(
    context: Context, request: dict[str, Any], kind: str
) -> Iterable[tuple[Resource, dict[str, Any]]]:
    """The resources of one kind that the request's resource and dimension mean."""
    if request["ServiceNamespace"] != "sagemaker":
        raise OfAnotherService

    def asked(member: str, value: str) -> bool:
        return request.get(member, value) == value

    with context.platform.state.lock:
        return [
            (resource, dict(resource.data))
            for resource in context.table(kind).values()
            if asked("ResourceId", resource.data["ResourceId"])
            and asked("ScalableDimension", resource.data["ScalableDimension"])
        ]


def _page(request: dict[str, Any], rows: list[dict[str, Any]], member: str) -> dict[str, Any]:
    token = request.get("NextToken", "0")
    if not POSITION.fullmatch(token):
        raise AWSError("InvalidNextTokenException", "The NextToken is not valid.")
    size = request.get("MaxResults", PAGE)
    if not 1 <= size <= PAGE:
        raise validation(f"MaxResults must be between 1 and {PAGE}.")
    end = int(token) + size
    answer: dict[str, Any] = {member: rows[int(token) : end]}
    if end < len(rows):
        answer["NextToken"] = f"{end}"
    return answer
