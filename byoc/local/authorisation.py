"""Whether a caller may do what a call asks for: the option `iam`.

`off` asks nobody, as moto does; `enforce` refuses as AWS refuses; `record` refuses nothing. Both
of these write down what was asked. Source: IAM User Guide, "Policy evaluation logic".
"""

import datetime as dt
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.iam.models import iam_backends

from byoc.local import actions, buckets, conditions, iam, policies
from byoc.local.call import FORM, Call
from byoc.local.errors import AWSError, not_implemented
from byoc.local.iam import Identity, not_authorized, refusal_because
from byoc.local.service import Context

RESOURCE = "a resource-based policy"
APPLICATION = re.compile(r"\bapp/(\S+)")  # in User-Agent. Source: AWS SDKs, "Application ID"
# What says of each call the same, and so is not written down.
PLAIN = {"requestedregion", "securetransport", "sourceip", "viaawsservice", "principalisawsservice"}
# What makes or changes what a template says, with the caller's permissions.
STACKS = {"CreateStack", "UpdateStack", "DeleteStack", "CreateChangeSet", "ExecuteChangeSet"}
# What gives keys that no policy of the caller's would bind here.
UNBOUND = {
    "AssumeRoleWithSAML",
    "AssumeRoleWithWebIdentity",
    "AssumeRoot",
    "GetDelegatedAccessToken",
    "GetFederationToken",
    "GetSessionToken",
}
# The bucket's policy can't lock its account's root out of these. Source: S3 User Guide.
OF_ROOT = ("s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy")


@dataclass(frozen=True)
class Verdict:
    """Allowed if there is no reason; else how AWS says who refused."""

    because: str = ""

    @property
    def allowed(self) -> bool:
        return not self.because


class Authority:
    """Asks policies, if it is told to, and writes down what was asked, one JSON object a line."""

    def __init__(self, mode: str, file: Path) -> None:
        self.asks, self.enforces = mode != "off", mode == "enforce"
        self._file, self._lock = file, threading.Lock()
        self._application = ""  # of the last call that named one
        if self.asks:
            file.write_text("")

    def check(self, context: Context, call: Call) -> None:
        """Raise AWS's refusal unless the caller may do what the call asks for."""
        if not self.asks:
            return
        caller = call.caller
        if self.enforces:
            _check_key(call)
        try:
            asked = actions.read(call)
        except AWSError:
            if self.enforces and caller.kind != "Root":
                raise
            return
        if self.enforces and caller.kind != "Root":
            _check_bounds(context, asked)
        values = conditions.of_request(call, asked.prefix, asked.parameters)
        match = APPLICATION.search(call.request.headers.get("User-Agent", ""))
        for action, resource in actions.asks(context, call, asked):
            known = _of_action(values, action, asked.prefix)
            verdict = self._judge(context, caller, action, resource, known)
            self._record(caller.arn, action, resource, known, verdict, match and match[1])
            if self.enforces and not verdict.allowed:
                raise _refusal(call, action, resource, verdict)

    def check_registry(self, context: Context, access_key: str, action: str, arn: str) -> None:
        """The same for a request to the registry, made with ECR's password."""
        if not self.asks:
            return
        caller = Identity(context.account, context.region, access_key)
        verdict = self._judge(context, caller, action, arn, {})
        if self.enforces and not caller.is_known:
            verdict = Verdict("because its password was not given to anybody who is known here")
        self._record(caller.arn, action, arn, {}, verdict)
        if self.enforces and not verdict.allowed:
            text = not_authorized(caller.arn, action, arn, verdict.because)
            raise AWSError("DENIED", text, 403)

    def refuses_role(
        self, context: Context, role: str, action: str, resource: str, values: Mapping[str, str]
    ) -> str:
        """Why the execution role may not do this, in AWS's words; nothing if it may.

        `role` is an ARN; SageMaker uses TLS. Its session's name is the one that errors of AWS show.
        """
        if not self.asks or not actions.ROLE.fullmatch(role):
            return ""
        account, name = role.split(":")[4], role.rpartition("/")[2]
        backend = iam_backends[account][context.partition]
        found = iam.role_of(backend, role)
        documents = list(iam.policies_of(backend, found)) if found is not None else []
        who = f"arn:{context.partition}:sts::{account}:assumed-role/{name}/SageMaker"
        known: conditions.Known = {
            "aws:PrincipalArn": role,
            "aws:PrincipalAccount": account,
            "aws:RequestedRegion": context.region,
            "aws:SecureTransport": "true",
            **values,
        }
        names = [("AWS", who), *policies.principals(account, role)]
        layers = [(iam.IDENTITY, documents)]
        verdict = _decide(context, layers, names, account, action, resource, known)
        self._record(role, action, resource, known, verdict)
        if not self.enforces or verdict.allowed:
            return ""
        return not_authorized(who, action, _quoted(action, resource), verdict.because)

    def _judge(
        self,
        context: Context,
        caller: Identity,
        action: str,
        resource: str,
        given: conditions.Known,
    ) -> Verdict:
        if not self.enforces:
            return Verdict()
        values = {**given, **caller.facts()}
        if action == "sts:AssumeRole":
            return _trusted(context, caller, resource, values)
        names = caller.names
        return _decide(context, caller.layers(), names, caller.account, action, resource, values)

    def _record(
        self,
        who: str,
        action: str,
        resource: str,
        values: conditions.Known,
        verdict: Verdict,
        application: str | None = None,
    ) -> None:
        told = {
            name: value
            for name, value in sorted(values.items())
            if name.partition(":")[2].lower() not in PLAIN and not name.startswith("aws:Principal")
        }
        with self._lock:
            self._application = application or self._application
            line = {
                "application": self._application,
                "principal": who,
                "action": action,
                "resource": resource,
                "conditions": {n: v for n, v in told.items() if not n.startswith("s3:x-amz-")},
                "allowed": verdict.allowed,
            }
            with self._file.open("a") as file:
                file.write(json.dumps(line) + "\n")


