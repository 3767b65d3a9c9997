"""AddTags, DeleteTags and ListTags on every resource of the local SageMaker."""

from typing import Any

from byoc.local.errors import AWSError, validation
from byoc.local.service import Context, operation
from byoc.local.state import Resource, tags_of

MOST = 50  # tags of a resource. Source: Developer Guide, tagging; API Reference, TagList


@operation
def add_tags(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Add or change tags of a resource."""
    with context.platform.state.lock:
        resource = _find(context, request["ResourceArn"])
        add(resource, tags_of(request))
        return {"Tags": _as_list(resource.tags)}


@operation
def delete_tags(context: Context, request: dict[str, Any]) -> None:
    """Remove tags of a resource."""
    with context.platform.state.lock:
        resource = _find(context, request["ResourceArn"])
        remove(resource, request["TagKeys"])


@operation
def list_tags(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show the tags of a resource, all in one answer."""
    with context.platform.state.lock:
        return {"Tags": _as_list(_find(context, request["ResourceArn"]).tags)}


def check(tags: dict[str, str]) -> None:
    """Raise ValidationException for tags that no resource may have: reserved, or too many."""
    if any(key.lower().startswith("aws:") for key in tags):
        raise validation("aws: prefixed tag key names are not allowed for external use.")
    if len(tags) > MOST:
        raise AWSError("ResourceLimitExceeded", f"A resource can have at most {MOST} tags.")


def check_given(request: dict[str, Any]) -> None:
    """The same for the Tags of a request, whose keys must be unique too.

    Source of the words: aws/sagemaker-python-sdk#3608.
    """
    tags = tags_of(request)
    if len(tags) < len(request.get("Tags", [])):
        raise validation("Duplicate tag key")
    check(tags)


def add(resource: Resource, tags: dict[str, str]) -> None:
    """Add or change tags; all of them or none."""
    check(tags)
    check({**resource.tags, **tags})
    resource.tags.update(tags)


def remove(resource: Resource, keys: list[str]) -> None:
    """Remove the tags with these keys; one that is absent does no harm."""
    check(dict.fromkeys(keys, ""))
    for key in keys:
        resource.tags.pop(key, None)


def _find(context: Context, arn: str) -> Resource:
    resource = context.platform.state.by_arn(arn)
    if resource is None or f":{context.region}:{context.account}:" not in arn:
        raise validation(f"Could not find resource {arn}.")
    return resource


def _as_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
