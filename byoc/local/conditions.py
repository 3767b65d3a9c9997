"""The condition keys of a call: which ones are known here, and what they are worth.

Source: IAM User Guide, "AWS global condition context keys"; Service Authorization Reference. A key
that is known and not in the result is absent from the request, as it would be on AWS; of one that
is not known nothing can be said.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from moto.iam.exceptions import NotFoundException
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends

from byoc.local import tagging
from byoc.local.call import Call
from byoc.local.service import Context

Known = dict[str, str | list[str]]

KNOWN = re.compile(
    "aws:(principalarn|principalaccount|principaltype|principaltag/.+|userid|username"
    "|requestedregion|securetransport|requesttag/.+|resourcetag/.+|tagkeys|sourceip"
    "|viaawsservice|calledvia|calledviafirst|calledvialast|multifactorauthpresent|sourcevpc|sourcevpce"
    "|sourcearn|sourceaccount|sourceorgid|principalisawsservice)"
    "|sts:(externalid|rolesessionname)|iam:(passedtoservice|resourcetag/.+)|(sagemaker|ecr):resourcetag/.+|cloudwatch:namespace"
    "|s3:(prefix|delimiter|max-keys|versionid|x-amz-[a-z-]+|existingobjecttag/.+)"
    "|sagemaker:(instancetypes|vpcsubnets|vpcsecuritygroupids|networkisolation|volumekmskey"
    "|outputkmskey|intercontainertrafficencryption|maxruntimeinseconds|targetmodel"
    "|modelapprovalstatus|keepaliveperiod)",
    re.IGNORECASE,
)
# SageMaker's keys, with the members of requests that they stand for, however deep these are.
SAGEMAKER = {
    "InstanceType": "sagemaker:InstanceTypes",
    "InstanceTypes": "sagemaker:InstanceTypes",
    "Subnets": "sagemaker:VpcSubnets",
    "SecurityGroupIds": "sagemaker:VpcSecurityGroupIds",
    "EnableNetworkIsolation": "sagemaker:NetworkIsolation",
    "EnableInterContainerTrafficEncryption": "sagemaker:InterContainerTrafficEncryption",
    "VolumeKmsKeyId": "sagemaker:VolumeKmsKey",
    "KmsKeyId": "sagemaker:OutputKmsKey",
    "MaxRuntimeInSeconds": "sagemaker:MaxRuntimeInSeconds",
    "ModelApprovalStatus": "sagemaker:ModelApprovalStatus",
    "KeepAlivePeriodInSeconds": "sagemaker:KeepAlivePeriod",
}
PASSED_TO = {  # by the prefix of the service that is handed a role
    "states": "states.amazonaws.com",
    "events": "events.amazonaws.com",
    "scheduler": "scheduler.amazonaws.com",
    "cloudformation": "cloudformation.amazonaws.com",
    "sagemaker": "sagemaker.amazonaws.com",
    "logs": "logs.amazonaws.com",
}


def of_request(call: Call, prefix: str, parameters: Mapping[str, Any]) -> Known:
    """The keys that the request itself gives, whatever it is about."""
    secure = call.environ.get("wsgi.url_scheme") == "https"
    values: Known = {
        "aws:RequestedRegion": call.caller.region,
        "aws:SecureTransport": "true" if secure else "false",
        "aws:SourceIp": call.environ.get("REMOTE_ADDR", "127.0.0.1"),
        "aws:ViaAWSService": "false",
        "aws:PrincipalIsAWSService": "false",
    }
    tags = _tags(parameters.get("Tags") or parameters.get("tags"))
    values |= {f"aws:RequestTag/{key}": value for key, value in tags.items()}
    keys = [*tags, *(parameters.get("TagKeys") or parameters.get("tagKeys") or [])]
    if keys:
        values["aws:TagKeys"] = keys
    values |= {"sagemaker": _sagemaker, "s3": _s3}.get(prefix, lambda *_: {})(call, parameters)
    if prefix == "sts":
        given = {"sts:ExternalId": "ExternalId", "sts:RoleSessionName": "RoleSessionName"}
        values |= {k: parameters[name] for k, name in given.items() if name in parameters}
    if prefix == "cloudwatch" and "Namespace" in parameters:
        values["cloudwatch:namespace"] = parameters["Namespace"]
    return values


def of_resource(context: Context, arn: str) -> Known:
    """The keys that say what a resource is: its tags."""
    service = arn.split(":")[2] if arn.startswith("arn:") else ""
    if service == "s3":
        return {f"s3:ExistingObjectTag/{k}": v for k, v in _of_object(context, arn).items()}
    tags = _of_role(context, arn) if service == "iam" else _of_resource(context, arn)
    return {
        f"{prefix}:ResourceTag/{key}": value
        for key, value in tags.items()
        for prefix in ("aws", service)
    }


def _of_resource(context: Context, arn: str) -> dict[str, str]:
    resource = context.platform.state.by_arn(arn)
    if resource is not None:
        return dict(resource.tags)
    if "*" in arn:
        return {}
    return next((one.tags for one in tagging.tagged(context) if one.arn == arn), {})


def _of_role(context: Context, arn: str) -> dict[str, str]:
    try:
        return _tags(
            list(iam_backends[context.account][context.partition].get_role_by_arn(arn).tags)
        )
    except (NotFoundException, AttributeError):
        return {}


def _of_object(context: Context, arn: str) -> dict[str, str]:
    name, _, key = arn.split(":", 5)[5].partition("/")
    backend = s3_backends[context.account][context.partition]
    found = backend.get_object(name, key) if key and name in backend.buckets else None
    return backend.tagger.get_tag_dict_for_resource(found.arn) if found is not None else {}


def _tags(given: Any) -> dict[str, str]:
    """Tags as services write them: a list of keys and values, or a mapping."""
    if isinstance(given, dict):
        return {str(key): str(value) for key, value in given.items()}
    rows = given if isinstance(given, list) else []
    pairs = (
        {name.lower(): value for name, value in r.items()} for r in rows if isinstance(r, dict)
    )
    return {f"{row.get('key', '')}": f"{row.get('value', '')}" for row in pairs}


def _sagemaker(call: Call, parameters: Mapping[str, Any]) -> Known:
    values: dict[str, list[str]] = {}
    for name, value in _members(parameters):
        if name in SAGEMAKER:
            texts = value if isinstance(value, list) else [value]
            texts = [str(one).lower() if isinstance(one, bool) else str(one) for one in texts]
            values.setdefault(SAGEMAKER[name], []).extend(texts)
    target = call.request.headers.get("X-Amzn-SageMaker-Target-Model")
    return {**values, **({"sagemaker:TargetModel": target} if target is not None else {})}


def _s3(call: Call, parameters: Mapping[str, Any]) -> Known:
    values: Known = {
        f"s3:{name}": call.request.args[name]
        for name in ("prefix", "delimiter", "max-keys")
        if name in call.request.args
    }
    if "versionId" in call.request.args:
        values["s3:VersionId"] = call.request.args["versionId"]
    headers = call.request.headers.items()
    return values | {f"s3:{n.lower()}": v for n, v in headers if n.lower().startswith("x-amz-")}


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield name, member
            yield from _members(member)
    elif isinstance(value, list):
        for member in value:
            yield from _members(member)
