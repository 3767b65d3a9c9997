"""One instance of a production variant: a container kept in service by a thread.

Source: Developer Guide, your-algorithms-inference-code.
"""

import shutil
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from byoc import engines
from byoc.engines import Container, Image, Network
from byoc.errors import ByocError
from byoc.local import instance_types, model_data, multi_model
from byoc.local.connections import Connections
from byoc.local.logs import LogStream
from byoc.local.model_data import Budget, ModelDataError
from byoc.local.multi_model import Models
from byoc.local.service import Context
from byoc.local.storage import GIB, space_left
from byoc.optml import OptML

STOP_GRACE = 30.0  # seconds from SIGTERM to SIGKILL
UNSERVED_GRACE = 1.0  # the same for a container that was not yet in service: nobody waits for it
STARTUP = 480.0  # seconds until the first good /ping, unless the variant says otherwise
DOWNLOAD = 3600.0  # seconds to download and extract the model, unless the variant says otherwise
UNHEALTHY = 3  # bad pings in a row after which an instance is replaced (AWS doesn't say)
DRAIN = 60.0  # seconds in which requests under way may end before SIGTERM
PAUSES = (0.1, 2.0)  # seconds before a container is started again: at first, at most
HOST = "model"  # the name of an isolated container in its own network
CANNOT_START = (126, 127)  # exit codes of a program that is not executable or not there


class InstanceError(Exception):
    """Why an instance did not come into service, as AWS words it."""


@dataclass(frozen=True)
class Recipe:
    """What all instances of a variant are made from, fixed when the variant is deployed."""

    endpoint: str
    variant: str
    uri: str
    image: Image
    container: dict[str, Any]  # the model's container definition
    role: str | None  # the model's, an ARN
    settings: dict[str, Any]  # the variant in the endpoint configuration
    isolated: bool  # whether the container is to have no network

    @property
    def multi_model(self) -> bool:
        """Whether it loads models while it runs."""
        return multi_model.is_multi(self.container)

    def memory(self, most: int | None) -> int | None:
        """Bytes that a container may take: what the variant has, and `most` if that is less."""
        if given := self.settings.get("ServerlessConfig"):
            size = given["MemorySizeInMB"] * instance_types.MIB
            return size if most is None else min(size, most)
        return instance_types.memory(self.settings["InstanceType"], most)


@dataclass(eq=False)
class Replica:
    """A container in service, and who uses it at this moment."""

    container: Container
    stream: str
    connections: Connections
    folder: Path  # its /opt/ml
    volume: int  # bytes that its instance has for files
    models: Models | None = None  # of a multi-model container
    retired: bool = False
    sessions: set[str] = field(default_factory=set)
    used: float = field(default_factory=time.monotonic)  # when a request was answered last
    _users: set[object] = field(default_factory=set)  # its methods are atomic

    def enter(self) -> object | None:
        """A token for one request, or None when the container takes no more."""
        token = object()
        self._users.add(token)
        if self.retired:  # asked after adding, so that `drain` overlooks nobody
            self._users.discard(token)
            return None
        return token

    def leave(self, token: object) -> None:
        """The request has its answer."""
        self.used = time.monotonic()
        if self.models is not None:
            self.models.leave(token)
        self._users.discard(token)

    def holds(self, key: str) -> bool:
        """Whether it has a stateful session of this id, or a model of this name loaded."""
        return key in self.sessions or (self.models is not None and key in self.models)

    @property
    def busy(self) -> bool:
        return bool(self._users)


