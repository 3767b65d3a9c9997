"""One training job being carried out: data in, a container for each host, artifacts out.

Source: Developer Guide, your-algorithms-training-algo-running-container and
your-algorithms-training-algo-output.
"""

import datetime as dt
import functools
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from byoc import engines
from byoc.engines import Container, Image, Network
from byoc.local import checkpoints, instance_types, progress, storage
from byoc.local.inputs import Inputs
from byoc.local.logs import LogStream
from byoc.local.metrics import Metrics
from byoc.local.service import Context
from byoc.local.state import Resource
from byoc.optml import InstanceGroup, OptML

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
METRICS_INTERVAL = 60.0  # seconds, as AWS publishes them
PEER_GRACE = 10.0  # seconds from SIGTERM to SIGKILL for the others when one host has failed

# AWS's words. Source: failure reasons in public logs of training jobs.
OUT_OF_MEMORY = (
    "ClientError: Please use an instance type with more memory, or reduce the size of job data "
    "processed on an instance."
)


def groups_of(resources: dict[str, Any]) -> list[InstanceGroup]:
    """The hosts that a ResourceConfig asks for, numbered through all its groups."""
    if "InstanceGroups" not in resources:
        hosts = (f"algo-{number + 1}" for number in range(resources["InstanceCount"]))
        return [InstanceGroup(resources["InstanceType"], tuple(hosts))]
    groups, number = [], 0
    for group in resources["InstanceGroups"]:
        numbers = range(number + 1, number + 1 + group["InstanceCount"])
        hosts = (f"algo-{n}" for n in numbers)
        groups.append(
            InstanceGroup(group["InstanceType"], tuple(hosts), group["InstanceGroupName"])
        )
        number += group["InstanceCount"]
    return groups


class Observer:
    """Who is told what happens to a job, in threads that hold no lock; here nobody."""

    def measured(self, job: Resource, name: str, value: float) -> None:
        """A metric's value was found in the log."""

    def ended(self, job: Resource) -> None:
        """The job has its last status."""


