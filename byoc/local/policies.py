"""IAM policy documents evaluated.

Source: IAM User Guide, "Policy evaluation logic" and "IAM JSON policy elements".
"""

import fnmatch
import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from byoc.local.errors import not_implemented

ALLOWED, IMPLICIT_DENY, EXPLICIT_DENY = "allowed", "implicitDeny", "explicitDeny"

Documents = Iterable[Mapping[str, Any]]
Knows = Callable[[str], bool]  # whether a condition key can be evaluated
Values = Mapping[str, list[str]]  # condition keys, in lower case, with their values


def decide(
    documents: Documents,
    action: str,
    resource: str,
    values: Mapping[str, str | list[str]],
    principal: tuple[str, str] | None = None,
) -> str:
    """What the documents together say: ALLOWED, IMPLICIT_DENY or EXPLICIT_DENY.

    `values` are the request's condition keys; `principal`, as `("Service", name)`, is who asks
    where a document names principals, as a trust policy does. Raises AWSError (501) for a condition
    operator that is not implemented: a policy is never half understood.
    """
    known = _lowered(values)
    decision = IMPLICIT_DENY
    for document in documents:
        for statement in as_list(document.get("Statement")):
            if not _applies(statement, action, resource, known, principal):
                continue
            if statement["Effect"] == "Deny":
                return EXPLICIT_DENY
            decision = ALLOWED
    return decision


def uncertain(
    documents: Documents,
    action: str,
    resource: str,
    values: Mapping[str, str | list[str]],
    knows: Knows,
    principal: tuple[str, str] | None = None,
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The documents without what can't be evaluated, and the condition keys that it hangs on.

    Of statements on this action and resource with a condition key that is not known, an Allow is
    left out and a Deny stays without its conditions: what is not certain is never allowed.
    """
    known = _lowered(values)
    sure: list[Mapping[str, Any]] = []
    unknown: list[str] = []
    for document in documents:
        statements = []
        for statement in as_list(document.get("Statement")):
            asked = {key for wanted in statement.get("Condition", {}).values() for key in wanted}
            keys = sorted(key for key in asked if not knows(key))
            bare = {name: part for name, part in statement.items() if name != "Condition"}
            if not keys or not _applies(bare, action, resource, known, principal):
                statements.append(statement)
                continue
            unknown += keys
            if statement["Effect"] == "Deny":
                statements.append(bare)
        sure.append({**document, "Statement": statements})
    return sure, unknown


def grants(
    text: str | None,
    action: str,
    resource: str,
    values: Mapping[str, str | list[str]],
    principals: Iterable[tuple[str, str]],
) -> bool:
    """Whether a resource's policy (JSON; None where it has none) lets another account's caller in.

    `principals` are all the names under which the caller asks: one must be allowed, none denied.
    """
    if text is None:
        return False
    documents = [json.loads(text)]
    decisions = {decide(documents, action, resource, values, one) for one in principals}
    return ALLOWED in decisions and EXPLICIT_DENY not in decisions


def principals(account: str, role: str) -> list[tuple[str, str]]:
    """The names of a role (an ARN) in a resource's policy: its own and its account's.

    Source: IAM User Guide, "AWS JSON policy elements: Principal".
    """
    partition = role.split(":")[1]
    return [("AWS", name) for name in (role, account, f"arn:{partition}:iam::{account}:root")]


def condition_keys(documents: Documents) -> set[str]:
    """The condition keys that the documents ask for."""
    return {
        key
        for document in documents
        for statement in as_list(document.get("Statement"))
        for wanted in statement.get("Condition", {}).values()
        for key in wanted
    }


def _lowered(values: Mapping[str, str | list[str]]) -> Values:
    return {k.lower(): [v] if isinstance(v, str) else v for k, v in values.items()}


def as_list(value: Any) -> list[Any]:
    """Policies write a list of one as the thing itself."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _applies(
    statement: Mapping[str, Any],
    action: str,
    resource: str,
    values: Values,
    principal: tuple[str, str] | None,
) -> bool:
    if "NotPrincipal" in statement:
        raise not_implemented("IAM policies with NotPrincipal")
    return (
        _covers(statement, "Action", action.lower(), str.lower)
        and _covers(statement, "Resource", resource, lambda text: _fill_in(text, values))
        and (principal is None or _names(statement.get("Principal"), principal))
        and _conditions_hold(statement.get("Condition", {}), values)
    )


def _covers(
    statement: Mapping[str, Any], element: str, value: str, prepare: Callable[[str], str]
) -> bool:
    """Whether an element, or its Not… form, covers the value; one that is absent covers all."""
    if f"Not{element}" in statement:
        return not any(like(prepare(p), value) for p in as_list(statement[f"Not{element}"]))
    patterns = as_list(statement.get(element))
    return not patterns or any(like(prepare(pattern), value) for pattern in patterns)


def _names(principals: Any, asked: tuple[str, str]) -> bool:
    kind, name = asked
    if principals == "*":
        return True
    if not isinstance(principals, Mapping):
        return False
    return any(named in (name, "*") for named in as_list(principals.get(kind)))


def like(pattern: str, value: str) -> bool:
    """`*` is any text, `?` any character; nothing else is special."""
    return _wildcard(pattern).fullmatch(value) is not None


@functools.lru_cache(4096)
def _wildcard(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")))


def _fill_in(text: str, values: Values) -> str:
    """Policy variables such as `${aws:username}`; an unknown one matches nothing."""
    return re.sub(r"\$\{([\w:/.-]+)\}", lambda m: values.get(m[1].lower(), ["\0"])[0], text)


def _conditions_hold(conditions: Mapping[str, Any], values: Values) -> bool:
    return all(
        _holds(operator, as_list(wanted), values.get(key.lower()), values)
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _holds(operator: str, wanted: list[Any], actual: list[str] | None, values: Values) -> bool:
    scope, _, name = operator.rpartition(":")
    if name == "Null":
        return (actual is None) == (str(wanted[0]).lower() == "true")
    if_exists = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    negated = name in NEGATED
    compare = OPERATORS.get(NEGATED.get(name, name))
    if compare is None or scope not in ("", "ForAllValues", "ForAnyValue"):
        raise not_implemented(f"IAM policies with the condition operator {operator}")
    if actual is None:
        return if_exists or negated or scope == "ForAllValues"
    texts = [_fill_in(_text(one), values) for one in wanted]
    matches = [any(compare(text, value) for text in texts) for value in actual]
    if negated:
        matches = [not match for match in matches]
    return any(matches) if scope == "ForAnyValue" else all(matches)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _numbers(compare: Callable[[float, float], bool]) -> Callable[[str, str], bool]:
    return lambda wanted, actual: compare(float(actual), float(wanted))


OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, actual: actual == wanted,
    "StringEqualsIgnoreCase": lambda wanted, actual: actual.lower() == wanted.lower(),
    "StringLike": like,
    "ArnEquals": like,
    "ArnLike": like,
    "Bool": lambda wanted, actual: actual.lower() == wanted.lower(),
    "NumericEquals": _numbers(lambda actual, wanted: actual == wanted),
    "NumericLessThan": _numbers(lambda actual, wanted: actual < wanted),
    "NumericLessThanEquals": _numbers(lambda actual, wanted: actual <= wanted),
    "NumericGreaterThan": _numbers(lambda actual, wanted: actual > wanted),
    "NumericGreaterThanEquals": _numbers(lambda actual, wanted: actual >= wanted),
}
NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
}
