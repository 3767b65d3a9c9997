"""One processing job being carried out: data in, a container for each host, files out.

Source: Developer Guide, build-your-own-processing-container.
"""

import shutil
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from byoc.engines import Image
from byoc.local import channels, events, storage
from byoc.local.fleet import Fleet, Program
from byoc.local.metrics import Metrics
from byoc.local.processing_outputs import Outputs
from byoc.local.service import Context
from byoc.local.state import Resource, now
from byoc.local.trainer import OUT_OF_MEMORY
from byoc.optml import MESSAGE_LENGTH, OptML

LOG_GROUP = "/aws/sagemaker/ProcessingJobs"  # and the namespace of the metrics


def fail(job: dict[str, Any], reason: str) -> None:
    """End as Failed, for a reason of which the first 1,024 characters are kept."""
    job["FailureReason"] = reason[:1024]
    end(job, "Failed")


def end(job: dict[str, Any], status: str) -> None:
    """Enter the last status."""
    job["ProcessingJobStatus"] = status
    job["ProcessingEndTime"] = job["LastModifiedTime"] = now()
    events.changed("processing-job", job["ProcessingJobArn"], job)


class ProcessingRun:
    """One job being carried out, in a thread of its own."""

    def __init__(self, context: Context, job: Resource, image: Image) -> None:
        self.context, self.job = context, job
        self._data = job.data
        cluster = job.data["ProcessingResources"]["ClusterConfig"]
        self._hosts = [f"algo-{number + 1}" for number in range(cluster["InstanceCount"])]
        self._volume = cluster["VolumeSizeInGB"]
        self._turn = context.platform.slots.join()
        self._stopping = False
        application = job.data["AppSpecification"]
        program = Program(
            job=job.name,
            role=job.data["RoleArn"],
            log_group=LOG_GROUP,
            image=image,
            instance_type=cluster["InstanceType"],
            entrypoint=application.get("ContainerEntrypoint"),
            arguments=application.get("ContainerArguments", []),
            environment=job.data.get("Environment", {}),
            isolated=job.data.get("NetworkConfig", {}).get("EnableNetworkIsolation", False),
        )
        self._fleet = Fleet(context, program, Metrics(job.name, [], LOG_GROUP))
        self._thread = threading.Thread(target=self._carry_out, name=job.arn, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask the job to end as Stopped; returns at once."""
        with self.context.platform.state.lock:
            if self._stopping or self._data["ProcessingJobStatus"] != "InProgress":
                return
            self._stopping = True
            self._data |= {"ProcessingJobStatus": "Stopping", "LastModifiedTime": now()}
            events.changed("processing-job", self.job.arn, self._data)
        self._turn.cancel()
        self._fleet.stop(self.context.platform.options.stop_grace)

    def kill(self) -> None:
        """End the containers now, and start none: the local AWS goes down."""
        self._stopping = True
        self._turn.cancel()
        self._fleet.kill()

    def _carry_out(self) -> None:
        folder = self.context.platform.work / "processing" / uuid.uuid4().hex
        reason = None
        try:
            if self._turn.wait():
                reason = self._process({host: folder / host for host in self._hosts})
        except storage.StorageError as error:
            reason = f"ClientError: {error}"
        except Exception as error:  # our fault must not leave the job InProgress for ever
            reason = f"InternalServerError: {type(error).__name__}: {error}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self._turn.leave()
        with self.context.platform.state.lock:
            if reason is not None:
                fail(self._data, reason)
            else:
                end(self._data, "Stopped" if self._stopping else "Completed")

    def _process(self, places: Mapping[str, Path]) -> str | None:
        """Do it all; returns why the program failed, or None. Raises StorageError."""
        with self.context.platform.state.lock:
            self._data["ProcessingStartTime"] = self._data["LastModifiedTime"] = now()
        # It counts from here. When it is over "the processing job is stopped", says the API
        # Reference, ProcessingStoppingCondition; AWS names no FailureReason for it.
        seconds = self._data["StoppingCondition"]["MaxRuntimeInSeconds"]
        timer = threading.Timer(seconds, self.stop)
        timer.daemon = True
        timer.start()
        config = configuration(self._data)
        try:
            mls = {
                host: OptML.create_processing(
                    config, {}, hosts=self._hosts, current_host=host, path=place
                )
                for host, place in places.items()
            }
            self._download(mls)
            return self._run(mls)
        finally:
            timer.cancel()

    def _download(self, mls: Mapping[str, OptML]) -> None:
        """Lay out every host's inputs; returns early when stopped."""
        role = self._data["RoleArn"]
        s3 = self.context.s3(role)
        shares = []
        try:
            for one in self._data.get("ProcessingInputs", []):
                channel = _as_channel(one["S3Input"])
                found = channels.objects(s3, channel, role)
                dealt = channels.share(found, channel, self._hosts)
                places = [mls[host].local(one["S3Input"]["LocalPath"]) for host in self._hosts]
                shares.append(list(zip(dealt, places, strict=True)))
            self._check_space([[share for share, _ in one] for one in shares])
            for share, place in (pair for one in shares for pair in one):
                storage.download(s3, share, place, lambda: self._stopping)
        except storage.StorageError as error:
            raise storage.StorageError(f"Data download failed:{error}") from None

    def _check_space(self, dealt: Sequence[Sequence[Sequence[storage.Object]]]) -> None:
        """Raise StorageError for data that the volume, the disk or the limit can't hold."""
        sizes = [
            sum(wanted.size for one in dealt for wanted in one[number])
            for number in range(len(self._hosts))
        ]
        if max(sizes) > self._volume * storage.GIB:
            raise storage.StorageError(storage.NO_SPACE)
        platform = self.context.platform
        storage.check_space(platform.work, sum(sizes), platform.options.disk)

    def _run(self, mls: Mapping[str, OptML]) -> str | None:
        config = self._data.get("ProcessingOutputConfig", {"Outputs": []})
        outputs = Outputs(self.context.s3(self._data["RoleArn"]), config, list(mls.values()))
        with outputs.continuously():
            self._fleet.run(mls)
        messages = _messages(mls)
        if told := "".join(messages.values()):
            with self.context.platform.state.lock:
                self._data["ExitMessage"] = _cut(told)
        failed = None if self._stopping else self._fleet.failed
        try:
            outputs.finish(failed is None and not self._stopping)
        except storage.StorageError as error:
            raise storage.StorageError(f"Data upload failed:{error}") from None
        if failed is None:
            return None
        if self._fleet.out_of_memory:
            return OUT_OF_MEMORY
        # AWS's words, for a job without a message. Source: Developer Guide,
        # sagemaker-python-sdk-troubleshooting. A message stands where a training job has its own.
        return f"AlgorithmError: {messages[failed]}, exit code: {self._fleet.codes[failed]}"


def configuration(job: Mapping[str, Any]) -> dict[str, Any]:
    """What processingjobconfig.json says, with null for what the request leaves out."""
    application, cluster = job["AppSpecification"], job["ProcessingResources"]["ClusterConfig"]
    config = job.get("ProcessingOutputConfig", {"Outputs": []})
    return {
        "ProcessingJobArn": job["ProcessingJobArn"],
        "ProcessingJobName": job["ProcessingJobName"],
        "AppSpecification": {
            "ImageUri": application["ImageUri"],
            "ContainerEntrypoint": application.get("ContainerEntrypoint"),
            "ContainerArguments": application.get("ContainerArguments"),
        },
        "Environment": job.get("Environment", {}),
        "ProcessingInputs": [
            {
                "InputName": one["InputName"],
                "S3Input": {**one["S3Input"], "S3DownloadMode": "StartOfJob"},
            }
            for one in job.get("ProcessingInputs", [])
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {"OutputName": one["OutputName"], "S3Output": one["S3Output"]}
                for one in config["Outputs"]
            ],
            "KmsKeyId": config.get("KmsKeyId"),
        },
        "ProcessingResources": {"ClusterConfig": {"VolumeKmsKeyId": None, **cluster}},
        "RoleArn": job["RoleArn"],
        "StoppingCondition": job["StoppingCondition"],
    }


def _as_channel(given: Mapping[str, str]) -> dict[str, Any]:
    """An input as training's channels are described: S3's objects are found and dealt as there."""
    names = ("S3Uri", "S3DataType", "S3DataDistributionType")
    return {"DataSource": {"S3DataSource": {name: given[name] for name in names}}}


def _messages(mls: Mapping[str, OptML]) -> dict[str, str]:
    """Each host's exit message; raises StorageError for one that is not UTF-8.

    That the job fails then, with a ClientError, is AWS's rule; the words are not documented.
    """
    try:
        return {host: ml.exit_message() for host, ml in mls.items()}
    except UnicodeDecodeError:
        text = "The file /opt/ml/output/message is not UTF-8 encoded."
        raise storage.StorageError(text) from None


def _cut(message: str) -> str:
    """The first kilobyte of the messages of all hosts, one after the other."""
    return message.encode()[:MESSAGE_LENGTH].decode("utf-8", "ignore")
