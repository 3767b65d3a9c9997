"""Which actions of IAM a call asks for, each on which resource.

Source: Service Authorization Reference; S3 User Guide, "Required permissions for Amazon S3 API
operations". A request that two readers could take for two operations is refused: what is allowed
must be what is then done.
"""

import functools
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from moto.core.request import Request

from byoc.local import protocol, resource_arns
from byoc.local.call import FORM, Call
from byoc.local.errors import AWSError
from byoc.local.parsing import NAMES, parse
from byoc.local.service import Context

INVOCATION = re.compile(r"/endpoints/([^/]*)/(invocations(?:-response-stream)?|async-invocations)")
RUNTIME = {
    "invocations": "InvokeEndpoint",
    "invocations-response-stream": "InvokeEndpointWithResponseStream",
    "async-invocations": "InvokeEndpointAsync",
}
SIGNED = re.compile(r"AWS4-HMAC-SHA256 +Credential=[^/,\s]+/\d{8}/[a-z0-9-]+/[a-z0-9-]+/aws4_req")
# The prefix of actions, where it is not the name that requests are signed with.
PREFIXES = {"monitoring": "cloudwatch", "tagging": "tag", "email": "ses"}
# S3's operations with an action of another name.
S3 = {
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
    "DeleteBucketReplication": "PutReplicationConfiguration",
    "DeleteBucketTagging": "PutBucketTagging",
    "DeleteObjects": "DeleteObject",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketAccelerateConfiguration": "GetAccelerateConfiguration",
    "GetBucketCors": "GetBucketCORS",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "GetBucketReplication": "GetReplicationConfiguration",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectVersions": "ListBucketVersions",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "PutBucketAccelerateConfiguration": "PutAccelerateConfiguration",
    "PutBucketCors": "PutBucketCORS",
    "DeleteBucketCors": "PutBucketCORS",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
    "PutBucketReplication": "PutReplicationConfiguration",
    "PutObjectLockConfiguration": "PutBucketObjectLockConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "SelectObjectContent": "GetObject",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
}
OTHERS = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sns:PublishBatch": "sns:Publish",
}
# What some services ask for, too, when a new thing gets tags. Source: the same reference,
# "Dependent actions"; that SageMaker does: aws/aws-cdk#32294.
TAGGING = {"sagemaker": "sagemaker:AddTags", "ecr": "ecr:TagResource"}
VERSIONED = ("GetObject", "DeleteObject", "GetObjectTagging", "PutObjectTagging", "GetObjectAcl")
ROLE = re.compile(r"arn:[a-z-]+:iam::\d{12}:role/.+")
# Who takes on the roles in the requests of a service.
PASSED_TO = {"events", "scheduler", "cloudformation", "states", "sagemaker", "logs"}


@dataclass(frozen=True)
class Asked:
    """What a call is, once: its service's prefix, its operation and its parameters."""

    prefix: str
    operation: str
    parameters: dict[str, Any]


def read(call: Call) -> Asked:
    """What the call is; raises AWSError for one that is nothing for sure."""
    service = call.service or ""
    authorization = call.environ.get("HTTP_AUTHORIZATION")
    if authorization is None:
        if service != "s3":  # only S3's requests carry their signature in the query here
            raise _unclear(call)
    elif not SIGNED.match(authorization):
        raise _unclear(call)
    if match := INVOCATION.fullmatch(call.raw_path):
        if service != "sagemaker" or call.method != "POST" or call.target[1]:
            raise _unclear(call)
        return Asked(service, RUNTIME[match[2]], {"EndpointName": unquote(match[1])})
    body = b"" if service == "s3" and call.method != "POST" else call.body  # not an upload's
    environ = _path_style(call) if service == "s3" else call.environ
    request = Request({**environ, "wsgi.input": io.BytesIO(body)})
    try:
        model, parameters = parse(service, request, body)
    except Exception:  # neither moto nor we know the service, or the request is broken
        raise _unclear(call) from None
    _check_unambiguous(call, model, service)
    prefix = PREFIXES.get(service, service)
    return Asked(prefix, model.name, parameters if isinstance(parameters, dict) else {})


