"""SimulatePrincipalPolicy, which moto lacks and the SageMaker SDK asks before it uses a role.

Source: API Reference (IAM), SimulatePrincipalPolicy.
"""

import json
from typing import Any
from xml.sax.saxutils import escape

from moto.iam.access_control import IAMPolicy, PermissionResult
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from byoc.local.errors import AWSError, not_implemented
from byoc.local.service import Context


def simulate_principal_policy(context: Context, form: MultiDict[str, str]) -> Response:
    """Each action on each resource, decided by the role's policies as moto evaluates them."""
    source = form.get("PolicySourceArn", "")
    if ":role/" not in source:
        raise not_implemented("iam: SimulatePrincipalPolicy for anything but a role")
    policies = _policies(context.client("iam"), source.rpartition("/")[2])
    results = [
        _result(action, resource, _decision(policies, action, resource))
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


def _policies(iam: Any, role: str) -> list[IAMPolicy]:
    try:
        names = iam.list_role_policies(RoleName=role)["PolicyNames"]
        attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    except iam.exceptions.NoSuchEntityException:
        message = f"The role with name {role} cannot be found."
        raise AWSError("NoSuchEntity", message, 404) from None
    documents = [iam.get_role_policy(RoleName=role, PolicyName=n)["PolicyDocument"] for n in names]
    for policy in attached:
        arn = policy["PolicyArn"]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        found = iam.get_policy_version(PolicyArn=arn, VersionId=version)
        documents.append(found["PolicyVersion"]["Document"])
    return [IAMPolicy(json.dumps(document)) for document in documents]


def _decision(policies: list[IAMPolicy], action: str, resource: str) -> str:
    verdicts = {policy.is_action_permitted(action, resource) for policy in policies}
    if PermissionResult.DENIED in verdicts:
        return "explicitDeny"
    return "allowed" if PermissionResult.PERMITTED in verdicts else "implicitDeny"


def _members(form: MultiDict[str, str], name: str) -> list[str]:
    keys = sorted(
        (key for key in form if key.startswith(f"{name}.member.")),
        key=lambda key: int(key.rpartition(".")[2]),
    )
    return [form[key] for key in keys]


def _result(action: str, resource: str, decision: str) -> str:
    return (
        f"<member><EvalActionName>{escape(action)}</EvalActionName>"
        f"<EvalResourceName>{escape(resource)}</EvalResourceName>"
        f"<EvalDecision>{decision}</EvalDecision>"
        "<MatchedStatements/><MissingContextValues/></member>"
    )