class TrainingRun:
    """One job being carried out, in a thread of its own."""

    def __init__(
        self, context: Context, job: Resource, image: Image, observer: Observer | None = None
    ) -> None:
        self.context, self.job, self.image = context, job, image
        self._observer = observer or Observer()
        self._data = job.data
        self._groups = groups_of(job.data["ResourceConfig"])
        self._hosts = [host for group in self._groups for host in group.hosts]
        self._turn = context.platform.slots.join()
        self._containers: dict[str, Container] = {}
        self._stop_as: str | None = None
        self._killed = False
        self._interrupted = False  # this attempt's Spot instances were taken away
        self._patience: threading.Timer | None = None  # until MaxWaitTimeInSeconds
        self._failed: str | None = None  # the host that failed first
        self._thread = threading.Thread(target=self._carry_out, name=job.arn, daemon=True)

    def start(self) -> None:
        self._thread.start()
        most = self._data["StoppingCondition"].get("MaxWaitTimeInSeconds")
        if most is not None:
            self._patience = self._after(most, "MaxWaitTimeExceeded")

    def stop(self, as_status: str) -> None:
        """Ask the job to end as `Stopped`, `MaxRuntimeExceeded` or `MaxWaitTimeExceeded`; returns
        at once."""
        with self.context.platform.state.lock:
            if self._stop_as is not None or self._data["TrainingJobStatus"] != "InProgress":
                return
            self._stop_as = as_status
            progress.move(self._data, "Stopping", "Stopping")
        self._turn.cancel()
        self._stop_containers(self.context.platform.options.stop_grace)

    def interrupt(self) -> bool:
        """Take the instances away, as EC2 does with Spot ones; False when there are none now."""
        with self.context.platform.state.lock:
            on_instances = self._data["SecondaryStatus"] in ("Downloading", "Training")
            if not on_instances or self._ending or self._failed:
                return False
            self._interrupted = True
        self._stop_containers(self.context.platform.options.stop_grace)
        return True

    @property
    def _ending(self) -> bool:
        return self._stop_as is not None or self._interrupted

    def _after(self, seconds: float, as_status: str) -> threading.Timer:
        timer = threading.Timer(seconds, self.stop, args=(as_status,))
        timer.daemon = True
        timer.start()
        return timer

    def kill(self) -> None:
        """End the containers now, and start none: the local AWS goes down."""
        with self.context.platform.state.lock:
            self._killed = True
            self._stop_as = self._stop_as or "Stopped"
            containers = list(self._containers.values())
        self._turn.cancel()
        for container in containers:
            container.stop(0)

    def _stop_containers(self, grace: float) -> None:
        """Ask all that run to end; returns at once."""
        with self.context.platform.state.lock:
            containers = list(self._containers.values())
        for container in containers:
            threading.Thread(target=container.stop, args=(grace,), daemon=True).start()

    def _carry_out(self) -> None:
        retries = self._data.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0)
        try:
            ready = self._turn.wait()
            while ready:
                folder = self.context.platform.work / "training" / uuid.uuid4().hex
                try:
                    if self._train(folder):
                        return
                    ready = self._await_capacity()
                except storage.StorageError as error:
                    return self._locked(progress.fail, self._data, f"ClientError: {error}")
                except Exception as error:  # our fault must not leave the job InProgress for ever
                    reason = f"InternalServerError: {type(error).__name__}: {error}"
                    if not retries or self._stop_as:
                        return self._locked(progress.fail, self._data, reason)
                    retries -= 1
                    # Source: API Reference, RetryStrategy: the status goes back to Starting.
                    self._locked(self._move, "Starting")
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
            self._locked(self._end_stopped)
        finally:
            self._turn.leave()
            if self._patience is not None:
                self._patience.cancel()
            self._observer.ended(self.job)

    def _await_capacity(self) -> bool:
        """Stand in the queue again after an interruption; False when stopped meanwhile."""
        self._turn.leave()
        with self.context.platform.state.lock:
            self._interrupted = False
            if self._stop_as is not None:
                return False
            self._turn = self.context.platform.slots.join()
        ready = self._turn.wait()
        self._locked(self._move, "Starting")
        return ready

    def _locked(self, change: Callable[..., None], *arguments: Any) -> None:
        with self.context.platform.state.lock:
            change(*arguments)

    def _move(self, secondary: str) -> None:
        if self._stop_as is None:
            progress.move(self._data, secondary)

    def _say(self, message: str) -> None:
        if self._stop_as is None:
            progress.say(self._data, message)

    def _end_stopped(self) -> None:
        assert self._stop_as is not None
        progress.end(self._data, "Stopped", self._stop_as)

    def _train(self, folder: Path) -> bool:
        """One attempt; False when its instances were taken away before it ended."""
        platform = self.context.platform
        self._locked(self._say, "Preparing the instances for training")
        mls = {host: OptML.create(path=folder / host) for host in self._hosts}
        self._locked(self._begin)
        s3 = self.context.s3(self._data["RoleArn"])
        inputs = Inputs(s3, self._data, self._groups, mls)
        inputs.deliver(platform.work, platform.options, lambda: self._ending)
        config = self._data.get("CheckpointConfig")
        kept = [checkpoints.Folder(s3, config, ml) for ml in mls.values()] if config else []
        checkpoints.fetch(kept, platform.work, platform.options.disk)
        self._locked(self._say, "Downloading the training image")
        with checkpoints.Keeper(kept):
            codes = self._run(mls, inputs)
        succeeded = bool(codes) and not any(codes.values())
        self._keep_last(kept, succeeded)
        if self._was_interrupted():
            return False
        self._locked(self._move, "Uploading")
        self._upload(list(mls.values()), bool(codes) and (succeeded or self._stop_as is not None))
        self._locked(self._conclude, succeeded, mls, codes)
        return True

    def _keep_last(self, kept: list[checkpoints.Folder], succeeded: bool) -> None:
        """Send the checkpoints once more; a program that failed keeps its own reason."""
        try:
            checkpoints.send(kept)
        except storage.StorageError as error:
            if succeeded or self._ending:
                raise storage.StorageError(f"Checkpoint upload failed:{error}") from None

    def _was_interrupted(self) -> bool:
        with self.context.platform.state.lock:
            if not self._interrupted or self._stop_as is not None:
                return False
            progress.move(self._data, "Interrupted")
            return True

    def _begin(self) -> None:
        if self._stop_as is None:
            progress.move(self._data, "Downloading")
            started = self._data["SecondaryStatusTransitions"][-1]["StartTime"]
            self._data.setdefault("TrainingStartTime", started)

    def _conclude(self, succeeded: bool, mls: dict[str, OptML], codes: dict[str, int]) -> None:
        if self._stop_as is not None:
            return self._end_stopped()
        if succeeded:
            return progress.end(self._data, "Completed", "Completed")
        assert self._failed is not None
        if self._containers[self._failed].out_of_memory:
            return progress.fail(self._data, OUT_OF_MEMORY)
        text, code = mls[self._failed].failure() or "", codes[self._failed]
        progress.fail(self._data, f"AlgorithmError: {text}, exit code: {code}")

    def _run(self, mls: dict[str, OptML], inputs: Inputs) -> dict[str, int]:
        """Run a container for each host until all have ended; their exit codes, none if stopped."""
        engine, isolated = engines.engine(self.image.engine), self._data["EnableNetworkIsolation"]
        if self._ending:
            return {}
        if not engine.has_networks():
            return self._run_in(None, mls, inputs)
        with engine.network(self._hosts, isolated) as network:
            return self._run_in(network, mls, inputs)

    def _run_in(
        self, network: Network | None, mls: dict[str, OptML], inputs: Inputs
    ) -> dict[str, int]:
        algorithm = self._data["AlgorithmSpecification"]
        tell = functools.partial(self._observer.measured, self.job)
        metrics = Metrics(self.job.name, algorithm.get("MetricDefinitions", []), tell=tell)
        logs, moment = (
            self.context.client_as("logs", self._data["RoleArn"]),
            int(dt.datetime.now().timestamp() * 1000),
        )
        streams = {h: LogStream(logs, LOG_GROUP, f"{self.job.name}/{h}-{moment}") for h in mls}
        codes: dict[str, int] = {}
        with self.context.platform.state.lock:
            self._containers, self._failed = {}, None  # of an attempt before
            if self._ending:
                return codes
            progress.move(self._data, "Training")
        timer = self._after(self._seconds_left(), "MaxRuntimeExceeded")
        for stream in inputs.streams:
            stream.start(self._starve)

        def follow(host: str, container: Container) -> None:
            try:
                streams[host].follow(container.lines(), lambda line: metrics.read(host, line))
            finally:
                self._ended(host, container.wait(), codes)

        followers = []
        try:
            for host, ml in mls.items():
                container = self._start(host, ml, network, inputs.read_only(host))
                with self.context.platform.state.lock:
                    self._containers[host] = container
                    if self._ending or self._failed:
                        self._stop_late(container)
                thread = threading.Thread(target=follow, args=(host, container), daemon=True)
                followers.append(thread)
                thread.start()
        except BaseException:
            for container in self._containers.values():
                container.stop(0)
            raise
        finally:
            self._follow_all(followers, metrics)
            timer.cancel()
            for stream in inputs.streams:
                stream.stop()
        if not self._ending:
            inputs.check_streams()
        return codes

    def _starve(self) -> None:
        """A stream can't go on: the job ends, as if its first host had failed."""
        with self.context.platform.state.lock:
            self._failed = self._failed or self._hosts[0]
        self._stop_containers(self._peer_grace)

    def _start(
        self, host: str, ml: OptML, network: Network | None, read_only: list[str]
    ) -> Container:
        algorithm = self._data["AlgorithmSpecification"]
        entrypoint = algorithm.get("ContainerEntrypoint")
        kind = next(group.instance_type for group in self._groups if host in group.hosts)
        return engines.engine(self.image.engine).run(
            self.image,
            algorithm.get("ContainerArguments", [] if entrypoint else ["train"]),
            ml=ml,
            environment={
                **self._data.get("Environment", {}),
                "TRAINING_JOB_NAME": self.job.name,
                "TRAINING_JOB_ARN": self.job.arn,
            },
            entrypoint=entrypoint,
            memory=instance_types.memory(kind, self.context.platform.options.memory_bytes),
            network=network,
            host=host,
            read_only=read_only,
        )

    def _stop_late(self, container: Container) -> None:
        """Stop a container that started when the job was already being stopped."""
        grace = self._peer_grace if self._failed else self.context.platform.options.stop_grace
        grace = 0 if self._killed else grace
        threading.Thread(target=container.stop, args=(grace,), daemon=True).start()

    @property
    def _peer_grace(self) -> float:
        return min(PEER_GRACE, self.context.platform.options.stop_grace)

    def _ended(self, host: str, code: int, codes: dict[str, int]) -> None:
        """A host's program has ended; the first that fails takes the others with it."""
        with self.context.platform.state.lock:
            codes[host] = code
            first = code != 0 and self._failed is None and not self._ending
            if first:
                self._failed = host
        if first:
            self._stop_containers(self._peer_grace)

    def _follow_all(self, followers: list[threading.Thread], metrics: Metrics) -> None:
        """Wait for the logs' ends, and publish what the job measures meanwhile and at last."""
        cloudwatch = self.context.client_as("cloudwatch", self._data["RoleArn"])

        def publish() -> None:
            disk = shutil.disk_usage(self.context.platform.work)
            usage = {host: container.usage for host, container in self._containers.items()}
            metrics.publish(cloudwatch, usage, 100 * disk.used / disk.total)

        for follower in followers:
            while follower.is_alive():
                follower.join(METRICS_INTERVAL)
                if follower.is_alive():
                    publish()
        publish()
        if metrics.final:
            with self.context.platform.state.lock:
                self._data["FinalMetricDataList"] = list(metrics.final.values())

    def _seconds_left(self) -> float:
        """Until MaxRuntimeInSeconds, which counts all attempts. Source: StoppingCondition."""
        most = self._data["StoppingCondition"]["MaxRuntimeInSeconds"]
        return max(0.0, most - progress.on_instances(self._data).total_seconds())

    def _upload(self, mls: list[OptML], model: bool) -> None:
        """Upload output.tar.gz if there is any output, and the model if it is to be kept."""
        s3, settings = self.context.s3(self._data["RoleArn"]), self._data["OutputDataConfig"]
        key, scratch = settings["KmsKeyId"], mls[0].path.parent
        output = f"{settings['S3OutputPath'].rstrip('/')}/{self.job.name}/output"
        try:
            data = storage.merge([data for ml in mls if ml.owns(data := ml.output / "data")])
            if data:
                storage.upload_archive(s3, data, f"{output}/output.tar.gz", key, scratch)
            if not model:
                return
            files = storage.merge([ml.model for ml in mls if ml.owns(ml.model)])
            if settings["CompressionType"] == "NONE":
                artifacts = f"{output}/model"
                storage.upload_files(s3, files, artifacts, key)
            else:
                artifacts = f"{output}/model.tar.gz"
                storage.upload_archive(s3, files, artifacts, key, scratch)
        except storage.StorageError as error:
            raise storage.StorageError(f"Artifact upload failed:{error}") from None
        with self.context.platform.state.lock:
            self._data["ModelArtifacts"] = {"S3ModelArtifacts": artifacts}
