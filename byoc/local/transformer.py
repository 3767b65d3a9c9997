"""What a target of an EventBridge rule gets: the event, a part of it, or a text made of parts.

Source: EventBridge User Guide, eb-transform-target-input; API Reference, InputTransformer.
"""

import json
import re
from typing import Any

from jsonpath_ng import parse
from jsonpath_ng.exceptions import JSONPathError

from byoc.local.errors import AWSError
from byoc.local.state import now

VARIABLE = re.compile(r"<([A-Za-z0-9_.-]+)>")


def check(target: dict[str, Any]) -> None:
    """Raise ValidationException for settings that can't be carried out, or that exclude others."""
    if len({"Input", "InputPath", "InputTransformer"} & set(target)) > 1:
        raise _invalid(
            f"Only one of Input, InputPath, or InputTransformer must be provided for target "
            f"{target['Id']}."
        )
    transformer = target.get("InputTransformer", {})
    for path in (target.get("InputPath", "$"), *transformer.get("InputPathsMap", {}).values()):
        try:
            parse(path)
        except (JSONPathError, AttributeError, TypeError):
            raise _invalid(f"Parameter {path} is not valid. Reason: Invalid JsonPath.") from None


def input_of(rule: str, target: dict[str, Any], event: dict[str, Any]) -> str:
    """The text for a target of the rule with this ARN."""
    if "Input" in target:
        return target["Input"]
    if "InputTransformer" in target:
        return _transformed(rule, target["InputTransformer"], event)
    return json.dumps(_at(target.get("InputPath", "$"), event))


def _transformed(rule: str, transformer: dict[str, Any], event: dict[str, Any]) -> str:
    values = {
        "aws.events.rule-arn": rule,
        "aws.events.rule-name": rule.rpartition("/")[2],
        "aws.events.event": {k: v for k, v in event.items() if k != "detail"},
        "aws.events.event.json": event,
        "aws.events.event.ingestion-time": now().strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    for name, path in transformer.get("InputPathsMap", {}).items():
        values[name] = _at(path, event)
    template = transformer["InputTemplate"]

    def replace(match: re.Match[str]) -> str:
        value = values.get(match[1], "")
        if _quoted(template[: match.start()]):
            text = value if isinstance(value, str) else json.dumps(value)
            return json.dumps(text)[1:-1]
        return json.dumps(value)

    text = VARIABLE.sub(replace, template)
    try:
        plain = json.loads(text)
    except ValueError:
        return text
    return plain if isinstance(plain, str) else text


def _quoted(before: str) -> bool:
    """Whether what follows stands within a JSON string."""
    return len(re.findall(r'(?<!\\)"', before)) % 2 == 1


def _at(path: str, event: dict[str, Any]) -> Any:
    """The part of the event at a JSONPath; an empty text where there is none."""
    found = parse(path).find(event)
    return found[0].value if found else ""


def _invalid(message: str) -> AWSError:
    return AWSError("ValidationException", message)
