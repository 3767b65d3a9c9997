"""One training job being carried out: data in, a container for each host, artifacts out.

Source: Developer Guide, your-algorithms-training-algo-running-container and
your-algorithms-training-algo-output.
"""

import datetime as dt
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from byoc import engines
from byoc.engines import Container, Image, Network
from byoc.local import channels, instance_types, progress, storage
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


class TrainingRun:
    """One job being carried out, in a thread of its own."""

    def __init__(self, context: Context, job: Resource, image: Image) -> None:
        self.context, self.job, self.image = context, job, image
        self._data = job.data
        self._groups = groups_of(job.data["ResourceConfig"])
        self._hosts = [host for group in self._groups for host in group.hosts]
        self._turn = context.platform.slots.join()
        self._containers: dict[str, Container] = {}
        self._stop_as: str | None = None
        self._killed = False
        self._failed: str | None = None  # the host that failed first
        self._thread = threading.Thread(target=self._carry_out, name=job.arn, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, as_status: str) -> None:
        """Ask the job to end as `Stopped` or `MaxRuntimeExceeded`; returns at once."""
        with self.context.platform.state.lock:
            if self._stop_as is not None or self._data["TrainingJobStatus"] != "InProgress":
                return
            self._stop_as = as_status
            progress.move(self._data, "Stopping", "Stopping")
        self._turn.cancel()
        self._stop_containers(self.context.platform.options.stop_grace)

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
        if not self._turn.wait():
            return self._locked(self._end_stopped)
        attempts = 1 + self._data.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0)
        try:
            for attempt in range(1, attempts + 1):
                folder = self.context.platform.work / "training" / uuid.uuid4().hex
                try:
                    return self._train(folder)
                except storage.StorageError as error:
                    return self._locked(progress.fail, self._data, f"ClientError: {error}")
                except Exception as error:  # our fault must not leave the job InProgress for ever
                    reason = f"InternalServerError: {type(error).__name__}: {error}"
                    if attempt == attempts or self._stop_as:
                        return self._locked(progress.fail, self._data, reason)
                    # Source: API Reference, RetryStrategy: the status goes back to Starting.
                    self._locked(self._move, "Starting")
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
        finally:
            self._turn.leave()

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

    def _train(self, folder: Path) -> None:
        self._locked(self._say, "Preparing the instances for training")
        mls = {host: OptML.create(path=folder / host) for host in self._hosts}
        self._locked(self._begin)
        self._download(mls, folder)
        codes = self._run(mls)
        self._locked(self._move, "Uploading")
        succeeded = bool(codes) and not any(codes.values())
        self._upload(list(mls.values()), bool(codes) and (succeeded or self._stop_as is not None))
        self._locked(self._conclude, succeeded, mls, codes)

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

    def _download(self, mls: dict[str, OptML], folder: Path) -> None:
        """Lay out every host's channels and configuration; returns early when stopped."""
        s3 = self.context.s3(self._data["RoleArn"])
        shares: list[tuple[list[storage.Object], Path]] = []
        settings: dict[str, dict[str, dict[str, str]]] = {host: {} for host in mls}
        try:
            for channel in self._data.get("InputDataConfig", []):
                if self._stop_as is not None:
                    return
                found = channels.objects(s3, channel, self._data["RoleArn"])
                hosts = self._hosts_of(channel)
                name = channel["ChannelName"]
                for host, share in zip(hosts, channels.share(found, channel, hosts), strict=True):
                    shares.append((share, mls[host].channel(name)))
                    settings[host][name] = channels.settings(channel)
            self._check_space(shares)
            for share, target in shares:
                storage.download(s3, share, target, lambda: self._stop_as is not None)
        except storage.StorageError as error:
            raise storage.StorageError(f"Data download failed:{error}") from None
        for host, ml in mls.items():
            ml.write_config(
                hyperparameters=self._data.get("HyperParameters", {}),
                channels=settings[host],
                groups=self._groups,
                current_host=host,
            )
        self._locked(self._say, "Downloading the training image")

    def _hosts_of(self, channel: dict[str, Any]) -> list[str]:
        names = channel["DataSource"]["S3DataSource"].get("InstanceGroupNames")
        return [
            host
            for group in self._groups
            if names is None or group.name in names
            for host in group.hosts
        ]

    def _check_space(self, shares: list[tuple[list[storage.Object], Path]]) -> None:
        """Raise StorageError for data that the volume, the disk or the limit can't hold."""
        per_host: dict[Path, int] = {}
        for share, target in shares:
            size = sum(wanted.size for wanted in share)
            per_host[target.parent] = per_host.get(target.parent, 0) + size
        volume = self._data["ResourceConfig"].get("VolumeSizeInGB")
        if volume and max(per_host.values(), default=0) > volume * storage.GIB:
            raise storage.StorageError(storage.NO_SPACE)
        platform = self.context.platform
        storage.check_space(platform.work, sum(per_host.values()), platform.options.disk)

    def _run(self, mls: dict[str, OptML]) -> dict[str, int]:
        """Run a container for each host until all have ended; their exit codes, none if stopped."""
        engine, isolated = engines.engine(self.image.engine), self._data["EnableNetworkIsolation"]
        if self._stop_as is not None:
            return {}
        if not engine.has_networks():
            return self._run_in(None, mls)
        with engine.network(self._hosts, isolated) as network:
            return self._run_in(network, mls)

    def _run_in(self, network: Network | None, mls: dict[str, OptML]) -> dict[str, int]:
        algorithm = self._data["AlgorithmSpecification"]
        metrics = Metrics(self.job.name, algorithm.get("MetricDefinitions", []))
        logs, moment = self.context.client("logs"), int(dt.datetime.now().timestamp() * 1000)
        streams = {h: LogStream(logs, LOG_GROUP, f"{self.job.name}/{h}-{moment}") for h in mls}
        codes: dict[str, int] = {}
        with self.context.platform.state.lock:
            self._containers, self._failed = {}, None  # of an attempt before
            if self._stop_as is not None:
                return codes
            progress.move(self._data, "Training")
        timer = threading.Timer(self._seconds_left(), self.stop, args=("MaxRuntimeExceeded",))
        timer.daemon = True
        timer.start()

        def follow(host: str, container: Container) -> None:
            try:
                streams[host].follow(container.lines(), lambda line: metrics.read(host, line))
            finally:
                self._ended(host, container.wait(), codes)

        followers = []
        try:
            for host, ml in mls.items():
                container = self._start(host, ml, network)
                with self.context.platform.state.lock:
                    self._containers[host] = container
                    if self._stop_as is not None or self._failed:
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
        return codes

    def _start(self, host: str, ml: OptML, network: Network | None) -> Container:
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
            first = code != 0 and self._failed is None and self._stop_as is None
            if first:
                self._failed = host
        if first:
            self._stop_containers(self._peer_grace)

    def _follow_all(self, followers: list[threading.Thread], metrics: Metrics) -> None:
        """Wait for the logs' ends, and publish what the job measures meanwhile and at last."""
        cloudwatch = self.context.client("cloudwatch")

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
        passed = dt.datetime.now(dt.UTC) - self._data["TrainingStartTime"]
        return max(0.0, most - passed.total_seconds())

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
