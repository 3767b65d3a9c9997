"""Who asks, and whether a role may be handed to SageMaker; SimulatePrincipalPolicy.

Identities and policies are those of moto's IAM. Source: Developer Guide, sagemaker-roles; IAM User
Guide, "Grant a user permissions to pass a role"; API Reference (IAM), SimulatePrincipalPolicy.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from xml.sax.saxutils import escape

from moto.iam.exceptions import NotFoundException
from moto.iam.models import Group, IAMBackend, Role, User, iam_backends
from moto.sts.models import AssumedRole, sts_backends
from moto.utilities.utils import get_partition
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from byoc.local import policies
from byoc.local.errors import AWSError, not_implemented, validation
from byoc.local.service import Context, operation_of

SAGEMAKER = "sagemaker.amazonaws.com"
STATES = "states.amazonaws.com"
IDENTITY = "an identity-based policy"


@dataclass(frozen=True)
class Identity:
    """Who signed a request: an account's root, an IAM user, or who took on a role.

    A key of twelve digits is the root of that account, and so is a key that nobody made here.
    """

    account: str
    region: str
    access_key: str

    @cached_property
    def partition(self) -> str:
        return get_partition(self.region)

    @cached_property
    def _holder(self) -> User | AssumedRole | None:
        if self.access_key == self.account:
            return None
        session = sts_backends[self.account][self.partition].get_assumed_role_from_access_key(
            self.access_key
        )
        return session or self._iam.get_user_from_access_key_id(self.access_key)

    @property
    def _iam(self) -> IAMBackend:
        return iam_backends[self.account][self.partition]

    @property
    def kind(self) -> str:
        """As CloudTrail names it. Source: CloudTrail User Guide, userIdentity element."""
        if self._holder is None:
            return "Root"
        return "IAMUser" if isinstance(self._holder, User) else "AssumedRole"

    @property
    def arn(self) -> str:
        root = f"arn:{self.partition}:iam::{self.account}:root"
        return root if self._holder is None else self._holder.arn

    @property
    def user_id(self) -> str:
        if self._holder is None:
            return self.account
        return self._holder.id if isinstance(self._holder, User) else self._holder.user_id

    @property
    def name(self) -> str:
        """The user's name or the session's."""
        if self._holder is None:
            return "root"
        return self._holder.name if isinstance(self._holder, User) else self._holder.session_name

    @property
    def role(self) -> Role | None:
        """The role that was taken on."""
        if not isinstance(self._holder, AssumedRole):
            return None
        return role_of(self._iam, self._holder.role_arn)

    @property
    def names(self) -> list[tuple[str, str]]:
        """Under which names policies of resources may know the caller, its own before the
        account's. Source: IAM User Guide, "AWS JSON policy elements: Principal"."""
        role = self.role
        own = [self.arn] if role is None else [role.arn, self.arn]
        return [
            ("AWS", n)
            for n in (*own, self.account, f"arn:{self.partition}:iam::{self.account}:root")
        ]

    @property
    def is_known(self) -> bool:
        """Whether the key is an account's own, or one that was made here."""
        return self.access_key == self.account or self._holder is not None

    @property
    def session(self) -> AssumedRole | None:
        """What AssumeRole gave, if it did."""
        return self._holder if isinstance(self._holder, AssumedRole) else None

    def layers(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """The caller's policies by their kind; each kind must allow. None for the root."""
        holder = self._holder
        if holder is None:
            return []
        principal = holder if isinstance(holder, User) else self.role
        if principal is None:  # the role was deleted, or never was
            return [(IDENTITY, [])]
        layers = [(IDENTITY, list(policies_of(self._iam, principal)))]
        if isinstance(holder, AssumedRole) and holder.policy:
            layers.append(("a session policy", [json.loads(holder.policy)]))
        if isinstance(principal, Role) and principal.permissions_boundary_arn:
            boundary = self._iam.get_policy(principal.permissions_boundary_arn)
            layers.append(("a permissions boundary", [_document(boundary)]))
        return layers

    def facts(self) -> dict[str, str | list[str]]:
        """The condition keys that say who asks."""
        known: dict[str, str | list[str]] = {
            "aws:PrincipalArn": self.arn if self.role is None else self.role.arn,
            "aws:PrincipalAccount": self.account,
            "aws:PrincipalType": {"Root": "Account", "IAMUser": "User"}.get(self.kind, self.kind),
            "aws:userid": self.user_id,
        }
        holder = self._holder
        if isinstance(holder, User):
            known["aws:username"] = holder.name
        if self.session is not None:
            known["aws:MultiFactorAuthPresent"] = "false"
        tagged = self.role or (holder if isinstance(holder, User) else None)
        tags = (tagged.tags if tagged is not None else None) or []
        return known | {f"aws:PrincipalTag/{tag['Key']}": tag["Value"] for tag in tags}

    def may(self, action: str, resource: str, values: dict[str, str | list[str]]) -> str:
        """What the identity-based policies decide, within a session's policy and a boundary."""
        known = {**self.facts(), **values}
        decisions = [policies.decide(d, action, resource, known) for _, d in self.layers()]
        for decision in (policies.EXPLICIT_DENY, policies.IMPLICIT_DENY):
            if decision in decisions:
                return decision
        return policies.ALLOWED


def policies_of(iam: IAMBackend, principal: User | Group | Role) -> Iterator[dict[str, Any]]:
    """The policies of a user (with its groups'), a group or a role: inline ones and attached."""
    for text in principal.policies.values():
        yield json.loads(text)
    for policy in principal.managed_policies.values():
        yield _document(policy)
    if isinstance(principal, User):
        for group in iam.get_groups_for_user(principal.name):
            yield from policies_of(iam, group)


def check_roles(context: Context, caller: Identity, request: dict[str, Any]) -> None:
    """Raise AWS's refusal for a role in the request that can't be handed to SageMaker.

    The wording of the refusals is AWS's: sagemaker-python-sdk and
    awslabs/predictive-maintenance-using-machine-learning#3 quote the one on assuming the role.
    """
    for arn in _roles_in(request):
        if arn.split(":")[4:5] != [context.account]:
            raise AWSError("AccessDeniedException", "Cross-account pass role is not allowed.")
        _check_pass_role(context, caller, arn)
        iam = iam_backends[context.account][caller.partition]
        role = role_of(iam, arn)
        if role is None or not trusts_service(context, role, SAGEMAKER):
            raise validation(
                f"Could not assume role {arn}. Please ensure that the role exists and allows "
                f"principal '{SAGEMAKER}' to assume the role."
            )


def check_role_of_states(context: Context, caller: Identity, request: dict[str, Any]) -> None:
    """Raise AWS's refusal for a role that can't be handed to Step Functions.

    lumigo-io/lumigo-CLI#83 quotes its wording.
    """
    arn = request.get("roleArn")
    if arn is None:
        return
    if arn.split(":")[4:5] != [context.account]:
        raise AWSError("AccessDeniedException", "Cross-account pass role is not allowed.")
    _check_pass_role(context, caller, arn, STATES)
    role = role_of(iam_backends[context.account][caller.partition], arn)
    if role is None or not trusts_service(context, role, STATES):
        raise AWSError(
            "AccessDeniedException",
            f"Neither the global service principal {STATES}, nor the regional one is authorized "
            "to assume the provided role.",
        )


def lets(context: Context, arn: str, service: str, action: str, resource: str) -> bool:
    """Whether the service may take on the role with this ARN, and then do this to the resource."""
    iam = iam_backends[context.account][context.partition]
    role = role_of(iam, arn)
    if role is None or not trusts_service(context, role, service):
        return False
    values: dict[str, str | list[str]] = {"aws:RequestedRegion": context.region}
    decision = policies.decide(list(policies_of(iam, role)), action, resource, values)
    return decision == policies.ALLOWED


def _roles_in(request: Any) -> Iterator[str]:
    """Every RoleArn and ExecutionRoleArn, however deep."""
    if isinstance(request, dict):
        for name, value in request.items():
            if name in ("RoleArn", "ExecutionRoleArn"):
                yield value
            else:
                yield from _roles_in(value)
    elif isinstance(request, list):
        for entry in request:
            yield from _roles_in(entry)


def _check_pass_role(
    context: Context, caller: Identity, arn: str, service: str = SAGEMAKER
) -> None:
    values: dict[str, str | list[str]] = {
        "iam:PassedToService": service,
        "aws:RequestedRegion": context.region,
    }
    decision = caller.may("iam:PassRole", arn, values)
    if decision != policies.ALLOWED:
        because = refusal_because(IDENTITY, decision, "iam:PassRole")
        raise AWSError(
            "AccessDeniedException", not_authorized(caller.arn, "iam:PassRole", arn, because)
        )


def not_authorized(who: str, action: str, resource: str, because: str) -> str:
    """AWS's sentence. Source: IAM User Guide, "Troubleshoot access denied error messages"."""
    return f"User: {who} is not authorized to perform: {action} on resource: {resource} {because}"


def refusal_because(kind: str, decision: str, action: str) -> str:
    """How AWS says which kind of policy refused; the same source."""
    if decision == policies.EXPLICIT_DENY:
        return f"with an explicit deny in {kind}"
    return f"because no {kind.partition(' ')[2]} allows the {action} action"


def trusts_service(context: Context, role: Role, service: str) -> bool:
    trust = role.assume_role_policy_document
    document = json.loads(trust) if isinstance(trust, str) else trust
    values: dict[str, str | list[str]] = {
        "aws:SourceAccount": context.account,
        "aws:SourceArn": f"arn:{context.partition}:{service.partition('.')[0]}:"
        f"{context.region}:{context.account}:*",
    }
    names = (service, f"{service.partition('.')[0]}.{context.region}.amazonaws.com")
    decisions = [
        policies.decide([document], "sts:AssumeRole", role.arn, values, ("Service", name))
        for name in (names if service == STATES else names[:1])
    ]
    return policies.ALLOWED in decisions


def role_of(iam: IAMBackend, arn: str) -> Role | None:
    try:
        return iam.get_role_by_arn(arn)
    except NotFoundException:
        return None


def _document(policy: Any) -> dict[str, Any]:
    """The default version of a managed policy."""
    text = next(version.document for version in policy.versions if version.is_default)
    return json.loads(text)


UNSUPPORTED = ("PermissionsBoundaryPolicyInputList", "ResourcePolicy", "CallerArn", "ResourceOwner")


@operation_of("iam")
def simulate_principal_policy(context: Context, form: MultiDict[str, str]) -> Response:
    """Decide each action on each resource by the policies of a user, group or role and those given;
    the answer does not say which statement decided."""
    for member in UNSUPPORTED:
        if any(key.partition(".")[0] == member for key in form):
            raise not_implemented(f"iam: SimulatePrincipalPolicy with {member}")
    iam = iam_backends[context.account][get_partition(context.region)]
    documents = list(policies_of(iam, _principal(iam, form.get("PolicySourceArn", ""))))
    documents += [json.loads(text) for text in _members(form, "PolicyInputList")]
    values = _context_entries(form)
    known = {key.lower() for key in values}
    missing = sorted(k for k in policies.condition_keys(documents) if k.lower() not in known)
    results = [
        _result(action, resource, policies.decide(documents, action, resource, values), missing)
        for action in _members(form, "ActionNames")
        for resource in _members(form, "ResourceArns") or ["*"]
    ]
    return Response(
        '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        "<SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated>"
        f"<EvaluationResults>{''.join(results)}</EvaluationResults>"
        "</SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>",
        content_type="text/xml",
    )


def _principal(iam: IAMBackend, arn: str) -> User | Group | Role:
    kind, _, path = arn.rpartition(":")[2].partition("/")
    name = path.rpartition("/")[2]
    known: dict[str, Mapping[str, User | Group | Role]]
    known = {"user": iam.users, "group": iam.groups, "role": iam.roles}
    if kind not in known:
        raise AWSError("InvalidInput", f"{arn} is not the ARN of a user, a group or a role.")
    found = next((entity for entity in known[kind].values() if entity.name == name), None)
    if found is None:
        raise AWSError("NoSuchEntity", f"The {kind} with name {name} cannot be found.", 404)
    return found


def _context_entries(form: MultiDict[str, str]) -> dict[str, str | list[str]]:
    names = _members(form, "ContextEntries", ".ContextKeyName")
    return {
        name: _members(form, f"ContextEntries.member.{number}.ContextKeyValues")
        for number, name in enumerate(names, 1)
    }


def _members(form: MultiDict[str, str], name: str, suffix: str = "") -> list[str]:
    """The list `name` of a query-protocol form: `name.member.1`, `name.member.2` …"""
    found, number = [], 1
    while (key := f"{name}.member.{number}{suffix}") in form:
        found.append(form[key])
        number += 1
    return found


def _result(action: str, resource: str, decision: str, missing: list[str]) -> str:
    keys = "".join(f"<member>{escape(key)}</member>" for key in missing)
    return (
        f"<member><EvalActionName>{escape(action)}</EvalActionName>"
        f"<EvalResourceName>{escape(resource)}</EvalResourceName>"
        f"<EvalDecision>{decision}</EvalDecision>"
        f"<MatchedStatements/><MissingContextValues>{keys}</MissingContextValues></member>"
    )
