"""The JSONPath expressions that batch transform knows: to select from an object or an array.

Source: Developer Guide, batch-transform-data-processing, "Supported JSONPath Operators". Libraries
don't read `$[0,5:]`, which is AWS's own example.
"""

import re
from collections.abc import Callable
from typing import Any

Step = Callable[[Any], Any]

NAME = r"'[^'\]]+'|\"[^\"\]]+\""
NUMBER = r"-?\d*:-?\d*|-?\d+"
STEP = re.compile(
    rf"\.?\[\s*(?P<names>(?:{NAME})(?:\s*,\s*(?:{NAME}))*)\s*\]"
    rf"|\.?\[\s*(?P<places>(?:{NUMBER})(?:\s*,\s*(?:{NUMBER}))*)\s*\]"
    r"|\.?\[\s*(?P<all>\*)\s*\]|\.(?P<star>\*)"
    r"|\.(?P<name>[^.\[\]*'\"\s,]+)"
)


class PathError(Exception):
    """The expression can't be read, or selects nothing of this value."""


def parse(expression: str) -> Step:
    """A function that selects from a value; raises PathError, as the function does.

    One name or number gives the element, several names an object, several numbers or a slice an
    array.
    """
    if not expression.startswith("$"):
        raise PathError(f"{expression!r} does not begin with $")
    steps, position = [], 1
    while position < len(expression):
        match = STEP.match(expression, position)
        if match is None:
            raise PathError(f"{expression!r} has an operator that is not supported")
        steps.append(_step(match))
        position = match.end()

    def select(value: Any) -> Any:
        for step in steps:
            value = step(value)
        return value

    return select


def _step(match: re.Match[str]) -> Step:
    if match["name"]:
        return _names([match["name"]])
    if match["names"]:
        return _names([quoted[1:-1] for quoted in re.findall(NAME, match["names"])])
    if match["places"]:
        return _places([place.strip() for place in match["places"].split(",")])
    return _all


def _names(names: list[str]) -> Step:
    def select(value: Any) -> Any:
        if not isinstance(value, dict):
            raise PathError(f"{names[0]!r} is asked of what is not an object")
        missing = [name for name in names if name not in value]
        if missing:
            raise PathError(f"there is no {missing[0]!r}")
        return value[names[0]] if len(names) == 1 else {name: value[name] for name in names}

    return select


def _places(places: list[str]) -> Step:
    def select(value: Any) -> Any:
        if not isinstance(value, list):
            raise PathError(f"[{','.join(places)}] is asked of what is not an array")
        found = []
        for place in places:
            if ":" in place:
                first, _, last = place.partition(":")
                found += value[int(first) if first else None : int(last) if last else None]
            elif -len(value) <= int(place) < len(value):
                found.append(value[int(place)])
            else:
                raise PathError(f"there is no element {place} among {len(value)}")
        return found[0] if len(places) == 1 and ":" not in places[0] else found

    return select


def _all(value: Any) -> Any:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list):
        return value
    raise PathError("* is asked of what is neither an object nor an array")