def asks(context: Context, call: Call, asked: Asked) -> Iterator[tuple[str, str]]:
    """Each action that must be allowed, with its resource."""
    for action in _actions(call, asked):
        about = list(resource_arns.of(context, action, asked.parameters))
        yield from ((action, resource) for resource in about)
        tagging = TAGGING.get(asked.prefix)
        tags = asked.parameters.get("Tags") or asked.parameters.get("tags")
        if tags and tagging and asked.operation.startswith("Create"):
            yield tagging, about[0]  # what is made; what it is made of comes after it
    if "copy-source" in " ".join(call.request.headers.keys()).lower() and asked.prefix == "s3":
        source = unquote(call.request.headers["x-amz-copy-source"]).partition("?")[0].lstrip("/")
        yield "s3:GetObject", f"arn:{context.partition}:s3:::{source}"
    if asked.prefix in PASSED_TO:
        yield from (("iam:PassRole", arn) for arn in dict.fromkeys(_roles(asked.parameters)))


def _actions(call: Call, asked: Asked) -> Iterator[str]:
    if asked.prefix == "s3":
        yield from (f"s3:{name}" for name in _of_s3(call, asked))
        return
    action = f"{asked.prefix}:{asked.operation}"
    action = OTHERS.get(action, action)
    if action == "sts:GetCallerIdentity":  # no policy can forbid that
        return
    yield action


def _of_s3(call: Call, asked: Asked) -> Iterator[str]:
    name = S3.get(asked.operation, asked.operation)
    versioned = "VersionId" in asked.parameters and name in VERSIONED
    yield name.replace("Object", "ObjectVersion") if versioned else name
    headers = {header.lower() for header in call.request.headers.keys()}  # noqa: SIM118
    if name == "PutObject" and "x-amz-tagging" in headers:
        yield "PutObjectTagging"
    if any(header == "x-amz-acl" or header.startswith("x-amz-grant-") for header in headers):
        yield "PutBucketAcl" if asked.operation == "CreateBucket" else "PutObjectAcl"


def _roles(value: Any, name: str = "") -> Iterator[str]:
    """Every role that a request hands over, however deep."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _roles(member, key.lower())
    elif isinstance(value, list):
        for member in value:
            yield from _roles(member, name)
    elif name.endswith("rolearn") and isinstance(value, str) and ROLE.fullmatch(value):
        yield value


def _path_style(call: Call) -> dict[str, Any]:
    """S3's request with the bucket in the path, also where it came in the host's name."""
    host = call.request.host.partition(":")[0]
    if not host.endswith(".localhost"):
        return call.environ
    bucket = host.removesuffix(".localhost").removesuffix(".s3")
    paths = {name: f"/{bucket}{call.environ[name]}" for name in ("RAW_URI", "PATH_INFO")}
    return {**call.environ, **paths, "REQUEST_URI": paths["RAW_URI"]}


def _check_unambiguous(call: Call, model: Any, service: str) -> None:
    """Raise AWSError unless all that says which operation is meant says the same."""
    said = {call.target[1], *call.request.args.getlist("Action")} - {""}
    if call.request.mimetype == FORM and service != "s3":
        said |= set(call.request.form.getlist("Action"))
    known = NAMES.get(service, service)
    wrong = bool(said - {model.name}) or model.service_model.service_name != known
    if service == "s3":
        settings = set(call.request.args) & _settings_of_s3()
        wrong = wrong or len(settings) > 1
    if wrong:
        raise _unclear(call)


@functools.cache
def _settings_of_s3() -> frozenset[str]:
    """The names in a query by which S3 tells its operations apart: `policy`, `acl` …"""
    model = protocol.service("s3")
    uris = [model.operation_model(n).http["requestUri"] for n in model.operation_names]
    queries = [uri.partition("?")[2] for uri in uris]
    parts = {part.partition("=")[0] for query in queries for part in query.split("&") if part}
    return frozenset(parts - {"x-id"})


def _unclear(call: Call) -> AWSError:
    return AWSError(
        "AccessDenied" if call.service == "s3" else "AccessDeniedException",
        f"The local AWS can't tell which action {call.words} is, and so allows it to nobody but "
        "the account's root.",
        403,
    )
