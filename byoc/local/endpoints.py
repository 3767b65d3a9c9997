"""Endpoints: created, updated, scaled and deleted; `deployment` does what that means.

Source: API Reference, CreateEndpoint, UpdateEndpoint, UpdateEndpointWeightsAndCapacities,
DeleteEndpoint, DescribeEndpoint.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from byoc.local import events, hosting, quotas, rollout, serverless
from byoc.local.deployment import Deployment
from byoc.local.errors import AWSError, not_implemented, validation
from byoc.local.hosting import ENDPOINT, ENDPOINT_CONFIG, MODEL
from byoc.local.instances import STOP_GRACE
from byoc.local.models import container_of
from byoc.local.service import Context, operation
from byoc.local.snapshot import RESUME
from byoc.local.state import Resource, now
from byoc.local.variants import Plan, count_types, pending

IN_PROGRESS = ("Creating", "Updating", "Deleting")
SCALABLE_TARGET = "scalable-target"  # the table of what is scaled automatically
ON_DELETE: list[Callable[[Context, Resource], None]] = []  # what else ends with an endpoint


@operation
def create_endpoint(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Start the image's `serve` once for each instance of each variant; in service when every one
    answers `/ping` with 200."""
    config = hosting.find(context, ENDPOINT_CONFIG, request["EndpointConfigName"])
    plans = _plans(context, config)
    deployment_config = request.get("DeploymentConfig")
    rollout.parse(context, "CreateEndpoint", deployment_config, [plan.count for plan in plans])
    data = _pending(config.name, plans) | {
        "EndpointConfigName": config.name,
        "EndpointStatus": "Creating",
        "LastModifiedTime": now(),
        **_kept(deployment_config),
        **_async_config(config),
    }
    with context.platform.state.lock:
        quotas.check(context, quotas.ENDPOINT, count_types(plans))
        endpoint = hosting.create(context, request, ENDPOINT, data)
        events.changed("endpoint", endpoint.arn, endpoint.data)
        endpoint.runtime = Deployment(context, endpoint)
        endpoint.runtime.create(plans)
    return {"EndpointArn": endpoint.arn}


