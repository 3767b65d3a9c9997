"""Many models behind one endpoint: the platform has them loaded and unloaded while `serve` runs.

What is loaded stands in a folder that all workers share, a file a model. Each worker loads what it
is asked for, and lets go of what is no longer there at its next request, at the latest a ping.
Source: SageMaker Developer Guide, mms-container-apis and build-multi-model-build-container.
"""

import asyncio
import gc
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import answers
import asgi
import contract
import service
from service import Response

LONGEST = 200  # characters of a name; the platform's have 32
SHARE = 4  # a model takes at most so many times its files' bytes of memory
LIMITS = (  # of a container: what it may take, and what it takes
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


class Refused(Exception):
    """What was asked for can't be done: the status and the reason."""


class Models:
    """What is loaded: in `folder` for all workers, in `own` for this one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, 0
        self.own: dict[str, tuple[tuple[int, int], service.Served]] = {}

    def file(self, name: str) -> Path:
        return self.folder / f"model-{quote(name, safe='')}"

    def every(self) -> dict[str, str]:
        """Name -> folder of all that is loaded."""
        files = sorted(self.folder.glob("model-*"))
        return {unquote(f.name.removeprefix("model-")): f.read_text() for f in files}

    def load(self, name: str, url: str) -> None:
        """Load the model of the folder `url`, so that every worker knows it."""
        if self.file(name).exists():
            raise Refused(409, f"The model {name[:80]!r} is loaded already.")
        folder, inside = Path(url).resolve(), (contract.base() / "models").resolve()
        if inside not in folder.parents:
            raise Refused(400, f"The url {url[:200]!r} must be below {contract.ROOT}/models.")
        if SHARE * sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) > free_memory():
            raise Refused(507, "There is not enough memory for the model: unload another one.")
        served = service.load(folder)
        if isinstance(served, str):
            raise Refused(400, served)
        with tempfile.NamedTemporaryFile("w", dir=self.folder) as draft:
            draft.write(url)
            draft.flush()
            os.chmod(draft.name, 0o644)
            try:
                os.link(draft.name, self.file(name))  # whole from the first moment, and only once
            except FileExistsError:
                raise Refused(409, f"The model {name[:80]!r} is loaded already.") from None
        self.own[name] = stamp(self.file(name)), served

    def get(self, name: str) -> service.Served:
        """The model; loaded now, if another worker was asked to load it."""
        try:
            current = stamp(self.file(name))
            if name not in self.own or self.own[name][0] != current:
                served = service.load(Path(self.file(name).read_text()))
                if isinstance(served, str):
                    raise Refused(500, served)
                self.own[name] = current, served
            return self.own[name][1]
        except FileNotFoundError:
            raise Refused(404, f"The model {name[:80]!r} is not loaded.") from None

    def unload(self, name: str) -> None:
        try:
            self.file(name).unlink()
        except FileNotFoundError:
            raise Refused(404, f"The model {name[:80]!r} is not loaded.") from None
        self.tidy()

    def tidy(self) -> None:
        """Let go of what other workers have unloaded."""
        changed = self.folder.stat().st_mtime_ns
        if changed != self.seen:
            self.seen = changed
            self.own = {name: own for name, own in self.own.items() if self.file(name).exists()}


class Application(asgi.Application):
    """The five calls on /models, and /ping."""

    def __init__(self, folder: Path) -> None:
        super().__init__("This endpoint has many models: name one.")
        self.models = Models(folder)

    async def respond(self, scope: dict[str, Any], receive: asgi.Receive) -> Response:
        self.models.tidy()
        method, path = scope["method"], scope["path"]
        if path == "/ping" and method in service.ROUTES["/ping"]:
            return Response(200, "text/plain", b"", {}, "")
        _, root, *names = path.split("/")
        try:
            match [method, root, *names]:
                case ["GET", "models"]:
                    every = self.models.every().items()
                    return shown({"models": [described(name, url) for name, url in every]})
                case ["POST", "models"]:
                    name, url = named(await whole(receive))
                    await self.in_thread(self.models.load, name, url)
                    return shown(described(name, url))
                case ["GET", "models", name]:
                    await self.in_thread(self.models.get, name)
                    return shown(described(name, self.models.every()[name]))
                case ["DELETE", "models", name]:
                    self.models.unload(name)
                    return shown({})
                case ["POST", "models", name, "invoke"]:
                    ready = name in self.models.own
                    get = self.models.get
                    served = get(name) if ready else await self.in_thread(get, name)
                    return await self.invocations(served, dict(scope["headers"]), receive)
        except Refused as why:
            return service.error_response(*why.args)
        return service.error_response(404, f"{method} {path[:80]!r}: there is no such call.")

    async def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Reading a model takes long, and a ping must not wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work, *arguments)


def named(body: bytes) -> tuple[str, str]:
    """(name, url) of a request to load a model."""
    try:
        given = json.loads(body)
        name, url = given["model_name"], given["url"]
        if not (isinstance(name, str) and isinstance(url, str) and 0 < len(quote(name)) <= LONGEST):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise Refused(
            400, 'Send {"model_name": "...", "url": "/opt/ml/models/..."}, with a short name.'
        ) from None
    return name, url


def described(name: str, url: str) -> dict[str, str]:
    return {"modelName": name, "modelUrl": url}


def shown(content: dict[str, Any]) -> Response:
    return Response(200, answers.JSON, json.dumps(content).encode(), {}, "")


async def whole(receive: asgi.Receive) -> bytes:
    """A short body."""
    body, more = await asgi.part(receive)
    while more and len(body) <= asgi.SMALL:
        rest, more = await asgi.part(receive)
        body += rest
    return body


def stamp(file: Path) -> tuple[int, int]:
    """What another file under the same name would not have."""
    found = file.stat()
    return found.st_ino, found.st_mtime_ns


def free_memory() -> int:
    """Bytes that this container may still take."""
    with open("/proc/meminfo") as table:
        lines = dict(line.split(":") for line in table)
    free = [int(lines["MemAvailable"].split()[0]) * 1024]
    for most, used in LIMITS:
        try:
            free.append(int(Path(most).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # not here, or "max"
            continue
    return min(free)


def application() -> Application:
    folder = Path(tempfile.mkdtemp(prefix="models-", dir=contract.memory_dir()))
    folder.chmod(0o777)  # the workers are nobody, and we may be root
    gc.freeze()
    return Application(folder)
