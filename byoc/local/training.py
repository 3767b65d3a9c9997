"""Training jobs: created, carried out by the engine, described, listed, stopped.

Source: API Reference, CreateTrainingJob and DescribeTrainingJob; Developer Guide,
your-algorithms-training-algo-running-container and your-algorithms-training-algo-output.
"""

import datetime as dt
import math
import re
import shutil
import threading
import uuid
from typing import Any

from byoc.engines import Container, Image
from byoc.local import images, storage
from byoc.local.errors import AWSError, not_implemented, validation
from byoc.local.logs import LogStream
from byoc.local.service import Context, operation
from byoc.local.state import Resource, now, page, tags_of, taken
from byoc.optml import OptML

LOG_GROUP = "/aws/sagemaker/TrainingJobs"

MESSAGES = {
    "Starting": "Starting the training job",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
}

# What CreateTrainingJob allows and this module does not do yet: refused, never ignored.
NOT_YET = ("CheckpointConfig", "EnableManagedSpotTraining", "InfraCheckConfig")

# Members of the request that DescribeTrainingJob answers as they were sent.
KEPT = (
    "TrainingJobName",
    "RoleArn",
    "AlgorithmSpecification",
    "HyperParameters",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "StoppingCondition",
    "Environment",
    "RetryStrategy",
    "VpcConfig",
    "ExperimentConfig",
    "DebugHookConfig",
    "DebugRuleConfigurations",
    "TensorBoardOutputConfig",
    "ProfilerConfig",
    "ProfilerRuleConfigurations",
    "RemoteDebugConfig",
)
SUMMARY = (
    "TrainingJobName",
    "TrainingJobArn",
    "CreationTime",
    "TrainingEndTime",
    "LastModifiedTime",
    "TrainingJobStatus",
    "SecondaryStatus",
)


