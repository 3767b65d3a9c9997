"""Serverless variants: a container for each request under way, none when there are none.

Source: Developer Guide, serverless-endpoints, serverless-endpoints-invoke,
serverless-endpoints-monitoring; API Reference, ProductionVariantServerlessConfig.
"""

import functools
import threading
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from byoc.local.errors import AWSError, validation
from byoc.local.instances import Instance, Recipe, Replica
from byoc.local.models import container_of
from byoc.local.multi_model import is_multi
from byoc.local.variants import Variant

STARTUP = 180  # seconds to download the model and until the first good /ping
VOLUME = 5  # GB of disk
STEP = 1024  # MB by which the memory goes up
PATIENCE = 60.0  # seconds that a request waits for its container (AWS does not say)
MEMBERS = {"InitialVariantWeight", "ModelName", "ServerlessConfig", "VariantName"}
EXCLUDED = (  # what else of an endpoint configuration can't be combined with it
    "AsyncInferenceConfig",
    "DataCaptureConfig",
    "EnableNetworkIsolation",
    "ShadowProductionVariants",
    "VpcConfig",
)
METRICS = frozenset(  # "an exhaustive list". Source: serverless-endpoints-monitoring
    {
        "Invocations",
        "Invocation4XXErrors",
        "Invocation5XXErrors",
        "MemoryUtilization",
        "ModelLatency",
        "ModelSetupTime",
        "OverheadLatency",
        "ServerlessConcurrentExecutionsUtilization",
    }
)

Taken = tuple[Instance, Replica, object]


def check(config: dict[str, Any], variant: dict[str, Any], model: dict[str, Any]) -> None:
    """Raise ValidationException for what a serverless variant can't have; the words are ours.

    `config` is the request for an endpoint configuration, `model` what DescribeModel shows.
    """
    name = f"Production variant {variant['VariantName']}"
    given = variant["ServerlessConfig"]
    if given.get("ProvisionedConcurrency", 0) > given["MaxConcurrency"]:
        raise validation(f"{name}: ProvisionedConcurrency must be at most MaxConcurrency.")
    if given["MemorySizeInMB"] % STEP:
        raise validation(f"{name}: MemorySizeInMB must be one of 1024, 2048, … 6144.")
    unwanted = sorted({member for member in variant if variant[member] is not False} - MEMBERS)
    unwanted += [member for member in EXCLUDED if config.get(member)]
    unwanted += [member for member in ("EnableNetworkIsolation", "VpcConfig") if model.get(member)]
    if is_multi(container_of(model)):
        unwanted.append("Mode MultiModel")
    if "ModelDataSource" in model.get("PrimaryContainer", {}):  # Source: S3ModelDataSource
        unwanted.append("ModelDataSource")
    if unwanted:
        raise validation(f"{name}: {unwanted[0]} is not supported when using a ServerlessConfig.")
    if len(config["ProductionVariants"]) > 1:
        raise validation(f"{name} has a ServerlessConfig: it must be the only variant.")


def limits(settings: dict[str, Any]) -> dict[str, Any]:
    """A variant's settings as an instance takes them, with what is the same for all serverless."""
    return settings | {
        "ContainerStartupHealthCheckTimeoutInSeconds": STARTUP,
        "ModelDataDownloadTimeoutInSeconds": STARTUP,
        "VolumeSizeInGB": VOLUME,
    }


def count(variant: dict[str, Any]) -> int:
    """How many containers come with a deployment: what is provisioned, or one that is tried."""
    return variant["ServerlessConfig"].get("ProvisionedConcurrency", 1)


@dataclass
class _Start:
    """A request that waits for its container."""

    done: threading.Event = field(default_factory=threading.Event)
    taken: Taken | None = None
    abandoned: bool = False


