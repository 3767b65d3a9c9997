"""What stands behind one endpoint: its variants, their instances, and how they are changed.

Source: API Reference, CreateEndpoint, UpdateEndpoint, UpdateEndpointWeightsAndCapacities,
DescribeEndpoint; Developer Guide, deployment-guardrails-blue-green-all-at-once.
"""

import functools
import queue
import shutil
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from byoc.local import capture, events, images, serverless
from byoc.local.backlog import Backlog
from byoc.local.capture import Capture
from byoc.local.endpoint_metrics import Meter
from byoc.local.errors import AWSError
from byoc.local.instances import DRAIN, STOP_GRACE, Instance, Recipe, Replica
from byoc.local.rollout import Rollout
from byoc.local.serverless import ServerlessVariant
from byoc.local.service import Context
from byoc.local.shadow import Shadow
from byoc.local.state import Resource, now
from byoc.local.variants import (
    PAYLOAD,
    Green,
    Plan,
    Variant,
    choose,
    close_captures,
    count_types,
    fleet,
    production,
    summaries,
)


class Deployment:
    """The running side of an endpoint. One thread at a time changes it; any may invoke it."""

    def __init__(self, context: Context, endpoint: Resource) -> None:
        self.context, self.endpoint = context, endpoint
        self.variants: Mapping[str, Variant] = {}  # replaced as a whole, so that no lock is needed
        self._green: Green | None = None  # the fleet that takes over, replaced as a whole too
        self.shadow: Shadow | None = None
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
        return count_types([*(variant.plan for variant in self._all.values()), *self._coming])

    @property
    def _all(self) -> dict[str, Variant]:
        """The variants in service with the shadow variant."""
        shadow = self.shadow
        return {**self.variants, **({shadow.variant.plan.name: shadow.variant} if shadow else {})}

    @property
    def captured(self) -> dict[str, Any]:
        """DataCaptureConfig of DescribeEndpoint, if the configuration in service has one."""
        for variant in self.variants.values():
            if variant.plan.capture is not None:
                captures = [v.capture for v in self._all.values() if v.capture is not None]
                return {"DataCaptureConfig": capture.summary(variant.plan.capture, captures)}
        return {}

    @property
    def payload(self) -> int:
        """Bytes that a request may have."""
        return min((variant.payload for variant in self.variants.values()), default=PAYLOAD)

    @property
    def multi_model(self) -> bool:
        """Whether a request must name its model."""
        return any(variant.plan.multi_model for variant in self.variants.values())

    # The three ways to change it. Each returns at once; a thread does the work.

    def create(self, plans: Sequence[Plan]) -> None:
        """Bring the first variants into service; the endpoint fails when that can't be done."""
        self._begin(plans, lambda: self._deploy(plans, {}, Rollout()), self._created)

    def update(self, plans: Sequence[Plan], changes: dict[str, Any], rollout: Rollout) -> None:
        """Put new instances of all variants in the place of the old ones, as `rollout` says.

        `changes` are the members of DescribeEndpoint that come with success. When the new ones
        don't come into service, or an alarm calls them back, the old ones stay.
        """
        work = functools.partial(self._deploy, plans, self._all, rollout)
        self._begin(plans, work, lambda reason: self._updated(reason, changes))

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
        if self.shadow is not None:
            self.shadow.close()
        for instance in running:
            instance.join()
        if self.backlog is not None:
            self.backlog.join()
        self.measure()
        close_captures(self._all.values())
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """End all containers now: the local AWS goes down."""
        self.stop(0)

    def enter(
        self,
        target: str | None,
        session: str | None,
        tried: Set[Replica],
        model: str | None = None,
    ) -> tuple[Variant, Instance, Replica, object]:
        """A container for one request, which must `leave` it with the token; raises AWSError.

        `target` is a variant's name, `session` the id of a stateful session, `model` one of
        many, which is best asked where it is loaded; none of `tried`.
        """
        while True:
            variants, green = self.variants, self._green
            variant = choose(fleet(variants, green, target, session), target)
            taken = variant.take(session or model, tried)
            if taken is not None:
                return variant, *taken
            if self.variants is variants and self._green is green:
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
                    events.changed("endpoint", self.endpoint.arn, self.endpoint.data)

        self._thread(run)

    def _created(self, reason: str | None) -> None:
        data = self.endpoint.data
        data.pop("PendingDeploymentSummary", None)
        data |= {"EndpointStatus": "Failed" if reason else "InService", "LastModifiedTime": now()}
        if reason:
            data["FailureReason"] = reason
        else:
            self._summarise()
            self._thread(self._publish)

    def _updated(self, reason: str | None, changes: dict[str, Any]) -> None:
        """Source of what a failed update shows: aws-controllers-k8s/sagemaker-controller#7."""
        data = self.endpoint.data
        data.pop("PendingDeploymentSummary", None)
        data |= {"EndpointStatus": "InService", "LastModifiedTime": now()}
        data |= {"FailureReason": reason} if reason else changes
        self._summarise()

    def _summarise(self) -> None:
        """ProductionVariants of DescribeEndpoint, and the shadow's, while nothing changes."""
        data = self.endpoint.data
        data["ProductionVariants"] = summaries(self.variants.values())
        data.pop("ShadowProductionVariants", None)
        if self.shadow is not None:
            data["ShadowProductionVariants"] = summaries([self.shadow.variant])

    def _deploy(
        self, plans: Sequence[Plan], old: Mapping[str, Variant], rollout: Rollout
    ) -> str | None:
        """Start all new instances; when they serve, shift to them and stop the old ones."""
        ends = time.monotonic() + rollout.most
        new = {plan.name: self._variant(plan) for plan in plans}
        reason = self._start(new.values())
        if reason is None and not self._stopped.is_set():
            self._retire([i for variant in new.values() for i in variant.surplus()])
            if old:
                reason = self._shift(production(new), rollout, ends)
            gone = old if reason is None else new
            if reason is None:
                self._switch(new)
            self._green = None
            self._retire([i for variant in gone.values() for i in variant.end()])
            for variant in gone.values():
                variant.meter.publish(self.context, [])
            close_captures(gone.values())
        return reason

    def _shift(self, new: Mapping[str, Variant], rollout: Rollout, ends: float) -> str | None:
        """Give the new fleet its traffic step by step; why it must be taken back, if it must."""
        for share in rollout.steps:
            self._show("ActivatingTraffic", share)
            self._green = Green(new, share)
            self._show("Baking", share)
            reason = rollout.watch(self.context, rollout.bake, ends, self._stopped)
            if reason is not None or self._stopped.is_set():
                return reason
        return rollout.watch(self.context, rollout.keep, ends, self._stopped)

    def _show(self, status: str, share: float) -> None:
        """How far the deployment has come, in PendingDeploymentSummary."""
        with self.context.platform.state.lock:
            summary = self.endpoint.data["PendingDeploymentSummary"]
            variants = [
                variant
                | {
                    "CurrentWeight": share * variant["DesiredWeight"],
                    "CurrentInstanceCount": variant.get("DesiredInstanceCount", 0),
                    "VariantStatus": [{"Status": status, "StartTime": now()}],
                }
                for variant in summary["ProductionVariants"]
            ]
            changed = summary | {"ProductionVariants": variants}
            self.endpoint.data["PendingDeploymentSummary"] = changed

    def _switch(self, new: Mapping[str, Variant]) -> None:
        """Let the new variants have all requests from now on.

        A shadow's share is its weight in relation to the production variant's (AWS does not say
        how weights above it count: as all requests).
        """
        ended, self.shadow = self.shadow, None
        self.variants = production(new)
        for variant in new.values():
            if variant.plan.shadow:
                (weight,) = [other.plan.weight for other in self.variants.values()]
                share = variant.plan.weight / weight if weight else 1.0
                self.shadow = Shadow(variant, share)
        if ended is not None:
            ended.close()

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
            plan.settings if plan.serverless is None else serverless.limits(plan.settings),
            plan.isolated,
        )
        if plan.serverless is not None:
            return ServerlessVariant(
                plan,
                recipe,
                deployed,
                Meter(name, plan.name, serverless.METRICS),
                launch=self._launch,
                retire=self._retire,
                idle=self.context.platform.options.serverless_idle,
            )
        captures = None
        if plan.capture is not None and capture.enabled(plan.capture):
            captures = Capture(self.context, name, plan.name, plan.capture, plan.role)
        return Variant(plan, recipe, deployed, Meter(name, plan.name), captures)

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

    def _launch(self, recipe: Recipe, settled: Callable[[Instance], None]) -> Instance | None:
        """Start one more container; None when everything is being stopped."""
        instance = Instance(self.context, recipe, self._folder, settled)
        with self._lock:
            if self._stopped.is_set():
                return None
            self._instances.add(instance)
            instance.start()
        return instance

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
            self.measure()

    def measure(self) -> None:
        """Send the metrics of all variants to CloudWatch now."""
        if self.backlog is not None:
            self.backlog.publish()
        green = self._green.variants if self._green is not None else {}
        for variant in [*self._all.values(), *green.values()]:
            replicas = [i.replica for i in variant.instances]
            variant.meter.publish(self.context, [r for r in replicas if r is not None])


def _repository(image: str) -> str:
    host, _, rest = image.partition("/")
    return f"{host}/{rest.split('@')[0].split(':')[0]}"
