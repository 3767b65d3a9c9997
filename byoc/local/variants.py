"""An endpoint's variants: what is wanted of them, what serves, and which one gets a request.

Source: API Reference, ProductionVariant, CreateEndpointConfig, DescribeEndpoint.
"""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from byoc.local.capture import Capture
from byoc.local.endpoint_metrics import Meter
from byoc.local.errors import AWSError
from byoc.local.instances import Instance, Recipe, Replica
from byoc.local.multi_model import is_multi

PAYLOAD = 25 * 1024 * 1024  # bytes, both ways. Source: deploy-model-options


@dataclass(frozen=True)
class Plan:
    """A variant as it is wanted; `container` to `isolated` as in `Recipe`."""

    container: dict[str, Any]
    role: str | None
    settings: dict[str, Any]
    isolated: bool
    weight: float
    count: int
    capture: dict[str, Any] | None = None  # the configuration's DataCaptureConfig
    shadow: bool = False  # whether it only gets copies

    @property
    def name(self) -> str:
        return self.settings["VariantName"]

    @property
    def multi_model(self) -> bool:
        return is_multi(self.container)

    @property
    def serverless(self) -> dict[str, Any] | None:
        """Its ServerlessConfig, instead of instances."""
        return self.settings.get("ServerlessConfig")


@dataclass
class Variant:
    """One production variant in service; `instances` is replaced as a whole, never changed."""

    plan: Plan
    recipe: Recipe
    deployed: dict[str, Any]  # its entry of DeployedImages
    meter: Meter
    capture: Capture | None = None
    instances: tuple[Instance, ...] = ()
    payload: int = PAYLOAD  # bytes that a request and an answer may have
    _turns: "itertools.count[int]" = field(default_factory=itertools.count)

    def surplus(self) -> Sequence[Instance]:
        """Instances that are not needed once all have come into service."""
        return ()

    def end(self) -> Sequence[Instance]:
        """The instances to stop when the variant is no longer in service."""
        return self.instances

    def holds(self, session: str) -> bool:
        """Whether one of the containers has this stateful session."""
        replicas = [instance.replica for instance in self.instances]
        return any(r is not None and session in r.sessions for r in replicas)

    def take(
        self, session: str | None, tried: Set[Replica]
    ) -> tuple[Instance, Replica, object] | None:
        """The instance whose turn it is, or that holds the session or model; None: none serves."""
        start, count = next(self._turns), len(self.instances)
        order = [self.instances[(start + i) % count] for i in range(count)]
        if session is not None:
            order.sort(key=lambda i: i.replica is None or not i.replica.holds(session))
        for instance in order:
            replica = instance.replica
            if replica is None or replica in tried:
                continue
            if (token := replica.enter()) is not None:
                return instance, replica, token
        return None


@dataclass(frozen=True)
class Green:
    """A new fleet, and the share of the traffic that it has."""

    variants: Mapping[str, Variant]
    share: float


def count_types(plans: Iterable[Plan]) -> "Counter[str]":
    """How many instances of each type the plans ask for."""
    count: Counter[str] = Counter()
    for plan in plans:
        if plan.serverless is None:
            count[plan.settings["InstanceType"]] += plan.count
    return count


def production(variants: Mapping[str, Variant]) -> dict[str, Variant]:
    """The variants whose answers are given, without the shadow variant."""
    return {name: variant for name, variant in variants.items() if not variant.plan.shadow}


def summaries(variants: Iterable[Variant]) -> list[dict[str, Any]]:
    """Their entries in DescribeEndpoint while nothing changes."""
    return [
        {
            "VariantName": variant.plan.name,
            "DeployedImages": [variant.deployed],
            "CurrentWeight": variant.plan.weight,
            "DesiredWeight": variant.plan.weight,
            **_capacity(variant.plan),
        }
        for variant in variants
    ]


def _capacity(plan: Plan) -> dict[str, Any]:
    if plan.serverless is not None:
        return {"CurrentInstanceCount": 0, "CurrentServerlessConfig": plan.serverless}
    return {"CurrentInstanceCount": plan.count, "DesiredInstanceCount": plan.count}


def pending(plan: Plan, started: Any) -> dict[str, Any]:
    """Its entry in PendingDeploymentSummary, of a deployment that `started` at this time."""
    if plan.serverless is not None:
        wanted: dict[str, Any] = {"DesiredServerlessConfig": plan.serverless}
    else:
        wanted = {"DesiredInstanceCount": plan.count, "InstanceType": plan.settings["InstanceType"]}
    return {
        "VariantName": plan.name,
        "CurrentWeight": 0.0,
        "DesiredWeight": plan.weight,
        "CurrentInstanceCount": 0,
        **wanted,
        "VariantStatus": [{"Status": "Creating", "StartTime": started}],
    }


def close_captures(variants: Iterable[Variant]) -> None:
    """Write what they have captured; returns when it is written."""
    for variant in variants:
        if variant.capture is not None:
            variant.capture.close()


def fleet(
    old: Mapping[str, Variant], green: Green | None, target: str | None, session: str | None
) -> Mapping[str, Variant]:
    """The fleet for one request: the one that has its variant or session, or one by its share."""
    if green is None:
        return old
    if target is not None and (target in old) != (target in green.variants):
        return old if target in old else green.variants
    if session is not None:
        for fleet in (old, green.variants):
            if any(variant.holds(session) for variant in fleet.values()):
                return fleet
    return green.variants if random.random() < green.share else old


def choose(variants: Mapping[str, Variant], target: str | None) -> Variant:
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
