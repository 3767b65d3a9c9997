"""One transform job being carried out: a container on each instance, each with its objects.

Source: Developer Guide, batch-transform, your-algorithms-batch-code, logging-cloudwatch; API
Reference, TransformOutput (what is stored when an object fails).
"""

import shutil
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from byoc.engines import Image
from byoc.local import channels, events
from byoc.local.instances import InstanceError, Machine, Recipe
from byoc.local.logs import LogStream
from byoc.local.service import Context
from byoc.local.state import Resource, now
from byoc.local.storage import Object, StorageError
from byoc.local.transform_host import Sender, Settings, data_line

LOG_GROUP = "/aws/sagemaker/TransformJobs"
METRICS = "/aws/sagemaker/TransformJobs"  # the namespace
# AWS's words. Source: aws/amazon-sagemaker-examples#852.
NO_PING = (
    "AlgorithmError: Model container failed to respond to ping. Please ensure /ping endpoint is "
    "implemented and responds with an HTTP 200 status code"
)


def end(data: dict[str, Any], status: str, reason: str | None = None) -> None:
    """The job's last status; whoever calls holds the state's lock."""
    data |= {"TransformJobStatus": status, "TransformEndTime": now(), "LastModifiedTime": now()}
    if reason is not None:
        data["FailureReason"] = reason[:1024]
    events.changed("transform-job", data["TransformJobArn"], data)


class _Host(Machine):
    """One instance of a transform job."""

    @property
    def name(self) -> str:
        return self._name

    def log_name(self, started: int) -> str:
        """Of its log stream; `started` in milliseconds since the epoch."""
        return f"{self.recipe.endpoint}/{self._name}-{started}"

    def _log_stream(self) -> tuple[str, str]:
        return LOG_GROUP, self.log_name(self.started)

    def _no_start(self) -> str:
        return (
            "ClientError: CannotStartContainerError. Please ensure the model container starts "
            f"correctly when invoked with 'docker run {self.recipe.uri} serve'"
        )

    def _no_ping(self) -> str:
        return NO_PING

    started = 0


