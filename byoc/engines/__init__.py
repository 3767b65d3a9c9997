"""How a container's program is run: `process`, or the command line of docker, podman or finch."""

import functools
import os
from collections.abc import Iterator

from byoc.engines.base import Container, Engine, Image, Network
from byoc.engines.commands import PROGRAMS, CommandLine
from byoc.errors import ByocError

__all__ = ["Container", "Engine", "Image", "Network", "available", "engine"]


def engine(name: str | None = None) -> Engine:
    """The engine called `name`, or the one that `$BYOC_ENGINE` names.

    Otherwise the first of docker, podman and finch that answers, else `process`. Raises ByocError
    for a name that is none, or whose engine does not answer.
    """
    name = name or os.environ.get("BYOC_ENGINE")
    if name is None or name == "":
        name = next((program for program in PROGRAMS if _why_not(program) is None), "process")
    elif name not in ("process", *PROGRAMS):
        raise ByocError(
            f"There is no engine called {name!r}: set BYOC_ENGINE to process, "
            f"{', '.join(PROGRAMS)}, or unset it."
        )
    elif name != "process" and (reason := _why_not(name)) is not None:
        raise ByocError(reason)
    return _make(name)


def available() -> Iterator[Engine]:
    """Every engine that can be used now, `process` first; each is asked when its turn comes."""
    yield _make("process")
    for program in PROGRAMS:
        if _why_not(program) is None:
            yield _make(program)


def _make(name: str) -> Engine:
    if name == "process":
        from byoc.engines.process import ProcessEngine

        return ProcessEngine()
    from byoc.engines.docker import DockerEngine

    return DockerEngine(name)


def _why_not(program: str) -> str | None:
    """None if the engine answers, which is remembered; else why not."""
    where = tuple(os.environ.get(name) for name in ("PATH", "DOCKER_HOST", "DOCKER_CONTEXT"))
    try:
        return _answers(program, where)
    except ByocError as error:
        return f"{error}"


@functools.cache
def _answers(program: str, where: tuple[str | None, ...]) -> None:
    reason = CommandLine(program).why_not()
    if reason is not None:
        raise ByocError(reason)  # a failure is asked about again: somebody may start the engine
