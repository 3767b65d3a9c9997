"""The model registry: groups of model packages, versions in them, their approval.

Source: API Reference, CreateModelPackageGroup, CreateModelPackage, DescribeModelPackage,
UpdateModelPackage, ListModelPackages, DeleteModelPackage; Developer Guide, model-registry.
"""

import json
from typing import Any

from byoc.local import events, protocol
from byoc.local.errors import AWSError, not_implemented, validation
from byoc.local.references import check_key
from byoc.local.service import Context, operation
from byoc.local.state import Resource, now, page, tags_of, taken

GROUP, PACKAGE = "model-package-group", "model-package"
# What CreateModelPackage allows and this module does not do: refused, never ignored.
NOT_DONE = ("ManagedStorageType", "SourceAlgorithmSpecification", "ValidationSpecification")
UPDATED = (
    "ApprovalDescription",
    "InferenceSpecification",
    "ModelApprovalStatus",
    "ModelCard",
    "ModelLifeCycle",
    "ModelPackageRegistrationType",
    "SourceUri",
)


@operation
def create_model_package_group(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Make an empty group for the versions of a model; refuse managed configurations."""
    if "ManagedConfiguration" in request:
        raise not_implemented("CreateModelPackageGroup with ManagedConfiguration")
    name = request["ModelPackageGroupName"]
    arn = context.arn(GROUP, name)
    data = {
        "ModelPackageGroupName": name,
        "ModelPackageGroupArn": arn,
        "ModelPackageGroupDescription": request.get("ModelPackageGroupDescription"),
        "CreationTime": now(),
        "CreatedBy": {},
        "ModelPackageGroupStatus": "Completed",
        "_LastVersion": 0,  # a number is never given twice
    }
    with context.platform.state.lock:
        if taken(name, context.table(GROUP)):
            raise validation(f"Model Package Group already exists: {arn}")
        context.table(GROUP)[name] = Resource(name, arn, data, tags_of(request))
    return {"ModelPackageGroupArn": arn}


@operation
def describe_model_package_group(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show the group with its description and its status."""
    return dict(_group(context, request["ModelPackageGroupName"]).data)


@operation
def list_model_package_groups(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List the groups, filtered and sorted; those of other accounts are never among them."""
    with context.platform.state.lock:
        groups = list(context.table(GROUP).values())
        if request.get("CrossAccountFilterOption") == "CrossAccount":
            groups = []
        return page(
            request,
            groups,
            "ModelPackageGroupSummaryList",
            lambda group: group.data,
            name="ModelPackageGroupName",
            default_order="Ascending",
        )


@operation
def delete_model_package_group(context: Context, request: dict[str, Any]) -> None:
    """Delete a group that has no versions any more."""
    with context.platform.state.lock:
        group = _group(context, request["ModelPackageGroupName"])
        if any(_in(package, group.name) for package in context.table(PACKAGE).values()):
            raise AWSError(
                "ConflictException",
                f"ModelPackageGroup {group.arn} still has model packages: delete them first.",
            )
        del context.table(GROUP)[group.name]


@operation
def put_model_package_group_policy(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Keep a group's resource policy; other accounts do not reach the group here all the same."""
    group = _group(context, request["ModelPackageGroupName"])
    try:
        json.loads(request["ResourcePolicy"])
    except ValueError:
        raise validation("The resource policy is not valid JSON.") from None
    group.data["_ResourcePolicy"] = request["ResourcePolicy"]
    return {"ModelPackageGroupArn": group.arn}


@operation
def get_model_package_group_policy(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show the resource policy of a group."""
    group = _group(context, request["ModelPackageGroupName"])
    return {"ResourcePolicy": _policy(group)}


@operation
def delete_model_package_group_policy(context: Context, request: dict[str, Any]) -> None:
    """Remove a group's resource policy."""
    group = _group(context, request["ModelPackageGroupName"])
    _policy(group)
    del group.data["_ResourcePolicy"]


@operation
def create_model_package(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Register a model: the next version of its group, or a package of its own name. All members
    are kept; refuse validation jobs, algorithms as source and managed storage."""
    _check(context, request)
    with context.platform.state.lock:
        table, token = context.table(PACKAGE), request.get("ClientToken")
        for package in table.values():
            if token and package.data.get("_ClientToken") == token:
                return {"ModelPackageArn": package.arn}
        package = _versioned(context, request) if _of_group(request) else _named(context, request)
        table[package.name] = package
        events.changed(PACKAGE, package.arn, package.data)
    return {"ModelPackageArn": package.arn}


@operation
def describe_model_package(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show the package with everything it was registered with, and its approval."""
    with context.platform.state.lock:
        data = dict(find(context, request["ModelPackageName"]).data)
    if request.get("IncludedData") == "MetadataOnly":
        data.pop("ModelCard", None)
    return data


@operation
def batch_describe_model_package(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show several packages; those that are not there are named in the answer."""
    found, missing = {}, {}
    for arn in request["ModelPackageArnList"]:
        try:
            found[arn] = dict(find(context, arn).data)
        except AWSError as error:
            missing[arn] = {"ErrorCode": error.code, "ErrorResponse": error.message}
    return {"ModelPackageSummaries": found, "BatchDescribeModelPackageErrorMap": missing}


@operation
def list_model_packages(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List the versions of a group, or packages without a group, filtered and sorted."""
    named = request.get("ModelPackageGroupName")
    with context.platform.state.lock:
        group = _group(context, named).name if named else None
        kind = "Versioned" if group else request.get("ModelPackageType", "Unversioned")
        packages = [
            package
            for package in context.table(PACKAGE).values()
            if (group is None or _in(package, group))
            and kind in ("Both", "Versioned" if _of_group(package.data) else "Unversioned")
            and request.get("ModelApprovalStatus") in (None, package.data["ModelApprovalStatus"])
        ]
        answer = page(
            request,
            packages,
            "ModelPackageSummaryList",
            lambda package: dict(package.data),
            name="ModelPackageName",
            default_order="Ascending",
        )
    for row in answer["ModelPackageSummaryList"]:
        if _of_group(row):
            del row["ModelPackageName"]  # AWS names versions by group and number
    return answer


@operation
def update_model_package(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Change approval, metadata, model card and life cycle; each change is an event."""
    with context.platform.state.lock:
        package = find(context, request["ModelPackageArn"])
        data = package.data
        if "ModelApprovalStatus" in request and not _of_group(data):
            raise validation("Only versioned model packages have a ModelApprovalStatus.")
        known = data.get("AdditionalInferenceSpecifications", [])
        added = request.get("AdditionalInferenceSpecificationsToAdd", [])
        names = [specification["Name"] for specification in (*known, *added)]
        if len(set(names)) < len(names):
            raise validation("The names of additional inference specifications must be unique.")
        properties = data.get("CustomerMetadataProperties", {}) | request.get(
            "CustomerMetadataProperties", {}
        )
        for key in request.get("CustomerMetadataPropertiesToRemove", []):
            properties.pop(key, None)
        data |= {member: request[member] for member in UPDATED if member in request}
        data |= {"LastModifiedTime": now(), "LastModifiedBy": {}}
        data["CustomerMetadataProperties"] = properties
        data |= {"AdditionalInferenceSpecifications": known + added} if added else {}
        events.changed(PACKAGE, package.arn, data)
    return {"ModelPackageArn": package.arn}


@operation
def delete_model_package(context: Context, request: dict[str, Any]) -> None:
    """Delete the package; its number is not given again, and models made from it go on."""
    with context.platform.state.lock:
        del context.table(PACKAGE)[find(context, request["ModelPackageName"]).name]


def find(context: Context, name: str) -> Resource:
    """The package with this ARN, name, or group and version; raises ValidationException."""
    wanted = name if name.startswith("arn:") else context.arn(PACKAGE, name)
    for package in context.table(PACKAGE).values():
        if package.arn == wanted:
            return package
    raise validation(f"ModelPackage {wanted} does not exist.")


def container_of(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """The container of CreateModel that names a package, with what the package says of it.

    Raises ValidationException unless the package is approved, in words of our own: AWS does not
    document its sentence. Source: Developer Guide, model-registry-deploy.
    """
    package = find(context, given["ModelPackageName"])
    status = package.data["ModelApprovalStatus"] if _of_group(package.data) else "Approved"
    if status != "Approved":
        raise validation(
            f"Model package {package.arn} can't be deployed: its approval status is {status}, "
            "not Approved."
        )
    for member in ("Image", "ModelDataUrl", "ModelDataSource"):
        if member in given:
            raise validation(f"A container with ModelPackageName can't have {member} too.")
    specification = _specification(package, given)
    if len(specification["Containers"]) != 1:
        raise not_implemented("CreateModel from a model package without exactly one container")
    container = specification["Containers"][0]
    kept = ("ContainerHostname", "Image", "ModelDataUrl", "ModelDataSource")
    environment = container.get("Environment", {}) | given.get("Environment", {})
    known = {member: container[member] for member in kept if member in container}
    own = {"Environment": environment} if environment else {}
    chosen = {"ModelPackageName", "InferenceSpecificationName", "Environment"}
    return known | own | {k: v for k, v in given.items() if k not in chosen}


def _specification(package: Resource, given: dict[str, Any]) -> dict[str, Any]:
    name = given.get("InferenceSpecificationName")
    if name is None:
        found = package.data.get("InferenceSpecification")
    else:
        more = package.data.get("AdditionalInferenceSpecifications", [])
        found = next((s for s in more if s["Name"] == name), None)
    if found is None:
        raise validation(f"Model package {package.arn} has no such inference specification.")
    return found


def _check(context: Context, request: dict[str, Any]) -> None:
    """Refuse what is wrong or not done, before anything is created."""
    for member in NOT_DONE:
        if member in request:
            raise not_implemented(f"CreateModelPackage with {member}")
    if request.get("CertifyForMarketplace"):
        raise not_implemented("CreateModelPackage with CertifyForMarketplace")
    if "ModelPackageName" in request and _of_group(request):
        raise validation(
            "Both ModelPackageName and ModelPackageGroupName are provided in the input. "
            "Cannot determine which one to use."
        )
    if not _of_group(request):
        if "ModelPackageName" not in request:
            raise validation("Missing ARN.")  # so AWS says: getmoto/moto#7165
        if "ModelApprovalStatus" in request:
            raise validation("Only versioned model packages have a ModelApprovalStatus.")
    elif request.get("Tags"):
        raise validation("A version has the tags of its group: it can't be given tags.")
    try:
        json.loads(request.get("ModelCard", {}).get("ModelCardContent", "{}"))
    except ValueError:
        raise validation("ModelCardContent is not valid JSON.") from None
    check_key(context, request.get("SecurityConfig", {}).get("KmsKeyId"))


def _of_group(data: dict[str, Any]) -> bool:
    return "ModelPackageGroupName" in data


def _in(package: Resource, group: str) -> bool:
    return package.data.get("ModelPackageGroupName") == group


def _group(context: Context, name: str) -> Resource:
    arn = name if name.startswith("arn:") else context.arn(GROUP, name)
    for group in context.table(GROUP).values():
        if group.arn == arn:
            return group
    raise validation(f"ModelPackageGroup {arn} does not exist.")


def _policy(group: Resource) -> str:
    if "_ResourcePolicy" not in group.data:
        raise validation(f"Cannot find resource policy for ModelPackageGroup {group.arn}.")
    return group.data["_ResourcePolicy"]


def _versioned(context: Context, request: dict[str, Any]) -> Resource:
    group = _group(context, request["ModelPackageGroupName"])
    group.data["_LastVersion"] += 1
    version = group.data["_LastVersion"]
    name = f"{group.name}/{version}"
    data = _data(request) | {
        "ModelPackageName": group.name,
        "ModelPackageGroupName": group.name,
        "ModelPackageVersion": version,
        "ModelPackageArn": context.arn(PACKAGE, name),
    }
    return Resource(name, data["ModelPackageArn"], data, group.tags)


def _named(context: Context, request: dict[str, Any]) -> Resource:
    name = request["ModelPackageName"]
    arn = context.arn(PACKAGE, name)
    if taken(name, context.table(PACKAGE)):
        raise validation(f"ModelPackage {arn} already exists.")
    data = _data(request) | {"ModelPackageName": name, "ModelPackageArn": arn}
    return Resource(name, arn, data | {"ModelApprovalStatus": None}, tags_of(request))


def _data(request: dict[str, Any]) -> dict[str, Any]:
    """What DescribeModelPackage answers of the request, with what AWS sets."""
    shape = protocol.service().operation_model("DescribeModelPackage").output_shape
    assert shape is not None
    return {
        "CertifyForMarketplace": False,
        "ModelApprovalStatus": "PendingManualApproval",
        "SkipModelValidation": "None",
        **{name: value for name, value in request.items() if name in shape.members},
        "CreationTime": now(),
        "CreatedBy": {},
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        "_ClientToken": request.get("ClientToken"),
    }