def _decide(
    context: Context,
    layers: list[tuple[str, list[dict[str, Any]]]],
    names: list[tuple[str, str]],
    account: str,
    action: str,
    resource: str,
    values: conditions.Known,
) -> Verdict:
    """What the caller's policies and the bucket's say; `layers` is empty for the root."""
    owner, text = buckets.policy_of(resource) or (account, None)
    of_bucket = [json.loads(text)] if text else []
    if not layers and action in OF_ROOT and owner == account:
        return Verdict()
    wanted = policies.condition_keys([d for _, documents in layers for d in documents] + of_bucket)
    if any("tag/" in key.lower() for key in wanted):
        values = {**values, **conditions.of_resource(context, resource)}
    bucket, why = _of_bucket(of_bucket, action, resource, values, names)
    if bucket == policies.EXPLICIT_DENY:
        return Verdict(why or refusal_because(RESOURCE, bucket, action))
    own = names if owner != account else names[:-2]
    granted = _of_bucket(of_bucket, action, resource, values, own)[0] == policies.ALLOWED
    if owner != account and not granted:
        return Verdict(why or refusal_because(RESOURCE, policies.IMPLICIT_DENY, action))
    for kind, documents in layers:
        sure, unknown = policies.uncertain(documents, action, resource, values, _knows)
        decision = policies.decide(sure, action, resource, values)
        if kind == iam.IDENTITY and owner == account and granted:
            decision = decision if decision == policies.EXPLICIT_DENY else policies.ALLOWED
        if decision != policies.ALLOWED:
            return Verdict(_unknown(unknown) or refusal_because(kind, decision, action))
    return Verdict()


def _of_bucket(
    documents: list[dict[str, Any]],
    action: str,
    resource: str,
    values: conditions.Known,
    names: list[tuple[str, str]],
) -> tuple[str, str]:
    """What a bucket's policy says to somebody with these names, and what can't be evaluated."""
    decisions, unknown = set(), []
    for name in names:
        sure, missing = policies.uncertain(documents, action, resource, values, _knows, name)
        decisions.add(policies.decide(sure, action, resource, values, name))
        unknown += missing
    for decision in (policies.EXPLICIT_DENY, policies.ALLOWED):
        if decision in decisions:
            return decision, _unknown(unknown)
    return policies.IMPLICIT_DENY, _unknown(unknown)


def _trusted(context: Context, caller: Identity, arn: str, values: conditions.Known) -> Verdict:
    """Whether the role's trust lets the caller take it on, and the caller's own policies, too,
    where the trust names its whole account."""
    account = arn.split(":")[4] if arn.count(":") >= 5 else ""
    role = iam.role_of(iam_backends[account or caller.account][caller.partition], arn)
    if role is None:
        return Verdict(refusal_because(RESOURCE, policies.IMPLICIT_DENY, "sts:AssumeRole"))
    trust = role.assume_role_policy_document
    documents = [json.loads(trust) if isinstance(trust, str) else trust]
    decision, why = _of_bucket(documents, "sts:AssumeRole", arn, values, caller.names)
    if decision != policies.ALLOWED:
        return Verdict(why or refusal_because(RESOURCE, decision, "sts:AssumeRole"))
    direct, _ = _of_bucket(documents, "sts:AssumeRole", arn, values, caller.names[:-2])
    for kind, own in caller.layers():
        sure, unknown = policies.uncertain(own, "sts:AssumeRole", arn, values, _knows)
        decision = policies.decide(sure, "sts:AssumeRole", arn, values)
        named = direct == policies.ALLOWED and account == caller.account and kind == iam.IDENTITY
        if decision != policies.ALLOWED and not (named and decision == policies.IMPLICIT_DENY):
            return Verdict(_unknown(unknown) or refusal_because(kind, decision, "sts:AssumeRole"))
    return Verdict()


