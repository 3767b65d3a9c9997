"""moto, which is all of AWS but SageMaker here, and the few corrections it needs."""

import functools
import json
import re
from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import AWSManagedPolicy, IAMBackend, Role, get_account_id_from
from moto.logs.exceptions import InvalidParameterException
from moto.logs.responses import LogsResponse
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import FakeKey
from moto.s3.responses import S3Response
from moto.sts.models import STSBackend
from moto.utilities.utils import get_partition
from werkzeug.wrappers import Request

from byoc.local import (
    alarms,
    composite_alarms,
    emf,
    events,
    metric_queries,
    registry,
    schedules,
    states,
)
from byoc.local.errors import not_implemented

# Settings of a bucket that moto takes for the bucket itself: it would answer without having them.
IGNORED_BY_S3 = (
    "abac",
    "analytics",
    "annotation",
    "intelligent-tiering",
    "metadataAnnotationTable",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "renameObject",
    "requestPayment",
    "session",
    "torrent",
)
ANSWERED = {("GET", "requestPayment")}  # corrected below


def application() -> DomainDispatcherApplication:
    """moto as a WSGI application, corrected."""
    others = (registry, events, alarms, composite_alarms, schedules, emf, metric_queries)
    for corrections in (CORRECTIONS, *(module.CORRECTIONS for module in others)):
        for model, method, corrected in corrections:
            setattr(model, method, corrected)
    return DomainDispatcherApplication(create_backend_app)


def serves(
    application: DomainDispatcherApplication, environ: dict[str, Any], service: str | None
) -> bool:
    """Whether moto has this service; for one it does not know it would answer as S3."""
    if service is None or service.startswith("s3"):
        return True
    host = application.infer_service_region_host(environ, environ["PATH_INFO"])
    return application.get_backend_for_host(host) not in (None, "s3")


def refuse_what_it_ignores(service: str | None, request: Request) -> None:
    """Raise our refusal for what moto would answer as if it had been something else."""
    if service == "cloudformation":
        _correct_cloudformation()
    if service in ("cloudformation", "states"):
        states.install()
    if service == "s3":
        for setting in IGNORED_BY_S3:
            if setting in request.args and (request.method, setting) not in ANSWERED:
                raise not_implemented(f"s3: {request.method} with ?{setting}")
        if request.method == "PUT" and request.mimetype == "application/x-www-form-urlencoded":
            raise not_implemented("s3: PUT of this Content-Type, whose body moto would lose")


def account_of(access_key: str) -> str:
    """The account of an access key: a key of twelve digits is the account, others moto knows."""
    if len(access_key) == 12 and access_key.isdigit():
        return access_key
    return get_account_id_from(access_key)


def _put_policy(self: Any, policy_name: str, policy_json: Any) -> None:
    """A role's inline policy is JSON, also when CloudFormation gives it (moto: a Python dict)."""
    text = policy_json if isinstance(policy_json, str) else json.dumps(policy_json, default=str)
    self.policies[policy_name] = text