@operation
def create_training_job(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    _refuse_what_is_not_done(request)
    image, _ = images.find(context, request["AlgorithmSpecification"]["TrainingImage"])
    name = request["TrainingJobName"]
    arn = context.arn("training-job", name)
    data = {key: request[key] for key in KEPT if key in request}
    data |= {
        "TrainingJobArn": arn,
        "CreationTime": now(),
        "LastModifiedTime": now(),
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        "SecondaryStatusTransitions": [],
        "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
        "EnableInterContainerTrafficEncryption": request.get(
            "EnableInterContainerTrafficEncryption", False
        ),
        "EnableManagedSpotTraining": False,
    }
    job = Resource(name, arn, data, tags_of(request))
    with context.platform.state.lock:
        jobs = context.table("training-job")
        if taken(name, jobs):
            raise AWSError(
                "ResourceInUse",
                "Training job names must be unique within an AWS account and region, and a "
                f"training job with this name already exists ({arn})",
            )
        jobs[name] = job
        job.runtime = TrainingRun(context, job, image)
    job.runtime.start()
    return {"TrainingJobArn": arn}


@operation
def describe_training_job(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    with context.platform.state.lock:
        return dict(_find(context, request).data)


@operation
def list_training_jobs(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    with context.platform.state.lock:
        return page(
            request,
            context.table("training-job").values(),
            "TrainingJobSummaries",
            lambda job: {key: job.data[key] for key in SUMMARY if key in job.data},
            name="TrainingJobName",
            status="TrainingJobStatus",
            default_order="Ascending",
        )


@operation
def stop_training_job(context: Context, request: dict[str, Any]) -> None:
    job = _find(context, request)
    with context.platform.state.lock:
        status = job.data["TrainingJobStatus"]
        if status == "Stopping":
            return
        if status != "InProgress":
            raise validation(
                f"The request was rejected because the training job is in status {status}."
            )
        job.runtime.stop("Stopped")


@operation
def delete_training_job(context: Context, request: dict[str, Any]) -> None:
    """Only an ended job can be deleted. Source: API Reference, DeleteTrainingJob."""
    name = request["TrainingJobName"]
    with context.platform.state.lock:
        jobs = context.table("training-job")
        if name not in jobs:
            raise AWSError("ResourceNotFound", "Requested resource not found.")
        status = jobs[name].data["TrainingJobStatus"]
        if status in ("InProgress", "Stopping"):
            raise AWSError(
                "ResourceInUse",
                f"The request was rejected because the training job is in status {status}.",
            )
        del jobs[name]


def _find(context: Context, request: dict[str, Any]) -> Resource:
    job = context.table("training-job").get(request["TrainingJobName"])
    if job is None:
        raise validation("Requested resource not found.")
    return job


def _refuse_what_is_not_done(request: dict[str, Any]) -> None:
    algorithm, resources = request["AlgorithmSpecification"], request.get("ResourceConfig", {})
    if "TrainingImage" not in algorithm:
        raise not_implemented("CreateTrainingJob without AlgorithmSpecification.TrainingImage")
    for member in NOT_YET:
        if request.get(member):
            raise not_implemented(f"CreateTrainingJob with {member}")
    if resources.get("InstanceCount", 1) != 1 or "InstanceGroups" in resources:
        raise not_implemented("CreateTrainingJob on several instances")
    if request["OutputDataConfig"].get("CompressionType", "GZIP") != "GZIP":
        raise not_implemented("CreateTrainingJob with OutputDataConfig.CompressionType NONE")
    for channel in request.get("InputDataConfig", []):
        mode = channel.get("InputMode", algorithm["TrainingInputMode"])
        source = channel["DataSource"].get("S3DataSource", {})
        if mode != "File":
            raise not_implemented(f"CreateTrainingJob with TrainingInputMode {mode}")
        if source.get("S3DataType") != "S3Prefix":
            raise not_implemented("CreateTrainingJob with a channel that is not an S3Prefix")


class TrainingRun:
    """One job being carried out, in a thread of its own."""

    def __init__(self, context: Context, job: Resource, image: Image) -> None:
        self.context, self.job, self.image = context, job, image
        self._request = job.data
        self._container: Container | None = None
        self._stop_as: str | None = None
        self._thread = threading.Thread(target=self._carry_out, name=job.arn, daemon=True)
        self._move("Starting")

    def start(self) -> None:
        self._thread.start()

    def stop(self, as_status: str) -> None:
        """Ask the job to end as `Stopped` or `MaxRuntimeExceeded`; returns at once."""
        with self.context.platform.state.lock:
            if self._stop_as is not None or self._request["TrainingJobStatus"] != "InProgress":
                return
            self._stop_as = as_status
            self._move("Stopping", "Stopping")
            container = self._container
        if container is not None:
            grace = self.context.platform.options.stop_grace
            threading.Thread(target=container.stop, args=(grace,), daemon=True).start()

    def kill(self) -> None:
        """End the container now, and start none: the local AWS goes down."""
        with self.context.platform.state.lock:
            self._stop_as = self._stop_as or "Stopped"
            container = self._container
        if container is not None:
            container.stop(0)

    def _carry_out(self) -> None:
        folder = self.context.platform.work / "training" / uuid.uuid4().hex
        slots = self.context.platform.slots
        while not slots.acquire(timeout=0.2):
            if self._stop_as:
                return self._end("Stopped", self._stop_as)
        try:
            self._train(OptML(folder))
        except storage.StorageError as error:
            self._fail(f"ClientError: {error}")
        except Exception as error:  # a fault of ours must not leave the job InProgress for ever
            self._fail(f"InternalServerError: {type(error).__name__}: {error}")
        finally:
            slots.release()
            shutil.rmtree(folder, ignore_errors=True)

    def _train(self, ml: OptML) -> None:
        request, s3 = self._request, self.context.client("s3")
        if self._stop_as is None:
            self._move("Downloading")
            self._lay_out(ml, s3)
            self._run(ml)
        code = self._container.wait() if self._container is not None else None
        output = request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
        output = f"{output}/{self.job.name}/output"
        if any((ml.output / "data").glob("*")):
            storage.upload_archive(s3, ml.output / "data", f"{output}/output.tar.gz")
        if code is not None and (code == 0 or self._stop_as):
            if self._stop_as is None:
                self._move("Uploading")
            storage.upload_archive(s3, ml.model, f"{output}/model.tar.gz")
            request["ModelArtifacts"] = {"S3ModelArtifacts": f"{output}/model.tar.gz"}
        if self._stop_as:
            self._end("Stopped", self._stop_as)
        elif code == 0:
            self._end("Completed", "Completed")
        else:
            self._fail(f"AlgorithmError: {ml.failure() or ''}, exit code: {code}")

    def _lay_out(self, ml: OptML, s3: Any) -> None:
        channels = {}
        OptML.create(path=ml.path)
        for channel in self._request.get("InputDataConfig", []):
            source = channel["DataSource"]["S3DataSource"]
            folder = ml.channel(channel["ChannelName"])
            if not storage.download_prefix(s3, source["S3Uri"], folder):
                raise storage.StorageError(
                    f'Data download failed:No S3 objects found under S3 URL "{source["S3Uri"]}" '
                    "given in input data source. Please ensure that the bucket exists in the "
                    "selected region, that objects exist under that S3 prefix, and that the role "
                    f'"{self._request["RoleArn"]}" has "s3:ListBucket" permissions on bucket '
                    f'"{storage.split(source["S3Uri"])[0]}".'
                )
            content_type = channel.get("ContentType")
            channels[channel["ChannelName"]] = {"ContentType": content_type} if content_type else {}
        ml.write_config(
            hyperparameters=self._request.get("HyperParameters", {}),
            channels=channels,
            instance_type=self._request["ResourceConfig"]["InstanceType"],
        )

    def _run(self, ml: OptML) -> None:
        request, algorithm = self._request, self._request["AlgorithmSpecification"]
        environment = {
            **request.get("Environment", {}),
            "TRAINING_JOB_NAME": self.job.name,
            "TRAINING_JOB_ARN": self.job.arn,
        }
        entrypoint = algorithm.get("ContainerEntrypoint")
        arguments = algorithm.get("ContainerArguments", [] if entrypoint else ["train"])
        logs = self.context.client("logs")
        stream = LogStream(logs, LOG_GROUP, f"{self.job.name}/algo-1-{_milliseconds()}")
        metrics = Metrics(algorithm.get("MetricDefinitions", []))
        with self.context.platform.state.lock:
            if self._stop_as is not None:
                return
            self._move("Training")
            request["TrainingStartTime"] = now()
            self._container = self.context.platform.engine.run(
                self.image, arguments, ml=ml, environment=environment, entrypoint=entrypoint
            )
        seconds = request["StoppingCondition"].get("MaxRuntimeInSeconds", 86_400)
        timer = threading.Timer(seconds, self.stop, args=("MaxRuntimeExceeded",))
        timer.daemon = True
        timer.start()
        try:
            stream.follow(self._container.lines(), metrics.read)
            self._container.wait()
        finally:
            timer.cancel()
        metrics.publish(self.context.client("cloudwatch"), self.job.name)
        if metrics.final:
            request["FinalMetricDataList"] = list(metrics.final.values())

    def _move(self, secondary: str, status: str = "InProgress") -> None:
        """Enter a secondary status; the last one gets its end time."""
        with self.context.platform.state.lock:
            moment, data = now(), self._request
            transitions = data["SecondaryStatusTransitions"]
            if transitions:
                transitions[-1]["EndTime"] = moment
            message = MESSAGES[secondary]
            transitions.append({"Status": secondary, "StartTime": moment, "StatusMessage": message})
            data |= {
                "SecondaryStatus": secondary,
                "TrainingJobStatus": status,
                "LastModifiedTime": moment,
            }

    def _end(self, status: str, secondary: str) -> None:
        with self.context.platform.state.lock:
            data = self._request
            data["TrainingEndTime"] = now()
            if "TrainingStartTime" in data:
                seconds = (data["TrainingEndTime"] - data["TrainingStartTime"]).total_seconds()
                data["TrainingTimeInSeconds"] = data["BillableTimeInSeconds"] = max(1, int(seconds))
            self._move(secondary, status)
            data["SecondaryStatusTransitions"][-1]["EndTime"] = data["LastModifiedTime"]

    def _fail(self, reason: str) -> None:
        with self.context.platform.state.lock:
            self._request["FailureReason"] = reason[:1024]
            self._end("Failed", "Failed")


class Metrics:
    """Values found in the log by the job's regular expressions.

    Source: API Reference, MetricDefinition: the first group of the expression is the value.
    """

    def __init__(self, definitions: list[dict[str, str]]) -> None:
        self._definitions = [(d["Name"], re.compile(d["Regex"])) for d in definitions]
        self._found: list[dict[str, Any]] = []
        self.final: dict[str, dict[str, Any]] = {}

    def read(self, line: str) -> None:
        """Look for every metric in one line."""
        for name, expression in self._definitions:
            for match in expression.finditer(line):
                try:
                    value = float(match[1] if expression.groups else match[0])
                except (TypeError, ValueError):
                    continue
                if not math.isfinite(value):
                    continue  # CloudWatch takes no NaN and no infinity
                moment = now()
                self.final[name] = {"MetricName": name, "Value": value, "Timestamp": moment}
                self._found.append({"MetricName": name, "Value": value, "Timestamp": moment})

    def publish(self, cloudwatch: Any, job: str) -> None:
        """Send all values to CloudWatch, where AWS puts them."""
        host = [{"Name": "Host", "Value": f"{job}/algo-1"}]
        data = [{**entry, "Dimensions": host} for entry in self._found]
        for start in range(0, len(data), 500):
            cloudwatch.put_metric_data(Namespace=LOG_GROUP, MetricData=data[start : start + 500])


def _milliseconds() -> int:
    return int(dt.datetime.now().timestamp() * 1000)
