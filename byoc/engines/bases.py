"""Which base image a build takes: the one that the Dockerfile pins, unless another is named.

A Dockerfile says `ARG BASE=python:3.12.1-slim@sha256:...` before its first FROM.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from byoc.engines.commands import CommandLine, last_line

PLATFORM = "linux/amd64"
ARGUMENT = "BASE"


def build_arguments(
    command: CommandLine, dockerfile: Path, given: Mapping[str, str]
) -> dict[str, str]:
    """The build arguments: `given`, and the base where it is not the Dockerfile's own.

    `$BYOC_BASE` names another. A pinned base that is not here is pulled; where it can't be, an
    image of the same name that is here takes its place, and a line says so.
    """
    pinned = _pinned(dockerfile.read_text(errors="replace"))
    if pinned is None or ARGUMENT in given:
        return dict(given)
    named = os.environ.get("BYOC_BASE")
    if named:
        return {**given, ARGUMENT: named}
    if _is_here(command, pinned):
        return dict(given)
    code, text = command.follow("pull", "--platform", PLATFORM, pinned)
    stand_in = None if code == 0 else next(_stand_ins(command, pinned), None)
    if stand_in is None:
        return dict(given)  # if it was not pulled, the build says why
    print(
        f"{command.program} engine: base {pinned} can't be pulled ({last_line(text)}); "
        f"building on {stand_in}, which is here"
    )
    return {**given, ARGUMENT: stand_in}


def _pinned(dockerfile: str) -> str | None:
    head = re.split(r"(?im)^\s*FROM\s", dockerfile, maxsplit=1)[0]
    match = re.search(rf"(?im)^\s*ARG\s+{ARGUMENT}=(\S+)", head)
    return match[1].strip("\"'") if match else None


def _stand_ins(command: CommandLine, pinned: str) -> Iterator[str]:
    """Images that are here under the pinned one's name, without digest and patch version."""
    name = pinned.partition("@")[0]
    for candidate in dict.fromkeys([name, re.sub(r":(\d+\.\d+)\.\d+", r":\1", name)]):
        if candidate != pinned and _is_here(command, candidate):
            yield candidate


def _is_here(command: CommandLine, image: str) -> bool:
    return command.run("image", "inspect", image).returncode == 0