class Instance:
    """Keeps one container in service until it is stopped; replaces it when it dies or falls silent.

    `settled` is called once, when the first container is in service or `failure` says why not.
    """

    def __init__(
        self,
        context: Context,
        recipe: Recipe,
        folder: Path,
        settled: Callable[["Instance"], None],
    ) -> None:
        self.context, self.recipe, self._folder, self._settled = context, recipe, folder, settled
        self.replica: Replica | None = None
        self.failure: str | None = None
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._grace, self._drain = 0.0, 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Bring a container into service; returns at once."""
        self._thread.start()

    def stop(self, grace: float, drain: float = 0.0) -> None:
        """Take no more requests, let those under way end for `drain` seconds, then stop.

        Returns at once; `join` waits. `grace` is in seconds from SIGTERM to SIGKILL.
        """
        self._grace, self._drain = grace, drain
        self._stopped.set()
        self._wake.set()

    def join(self) -> None:
        """Wait until nothing of the instance is left."""
        self._thread.join()

    def suspect(self) -> None:
        """Somebody could not reach the container: look at it now."""
        self._wake.set()

    def _run(self) -> None:
        first = True
        while not self._stopped.is_set():
            pause, grace = PAUSES[0], UNSERVED_GRACE
            machine = Machine(self.context, self.recipe, self._folder, self._stopped, self._wake)
            try:
                self.replica = machine.bring_up()
                if first:
                    self._settled(self)
                first, grace = False, STOP_GRACE
                self._watch(self.replica)
            except InstanceError as error:
                self.failure, pause = f"{error}", PAUSES[1]
            except Exception as error:  # a fault of ours must not leave the endpoint Creating
                self.failure, pause = f"InternalServerError: {error!r}", PAUSES[1]
            self._retire()
            wanted = self._grace if self._stopped.is_set() else self._patience
            machine.end(min(grace, wanted))
            if first:
                break
            self._stopped.wait(pause)
        if first:
            self._settled(self)

    @property
    def _patience(self) -> float:
        return min(STOP_GRACE, self.context.platform.options.stop_grace)

    def _watch(self, replica: Replica) -> None:
        """Ask `/ping` until the container dies, stops answering, or is to be stopped."""
        interval = self.context.platform.options.ping_interval
        bad, due = 0, time.monotonic() + interval
        while bad < UNHEALTHY and not self._stopped.is_set() and replica.container.poll() is None:
            if self._wake.wait(max(0.0, due - time.monotonic())):
                self._wake.clear()
                try:
                    replica.container.wait(0.05)  # an end that has begun is soon seen
                except TimeoutError:
                    pass
            if time.monotonic() >= due and not self._stopped.is_set():
                bad = 0 if replica.container.ping() == 200 else bad + 1
                due = time.monotonic() + interval

    def _retire(self) -> None:
        replica, self.replica = self.replica, None
        if replica is None:
            return
        replica.retired = True
        began = time.monotonic()
        while replica.busy and time.monotonic() - began < self._drain:
            if replica.container.poll() is not None:
                break
            time.sleep(0.01)
        replica.connections.close()
        if replica.models is not None:
            replica.models.close()


class Machine:
    """What one container of an instance needs: a folder, a log stream, the model's files."""

    def __init__(
        self,
        context: Context,
        recipe: Recipe,
        folder: Path,
        stopped: threading.Event,
        wake: threading.Event,
    ) -> None:
        self.context, self.recipe = context, recipe
        self._stopped, self._wake = stopped, wake
        self._name = f"i-{uuid.uuid4().hex[:17]}"
        self._ml = OptML(folder / self._name)
        size = recipe.settings.get("VolumeSizeInGB", context.platform.options.volume_size)
        self._volume = size * GIB
        self._container: Container | None = None
        self._network: Network | None = None
        self._followers: list[threading.Thread] = []

    def bring_up(self) -> Replica:
        """Start the container until it answers `/ping`; raises InstanceError."""
        stream = LogStream(self.context.client_as("logs", self.recipe.role), *self._log_stream())
        self._ml.path.mkdir(parents=True)
        self._fetch_model()
        container = self._start(stream)
        connections = Connections(container.url)
        return Replica(
            container,
            stream.stream,
            connections,
            self._ml.path,
            self._volume,
            self._models(container),
        )

    def _models(self, container: Container) -> Models | None:
        if not self.recipe.multi_model:
            return None
        platform = self.context.platform
        return Models(
            self.context.s3(self.recipe.role),
            self.recipe.container["ModelDataUrl"],
            self._ml.path / "models",
            self._volume,
            lambda: space_left(platform.work, platform.options.disk),
            container.url,
        )

    def end(self, grace: float) -> None:
        """Stop the container and remove the folder."""
        if self._container is not None:
            self._container.stop(grace)
        for follower in self._followers:
            follower.join(5.0)
        if self._network is not None:
            self._network.close()
        shutil.rmtree(self._ml.path, ignore_errors=True)

    # What is different for a transform job.

    def _log_stream(self) -> tuple[str, str]:
        """Its log group and log stream."""
        group = f"/aws/sagemaker/Endpoints/{self.recipe.endpoint}"
        return group, f"{self.recipe.variant}/{self._name}"

    def _no_start(self) -> str:
        return (
            "CannotStartContainerError. Please ensure the model container for variant "
            f"{self.recipe.variant} starts correctly when invoked with "
            f"'docker run {self.recipe.uri} serve'"
        )

    def _no_ping(self) -> str:
        return (
            f"The primary container for production variant {self.recipe.variant} did not "
            "pass the ping health check. Please check CloudWatch logs for this endpoint."
        )

    def _fetch_model(self) -> None:
        if self.recipe.multi_model:  # each model comes with the first request for it
            (self._ml.path / "models").mkdir()
            return
        platform = self.context.platform
        free = space_left(platform.work, platform.options.disk)
        seconds = self.recipe.settings.get("ModelDataDownloadTimeoutInSeconds", DOWNLOAD)
        budget = Budget(min(self._volume, free), time.monotonic() + seconds, self._stopped)
        try:
            s3 = self.context.s3(self.recipe.role)
            model_data.fetch(s3, self.recipe.container, self._ml.model, budget)
        except ModelDataError as error:
            raise InstanceError(f"{error}") from None

    def _start(self, stream: LogStream) -> Container:
        """Start the program, again if it ends, until it answers or the time is over."""
        recipe, options = self.recipe, self.context.platform.options
        wanted = recipe.settings.get("ContainerStartupHealthCheckTimeoutInSeconds", STARTUP)
        deadline = time.monotonic() + min(wanted, options.startup_timeout)
        pause = PAUSES[0]
        while True:
            try:
                container = self._run(options.memory_bytes)
            except ByocError as error:
                raise InstanceError(
                    f"The local AWS could not start the container. {error}"
                ) from None
            self._container = container
            follower = threading.Thread(target=self._follow, args=(stream, container), daemon=True)
            follower.start()
            self._followers.append(follower)
            while (left := deadline - time.monotonic()) > 0 and not self._stopped.is_set():
                if self._ready(container, min(left, 0.5)):
                    return container
                if container.poll() is not None:
                    break
            ended = container.poll()
            if ended in CANNOT_START:
                raise InstanceError(self._no_start())
            if ended is None or left <= pause or self._stopped.wait(pause):
                raise InstanceError(self._no_ping())
            pause = min(2 * pause, PAUSES[1])

    def _ready(self, container: Container, timeout: float) -> bool:
        """Whether it answers `/ping` within `timeout` seconds, and lists its models if it has many.

        Source of that: pytorch/serve#397.
        """
        if not container.ready(timeout):
            return False
        if not self.recipe.multi_model or multi_model.speaks(container.url):
            return True
        self._stopped.wait(PAUSES[0])
        return False

    def _run(self, most: int | None) -> Container:
        """Start the program; `most` is how many bytes of memory any container may take."""
        recipe, engine = self.recipe, engines.engine(self.recipe.image.engine)
        if recipe.isolated and self._network is None and engine.has_networks(serving=True):
            self._network = engine.network([HOST], isolated=True)
        return engine.run(
            recipe.image,
            ["serve"],
            ml=self._ml,
            environment=self._environment(),
            memory=recipe.memory(most),
            network=self._network,
            read_only=["/opt/ml/models" if recipe.multi_model else "/opt/ml/model"],
        )

    def _environment(self) -> dict[str, str]:
        given = self.recipe.container.get("Environment", {})
        return given | {multi_model.VARIABLE: "true"} if self.recipe.multi_model else given

    def _follow(self, stream: LogStream, container: Container) -> None:
        stream.follow(container.lines())
        self._wake.set()  # what prints no more has probably ended
