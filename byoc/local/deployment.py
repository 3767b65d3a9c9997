"""What stands behind one endpoint: its variants, their instances, and how they are changed.

Source: API Reference, CreateEndpoint, UpdateEndpoint, UpdateEndpointWeightsAndCapacities,
DescribeEndpoint; Developer Guide, deployment-guardrails-blue-green-all-at-once.
"""

import functools
import itertools
import queue
import random
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from byoc.local import images
from byoc.local.backlog import Backlog
from byoc.local.endpoint_metrics import Meter
from byoc.local.errors import AWSError
from byoc.local.instances import DRAIN, STOP_GRACE, Instance, Recipe, Replica
from byoc.local.service import Context
from byoc.local.state import Resource, now


@dataclass(frozen=True)
class Plan:
    """A variant as it is wanted; `container` to `isolated` as in `Recipe`."""

    container: dict[str, Any]
    role: str | None
    settings: dict[str, Any]
    isolated: bool
    weight: float
    count: int

    @property
    def name(self) -> str:
        return self.settings["VariantName"]


@dataclass
class Variant:
    """One production variant in service; `instances` is replaced as a whole, never changed."""

    plan: Plan
    recipe: Recipe
    deployed: dict[str, Any]  # its entry of DeployedImages
    meter: Meter
    instances: tuple[Instance, ...] = ()
    _turns: "itertools.count[int]" = field(default_factory=itertools.count)

    def take(
        self, session: str | None, tried: Set[Replica]
    ) -> tuple[Instance, Replica, object] | None:
        """The instance whose turn it is, or that holds the session; None when none serves."""
        start, count = next(self._turns), len(self.instances)
        order = [self.instances[(start + i) % count] for i in range(count)]
        if session is not None:
            order.sort(key=lambda i: i.replica is None or session not in i.replica.sessions)
        for instance in order:
            replica = instance.replica
            if replica is None or replica in tried:
                continue
            if (token := replica.enter()) is not None:
                return instance, replica, token
        return None


