"""The rules of composite alarms: which alarms they name, and whether they hold.

Source: API Reference, PutCompositeAlarm, AlarmRule. It does not say whether AND binds more tightly
than OR: here it does, as elsewhere.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

ELEMENTS = 500  # alarms, TRUE, FALSE and parentheses
ALARMS = 100
_TOKEN = re.compile(
    r"""\s*(?:(ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*(?:"([^"]+)"|([^"()\s](?:[^"()]*[^"()\s])?))\s*\)
    |(AND|OR|NOT|TRUE|FALSE|true|false)\b|([()]))\s*""",
    re.VERBOSE,
)
Test = Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True)
class Expression:
    """The alarms as they are written, each once, and whether the rule holds in their states."""

    alarms: tuple[str, ...]
    holds: Test


def parse(text: str) -> Expression:
    """Read a rule; raises ValueError, which says what is wrong, for one that can't be read."""
    tokens, place = [], 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise ValueError(f"can't be read from character {place + 1} on")
        tokens.append(found)
        place = found.end()
    if sum(found[4] not in ("AND", "OR", "NOT") for found in tokens) > ELEMENTS:
        raise ValueError(f"has more than {ELEMENTS} elements")
    alarms = tuple(dict.fromkeys(found[2] or found[3] for found in tokens if found[1]))
    if len(alarms) > ALARMS:
        raise ValueError(f"names more than {ALARMS} alarms")
    parser = _Parser(tokens)
    try:
        test = parser.either()
    except RecursionError:
        raise ValueError("has too many parentheses within each other") from None
    if tokens:
        raise ValueError(f"ends before '{tokens[0][0].strip()}'")
    return Expression(alarms, test)


class _Parser:
    """By recursive descent; takes the tokens from the list's front."""

    def __init__(self, tokens: list[re.Match[str]]) -> None:
        self._tokens = tokens

    def either(self) -> Test:
        tests = [self._both()]
        while self._take("OR"):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda states: any(t(states) for t in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._take("AND"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda states: all(t(states) for t in tests)

    def _one(self) -> Test:
        negative = False
        while self._take("NOT"):
            negative = not negative
        test = self._operand()
        return (lambda states: not test(states)) if negative else test

    def _operand(self) -> Test:
        if self._take("("):
            test = self.either()
            if not self._take(")"):
                raise ValueError("lacks a closing parenthesis")
            return test
        if not self._tokens:
            raise ValueError("ends where an alarm is expected")
        state, quoted, bare, word, _ = self._tokens.pop(0).groups()
        if state:
            name = quoted or bare
            return lambda states: states.get(name) == state
        if (word or "").upper() not in ("TRUE", "FALSE"):
            raise ValueError(f"has '{word or ')'}' where an alarm is expected")
        return lambda states: word.upper() == "TRUE"

    def _take(self, word: str) -> bool:
        if self._tokens and word in self._tokens[0].group(4, 5):
            self._tokens.pop(0)
            return True
        return False
