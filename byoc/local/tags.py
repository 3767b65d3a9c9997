"""AddTags, DeleteTags and ListTags on every resource of the local SageMaker."""

from typing import Any

from byoc.local.errors import validation
from byoc.local.service import Context, operation
from byoc.local.state import Resource, tags_of


@operation
def add_tags(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    resource = _find(context, request["ResourceArn"])
    resource.tags.update(tags_of(request))
    return {"Tags": _as_list(resource)}


@operation
def delete_tags(context: Context, request: dict[str, Any]) -> None:
    resource = _find(context, request["ResourceArn"])
    for key in request["TagKeys"]:
        resource.tags.pop(key, None)


@operation
def list_tags(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    return {"Tags": _as_list(_find(context, request["ResourceArn"]))}


def _find(context: Context, arn: str) -> Resource:
    resource = context.platform.state.by_arn(arn)
    if resource is None or f":{context.account}:" not in arn:
        raise validation(f"Could not find resource {arn}.")
    return resource


def _as_list(resource: Resource) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in resource.tags.items()]
