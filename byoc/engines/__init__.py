"""How a container's program is run: one module an engine, each a `base.Engine`."""

import os

from byoc.engines.base import Container, Engine, Image
from byoc.errors import ByocError

__all__ = ["Container", "Engine", "Image", "engine"]


def engine(name: str | None = None) -> Engine:
    """The engine called `name`, or the one that `$BYOC_ENGINE` names; `process` by default."""
    name = name or os.environ.get("BYOC_ENGINE") or "process"
    if name == "process":
        from byoc.engines.process import ProcessEngine

        return ProcessEngine()
    raise ByocError(f"There is no engine called {name!r}: set BYOC_ENGINE to process, or unset it.")
