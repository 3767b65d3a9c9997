"""Whose account it is, where several local AWS run in one process and share moto's memory.

What happens by itself in an account (an alarm, a schedule) is done by the local AWS that the
account called last. Outside of tests there is but one.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from byoc.local.service import Platform

_OWNERS: dict[str, "Platform"] = {}
_STARTED: list["Platform"] = []


def start(platform: "Platform") -> None:
    """A local AWS begins to serve: it owns what nobody else does."""
    _STARTED.append(platform)


def claim(account: str, platform: "Platform") -> None:
    """The account has called this local AWS."""
    _OWNERS[account] = platform


def stop(platform: "Platform") -> None:
    """A local AWS has ended, and owns nothing any more; one that has ended may end again."""
    if platform in _STARTED:
        _STARTED.remove(platform)
    for account in [a for a, owning in list(_OWNERS.items()) if owning is platform]:
        _OWNERS.pop(account, None)


def owner(account: str) -> "Platform | None":
    """The local AWS that acts for the account, or None when none runs."""
    return _OWNERS.get(account) or (_STARTED[0] if _STARTED else None)