@operation
def describe_endpoint(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show the endpoint with its status, variants, images, data capture and failure reason."""
    with context.platform.state.lock:
        endpoint = hosting.find(context, ENDPOINT, request["EndpointName"])
        return endpoint.data | endpoint.runtime.captured


@operation
def list_endpoints(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List the endpoints, filtered and sorted."""
    return hosting.listing(context, request, ENDPOINT)


@operation
def update_endpoint(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Start new containers, shift the traffic to them at once, by canary or in steps, or back if an
    alarm fires, and stop the others; no request fails. Refuse rolling deployments.

    What is captured always comes with the new configuration: to retain it is "not currently
    supported". Source: API Reference, VariantProperty.
    """
    with context.platform.state.lock:
        endpoint = _changeable(context, request["EndpointName"])
        config = hosting.find(context, ENDPOINT_CONFIG, request["EndpointConfigName"])
        if ("AsyncInferenceConfig" in config.data) != ("AsyncInferenceConfig" in endpoint.data):
            raise not_implemented("UpdateEndpoint from or to asynchronous inference")
        plans = _plans(context, config)
        _check_serverless(endpoint, plans)
        if request.get("RetainAllVariantProperties", False):
            excluded = request.get("ExcludeRetainedVariantProperties", [])
            plans = _retained(plans, endpoint, {p["VariantPropertyType"] for p in excluded})
        _check_scaled(context, endpoint, plans)
        deployment_config = request.get("DeploymentConfig")
        if deployment_config is None and request.get("RetainDeploymentConfig", False):
            deployment_config = endpoint.data.get("LastDeploymentConfig")
        counts = [plan.count for plan in plans]
        policy = rollout.parse(context, "UpdateEndpoint", deployment_config, counts)
        quotas.check(context, quotas.ENDPOINT, count_types(plans))  # both stand for a while
        endpoint.data |= _pending(config.name, plans)
        _updating(endpoint)
        changes = {
            "EndpointConfigName": config.name,
            **_kept(deployment_config),
            **_async_config(config),
        }
        endpoint.runtime.update(plans, changes, policy)
    return {"EndpointArn": endpoint.arn}


@operation
def update_endpoint_weights_and_capacities(
    context: Context, request: dict[str, Any]
) -> dict[str, Any]:
    """Change the weights and the number of containers of variants in service."""
    with context.platform.state.lock:
        endpoint = _changeable(context, request["EndpointName"])
        plans = {name: v.plan for name, v in endpoint.runtime.variants.items()}
        seen: set[str] = set()
        for wanted in request["DesiredWeightsAndCapacities"]:
            name = wanted["VariantName"]
            _check_wanted(endpoint, wanted, seen)
            plans[name] = replace(
                plans[name],
                weight=wanted.get("DesiredWeight", plans[name].weight),
                count=wanted.get("DesiredInstanceCount", plans[name].count),
            )
        added = endpoint.runtime.added(list(plans.values()))
        quotas.check(context, quotas.ENDPOINT, count_types(added))
        summaries = {s["VariantName"]: s for s in endpoint.data["ProductionVariants"]}
        endpoint.data["ProductionVariants"] = [
            summaries[name]
            | {
                "DesiredWeight": plan.weight,
                "DesiredInstanceCount": plan.count,
                "VariantStatus": [{"Status": "Updating", "StartTime": now()}],
            }
            for name, plan in plans.items()
        ]
        _updating(endpoint)
        endpoint.runtime.rescale(list(plans.values()))
    return {"EndpointArn": endpoint.arn}


@operation
def delete_endpoint(context: Context, request: dict[str, Any]) -> None:
    """Stop all containers and delete the endpoint; refused while it is created, updated or deleted.

    As users of AWS report: aws/amazon-sagemaker-examples#3432.
    """
    with context.platform.state.lock:
        endpoint = hosting.find(context, ENDPOINT, request["EndpointName"])
        _settled(endpoint)
        endpoint.data |= {"EndpointStatus": "Deleting", "LastModifiedTime": now()}
        events.changed("endpoint", endpoint.arn, endpoint.data)
        for end in ON_DELETE:
            end(context, endpoint)

    def delete() -> None:
        endpoint.runtime.stop(min(STOP_GRACE, context.platform.options.stop_grace))
        context.table(ENDPOINT.table).pop(endpoint.name, None)

    threading.Thread(target=delete, daemon=True).start()


def resume(context: Context, endpoint: Resource) -> None:
    """Bring an endpoint into service again from its data, after a restart of the local AWS.

    Its configuration and models must still be there, or else it fails and says so.
    """
    data = endpoint.data
    if data["EndpointStatus"] == "Deleting":
        del context.table(ENDPOINT.table)[endpoint.name]
        return
    endpoint.runtime = Deployment(context, endpoint)
    if data["EndpointStatus"] == "Failed":
        return
    try:
        config = hosting.find(context, ENDPOINT_CONFIG, data["EndpointConfigName"])
        plans = _retained(_plans(context, config), endpoint, set())
    except AWSError as error:
        data |= {"EndpointStatus": "Failed", "FailureReason": error.message}
        data |= {"LastModifiedTime": now()}
        return
    with context.platform.state.lock:
        data |= {"EndpointStatus": "Creating", "LastModifiedTime": now()}
        data |= _pending(config.name, plans)
        endpoint.runtime.create(plans)


RESUME[ENDPOINT.table] = resume


def _plans(context: Context, config: Resource) -> list[Plan]:
    """The variants of a configuration; raises ValidationException when a model is missing."""
    plans = []
    shadows = config.data.get("ShadowProductionVariants", [])
    for variant in config.data["ProductionVariants"] + shadows:
        model = hosting.find(context, MODEL, variant["ModelName"]).data
        plans.append(
            Plan(
                container_of(model),
                model.get("ExecutionRoleArn"),
                variant,
                bool(model["EnableNetworkIsolation"] or config.data.get("EnableNetworkIsolation")),
                variant["InitialVariantWeight"],
                serverless.count(variant)
                if "ServerlessConfig" in variant
                else variant["InitialInstanceCount"],
                config.data.get("DataCaptureConfig"),
                variant in shadows,
            )
        )
    return plans


def _async_config(config: Resource) -> dict[str, Any]:
    """The member of DescribeEndpoint that an asynchronous endpoint has."""
    return {m: config.data[m] for m in ("AsyncInferenceConfig",) if m in config.data}


def _retained(plans: list[Plan], endpoint: Resource, excluded: set[str]) -> list[Plan]:
    """Plans with the weights and counts that the endpoint has. Source: UpdateEndpoint."""
    members = ("ProductionVariants", "ShadowProductionVariants")
    present = {s["VariantName"]: s for m in members for s in endpoint.data.get(m, [])}
    for i, plan in enumerate(plans):
        summary = present.get(plan.name, {})
        if "DesiredWeight" in summary and "DesiredWeight" not in excluded:
            plan = replace(plan, weight=summary["DesiredWeight"])
        if "DesiredInstanceCount" in summary and "DesiredInstanceCount" not in excluded:
            plan = replace(plan, count=summary["DesiredInstanceCount"])
        plans[i] = plan
    return plans


def _pending(config: str, plans: list[Plan]) -> dict[str, Any]:
    """What DescribeEndpoint shows while a configuration is being deployed."""
    variants: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for plan in plans:
        variants[plan.shadow].append(pending(plan, now()))
    summary = {"EndpointConfigName": config, "ProductionVariants": variants[False]}
    if variants[True]:
        summary["ShadowProductionVariants"] = variants[True]
    return {"PendingDeploymentSummary": {**summary, "StartTime": now()}}


def _changeable(context: Context, name: str) -> Resource:
    """The endpoint, if it can be updated now. Source: API Reference, DescribeEndpoint: a failed
    endpoint can only be deleted."""
    endpoint = hosting.find(context, ENDPOINT, name)
    _settled(endpoint)
    if endpoint.data["EndpointStatus"] == "Failed":
        raise validation(f'Cannot update failed endpoint "{endpoint.arn}": it can only be deleted.')
    # AWS needs the configuration in use too: hashicorp/terraform-provider-aws#40048 and #42843
    hosting.find(context, ENDPOINT_CONFIG, endpoint.data["EndpointConfigName"])
    return endpoint


def _check_scaled(context: Context, endpoint: Resource, plans: list[Plan]) -> None:
    """Raise ValidationException when the type of a variant's instances changes while it is scaled
    automatically. Source: Developer Guide, endpoint-scaling. The words are ours."""
    for plan in plans:
        name = f"endpoint/{endpoint.name}/variant/{plan.name}"
        present = endpoint.runtime.variants.get(plan.name)
        if name not in context.table(SCALABLE_TARGET) or present is None:
            continue
        if present.plan.settings["InstanceType"] != plan.settings.get("InstanceType"):
            raise validation(
                f"Cannot change the instance type of variant {plan.name}: it is a scalable target. "
                "Deregister it with DeregisterScalableTarget first."
            )


def _check_serverless(endpoint: Resource, plans: list[Plan]) -> None:
    """Raise ValidationException when an endpoint with instances is to become serverless; the other
    way is open. Source: Developer Guide, serverless-endpoints. The words are ours."""
    present = [variant.plan for variant in endpoint.runtime.variants.values()]
    if any(plan.serverless for plan in plans) and not any(plan.serverless for plan in present):
        raise validation(
            f'Cannot update endpoint "{endpoint.arn}": an endpoint with instances can\'t be '
            "converted to a serverless endpoint."
        )


def _settled(endpoint: Resource) -> None:
    """Raise ValidationException, in the words that AWS's users quote, while it is in progress."""
    if endpoint.data["EndpointStatus"] in IN_PROGRESS:
        raise validation(f'Cannot update in-progress endpoint "{endpoint.arn}".')


def _updating(endpoint: Resource) -> None:
    endpoint.data.pop("FailureReason", None)
    endpoint.data |= {"EndpointStatus": "Updating", "LastModifiedTime": now()}
    events.changed("endpoint", endpoint.arn, endpoint.data)


def _check_wanted(endpoint: Resource, wanted: dict[str, Any], seen: set[str]) -> None:
    name = wanted["VariantName"]
    if "ServerlessUpdateConfig" in wanted:
        raise not_implemented("UpdateEndpointWeightsAndCapacities with ServerlessUpdateConfig")
    if name in seen:
        raise validation(f'The variant name "{name}" was non-unique within the request.')
    seen.add(name)
    shadow = endpoint.runtime.shadow
    if shadow is not None and name == shadow.variant.plan.name:
        raise not_implemented("UpdateEndpointWeightsAndCapacities of a shadow variant")
    if name in endpoint.runtime.variants and endpoint.runtime.variants[name].plan.serverless:
        raise not_implemented("UpdateEndpointWeightsAndCapacities of a serverless variant")
    if name not in endpoint.runtime.variants:
        raise validation(
            f'The variant name(s) "{name}" is/are not present within endpoint configuration '
            f'"{endpoint.data["EndpointConfigName"]}".'
        )
    if wanted.get("DesiredInstanceCount") == 0 and endpoint.runtime.backlog is None:
        raise validation(f'The desired instance count of variant "{name}" must be at least 1.')


def _kept(config: dict[str, Any] | None) -> dict[str, Any]:
    """What DescribeEndpoint shows of a DeploymentConfig."""
    return {} if config is None else {"LastDeploymentConfig": config}
