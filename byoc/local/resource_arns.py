"""The ARN of the resource that an action is about, from the request's parameters.

The forms of the ARNs are AWS's own, see `service_reference`. What a request does not name is `*`.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from moto.iam.models import iam_backends

from byoc.local import service_reference
from byoc.local.service import Context

VARIABLE = re.compile(r"\$\{(\w+)\}")
# The parameters that name a thing, where they are called otherwise than in its ARN.
CALLED = {
    "bucketname": ("bucket",),
    "objectname": ("key",),
    "rulename": ("rule", "name"),
    "topicname": ("name",),
    "statemachinename": ("name",),
    "groupname": ("groupname", "name"),
    "schedulename": ("name",),
    "eventbusname": ("eventbusname", "name"),
    "alarmname": ("alarmname", "alarmnames"),
    "repositoryname": ("repositoryname", "repositorynames"),
    "rolenamewithpath": ("rolename",),
    "usernamewithpath": ("username",),
    "groupnamewithpath": ("groupname",),
    "policynamewithpath": ("policyname",),
    "instanceprofilenamewithpath": ("instanceprofilename",),
    "queuename": ("queuename", "queueurl"),
    "keyid": ("keyid", "targetkeyid"),
    "resourceid": ("resourceid",),
}
NAMING = ("arn", "arns", "arnlist", "name", "names", "identifier", "resource", "url")
# Only these of an action's optional kinds are asked for, unless the request has an ARN of one.
OPTIONAL = {
    "bucket",
    "object",
    "stack",
    "model-package",
    "rule-on-default-event-bus",
    "rule-on-custom-event-bus",
}


def of(context: Context, action: str, parameters: Mapping[str, Any]) -> Iterator[str]:
    """Each resource that the action is about; `*` where it is about none in particular."""
    kinds = service_reference.kinds(action)
    service = action.partition(":")[0]
    if not kinds:
        yield "*"
        return
    names = _names(parameters)
    if service == "logs":
        yield _of_logs(context, names)
        return
    found = {kind: _named(context, service, kind, names) for kind in kinds if _fits(kind, names)}
    arns = [arn for kind, row in found.items() if kinds[kind] for arn in row]
    if not arns:
        arns = [arn for kind in found for arn in _given(service, kind, names)]
        optional = [row for kind, row in found.items() if kind in OPTIONAL]
        arns = arns or next(iter(optional), [])
    if service == "states" and action.endswith("Execution"):
        arns = arns[:1]  # of a standard or of an express state machine
    yield from dict.fromkeys(arns or ["*"])


def _named(context: Context, service: str, kind: str, names: Mapping[str, list[str]]) -> list[str]:
    """The ARNs of this kind that the request names, or else the one with `*` for the name."""
    form, given = service_reference.form(service, kind), _given(service, kind, names)
    place = {"Partition": context.partition, "Region": context.region, "Account": context.account}
    names_in_form = [name for name in VARIABLE.findall(form) if name not in place]
    if not names_in_form:
        return [_filled(form, place)]
    last, others = names_in_form[0], names_in_form[1:]
    rest = {name: _value(service, name, names)[:1] for name in others}
    filled = {name: found[0] if found else "*" for name, found in rest.items()}
    values = _value(service, last, names) or ([] if given else ["*"])
    made = [_filled(form, {**place, **filled, last: _whole(context, kind, v)}) for v in values]
    return list(dict.fromkeys([*given, *made]))


def _given(service: str, kind: str, names: Mapping[str, list[str]]) -> list[str]:
    """The ARNs of this kind that are in the request as they stand."""
    pattern = _pattern(service_reference.form(service, kind))
    named = [value for name, row in names.items() if name.endswith(NAMING) for value in row]
    return [value for value in dict.fromkeys(named) if pattern.fullmatch(value)]


def _fits(kind: str, names: Mapping[str, list[str]]) -> bool:
    """EventBridge's rules are of one kind on the default bus, of another on any other bus."""
    default = names.get("eventbusname", ["default"]) == ["default"]
    return kind != ("rule-on-custom-event-bus" if default else "rule-on-default-event-bus")


def _value(service: str, variable: str, names: Mapping[str, list[str]]) -> list[str]:
    """What the request calls a thing by name; by its ARN it is found otherwise."""
    wanted = variable.lower()
    if wanted == "modelpackagename" and "modelpackagegroupname" in names:
        return [f"{name.rpartition('/')[2].lower()}/*" for name in names["modelpackagegroupname"]]
    for name in CALLED.get(wanted, (wanted,)):
        values = [value for value in names.get(name, []) if not value.startswith("arn:")]
        if name == "queueurl":
            values = [value.rpartition("/")[2] for value in values]
        if values:
            return [value.lower() for value in values] if service == "sagemaker" else values
    return []


def _whole(context: Context, kind: str, name: str) -> str:
    """A role's name with its path, where there is such a role."""
    if kind == "role":
        for role in list(iam_backends[context.account][context.partition].roles.values()):
            if role.name == name:
                return f"{role.path or '/'}{name}".lstrip("/")
    return name


def _of_logs(context: Context, names: Mapping[str, list[str]]) -> str:
    """A log group's ARN as CloudWatch Logs asks for it, whatever the action: with a stream.

    Source: CloudWatch Logs User Guide, "CloudWatch Logs resources and operations"; the wording of
    its refusals, as in aws/aws-cli#3960.
    """
    prefix = f"arn:{context.partition}:logs:{context.region}:{context.account}:log-group:"
    for key in ("loggroupidentifier", "resourcearn", "loggrouparn"):
        for value in names.get(key, []):
            if value.startswith("arn:"):
                return f"{value.removesuffix(':*')}:log-stream:"
    group = names.get("loggroupname") or names.get("loggroupidentifier") or ["*"]
    stream = names.get("logstreamname") or [""]
    return f"{prefix}{group[0]}:log-stream:{stream[0]}"


def _names(parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    """The parameters that are texts, or lists of texts, by their names in small letters."""
    found: dict[str, list[str]] = {}
    for name, value in parameters.items():
        values = value if isinstance(value, list) else [value]
        texts = [one for one in values if isinstance(one, str)]
        if texts:
            found[name.lower()] = texts
        if name == "Delete" and isinstance(value, dict):  # S3's DeleteObjects
            keys = value.get("Objects") or []
            found["key"] = [one.get("Key", "") for one in keys if isinstance(one, dict)]
    return found


def _filled(form: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda match: values.get(match[1], "*"), form)


@functools.cache
def _pattern(form: str) -> re.Pattern[str]:
    """What an ARN of this form looks like; the last name may hold slashes."""
    parts = VARIABLE.split(form)
    texts = [re.escape(part) if number % 2 == 0 else "[^:/]*" for number, part in enumerate(parts)]
    if texts[-1] == "" and len(texts) > 1:
        texts[-2] = ".+"
    return re.compile("".join(texts))