def _knows(key: str) -> bool:
    return conditions.KNOWN.fullmatch(key) is not None


def _unknown(keys: list[str]) -> str:
    if not keys:
        return ""
    named = ", ".join(dict.fromkeys(keys))
    return f"because the local AWS can't evaluate the condition key {named}"


def _of_action(values: conditions.Known, action: str, prefix: str) -> conditions.Known:
    """The condition keys of one action: handing over a role and tagging know less than the call."""
    service = conditions.PASSED_TO.get(prefix)
    if action == "iam:PassRole" and service:
        plain = {n: v for n, v in values.items() if n.partition(":")[2].lower() in PLAIN}
        return {**plain, "iam:PassedToService": service}
    if action == "sagemaker:AddTags":
        return {n: v for n, v in values.items() if not n.startswith("sagemaker:")}
    return values


def _check_bounds(context: Context, asked: actions.Asked) -> None:
    """Refuse, except to the root, what would go past policies here."""
    if asked.prefix == "sts" and asked.operation in UNBOUND:
        raise not_implemented(f"sts: {asked.operation} with iam=enforce")
    if asked.prefix == "cloudformation" and asked.operation in STACKS:
        from moto.cloudformation.models import cloudformation_backends

        name = asked.parameters.get("StackName", "")
        stacks = cloudformation_backends[context.account][context.region].stacks.values()
        if asked.operation == "CreateStack" and any(stack.name == name for stack in stacks):
            return  # it is there: nothing is made
        raise not_implemented(
            f"cloudformation: {asked.operation} with iam=enforce but for the account's root, since "
            "nobody asks here whether the caller may make what the template says"
        )


def _check_key(call: Call) -> None:
    """Raise AWSError for a request without a key, or with one that is not good (any more)."""
    caller = call.caller
    if call.service is None:
        raise AWSError("MissingAuthenticationToken", "Missing Authentication Token", 403)
    of_s3, form = call.service == "s3", call.request.mimetype == FORM
    good = caller.is_known and _is_active(caller)
    session = caller.session
    if good and session is not None:
        token = call.request.headers.get("X-Amz-Security-Token") or call.request.args.get(
            "X-Amz-Security-Token"
        )
        good = token == session.session_token
        expires = session.expiration
        if good and expires.replace(tzinfo=dt.UTC) < dt.datetime.now(dt.UTC):
            code = "ExpiredToken" if of_s3 or form else "ExpiredTokenException"
            text = "The security token included in the request is expired"
            raise AWSError(code, text, 400 if of_s3 else 403)
    if good:
        return
    if of_s3:
        text = "The AWS Access Key Id you provided does not exist in our records."
        raise AWSError("InvalidAccessKeyId", text, 403)
    code = "InvalidClientTokenId" if form else "UnrecognizedClientException"
    raise AWSError(code, "The security token included in the request is invalid.", 403)


def _is_active(caller: Identity) -> bool:
    if caller.access_key == caller.account or caller.session is not None:
        return True
    keys = iam_backends[caller.account][caller.partition].access_keys
    key = keys.get(caller.access_key)
    return key is None or key.status == "Active"


def _refusal(call: Call, action: str, resource: str, verdict: Verdict) -> AWSError:
    """In the code of the service, as its clients know it."""
    because = verdict.because
    text = not_authorized(call.caller.arn, action, _quoted(action, resource), because)
    if call.service == "sns" or call.service == "ec2":
        code = "AuthorizationError" if call.service == "sns" else "UnauthorizedOperation"
        return AWSError(code, text, 403)
    if call.service == "s3" or call.request.mimetype == FORM:
        return AWSError("AccessDenied", text, 403)
    return AWSError("AccessDeniedException", text, 400 if call.target[1] else 403)


def _quoted(action: str, resource: str) -> str:
    """S3 writes ARNs in quotes. Source: noobaa/noobaa-core#10060."""
    return f'"{resource}"' if action.startswith("s3:") else resource