@dataclass
class ServerlessVariant(Variant):
    """A variant whose containers, in `instances`, come with requests and go after `idle` seconds.

    As many as its ProvisionedConcurrency says are always there; they are replaced when they die.
    `launch` starts one with a recipe and calls back when it is settled, or returns None when the
    endpoint is being stopped; `retire` stops some and returns when they are gone.
    """

    payload: int = 4 * 2**20
    launch: Callable[[Recipe, Callable[[Instance], None]], Instance | None] = field(kw_only=True)
    retire: Callable[[Sequence[Instance]], None] = field(kw_only=True)
    idle: float = field(kw_only=True)
    _provisioned: frozenset[Instance] = frozenset()
    _starting: set[Instance] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: threading.Event = field(default_factory=threading.Event)
    _reaping: bool = False

    def surplus(self) -> Sequence[Instance]:
        """The container that has shown that the image serves, if none is to wait for requests.

        AWS checks that too. Source: serverless-endpoints-troubleshooting.
        """
        if "ProvisionedConcurrency" in self.plan.settings["ServerlessConfig"]:
            self._provisioned = frozenset(self.instances)
            return ()
        proven, self.instances = self.instances, ()
        return proven

    def end(self) -> Sequence[Instance]:
        """Take no more requests; the containers that are left."""
        with self._lock:
            self._closed.set()
            left, self.instances = self.instances, ()
        return left

    def take(self, session: str | None, tried: Set[Replica]) -> Taken | None:
        """A container that does nothing else, or a new one; None when the variant has ended.

        Raises AWSError: ThrottlingException beyond MaxConcurrency, as AWS's users see it, without
        a message; ModelNotReadyException when the new one does not come into service.
        """
        began, start = time.monotonic(), _Start()
        with self._lock:
            if self._closed.is_set():
                return None
            most = self.plan.settings["ServerlessConfig"]["MaxConcurrency"]
            free = [i for i in self.instances if self._free(i, tried)]
            busy = sum(i in self._starting or _busy(i) for i in self.instances)
            if busy < most:
                share = (busy + 1) / most
                self.meter.measure("ServerlessConcurrentExecutionsUtilization", "None", share)
            for instance in free:
                replica = instance.replica
                if replica is not None and (token := replica.enter()) is not None:
                    return instance, replica, token
            if busy >= most:
                raise AWSError("ThrottlingException", "")
            fresh = self.launch(self.recipe, functools.partial(self._settled, start, began))
            if fresh is None:
                return None
            self._starting.add(fresh)
            self.instances += (fresh,)
            if not self._reaping:
                self._reaping = True
                threading.Thread(target=self._reap, daemon=True).start()
        return self._await(start, fresh)

    def _await(self, start: _Start, fresh: Instance) -> Taken | None:
        start.done.wait(PATIENCE)
        with self._lock:
            start.abandoned = True
            if start.taken is not None or self._closed.is_set():
                return start.taken
        reason = fresh.failure or "Its container is still being started."
        raise AWSError(
            "ModelNotReadyException",
            f"Variant {self.plan.name} is not ready to serve: {reason} Try again.",
            429,
        )

    def _settled(self, start: _Start, began: float, instance: Instance) -> None:
        with self._lock:
            self._starting.discard(instance)
            replica = instance.replica
            if replica is not None:
                spent = time.monotonic() - began
                self.meter.measure("ModelSetupTime", "Microseconds", 1e6 * spent)
                if not start.abandoned and (token := replica.enter()) is not None:
                    start.taken = instance, replica, token
        start.done.set()

    def _free(self, instance: Instance, tried: Set[Replica]) -> bool:
        replica = instance.replica
        known = replica is not None and replica not in tried
        return known and instance not in self._starting and not _busy(instance)

    def _reap(self) -> None:
        """End what has been idle for too long, or is dead, as long as there are containers."""
        while True:
            self._closed.wait(min(1.0, self.idle / 4))
            with self._lock:
                before = time.monotonic() - self.idle
                extra = [i for i in self.instances if i not in self._provisioned]
                gone = [i for i in extra if i not in self._starting and _done(i, before)]
                self.instances = tuple(i for i in self.instances if i not in gone)
                last = len(gone) == len(extra)
                self._reaping = not last
            self.retire(gone)
            if last:
                return


def _busy(instance: Instance) -> bool:
    replica = instance.replica
    return replica is not None and replica.busy


def _done(instance: Instance, before: float) -> bool:
    """Whether a container is dead, or was not used since `before` (monotonic clock)."""
    replica = instance.replica
    return replica is None or (not replica.busy and replica.used < before)
