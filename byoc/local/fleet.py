"""The containers of one job, one for each host: started, followed and stopped together."""

import datetime as dt
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from byoc import engines
from byoc.engines import Container, Image, Network
from byoc.local import instance_types
from byoc.local.logs import LogStream
from byoc.local.metrics import Metrics
from byoc.local.service import Context
from byoc.optml import OptML

METRICS_INTERVAL = 60.0  # seconds, as AWS publishes them
PEER_GRACE = 10.0  # seconds from SIGTERM to SIGKILL for the others when one host has failed


@dataclass(frozen=True)
class Program:
    """What each host runs; the names of log streams begin with `job`."""

    job: str
    role: str
    log_group: str
    image: Image
    instance_type: str
    entrypoint: Sequence[str] | None = None
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    isolated: bool = False


class Fleet:
    """Runs a program on every host; `codes` are the exit codes of those that have ended.

    `failed` is the host that failed first, of itself: the others are then stopped.
    """

    def __init__(self, context: Context, program: Program, metrics: Metrics) -> None:
        self.codes: dict[str, int] = {}
        self.failed: str | None = None
        self._context, self._program, self._metrics = context, program, metrics
        self._lock = threading.Lock()
        self._containers: dict[str, Container] = {}
        self._grace: float | None = None  # seconds to end in, once it was asked to

    @property
    def out_of_memory(self) -> bool:
        """Whether the host that failed took more memory than it may."""
        return self.failed is not None and self._containers[self.failed].out_of_memory

    def run(self, mls: Mapping[str, OptML]) -> None:
        """Run a container on each host, with its /opt/ml, until all have ended; none if stopped."""
        engine = engines.engine(self._program.image.engine)
        if self._grace is not None:
            return
        if not engine.has_networks():
            return self._run_in(None, mls)
        with engine.network(list(mls), self._program.isolated) as network:
            self._run_in(network, mls)

    def stop(self, grace: float) -> None:
        """Ask all to end within `grace` seconds, and start no other; returns at once."""
        for container in self._to_stop(grace):
            threading.Thread(target=container.stop, args=(grace,), daemon=True).start()

    def kill(self) -> None:
        """End all now, and start no other."""
        for container in self._to_stop(0):
            container.stop(0)

    def _to_stop(self, grace: float) -> list[Container]:
        with self._lock:
            self._grace = grace
            return list(self._containers.values())

    def _run_in(self, network: Network | None, mls: Mapping[str, OptML]) -> None:
        program, moment = self._program, int(dt.datetime.now().timestamp() * 1000)
        logs = self._context.client_as("logs", program.role)
        followers = []
        try:
            for host, ml in mls.items():
                stream = LogStream(logs, program.log_group, f"{program.job}/{host}-{moment}")
                container = self._start(host, ml, network)
                if container is None:
                    break
                wanted = (host, container, stream)
                followers.append(threading.Thread(target=self._follow, args=wanted, daemon=True))
                followers[-1].start()
        except BaseException:
            self.kill()
            raise
        finally:
            self._wait(followers)

    def _start(self, host: str, ml: OptML, network: Network | None) -> Container | None:
        """The host's container, unless the job is being stopped."""
        program, most = self._program, self._context.platform.options.memory_bytes
        if self._grace is not None:
            return None
        container = engines.engine(program.image.engine).run(
            program.image,
            program.arguments,
            ml=ml,
            environment=program.environment,
            entrypoint=program.entrypoint,
            memory=instance_types.memory(program.instance_type, most),
            network=network,
            host=host,
        )
        with self._lock:
            self._containers[host] = container
            grace = self._grace
        if grace is not None:  # it was asked to stop while this one started
            threading.Thread(target=container.stop, args=(grace,), daemon=True).start()
        return container

    def _follow(self, host: str, container: Container, stream: LogStream) -> None:
        each: Callable[[str], None] = lambda line: self._metrics.read(host, line)  # noqa: E731
        try:
            stream.follow(container.lines(), each)
        finally:
            self._ended(host, container.wait())

    def _ended(self, host: str, code: int) -> None:
        """A host's program has ended; the first that fails takes the others with it."""
        with self._lock:
            self.codes[host] = code
            first = code != 0 and self.failed is None and self._grace is None
            if first:
                self.failed = host
        if first:
            self.stop(min(PEER_GRACE, self._context.platform.options.stop_grace))

    def _wait(self, followers: Sequence[threading.Thread]) -> None:
        """Wait for the logs' ends, and publish what the job measures meanwhile and at last."""
        for follower in followers:
            while follower.is_alive():
                follower.join(METRICS_INTERVAL)
                if follower.is_alive():
                    self._publish()
        self._publish()

    def _publish(self) -> None:
        disk = shutil.disk_usage(self._context.platform.work)
        usage = {host: container.usage for host, container in self._containers.items()}
        cloudwatch = self._context.client_as("cloudwatch", self._program.role)
        self._metrics.publish(cloudwatch, usage, 100 * disk.used / disk.total)