def _knowing_aws_policies(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that takes a policy's ARN, which knows AWS's own policies (moto: only if all
    1,582 of them are loaded into every account)."""

    @functools.wraps(method)
    def corrected(self: IAMBackend, policy_arn: str, *rest: Any, **more: Any) -> Any:
        if ":iam::aws:policy/" in policy_arn and policy_arn not in self.managed_policies:
            name = policy_arn.rpartition("/")[2]
            if name in _aws_policies():
                data = _aws_policies()[name]
                policy = AWSManagedPolicy.from_data(name, self.account_id, self.region_name, data)
                if policy.arn == policy_arn:
                    self.managed_policies[policy_arn] = policy
                    self.aws_managed_policies.append(policy)
        return method(self, policy_arn, *rest, **more)

    return corrected


@functools.cache
def _aws_policies() -> dict[str, Any]:
    return json.loads(aws_managed_policies_data)


def _get_caller_identity(self: STSBackend, access_key: str, region: str) -> tuple[str, str, str]:
    """A key that stands for an account is its root (moto: a user that IAM does not have)."""
    user_id, arn, account = _moto_get_caller_identity(self, access_key, region)
    if arn.endswith(":user/moto"):
        return account, f"arn:{get_partition(region)}:iam::{account}:root", account
    return user_id, arn, account


_moto_get_caller_identity = STSBackend.get_caller_identity


def _bucket_response_get(self: S3Response, bucket_name: str, querystring: dict[str, Any]) -> Any:
    """With GetBucketRequestPayment, which Terraform asks of each bucket (moto: a listing)."""
    if "requestPayment" not in querystring:
        return _moto_bucket_response_get(self, bucket_name, querystring)
    bucket = self.backend.head_bucket(bucket_name)
    self.data["Action"] = "GetBucketRequestPayment"
    return self.serialized(ActionResult({"Payer": bucket.payer}))


_moto_bucket_response_get = S3Response._bucket_response_get


class _Part:
    """An object of S3 of which only a part is there."""

    def __init__(self, key: FakeKey, begin: int, end: int) -> None:
        self._key = key
        with key.lock:
            key._value_buffer.seek(begin)
            self.value = key._value_buffer.read(end - begin + 1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._key, name)


def _get_object(self: S3Response) -> Any:
    """A range of an object by reading that range (moto: by reading the whole object each time)."""
    asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
    key, not_modified = self._get_key()
    begin, end = (int(asked[1]), min(int(asked[2]), key.size - 1)) if asked else (0, -1)
    if begin > end or not_modified or "partNumber" in self.querystring:
        return _moto_get_object(self)
    # each request has an S3Response of its own
    setattr(self, "_get_key", lambda: (_Part(key, begin, end), False))  # noqa: B010
    _, headers, content = _moto_get_object(self)
    if len(content) < key.size:  # a part has no checksum
        headers = {n: v for n, v in headers.items() if not n.startswith("x-amz-checksum-")}
    headers["content-range"] = f"bytes {begin}-{end}/{key.size}"
    headers["content-length"] = f"{len(content)}"
    return 206, headers, content


_moto_get_object = S3Response.get_object


def _without_sagemaker(parse_template: Callable[[Any], None]) -> Callable[[Any], None]:
    """Refuse SageMaker's resources (moto: it has them in a SageMaker of its own)."""

    @functools.wraps(parse_template)
    def corrected(self: Any) -> None:
        parse_template(self)
        for resource in self.template_dict.get("Resources", {}).values():
            if str(resource.get("Type")).startswith("AWS::SageMaker::"):
                raise not_implemented(f"CloudFormation's {resource['Type']}")

    return corrected


@functools.cache
def _correct_cloudformation() -> None:
    """Only once it is asked for: it imports most of moto, which takes seconds."""
    from moto.cloudformation.models import ChangeSet, Stack

    from byoc.local import cloudformation  # noqa: F401  (moto looks for its classes, once)

    for template in (Stack, ChangeSet):
        setattr(template, "_parse_template", _without_sagemaker(template._parse_template))  # noqa: B010


def _filter_log_events(self: LogsResponse) -> str:
    """By the streams' prefix too, and always by time (moto: neither)."""
    names, prefix = self._get_param("logStreamNames", []), self._get_param("logStreamNamePrefix")
    if names and prefix:
        raise InvalidParameterException(
            msg="The parameters logStreamNames and logStreamNamePrefix can't both be specified."
        )
    group = self._get_param("logGroupName") or self._get_param("logGroupIdentifier", "")
    if group.startswith("arn:"):
        group = group.removesuffix(":*").rpartition(":log-group:")[2]
    known = self.logs_backend.groups.get(group)
    if prefix and known is not None:
        names = [name for name in known.streams if name.startswith(prefix)]
        if not names:
            return json.dumps({"events": [], "searchedLogStreams": []})
    events, token, searched = self.logs_backend.filter_log_events(
        group,
        names,
        self._get_param("startTime"),
        self._get_param("endTime"),
        self._get_param("limit"),
        self._get_param("nextToken"),
        self._get_param("filterPattern"),
        True,
    )
    answer = {"events": events, "nextToken": token, "searchedLogStreams": searched}
    return json.dumps({name: value for name, value in answer.items() if value is not None})


CORRECTIONS: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    (Role, "put_policy", _put_policy),
    *(
        (IAMBackend, method, _knowing_aws_policies(getattr(IAMBackend, method)))
        for method in (
            "attach_role_policy",
            "attach_user_policy",
            "attach_group_policy",
            "get_policy",
        )
    ),
    (STSBackend, "get_caller_identity", _get_caller_identity),
    (S3Response, "_bucket_response_get", _bucket_response_get),
    (S3Response, "get_object", _get_object),
    (LogsResponse, "filter_log_events", _filter_log_events),
)