class TransformRun:
    """One job being carried out, in a thread of its own."""

    def __init__(
        self,
        context: Context,
        job: Resource,
        image: Image,
        container: dict[str, Any],
        role: str | None,
        isolated: bool,
    ) -> None:
        self.context, self.job = context, job
        self._data, self._role = job.data, role
        variables = {**container.get("Environment", {}), **_environment(job.data)}
        resources = {"InstanceType": job.data["TransformResources"]["InstanceType"]}
        self._recipe = Recipe(
            job.name,
            job.name,
            container["Image"],
            image,
            {**container, "Environment": variables},
            role,
            resources,
            isolated,
        )
        self._turn = context.platform.slots.join()
        self._stopped, self._killed = threading.Event(), False
        self._failures: list[str] = []
        self._thread = threading.Thread(target=self._carry_out, name=job.arn, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask the job to end as Stopped; returns at once. The caller holds the state's lock."""
        self._data |= {"TransformJobStatus": "Stopping", "LastModifiedTime": now()}
        events.changed("transform-job", self.job.arn, self._data)
        self._stopped.set()
        self._turn.cancel()

    def kill(self) -> None:
        """End the containers now: the local AWS goes down."""
        self._killed = True
        self._stopped.set()
        self._turn.cancel()
        self._thread.join()

    def _carry_out(self) -> None:
        folder = self.context.platform.work / "transform" / uuid.uuid4().hex
        reason: str | None = None
        try:
            if self._turn.wait():
                self._transform(folder)
                reason = self._failures[0] if self._failures else None
        except (StorageError, InstanceError) as error:
            told = f"{error}"
            reason = (
                told if told.startswith(("ClientError", "Algorithm")) else f"ClientError: {told}"
            )
        except Exception as error:  # our fault must not leave the job InProgress for ever
            reason = f"InternalServerError: {type(error).__name__}: {error}"
        finally:
            self._turn.leave()
            shutil.rmtree(folder, ignore_errors=True)
        with self.context.platform.state.lock:
            if self._stopped.is_set():
                end(self._data, "Stopped")
            else:
                end(self._data, "Failed" if reason else "Completed", reason)

    def _transform(self, folder: Path) -> None:
        with self.context.platform.state.lock:
            self._data["TransformStartTime"] = now()
        s3, given = self.context.s3(self._role), self._data["TransformInput"]
        role = self.context.principal(self._role)
        try:
            found = channels.objects(s3, given, role)
        except StorageError as error:
            raise StorageError(f"Data download failed:{error}") from None
        count = self._data["TransformResources"]["InstanceCount"]
        shares = [found[number::count] for number in range(count)]
        problems: list[Exception] = []

        def serve(share: list[Object]) -> None:
            try:
                self._serve(share, folder)
            except Exception as error:  # goes on in the thread of the job
                problems.append(error)

        threads = [threading.Thread(target=serve, args=(share,), daemon=True) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if problems:
            raise problems[0]

    def _serve(self, share: list[Object], folder: Path) -> None:
        """One instance from its start to its end."""
        started = int(time.time() * 1000)
        host = _Host(self.context, self._recipe, folder, self._stopped, threading.Event())
        host.started = started
        watcher: threading.Thread | None = None
        try:
            replica = host.bring_up()
            name = f"{host.log_name(started)}/data-log"
            log = LogStream(self.context.client_as("logs", self._role), LOG_GROUP, name)
            settings = Settings.of(self._data, replica.container)
            done = threading.Event()
            watcher = threading.Thread(target=self._end_early, args=(host, done), daemon=True)
            watcher.start()
            try:
                sender = Sender(self.context.s3(self._role), self._data, settings, replica)
                sender.stopped = self._stopped
                log.follow([settings.told])
                self._send(share, sender, settings, log)
            finally:
                done.set()
                replica.connections.close()
                self._measure(host, replica.container.usage)
        finally:
            if watcher is not None:
                watcher.join()
            host.end(self._grace)

    @property
    def _grace(self) -> float:
        return 0 if self._killed else min(30.0, self.context.platform.options.stop_grace)

    def _end_early(self, host: _Host, done: threading.Event) -> None:
        """Stop the container of a job that is stopped: its requests break off."""
        while not done.wait(0.05):
            if self._stopped.is_set():
                return host.end(self._grace)

    def _send(
        self, share: list[Object], sender: Sender, settings: Settings, log: LogStream
    ) -> None:
        def one(wanted: Object) -> None:
            failure = sender.transform(wanted)
            if failure is not None and not self._stopped.is_set():
                self._failures.append(failure.reason)
                place = f"{wanted.bucket}/{wanted.key}"
                log.follow([data_line(f"{place}: {line}") for line in failure.lines])

        with ThreadPoolExecutor(settings.concurrent) as pool:
            list(pool.map(one, share))

    def _measure(self, host: _Host, used: Any) -> None:
        if used is None:
            return
        dimension = [{"Name": "Host", "Value": f"{self.job.name}/{host.name}"}]
        values = {"CPUUtilization": used.cpu, "MemoryUtilization": used.memory_percent}
        self.context.client("cloudwatch").put_metric_data(
            Namespace=METRICS,
            MetricData=[
                {"MetricName": name, "Value": value, "Unit": "Percent", "Dimensions": dimension}
                for name, value in values.items()
            ],
        )


def _environment(job: dict[str, Any]) -> dict[str, str]:
    """The variables of the job. Source: Developer Guide, your-algorithms-batch-code."""
    found = {**job.get("Environment", {}), "SAGEMAKER_BATCH": "true"}
    if "MaxPayloadInMB" in job:
        found["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = f"{job['MaxPayloadInMB']}"
    if "BatchStrategy" in job:
        single = job["BatchStrategy"] == "SingleRecord"
        found["SAGEMAKER_BATCH_STRATEGY"] = "SINGLE_RECORD" if single else "MULTI_RECORD"
    if "MaxConcurrentTransforms" in job:
        found["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = f"{job['MaxConcurrentTransforms']}"
    return found
