"""The running side of a scalable target: a thread that keeps as many instances as it should.

Source: Application Auto Scaling User Guide, target-tracking-scaling-policy-overview,
scheduled-scaling-overview, application-auto-scaling-scaling-activities.
"""

import logging
import threading
import time
import uuid
from typing import Any

from byoc.local import endpoints, hosting, scaling_schedule
from byoc.local.errors import AWSError
from byoc.local.hosting import ENDPOINT
from byoc.local.service import Context
from byoc.local.state import Resource, now
from byoc.local.tracking import MINUTE, Tracker

TARGET = endpoints.SCALABLE_TARGET  # tables
POLICY, ACTION, ACTIVITY = "scaling-policy", "scheduled-action", "scaling-activity"
COOLDOWN = 300  # seconds, of both cooldowns. Source: target-tracking-scaling-policy-overview
LOOK = 0.5  # seconds at most between two looks at the schedules

log = logging.getLogger(__name__)


class Scaler:
    """Evaluates the policies and scheduled actions of one variant."""

    def __init__(self, context: Context, target: Resource) -> None:
        self.context, self.target = context, target
        self._interval = context.platform.options.scaling_interval
        self._trackers: dict[str, Tracker] = {}
        self._ended = {"out": 0.0, "in": 0.0}  # when a policy scaled last, by the monotonic clock
        self._read = self._looked = now()
        self._bounds = threading.Event()
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def adjust(self) -> None:
        """The bounds have been set: bring the number of instances within them."""
        self._bounds.set()
        self._wake.set()

    def end(self) -> None:
        """Scale no more; returns at once."""
        self._stopped = True
        self._wake.set()

    def kill(self) -> None:
        """End the thread: the local AWS goes down."""
        self.end()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic() + self._interval
        while not self._stopped:
            self._wake.wait(max(0.0, min(due - time.monotonic(), LOOK)))
            self._wake.clear()
            if self._stopped:
                break
            try:
                self._schedule()
                if self._bounds.is_set():
                    self._within_bounds()
                if time.monotonic() >= due:
                    self._evaluate()
            except Exception:  # the next look may go better
                log.exception("autoscaling of %s", self.target.name)
            if time.monotonic() >= due:
                due = time.monotonic() + self._interval

    def _state(self) -> tuple[Resource, int] | None:
        """The endpoint and the variant's number of instances; None while it can't be changed."""
        _, name, _, variant = self.target.name.split("/")
        with self.context.platform.state.lock:
            endpoint = self.context.table(ENDPOINT.table).get(name)
            if endpoint is None or endpoint.data["EndpointStatus"] != "InService":
                return None
            if endpoint.runtime is None:  # it is about to be resumed
                return None
            found = endpoint.runtime.variants.get(variant)
            return None if found is None else (endpoint, found.plan.count)

    def _schedule(self) -> None:
        """Carry out the scheduled actions that have become due since the last look."""
        moment, since = now(), self._looked
        self._looked = moment
        if self._suspended("ScheduledScalingSuspended"):
            return
        for action in self._mine(ACTION):
            data = action.data
            begins = data.get("StartTime", data["CreationTime"])
            due = scaling_schedule.parse(
                data["Schedule"], data.get("Timezone", "UTC"), begins
            ).after(since)
            ended = "EndTime" in data and moment > data["EndTime"]
            if due is None or due > moment or begins > moment or ended:
                continue
            with self.context.platform.state.lock:
                self.target.data |= data["ScalableTargetAction"]
            low, high = self.target.data["MinCapacity"], self.target.data["MaxCapacity"]
            words = f"min capacity to {low} and max capacity to {high}"
            cause = f"scheduled action name {data['ScheduledActionName']} was triggered"
            done = self._activity(f"Setting {words}", cause)
            done |= {"StatusCode": "Successful", "EndTime": now()}
            done["StatusMessage"] = f"Successfully set {words}"
            self._bounds.set()

    def _within_bounds(self) -> None:
        low, high = self.target.data["MinCapacity"], self.target.data["MaxCapacity"]
        state = self._state()
        if state is None:
            return
        self._bounds.clear()
        if state[1] < low:
            self._set(low, f"minimum capacity was set to {low}")
        elif state[1] > high:
            self._set(high, f"maximum capacity was set to {high}")

    def _evaluate(self) -> None:
        """Read each policy's metric. One that is high is enough to scale out; to scale in, all
        that may do so must agree."""
        state = self._state()
        since, self._read = self._read, now()
        if state is None:
            return
        endpoint, current = state
        endpoint.runtime.measure()
        until = self._read = now()
        policies = {policy.arn: policy for policy in self._mine(POLICY)}
        self._trackers = {
            arn: self._trackers.get(arn) or Tracker(self.context, policy)
            for arn, policy in policies.items()
        }
        for tracker in self._trackers.values():
            tracker.read(since, until)
        trackers = list(self._trackers.values())
        if any(tracker.high for tracker in trackers):
            most = max((t for t in trackers if t.high), key=lambda t: t.capacity(current))
            self._follow(most, "out", current)
            return
        may = [t for t in trackers if not t.config.get("DisableScaleIn", False)]
        if may and all(tracker.low for tracker in may):
            self._follow(max(may, key=lambda t: t.capacity(current)), "in", current)

    def _follow(self, tracker: Tracker, way: str, current: int) -> None:
        """Scale as the policy asks, if its cooldown is over and the bounds allow it."""
        data = self.target.data
        wanted = min(max(tracker.capacity(current), data["MinCapacity"]), data["MaxCapacity"])
        pause = tracker.config.get(f"Scale{way.capitalize()}Cooldown", COOLDOWN)
        over = self._ended[way] + pause * self._interval / MINUTE
        moves = wanted > current if way == "out" else wanted < current
        if not moves or time.monotonic() < over:
            return
        if self._suspended(f"DynamicScaling{way.capitalize()}Suspended"):
            return
        alarm = tracker.alarm("High" if way == "out" else "Low")
        cause = f"monitor alarm {alarm} in state ALARM triggered policy {tracker.name}"
        if self._set(wanted, cause):
            self._ended[way] = time.monotonic()
            if way == "out":
                for one in self._trackers.values():
                    one.forget()
            self._read = now()

    def _set(self, count: int, cause: str) -> bool:
        """Change the number of instances and wait until that is done; whether it was."""
        _, name, _, variant = self.target.name.split("/")
        words = f"desired instance count to {count}"
        activity = self._activity(f"Setting {words}.", cause)
        wanted = {"VariantName": variant, "DesiredInstanceCount": count}
        request = {"EndpointName": name, "DesiredWeightsAndCapacities": [wanted]}
        try:
            endpoint = hosting.find(self.context, ENDPOINT, name)
            endpoints.update_endpoint_weights_and_capacities(self.context, request)
        except AWSError as error:
            return self._finish(activity, f"Failed to set {words}. Reason: {error.message}", False)
        activity["StatusMessage"] = (
            f"Successfully set {words}. Waiting for change to be fulfilled by sagemaker."
        )
        while endpoint.data["EndpointStatus"] == "Updating" and not self._stopped:
            time.sleep(0.02)
        reason = endpoint.data.get("FailureReason")
        if reason is not None:
            return self._finish(activity, f"Failed to set {words}. Reason: {reason}", False)
        said = f"Successfully set {words}. Change successfully fulfilled by sagemaker."
        return self._finish(activity, said, True)

    def _activity(self, description: str, cause: str) -> dict[str, Any]:
        """A new scaling activity, in progress."""
        known = {
            member: self.target.data[member]
            for member in ("ServiceNamespace", "ResourceId", "ScalableDimension")
        }
        identity = f"{uuid.uuid4()}"
        data = {
            **known,
            "ActivityId": identity,
            "Description": description,
            "Cause": cause,
            "StartTime": now(),
            "StatusCode": "InProgress",
        }
        self.context.table(ACTIVITY)[identity] = Resource(identity, "", data)
        return data

    def _finish(self, activity: dict[str, Any], message: str, good: bool) -> bool:
        code = "Successful" if good else "Failed"
        activity |= {"StatusCode": code, "StatusMessage": message, "EndTime": now()}
        return good

    def _suspended(self, kind: str) -> bool:
        return bool(self.target.data.get("SuspendedState", {}).get(kind, False))

    def _mine(self, table: str) -> list[Resource]:
        with self.context.platform.state.lock:
            return [
                resource
                for resource in self.context.table(table).values()
                if resource.data["ResourceId"] == self.target.name
            ]
