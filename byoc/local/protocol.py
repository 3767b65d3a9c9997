"""Requests checked, and answers shaped, by the service models that botocore ships.

Source of every rule: botocore's model of the service (API Reference); the wording of violations is
that of the AWS JSON services.
"""

import base64
import datetime as dt
import functools
import json
import sys
from collections.abc import Iterator
from typing import Any

import regex
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape

from byoc.local.errors import AWSError, validation

PASSABLE = regex.compile(r"[^\x00\ud800-\udfff]*")  # to a program, as argument or variable
# The characters beyond U+FFFF, as Java's patterns write them, and as Python's do.
SURROGATES = (r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")
# The largest number of each type. Source: Smithy, "Simple types".
MOST = {
    "integer": 2**31 - 1,
    "long": 2**63 - 1,
    "float": 2.0**128 - 2.0**104,
    "double": sys.float_info.max,
}


@functools.cache
def service(name: str = "sagemaker") -> ServiceModel:
    """The service model of an AWS service."""
    return ServiceModel(Loader().load_service_model(name, "service-2"), name)


def parse(operation: str, body: bytes, service_name: str = "sagemaker") -> dict[str, Any]:
    """The request's members as Python values; raises AWSError for one the model forbids."""
    try:
        request = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise AWSError("SerializationException", "The request body is not valid JSON.") from None
    shape = service(service_name).operation_model(operation).input_shape
    if not isinstance(request, dict):
        raise AWSError("SerializationException", "The request body is not a JSON object.")
    if shape is None:
        return {}
    value = _read(shape, request, "")
    problems = list(_violations(shape, value, ""))
    if problems:
        raise _detected(problems)
    return value


def violations(shape: Shape, value: Any, path: str) -> list[str]:
    """Each rule of the model that `value` breaks, in AWS's words."""
    return list(_violations(shape, value, path))


def check_texts(members: dict[str, dict[str, str] | list[str]]) -> None:
    """Raise ValidationException for a text that no program can get as argument or variable.

    AWS documents no rule for NUL and lone surrogates; the words are those for a pattern.
    """
    rule = f"Member must satisfy regular expression pattern: {PASSABLE.pattern}"
    problems = []
    for name, texts in members.items():
        if isinstance(texts, dict):
            places = [(f"{name}.key", key) for key in texts]
            places += [(f"{name}.{key}.member", text) for key, text in texts.items()]
        else:
            places = [(f"{name}.{i}.member", text) for i, text in enumerate(texts, 1)]
        problems += [_failed(t, place, rule) for place, t in places if not PASSABLE.fullmatch(t)]
    if problems:
        raise _detected(problems)


def render(operation: str, answer: dict[str, Any] | None, service_name: str = "sagemaker") -> bytes:
    """The answer as JSON: only members that the model has and that were set."""
    shape = service(service_name).operation_model(operation).output_shape
    if shape is None:
        return b""
    return json.dumps(_write(shape, answer or {})).encode()


def _read(shape: Shape, value: Any, path: str) -> Any:
    """JSON as Python values of the shape's types; unknown members are ignored, as AWS does."""
    kind = shape.type_name
    if value is None:
        return None
    if isinstance(shape, StructureShape):
        _expect(isinstance(value, dict), path, kind)
        members = {n: _read(s, value.get(n), _join(path, n)) for n, s in shape.members.items()}
        return {name: member for name, member in members.items() if member is not None}
    if isinstance(shape, MapShape):
        _expect(isinstance(value, dict), path, kind)
        return {k: _read(shape.value, v, f"{path}.{k}") for k, v in value.items()}
    if isinstance(shape, ListShape):
        _expect(isinstance(value, list), path, kind)
        return [_read(shape.member, v, f"{path}.{i}.member") for i, v in enumerate(value, 1)]
    if kind == "timestamp":
        try:
            if isinstance(value, str):
                moment = dt.datetime.fromisoformat(value)
                return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
            return dt.datetime.fromtimestamp(value, dt.UTC)
        except (ValueError, TypeError, OverflowError, OSError):
            _expect(False, path, kind)
    if kind in ("integer", "long"):
        _expect(isinstance(value, int) and not isinstance(value, bool), path, kind)
        _expect(-MOST[kind] - 1 <= value <= MOST[kind], path, kind)
    elif kind in ("float", "double"):
        _expect(isinstance(value, int | float) and not isinstance(value, bool), path, kind)
        _expect(-MOST[kind] <= value <= MOST[kind], path, kind)  # not so for NaN
    elif kind == "boolean":
        _expect(isinstance(value, bool), path, kind)
    elif kind in ("string", "blob"):
        _expect(isinstance(value, str), path, kind)
    return value


def _expect(right: bool, path: str, kind: str) -> None:
    if not right:
        raise AWSError("SerializationException", f"The value at '{path}' is not of type {kind}.")


def _violations(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """Each rule of the model that `value` breaks, in AWS's words."""
    rules = shape.metadata
    if value is None:
        yield _failed("null", path, "Member must not be null")
    elif isinstance(shape, StructureShape):
        for name in rules.get("required", []):
            if name not in value:
                yield _failed("null", _join(path, name), "Member must not be null")
        for name, member in value.items():
            yield from _violations(shape.members[name], member, _join(path, name))
    elif isinstance(shape, MapShape):
        yield from _size(rules, len(value), str(value), path, "length")
        for key, member in value.items():
            yield from _violations(shape.key, key, f"{path}.key")
            yield from _violations(shape.value, member, f"{path}.{key}.member")
    elif isinstance(shape, ListShape):
        yield from _size(rules, len(value), str(value), path, "length")
        for i, member in enumerate(value, 1):
            yield from _violations(shape.member, member, f"{path}.{i}.member")
    elif shape.type_name == "string":
        if shape.enum and value not in shape.enum:
            allowed = ", ".join(shape.enum)
            yield _failed(value, path, f"Member must satisfy enum value set: [{allowed}]")
        yield from _size(rules, len(value), value, path, "length")
        pattern = rules.get("pattern")
        if pattern and not _compiled(pattern).fullmatch(value):
            rule = f"Member must satisfy regular expression pattern: {pattern}"
            yield _failed(value, path, rule)
    elif shape.type_name in ("integer", "long", "float", "double"):
        yield from _size(rules, value, value, path, "value")


def _size(rules: dict, size: float, value: Any, path: str, what: str) -> Iterator[str]:
    if "min" in rules and size < rules["min"]:
        bound = f"Member must have {what} greater than or equal to {rules['min']}"
        yield _failed(value, path, bound)
    if "max" in rules and size > rules["max"]:
        yield _failed(value, path, f"Member must have {what} less than or equal to {rules['max']}")


def _detected(problems: list[str]) -> AWSError:
    plural = "s" if len(problems) > 1 else ""
    return validation(f"{len(problems)} validation error{plural} detected: {'; '.join(problems)}")


def _failed(value: Any, path: str, rule: str) -> str:
    shown = "Value null" if value == "null" else f"Value '{value}'"
    return f"{shown} at '{path}' failed to satisfy constraint: {rule}"


@functools.cache
def _compiled(pattern: str) -> Any:
    return regex.compile(pattern.replace(*SURROGATES))


def _join(path: str, name: str) -> str:
    """`path.memberName`, as AWS spells the place of a member."""
    first = name[0].lower() + name[1:]
    return f"{path}.{first}" if path else first


def _write(shape: Shape, value: Any) -> Any:
    if isinstance(shape, StructureShape):
        return {
            name: _write(member, value[name])
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if isinstance(shape, MapShape):
        return {key: _write(shape.value, member) for key, member in value.items()}
    if isinstance(shape, ListShape):
        return [_write(shape.member, member) for member in value]
    if shape.type_name == "timestamp":
        return value.timestamp()
    if shape.type_name == "blob":
        return base64.b64encode(value).decode()
    return value