class Deployment:
    """The running side of an endpoint. One thread at a time changes it; any may invoke it."""

    def __init__(self, context: Context, endpoint: Resource) -> None:
        self.context, self.endpoint = context, endpoint
        self.variants: Mapping[str, Variant] = {}  # replaced as a whole, so that no lock is needed
        self._coming: Sequence[Plan] = ()  # what is being started beside them
        self._folder = context.platform.work / "hosting" / uuid.uuid4().hex
        self._lock = threading.Lock()
        self._instances: set[Instance] = set()  # all that have been started and not yet joined
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self.backlog = Backlog(self) if "AsyncInferenceConfig" in endpoint.data else None

    @property
    def instance_types(self) -> "Counter[str]":
        """How many instances of each type it uses, with those that are being started."""
        return count_types([*(variant.plan for variant in self.variants.values()), *self._coming])

    # The three ways to change it. Each returns at once; a thread does the work.

    def create(self, plans: Sequence[Plan]) -> None:
        """Bring the first variants into service; the endpoint fails when that can't be done."""
        self._begin(plans, lambda: self._deploy(plans, {}), self._created)

    def update(self, plans: Sequence[Plan], changes: dict[str, Any]) -> None:
        """Put new instances of all variants in the place of the old ones, all at once.

        `changes` are the members of DescribeEndpoint that come with success. When the new ones
        don't come into service the old ones stay.
        """
        old = self.variants
        self._begin(plans, lambda: self._deploy(plans, old), lambda r: self._updated(r, changes))

    def rescale(self, plans: Sequence[Plan]) -> None:
        """Change weights and instance counts of the variants in service."""
        work = functools.partial(self._rescale, plans)
        self._begin(self.added(plans), work, lambda reason: self._updated(reason, {}))

    def added(self, plans: Sequence[Plan]) -> list[Plan]:
        """The instances that `plans` have beyond those of the variants in service."""
        more = [replace(p, count=p.count - self.variants[p.name].plan.count) for p in plans]
        return [plan for plan in more if plan.count > 0]

    def stop(self, grace: float) -> None:
        """Stop everything, also while it is being changed; returns when nothing is left."""
        with self._lock:
            self._stopped.set()
            running = list(self._instances)
        if self.backlog is not None:
            self.backlog.close()
        for instance in running:
            instance.stop(grace)
        for thread in self._threads:
            thread.join()
        for instance in running:
            instance.join()
        if self.backlog is not None:
            self.backlog.join()
        self._measure()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """End all containers now: the local AWS goes down."""
        self.stop(0)

    def enter(
        self, target: str | None, session: str | None, tried: Set[Replica]
    ) -> tuple[Variant, Instance, Replica, object]:
        """A container for one request, which must `leave` it with the token; raises AWSError.

        `target` is a variant's name, `session` the id of a stateful session; none of `tried`.
        """
        while True:
            variants = self.variants
            variant = _choose(variants, target)
            taken = variant.take(session, tried)
            if taken is not None:
                return variant, *taken
            if self.variants is variants:
                raise AWSError(
                    "ServiceUnavailable",
                    f"No instance of variant {variant.plan.name} is in service. Try again.",
                    503,
                )

    def _thread(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()

    def _begin(
        self,
        coming: Sequence[Plan],
        work: Callable[[], str | None],
        end: Callable[[str | None], None],
    ) -> None:
        self._coming = coming

        def run() -> None:
            try:
                reason = work()
            except AWSError as error:
                reason = error.message
            except Exception as error:  # a fault of ours must not leave the endpoint in between
                reason = f"InternalServerError: {error!r}"
            with self.context.platform.state.lock:
                self._coming = ()
                if not self._stopped.is_set():
                    end(reason)

        self._thread(run)

    def _created(self, reason: str | None) -> None:
        data = self.endpoint.data
        data.pop("PendingDeploymentSummary", None)
        data |= {"EndpointStatus": "Failed" if reason else "InService", "LastModifiedTime": now()}
        if reason:
            data["FailureReason"] = reason
        else:
            data["ProductionVariants"] = self._summaries()
            self._thread(self._publish)

    def _updated(self, reason: str | None, changes: dict[str, Any]) -> None:
        """Source of what a failed update shows: aws-controllers-k8s/sagemaker-controller#7."""
        data = self.endpoint.data
        data.pop("PendingDeploymentSummary", None)
        data |= {"EndpointStatus": "InService", "LastModifiedTime": now()}
        data |= {"FailureReason": reason} if reason else changes
        data["ProductionVariants"] = self._summaries()

    def _summaries(self) -> list[dict[str, Any]]:
        """ProductionVariants of DescribeEndpoint while nothing changes."""
        return [
            {
                "VariantName": variant.plan.name,
                "DeployedImages": [variant.deployed],
                "CurrentWeight": variant.plan.weight,
                "DesiredWeight": variant.plan.weight,
                "CurrentInstanceCount": variant.plan.count,
                "DesiredInstanceCount": variant.plan.count,
            }
            for variant in self.variants.values()
        ]

    def _deploy(self, plans: Sequence[Plan], old: Mapping[str, Variant]) -> str | None:
        """Start all new instances; when they serve, switch to them and stop the old ones."""
        new = {plan.name: self._variant(plan) for plan in plans}
        reason = self._start(new.values())
        if reason is None and not self._stopped.is_set():
            self.variants = new
            self._retire([i for variant in old.values() for i in variant.instances])
            for variant in old.values():
                variant.meter.publish(self.context, [])
        return reason

    def _rescale(self, plans: Sequence[Plan]) -> str | None:
        old = self.variants
        new = {plan.name: replace(old[plan.name], plan=plan) for plan in plans}
        more = {
            name: replace(variant, instances=(), plan=replace(variant.plan, count=missing))
            for name, variant in new.items()
            if (missing := variant.plan.count - len(variant.instances)) > 0
        }
        reason = self._start(more.values())
        if reason is not None or self._stopped.is_set():
            return reason
        surplus: list[Instance] = []
        for name, variant in new.items():
            instances = variant.instances + (more[name].instances if name in more else ())
            variant.instances = instances[: variant.plan.count]
            surplus += instances[variant.plan.count :]
        self.variants = new
        self._retire(surplus)
        return None

    def _variant(self, plan: Plan) -> Variant:
        uri = plan.container["Image"]
        image, digest = images.find(self.context, uri, plan.role)
        deployed = {
            "SpecifiedImage": uri,
            "ResolvedImage": f"{_repository(uri)}@{digest}",
            "ResolutionTime": now(),
        }
        name = self.endpoint.name
        recipe = Recipe(
            name,
            plan.name,
            uri,
            image,
            plan.container,
            plan.role,
            plan.settings,
            plan.isolated,
        )
        return Variant(plan, recipe, deployed, Meter(name, plan.name))

    def _start(self, variants: Iterable[Variant]) -> str | None:
        """Start each variant's instances; the first failure's reason when not all come up."""
        settled: queue.SimpleQueue[Instance] = queue.SimpleQueue()
        started: list[Instance] = []
        for variant in variants:
            make = [
                Instance(self.context, variant.recipe, self._folder, settled.put)
                for _ in range(variant.plan.count)
            ]
            variant.instances = tuple(make)
            started += make
        with self._lock:
            if self._stopped.is_set():
                return None
            self._instances |= set(started)
            for instance in started:
                instance.start()
        for _ in started:
            failure = settled.get().failure
            if failure is not None:
                self._retire(started, drain=0.0)
                return failure
        return None

    def _retire(self, instances: Sequence[Instance], drain: float = DRAIN) -> None:
        """Stop instances that get no more requests; returns when they are gone."""
        grace = min(STOP_GRACE, self.context.platform.options.stop_grace)
        for instance in instances:
            if not self._stopped.is_set():
                instance.stop(grace, drain)
        for instance in instances:
            instance.join()
        with self._lock:
            self._instances -= set(instances)

    def _publish(self) -> None:
        while not self._stopped.wait(self.context.platform.options.metrics_interval):
            self._measure()

    def _measure(self) -> None:
        if self.backlog is not None:
            self.backlog.publish()
        for variant in list(self.variants.values()):
            replicas = [i.replica for i in variant.instances]
            variant.meter.publish(self.context, [r for r in replicas if r is not None])


def count_types(plans: Iterable[Plan]) -> "Counter[str]":
    """How many instances of each type the plans ask for."""
    count: Counter[str] = Counter()
    for plan in plans:
        count[plan.settings["InstanceType"]] += plan.count
    return count


def _choose(variants: Mapping[str, Variant], target: str | None) -> Variant:
    """The variant named, or one by weight. Source: API Reference, ProductionVariant."""
    if target is not None:
        if target not in variants:
            raise AWSError("ValidationError", f"Variant {target} not found for Request")
        return variants[target]
    choices = list(variants.values())
    if len(choices) == 1:
        return choices[0]
    weights = [variant.plan.weight for variant in choices]
    return random.choices(choices, weights)[0] if any(weights) else random.choice(choices)


def _repository(image: str) -> str:
    host, _, rest = image.partition("/")
    return f"{host}/{rest.split('@')[0].split(':')[0]}"
