"""The container under check: its image, its runs, its server. Nothing of a container is assumed."""

import contextlib
import json
import shutil
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from byoc.check.clause import Broken, Kind, Unknown
from byoc.check.http import Server
from byoc.engines import Container, Engine, Image
from byoc.engines.base import MULTIPLE_PORTS_LABEL, Network
from byoc.errors import ByocError
from byoc.optml import OptML

PING_FAILED = "did not pass the ping health check"
T = TypeVar("T")


@dataclass(frozen=True)
class Payload:
    """A request that the container answers with 200."""

    body: bytes
    content_type: str

    @classmethod
    def parse(cls, text: str) -> "Payload":
        """From `FILE:CONTENT_TYPE`; raises ByocError when there is no such file."""
        name, _, content_type = text.rpartition(":")
        if not name or "/" not in content_type:
            raise ByocError(
                f"--payload {text!r} is not FILE:CONTENT_TYPE: give both, as in rows.csv:text/csv."
            )
        try:
            return cls(Path(name).read_bytes(), content_type)
        except OSError as error:
            raise ByocError(f"--payload {name} can't be read: {error.strerror}.") from None


@dataclass(frozen=True)
class Settings:
    """What is known of the container: nothing, unless its owner says it.

    `training_data` is a file (channel `training`) or a folder whose folders are the channels, or
    that is the channel `training` itself when it holds files. `model` is a folder or a tar.gz.
    A processing job finds `processing_input`, a file or a folder, in /opt/ml/processing/input, and
    the folders `processing_outputs` in /opt/ml/processing; `arguments` are its program's.
    Times are in seconds: for a training run, from a server's start to its first good ping, and from
    SIGTERM to SIGKILL in a training run (AWS: 120).
    """

    kinds: frozenset[Kind] = frozenset({Kind.IMAGE, Kind.TRAINING, Kind.SERVING, Kind.BATCH})
    training_data: Path | None = None
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    payloads: tuple[Payload, ...] = ()
    model: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    processing_input: Path | None = None
    processing_outputs: tuple[str, ...] = ("output",)
    arguments: tuple[str, ...] = ()
    training_time: float = 300.0
    startup_time: float = 120.0
    stop_time: float = 120.0

    @property
    def channels(self) -> dict[str, Path]:
        """Channel name -> its file or folder."""
        data = self.training_data
        if data is None:
            return {}
        if not data.exists():
            raise ByocError(f"--training-data {data} is not there: name a file or a folder.")
        entries = sorted(data.iterdir()) if data.is_dir() else []
        if entries and all(entry.is_dir() for entry in entries):
            return {entry.name: entry for entry in entries}
        return {"training": data}


@dataclass(frozen=True)
class Run:
    """A program that has ended; `code` is None when it had to be killed after `seconds`.

    `times` has for each line of the log when it came, in seconds after the start.
    """

    code: int | None
    log: list[str]
    ml: OptML
    seconds: float
    times: list[float] = field(default_factory=list)

    @property
    def told(self) -> str:
        """How it ended, for a report: exit code and last lines."""
        end = "it did not end" if self.code is None else f"exit code {self.code}"
        tail = " ⏎ ".join(line for line in self.log[-4:] if line.strip())
        return f"{end} after {self.seconds:.1f} s; its last words: {tail[-400:] or 'none'}"


