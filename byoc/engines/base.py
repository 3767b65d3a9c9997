"""What every engine can do: build a folder into an image, push it, run one of its programs.

`process` does it without an engine on the machine, `docker` by the command line of one.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import urllib3

from byoc.engines import hints
from byoc.engines.usage import Usage
from byoc.errors import ByocError
from byoc.optml import OptML

SERVING_PORT = 8080  # where the platform asks, unless SAGEMAKER_BIND_TO_PORT says otherwise
PING_TIMEOUT = 2.0  # seconds for one /ping. Source: Developer Guide, your-algorithms-inference-code
MULTIPLE_PORTS_LABEL = "com.amazonaws.sagemaker.capabilities.accept-bind-to-port"


@dataclass(frozen=True)
class Image:
    """A built image: `tag` as asked for, `id` the digest of its configuration, `size` in bytes.

    `engine` is the name of the one that has it; `architecture` as in `--platform linux/amd64`.
    """

    tag: str
    id: str
    size: int
    labels: Mapping[str, str] = field(default_factory=dict)
    engine: str = "process"
    architecture: str = "amd64"


def check_tag(tag: str) -> tuple[str, str]:
    """The name and the version that NAME:TAG consists of; raises ByocError for another text."""
    name, _, version = tag.rpartition(":")
    if not name or not version or "/" in version:
        raise ByocError(f"{tag!r} is not NAME:TAG: give both, as in penguins:1.")
    return name, version


def no_image(tag: str) -> ByocError:
    """What to say about a tag that nothing was built under."""
    return ByocError(f"There is no image {tag}: build it with `byoc build FOLDER --tag {tag}`.")


class Network(ABC):
    """Hosts that find each other by name; leaving its `with` block gives it up."""

    @abstractmethod
    def close(self) -> None:
        """Give the network up; the containers in it have ended."""

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Container(ABC):
    """One running program of an image. Leaving its `with` block stops it.

    `usage` is what it used when it was last looked at; `out_of_memory`: it was killed because it
    took more than it may.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log: list[str] = []
        self.usage: Usage | None = None
        self.out_of_memory = False
        self._more = threading.Condition()
        self._ended = False

    @abstractmethod
    def poll(self) -> int | None:
        """The exit code, or None while it runs; 128 + n after signal n, as engines report it."""

    @abstractmethod
    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; returns the exit code, raises TimeoutError after `timeout` seconds."""

    @abstractmethod
    def stop(self, grace: float = 10.0) -> int:
        """SIGTERM, after `grace` seconds SIGKILL, to all that still runs; returns the exit code."""

    def handles(self, number: int) -> bool | None:
        """Whether the program has a handler for this signal; None where that can't be seen.

        PID 1 without one does not get the signal at all: that is Linux's rule.
        """
        return None

    def lines(self) -> Iterator[str]:
        """Standard output and error, line by line as they are written, until the program ends."""
        position = 0
        while True:
            with self._more:
                while len(self.log) == position and not self._ended:
                    self._more.wait()
                fresh = self.log[position:]
                if not fresh:
                    return
            position += len(fresh)
            yield from fresh

    @property
    def hint(self) -> str | None:
        """Why a program could not be started, and the cure, if its last words tell."""
        return hints.explain(self.log) if self.poll() else None

    def ping(self) -> int | None:
        """The status of one `GET /ping`, or None when nothing answered within two seconds."""
        try:
            with urllib3.PoolManager(retries=False, timeout=PING_TIMEOUT) as http:
                return http.request("GET", f"{self.url}/ping").status
        except urllib3.exceptions.HTTPError:
            return None

    def ready(self, timeout: float = 60.0) -> bool:
        """Ask `/ping` until it answers 200; False after `timeout` seconds or at the end."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.poll() is None:
            if self.ping() == 200:
                return True
            time.sleep(0.05)
        return False

    def _add_line(self, line: str) -> None:
        with self._more:
            self.log.append(line)
            self._more.notify_all()

    def _close_log(self) -> None:
        with self._more:
            self._ended = True
            self._more.notify_all()

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Engine(Protocol):
    """A way to build, push and run images."""

    name: str

    def build(
        self, folder: str | Path, tag: str, build_args: Mapping[str, str] | None = None
    ) -> Image:
        """Build the folder's Dockerfile, its ARG lines changed by `build_args`, as NAME:TAG."""
        ...

    def image(self, tag: str) -> Image:
        """The built image called `tag`; raises ByocError when there is none."""
        ...

    def configuration(self, image: Image) -> dict[str, Any]:
        """What `docker image inspect` shows as Config, and the image's Architecture.

        With MediaType, the manifest's, where the engine knows what it will push.
        """
        ...

    def push(self, tag: str, repository_uri: str, ecr: Any = None) -> str:
        """Push the image into an ECR repository that exists; returns the image's URI.

        `ecr` is a boto3 client of the registry; without it the environment says which one.
        """
        ...

    def resolve(self, manifest: str) -> Image | None:
        """The image a registry's manifest stands for, if this engine has it."""
        ...

    def packages(self, image: Image) -> dict[str, int]:
        """The installed Python packages of the image and their sizes in bytes, largest first."""
        ...

    def run(
        self,
        image: Image,
        arguments: Sequence[str],
        *,
        ml: OptML,
        environment: Mapping[str, str] | None = None,
        entrypoint: Sequence[str] | None = None,
        memory: int | None = None,
        network: Network | None = None,
        host: str | None = None,
        read_only: Sequence[str] = (),
    ) -> Container:
        """Start `docker run [--entrypoint E] IMAGE ARGUMENTS` with `ml` at /opt/ml.

        `memory` is the limit in bytes; beyond it the container is killed and ends with 137.
        `host` is the container's name in the `network`, one of those it was made for.
        `read_only` are folders below /opt/ml that the program can't write to, where the engine can
        see to that.
        """
        ...

    def has_networks(self, serving: bool = False) -> bool:
        """Whether containers can have a `network` here, and a `serve` in it can be asked."""
        ...

    def network(self, hosts: Sequence[str], isolated: bool = False) -> Network:
        """A network in which containers find each other by the names `hosts`."""
        ...

    def sweep(self, work: Path) -> None:
        """End every container whose folders lie under `work`, whoever started it."""
        ...
