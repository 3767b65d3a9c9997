"""Images and containers for the bench: built on one base, started, timed, and weighed.

Needs Linux: memory is read from the cgroup of a container. It is the anonymous memory (`anon`, in
cgroups v1 `total_rss`): what the programs hold, without the cache of files, which the kernel
charges to whoever reads a file first and gives back when memory is short.
"""

import shlex
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3

from byoc import engines
from byoc.engines.base import Image
from byoc.engines.commands import CommandLine
from byoc.engines.docker import DockerEngine
from byoc.errors import ByocError

PATIENCE = 120.0  # seconds until a server must have answered
CGROUPS = Path("/sys/fs/cgroup")
HTTP = urllib3.PoolManager(retries=False, timeout=2)


@dataclass
class Peak:
    """The most memory that was seen, in bytes."""

    bytes: int


@dataclass(frozen=True)
class Running:
    """A container that has answered."""

    id: str
    address: str
    seconds: float  # from `docker run` to the first 200
    memory_file: Path  # of its cgroup: memory.stat
    cpu_file: Path  # cpu.stat, in cgroups v1 cpuacct.usage

    def memory(self) -> int:
        """Bytes of anonymous memory now."""
        table = _table(self.memory_file)
        return table["total_rss"] if "total_rss" in table else table["anon"]

    def cpu(self) -> float:
        """Seconds of processor time so far, of all its processes."""
        if self.cpu_file.name == "cpu.stat":
            return _table(self.cpu_file)["usage_usec"] / 1e6
        return int(self.cpu_file.read_text()) / 1e9

    @contextmanager
    def peak(self, every: float = 0.01) -> Iterator[Peak]:
        """The most memory while the block runs, looked at every hundredth of a second."""
        found, done = Peak(self.memory()), threading.Event()

        def watch() -> None:
            while not done.wait(every):
                found.bytes = max(found.bytes, self.memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield found
        finally:
            done.set()
            watcher.join()

    def use(self, path: str, body: bytes, content_type: str, times: int = 20) -> None:
        """Ask so often, each time on a new connection, that every worker has had its turn."""
        headers = {"Content-Type": content_type, "Connection": "close"}
        for _ in range(times):
            answer = HTTP.request("POST", self.address + path, body, headers=headers, timeout=30)
            if answer.status != 200:
                raise ByocError(f"{path} answers {answer.status}: {answer.data[:500]!r}")


class Containers:
    """The images and containers of one run, by the first engine that answers."""

    def __init__(self, base: str) -> None:
        found = next((e for e in engines.available() if isinstance(e, DockerEngine)), None)
        if found is None or sys.platform != "linux":
            raise ByocError("The bench needs Linux with a container engine: start docker.")
        self.engine, self.base = found, base
        self._command = CommandLine(found.name)
        self._direct: bool | None = None  # whether containers are reached at their own address

    def build(self, folder: Path, tag: str) -> Image:
        """Build the folder on the run's base; what is unchanged comes from the engine's cache."""
        return self.engine.build(folder, tag, {"BASE": self.base})

    def run(self, tag: str, *words: str, volumes: Mapping[str, Path]) -> str:
        """Run a program of the image to its end; returns what it printed."""
        return self._command.ask("run", "--rm", *_mounts(volumes, "rw"), tag, *words)

    @contextmanager
    def serving(
        self,
        tag: str,
        words: Sequence[str],
        model: Path,
        environment: Mapping[str, str],
        ping: str = "/ping",
    ) -> Iterator[Running]:
        """A fresh container that serves the model, from its first 200 on."""
        flags = [f"--env={name}={value}" for name, value in environment.items()]
        flags += _mounts({"/opt/ml/model": model}, "ro")
        begin = time.perf_counter()
        # What a server writes is read, but not kept: the engine's work would be measured with it.
        server = ("--publish=127.0.0.1::8080", "--log-driver=none")
        container = self._command.ask("run", "--detach", *flags, *server, tag, *words).strip()
        try:
            try:
                address = self._wait(container, ping)
            except TimeoutError:
                shown = shlex.join([self.engine.name, "run", "--rm", *flags, tag, *words])
                raise ByocError(f"The server does not answer: see why by `{shown}`.") from None
            seconds = time.perf_counter() - begin
            memory = self._cgroup_file(container, "memory", "memory.stat", "memory.stat")
            cpu = self._cgroup_file(container, "cpuacct", "cpuacct.usage", "cpu.stat")
            yield Running(container, address, seconds, memory, cpu)
        finally:
            self._command.ask("rm", "--force", "--volumes", container)

    def _wait(self, container: str, ping: str) -> str:
        """The address that answers: the container's own if it can be reached, as a published port
        has a proxy in front, which costs more than our server does. A TimeoutError: none does."""
        own = self._own(container)
        address = own if own and self._direct else self._published(container)
        deadline, look = time.perf_counter() + PATIENCE, time.perf_counter() + 5
        while not answers(address + ping):
            now = time.perf_counter()
            ended = now > look and self._inspect(container, "{{.State.Running}}") == "false"
            look = now + 5 if now > look else look
            if ended or now > deadline:
                raise TimeoutError
            time.sleep(0.005)
        if self._direct is None:
            self._direct = own is not None and answers(own + ping)
        return own if own and self._direct else address

    def _own(self, container: str) -> str | None:
        networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        address = self._inspect(container, networks)
        return f"http://{address}:8080" if address else None

    def _published(self, container: str) -> str:
        port = self._command.ask("port", container, "8080").splitlines()[0].rpartition(":")[2]
        return f"http://127.0.0.1:{port}"

    def _inspect(self, container: str, template: str) -> str:
        return self._command.ask("inspect", f"--format={template}", container).strip()

    def _cgroup_file(self, container: str, controller: str, version1: str, version2: str) -> Path:
        pid = self._inspect(container, "{{.State.Pid}}")
        groups = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().split()]
        files = [
            CGROUPS / controller / path[1:] / version1
            for _, kinds, path in groups
            if controller in kinds.split(",")
        ]
        files += [CGROUPS / path[1:] / version2 for _, kinds, path in groups if not kinds]
        for file in files:
            if file.is_file():
                return file
        raise ByocError(f"A container's {controller} can't be read: no {version1} in its cgroup.")


def _table(file: Path) -> dict[str, int]:
    """The lines `name number` of a cgroup's file."""
    lines = (line.split() for line in file.read_text().splitlines())
    return {name: int(value) for name, value in lines}


def answers(address: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        return HTTP.request("GET", address).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def _mounts(volumes: Mapping[str, Path], mode: str) -> list[str]:
    return [f"--volume={folder}:{place}:{mode}" for place, folder in volumes.items()]
