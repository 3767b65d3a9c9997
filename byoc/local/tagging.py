"""The Resource Groups Tagging API over our own resources and moto's of the other services.

Source: API Reference (Resource Groups Tagging API), GetResources, TagResources, UntagResources.
"""

from collections.abc import Callable, Iterator
from typing import Any

from moto.core.resource_tagging import (
    TaggableResourcesMixin,
    TaggedResource,
    iter_taggable_backends,
    make_tag_matcher,
    match_resource_type,
)
from moto.ecr.models import ecr_backends
from moto.utilities.utils import get_partition

from byoc.local import tags
from byoc.local.errors import AWSError
from byoc.local.service import Context, operation_of
from byoc.local.state import POSITION, Resource

PAGE = 50  # resources of one answer of GetResources when ResourcesPerPage is absent
KEYS = 1000  # tag keys or values of one answer

operation = operation_of("resourcegroupstaggingapi")


@operation
def get_resources(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Find resources of SageMaker and of the services of moto by tag, type or ARN."""
    arns, kinds = request.get("ResourceARNList"), request.get("ResourceTypeFilters")
    if arns and (kinds or request.get("TagFilters")):
        raise _invalid("ResourceARNList cannot be combined with other filters.")
    if not 1 <= request.get("ResourcesPerPage", PAGE) <= 100:
        raise _invalid("ResourcesPerPage must be between 1 and 100.")
    filters = request.get("TagFilters", [])
    if not all("Key" in tag for tag in filters):
        raise _invalid("A tag filter needs a Key.")
    matches = make_tag_matcher(filters)
    rows = [
        {
            "ResourceARN": found.arn,
            "Tags": [{"Key": k, "Value": v} for k, v in found.tags.items()],
        }
        for found in tagged(context)
        if match_resource_type(found.resource_type, kinds)
        and (not arns or found.arn in arns)
        and matches(found.tags)
    ]
    return _page(request, rows, "ResourceTagMappingList", request.get("ResourcesPerPage", PAGE))


@operation
def get_tag_keys(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List the tag keys in use."""
    keys = sorted({key for found in tagged(context) for key in found.tags})
    return _page(request, keys, "TagKeys", KEYS)


@operation
def get_tag_values(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List the values of a tag key."""
    key = request["Key"]
    values = sorted({found.tags[key] for found in tagged(context) if key in found.tags})
    return _page(request, values, "TagValues", KEYS)


@operation
def tag_resources(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Tag resources of several services; what can't be tagged here is named in the answer."""
    wanted = request["Tags"]
    return _on_each(
        context,
        request,
        lambda resource: tags.add(resource, wanted),
        lambda backend, arn: backend.tag_resource(arn, wanted),
    )


@operation
def untag_resources(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Remove tags of resources of several services."""
    keys = request["TagKeys"]
    return _on_each(
        context,
        request,
        lambda resource: tags.remove(resource, keys),
        lambda backend, arn: backend.untag_resource(arn, keys),
    )


def tagged(context: Context) -> Iterator[TaggedResource]:
    """Everything of the account and region that has tags."""
    for account, region, kind, resource in context.platform.state.everything():
        if (account, region) == (context.account, context.region) and resource.tags:
            service = resource.arn.split(":")[2]
            yield TaggedResource(resource.arn, dict(resource.tags), f"{service}:{kind}")
    for backend in _backends(context):
        yield from (found for found in backend.iter_tagged_resources() if found.tags)


def _backends(context: Context) -> Iterator[TaggableResourcesMixin]:
    """moto's services that have tags; its SageMaker is not the one here."""
    yield _Repositories(context)
    for backend in iter_taggable_backends(context.account, context.region):
        if backend.SERVICE_NAMESPACE != "sagemaker":
            yield backend


class _Repositories(TaggableResourcesMixin):
    """ECR's repositories, which moto leaves out."""

    SERVICE_NAMESPACE = "ecr"

    def __init__(self, context: Context) -> None:
        self.partition = get_partition(context.region)
        self._ecr = ecr_backends[context.account][context.region]

    def iter_tagged_resources(self) -> Iterator[TaggedResource]:
        for repository in list(self._ecr.repositories.values()):
            found = self._ecr.tagger.get_tag_dict_for_resource(repository.arn)
            yield TaggedResource(repository.arn, found, "ecr:repository")

    def tag_resource(self, arn: str, tags: dict[str, str]) -> None:
        self._ecr.tag_resource(arn, [{"Key": k, "Value": v} for k, v in tags.items()])

    def untag_resource(self, arn: str, tag_keys: list[str]) -> None:
        self._ecr.untag_resource(arn, tag_keys)


def _on_each(
    context: Context,
    request: dict[str, Any],
    ours: Callable[[Resource], None],
    motos: Callable[[TaggableResourcesMixin, str], None],
) -> dict[str, Any]:
    """Do it to each ARN of the request; a failure of one does not stop the others."""
    failed = {}
    for arn in request["ResourceARNList"]:
        try:
            if arn.split(":")[2:3] in (["sagemaker"], ["application-autoscaling"]):
                with context.platform.state.lock:
                    ours(_find(context, arn))
            else:
                motos(_owner(context, arn), arn)
        except AWSError as error:
            failed[arn] = _failure("InvalidParameterException", error.message)
        except NotImplementedError:
            failed[arn] = _failure("InternalServiceException", "The local AWS can't tag this.")
        except Exception as error:  # whatever moto raises for what is not there
            failed[arn] = _failure("InvalidParameterException", f"{error}")
    return {"FailedResourcesMap": failed}


def _failure(code: str, message: str) -> dict[str, Any]:
    status = 500 if code == "InternalServiceException" else 400
    return {"StatusCode": status, "ErrorCode": code, "ErrorMessage": message}


def _find(context: Context, arn: str) -> Resource:
    resource = context.platform.state.by_arn(arn)
    if resource is None or f":{context.region}:{context.account}:" not in arn:
        raise _invalid(f"Could not find resource {arn}.")
    return resource


def _owner(context: Context, arn: str) -> TaggableResourcesMixin:
    found = next((b for b in _backends(context) if b.owns_arn(arn)), None)
    if found is None:
        raise _invalid(f"Could not find resource {arn}.")
    return found


def _invalid(message: str) -> AWSError:
    return AWSError("InvalidParameterException", message)


def _page(request: dict[str, Any], rows: list[Any], member: str, size: int) -> dict[str, Any]:
    """One page; an empty token means that it is the last."""
    token = request.get("PaginationToken") or "0"
    if not POSITION.fullmatch(token):
        raise AWSError("PaginationTokenExpiredException", "The PaginationToken is not valid.")
    end = int(token) + size
    return {
        member: rows[int(token) : end],
        "PaginationToken": f"{end}" if end < len(rows) else "",
    }