class Subject:
    """The image in the hands of an engine. Leaving its `with` block ends and removes all."""

    def __init__(self, engine: Engine, image: Image, settings: Settings) -> None:
        self.engine, self.image, self.settings = engine, image, settings
        self._runs: dict[object, Run] = {}
        self._made: dict[str, Any] = {}
        self._folders: list[OptML] = []
        self._shared = contextlib.ExitStack()
        self._servers: dict[str, Server | Broken | Unknown] = {}
        self._model: Path | None = None

    def __enter__(self) -> "Subject":
        return self

    def __exit__(self, *_: object) -> None:
        self._shared.close()
        for ml in self._folders:
            shutil.rmtree(ml.path, ignore_errors=True)

    def opt_ml(
        self,
        *,
        hyperparameters: Mapping[str, str] | None = None,
        channels: Mapping[str, Path] | None = None,
        model: Path | None = None,
    ) -> OptML:
        """An /opt/ml of its own; without other words the owner's hyperparameters and channels."""
        if hyperparameters is None:
            hyperparameters = self.settings.hyperparameters
        if channels is None:
            channels = self.settings.channels
        return self.keep(
            OptML.create(hyperparameters=hyperparameters, channels=channels, model=model)
        )

    def keep(self, ml: OptML) -> OptML:
        """The same; it goes with this subject."""
        self._folders.append(ml)
        return ml

    @contextlib.contextmanager
    def start(
        self,
        arguments: Sequence[str],
        ml: OptML,
        *,
        environment: Mapping[str, str] | None = None,
        entrypoint: Sequence[str] | None = None,
        isolated: bool = False,
        read_only: Sequence[str] = (),
        network: Network | None = None,
        host: str | None = None,
    ) -> Iterator[Container]:
        """`docker run IMAGE ARGUMENTS`; leaving the block stops it. Isolated: without a network."""
        with contextlib.ExitStack() as stack:
            if isolated:
                if not self.engine.has_networks():
                    raise Unknown("this machine can't take a container's network away")
                network = stack.enter_context(self.engine.network(["algo-1"], isolated=True))
            elif network is None and list(arguments) == ["train"] and self.engine.has_networks():
                network = stack.enter_context(self.engine.network(_hosts(ml)))  # they resolve
            container = self.engine.run(
                self.image,
                list(arguments),
                ml=ml,
                environment={**self.settings.environment, **(environment or {})},
                entrypoint=entrypoint,
                network=network,
                host=host,
                read_only=read_only,
            )
            stack.callback(container.stop, 0)
            yield container

    def train(
        self,
        *,
        hyperparameters: Mapping[str, str] | None = None,
        channels: Mapping[str, Path] | None = None,
        environment: Mapping[str, str] | None = None,
        isolated: bool = False,
    ) -> Run:
        """A training run to its end; the same arguments are run once only."""
        if hyperparameters == self.settings.hyperparameters:
            hyperparameters = None
        if channels == self.settings.channels:
            channels = None
        key = (
            None if hyperparameters is None else tuple(sorted(hyperparameters.items())),
            None if channels is None else tuple(sorted(channels.items())),
            tuple(sorted((environment or {}).items())),
            isolated,
        )
        if key not in self._runs:
            ml = self.opt_ml(hyperparameters=hyperparameters, channels=channels)
            self._runs[key] = self.train_on(ml, environment=environment, isolated=isolated)
        return self._runs[key]

    def train_on(
        self, ml: OptML, *, environment: Mapping[str, str] | None = None, **options: Any
    ) -> Run:
        """A training run on an /opt/ml laid out in another way; `options` as in `start`."""
        return self.run(["train"], ml, environment={**JOB, **(environment or {})}, **options)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What several clauses look at and one of them makes."""
        if name not in self._made:
            self._made[name] = make()
        made: T = self._made[name]
        return made

    @property
    def patience(self) -> float:
        """Seconds for a run: the owner's, and not much more than the first run took."""
        seconds = [run.seconds for run in self._runs.values() if run.code is not None]
        most = self.settings.training_time
        return min(most, 30 + 5 * max(seconds, default=0)) if self._runs else most

    def run(self, arguments: Sequence[str], ml: OptML, **options: Any) -> Run:
        """Any program to its end, or until `patience` is over; `options` as in `start`."""
        began = time.monotonic()
        with self.start(arguments, ml, **options) as container:
            return self.follow(container, ml, began)

    def follow(self, container: Container, ml: OptML, began: float) -> Run:
        """A program that was started at `began` to its end, or until `patience` is over."""
        times: list[float] = []

        def listen() -> None:
            times.extend(time.monotonic() - began for _ in container.lines())

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            code: int | None = container.wait(self.patience)
        except TimeoutError:
            code = None
        seconds = time.monotonic() - began
        container.stop(0)
        listener.join(10.0)
        return Run(code, list(container.log), ml, seconds, times)

    @property
    def trained(self) -> Run:
        """The plain training run, with the owner's data; raises Unknown when it did not succeed."""
        missing = Unknown("give --training-data, so that a training run can succeed")
        if not self.settings.channels and Kind.TRAINING not in self.settings.kinds:
            raise missing
        run = self.train()
        if run.code != 0:
            raise Unknown("the training run did not succeed") if self.settings.channels else missing
        return run

    @property
    def model(self) -> Path:
        """The model to serve: the owner's, else what the training run left. Raises Unknown."""
        given = self.settings.model
        if given is None:
            return self.trained.ml.model
        if self._model is None:
            self._model = _unpacked(given, self.opt_ml(channels={}))
        return self._model

    @property
    def model_or_none(self) -> Path | None:
        """The model to serve, or None for a container that is checked without one."""
        try:
            return self.model
        except Unknown:
            return None

    @contextlib.contextmanager
    def serve(
        self,
        *,
        model: Path | None = None,
        ml: OptML | None = None,
        environment: Mapping[str, str] | None = None,
        isolated: bool = False,
        wait: bool = True,
        writable: bool = False,
    ) -> Iterator[Server]:
        """A server of its own with `model` (by default the model), its folder read-only unless
        `writable`.

        `ml` stands for an /opt/ml that is laid out otherwise. Raises Broken when it is waited for
        and does not come into service, Unknown when it has no model: it may need one.
        """
        bare = ml is None and model is None and self.model_or_none is None
        if ml is None:
            ml = self.opt_ml(hyperparameters={}, channels={}, model=model or self.model_or_none)
        self.make_room()
        began = time.monotonic()
        with self.start(
            ["serve"],
            ml,
            environment=environment,
            isolated=isolated,
            read_only=[] if writable else ["/opt/ml/model"],
        ) as container:
            server = Server(container, began)
            if wait and not container.ready(self.settings.startup_time):
                if bare:
                    raise Unknown(
                        "give --model or --training-data: without a model it is never in service"
                    )
                raise server.not_in_service(self.settings.startup_time)
            server.started = time.monotonic() - began
            yield server

    @property
    def server(self) -> Server:
        """The server that clauses share, in service. Raises Broken and Unknown as `serve` does."""
        return self.shared("hosting", self.serve)

    def shared(
        self, name: str, start: Callable[[], contextlib.AbstractContextManager[Server]]
    ) -> Server:
        """The server of this name, in service for all clauses that ask for it.

        There is one at a time (a model may fill the memory): another name's ends it. One that a
        clause has killed or blocked is started again. Raises what `start` raised, without another
        try.
        """
        found = self._servers.get(name)
        if isinstance(found, Server) and found.container.ping() != 200:
            found = None
        if found is None:
            self._end_shared()
            try:
                found = self._shared.enter_context(start())
            except (Broken, Unknown) as error:
                found = error
            self._servers[name] = found
        if isinstance(found, Exception):
            raise found
        return found

    def make_room(self) -> None:
        """End the shared server where there can be only one: at port 8080 of this machine."""
        if self.engine.name == "process" and self.image.labels.get(MULTIPLE_PORTS_LABEL) != "true":
            self._end_shared()

    def _end_shared(self) -> None:
        """End the server that clauses share; the next one that asks starts it again."""
        self._shared.close()
        for name in [n for n, kept in self._servers.items() if isinstance(kept, Server)]:
            del self._servers[name]

    @property
    def payload(self) -> Payload:
        """The owner's first payload; raises Unknown when there is none."""
        if not self.settings.payloads:
            raise Unknown("give --payload FILE:CONTENT_TYPE, a request that is answered with 200")
        return self.settings.payloads[0]


JOB = {
    "TRAINING_JOB_NAME": "byoc-check",
    "TRAINING_JOB_ARN": "arn:aws:sagemaker:us-east-1:123456789012:training-job/byoc-check",
}


def _hosts(ml: OptML) -> list[str]:
    """The hosts that the job's resourceconfig.json names."""
    hosts: list[str] = json.loads((ml.path / "input/config/resourceconfig.json").read_text())[
        "hosts"
    ]
    return hosts


def _unpacked(given: Path, ml: OptML) -> Path:
    """The model's folder; raises ByocError for what is neither a folder nor a tar.gz."""
    if given.is_dir():
        return given
    try:
        with tarfile.open(given, "r:gz") as archive:
            archive.extractall(ml.model, filter="data")
    except (OSError, tarfile.TarError, EOFError) as error:
        raise ByocError(
            f"--model {given} is neither a folder nor a sound tar.gz: {error}"
        ) from None
    return ml.model
