"""Training jobs: created, described, listed, stopped, deleted; `trainer` carries them out.

Source: API Reference, CreateTrainingJob, DescribeTrainingJob, ListTrainingJobs, StopTrainingJob,
DeleteTrainingJob.
"""

from collections.abc import Mapping
from typing import Any

from byoc import engines
from byoc.engines import Image
from byoc.local import channels, checkpoints, images, metrics, progress, protocol, quotas
from byoc.local.errors import AWSError, not_implemented, validation
from byoc.local.references import check_key, check_vpc
from byoc.local.service import Context, operation
from byoc.local.snapshot import RESUME
from byoc.local.state import Resource, now, page, tags_of, taken
from byoc.local.trainer import Observer, TrainingRun

# What CreateTrainingJob allows and this module does not do: refused, never ignored.
NOT_DONE = {
    "": (
        "InfraCheckConfig",
        "SessionChainingConfig",
        "ServerlessJobConfig",
        "MlflowConfig",
        "ModelPackageConfig",
    ),
    "AlgorithmSpecification": ("AlgorithmName", "TrainingImageConfig"),
    "ResourceConfig": (
        "KeepAlivePeriodInSeconds",
        "TrainingPlanArn",
        "InstancePlacementConfig",
        "InstancePreferences",
    ),
    "StoppingCondition": ("MaxPendingTimeInSeconds",),
}

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
    "CheckpointConfig",
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
LONGEST = 28 * 86_400  # seconds. Source: API Reference, StoppingCondition
INTERRUPTED = "InternalServerError: the local AWS was stopped while the job ran."


@operation
def create_training_job(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Run the image's `train` on one host or several, with input from S3, and upload what it
    leaves. Refuse warm pools, augmented manifests and AWS's algorithms."""
    return {"TrainingJobArn": launch(context, request).arn}


@operation
def describe_training_job(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show the job with its statuses, failure reason, metrics and artifacts."""
    with context.platform.state.lock:
        data = dict(_find(context, request).data)
        data["SecondaryStatusTransitions"] = [dict(t) for t in data["SecondaryStatusTransitions"]]
        return data


@operation
def list_training_jobs(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List the jobs, filtered and sorted; none ever has a warm pool or a training plan."""
    with context.platform.state.lock:
        jobs = list(context.table("training-job").values())
        if "WarmPoolStatusEquals" in request or "TrainingPlanArnEquals" in request:
            jobs = []  # no job here has a warm pool or a training plan
        return page(
            request,
            jobs,
            "TrainingJobSummaries",
            lambda job: {key: job.data[key] for key in SUMMARY if key in job.data},
            name="TrainingJobName",
            status="TrainingJobStatus",
            default_order="Ascending",
            created_after_includes=False,
        )


@operation
def stop_training_job(context: Context, request: dict[str, Any]) -> None:
    """Send SIGTERM, after the grace period SIGKILL; the job ends as Stopped with its artifacts."""
    with context.platform.state.lock:
        job = _find(context, request)
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
    """Delete a job that has ended.

    Source: API Reference, DeleteTrainingJob.
    """
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


def check(context: Context, request: dict[str, Any]) -> Image:
    """Refuse what can't be carried out, set the members AWS sets; returns the image to run."""
    _check(context, request)
    uri = request["AlgorithmSpecification"]["TrainingImage"]
    image, _ = images.find(context, uri, request["RoleArn"])
    if _hosts(request["ResourceConfig"]) > 1 and not engines.engine(image.engine).has_networks():
        raise not_implemented("CreateTrainingJob on several instances on this kind of machine")
    if not channels.can_stream(image.engine) and channels.streams(request):
        raise not_implemented("CreateTrainingJob with Pipe mode for images on this machine")
    return image


def launch(
    context: Context,
    request: dict[str, Any],
    members: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
) -> Resource:
    """Create a job and start it; raises AWSError with nothing created.

    `members` are kept with the job beside those of the request; `observer` is told what happens.
    """
    image = check(context, request)
    name = request["TrainingJobName"]
    arn = context.arn("training-job", name)
    data = {key: request[key] for key in KEPT if key in request}
    data |= {
        "TrainingJobArn": arn,
        "CreationTime": now(),
        "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
        "EnableInterContainerTrafficEncryption": request.get(
            "EnableInterContainerTrafficEncryption", False
        ),
        "EnableManagedSpotTraining": request.get("EnableManagedSpotTraining", False),
    }
    data |= members or {}
    job = Resource(name, arn, data, tags_of(request))
    with context.platform.state.lock:
        jobs = context.table("training-job")
        if taken(name, jobs):
            raise AWSError(
                "ResourceInUse",
                "Training job names must be unique within an AWS account and region, and a "
                f"training job with this name already exists ({arn})",
            )
        quotas.check(context, quotas.TRAINING, quotas.of_job(request.get("ResourceConfig", {})))
        jobs[name] = job
        progress.move(data, "Starting")
        job.runtime = TrainingRun(context, job, image, observer)
    job.runtime.start()
    return job


def interrupt(context: Context, name: str) -> None:
    """Take a Spot job's instances away; raises AWSError for a job that has none now."""
    with context.platform.state.lock:
        job = _find(context, {"TrainingJobName": name})
        if not job.data["EnableManagedSpotTraining"]:
            raise validation(f"The training job {name} does not run on Spot instances.")
        if job.runtime is None or not job.runtime.interrupt():
            status = job.data["SecondaryStatus"]
            raise validation(f"The training job {name} has no instances to interrupt: {status}.")


def resume(context: Context, resource: Resource) -> None:
    """A job that is restored after the local AWS was stopped: what had not ended has failed."""
    with context.platform.state.lock:
        if resource.data["TrainingJobStatus"] in ("InProgress", "Stopping"):
            progress.fail(resource.data, INTERRUPTED)


RESUME["training-job"] = resume


def _find(context: Context, request: dict[str, Any]) -> Resource:
    job = context.table("training-job").get(request["TrainingJobName"])
    if job is None:
        raise validation("Requested resource not found.")
    return job


def _check(context: Context, request: dict[str, Any]) -> None:
    """Refuse what is wrong or not done, before anything is created; set the members AWS sets."""
    for place, members in NOT_DONE.items():
        for member in members:
            if (request.get(place, {}) if place else request).get(member):
                raise not_implemented(f"CreateTrainingJob with {member}")
    algorithm, output = request.get("AlgorithmSpecification", {}), request["OutputDataConfig"]
    if "TrainingImage" not in algorithm:
        raise validation("AlgorithmSpecification must name a TrainingImage.")
    protocol.check_texts(
        {
            "hyperParameters": request.get("HyperParameters", {}),
            "environment": request.get("Environment", {}),
            "algorithmSpecification.containerEntrypoint": algorithm.get("ContainerEntrypoint", []),
            "algorithmSpecification.containerArguments": algorithm.get("ContainerArguments", []),
        }
    )
    metrics.check(algorithm.get("MetricDefinitions", []))
    _check_resources(context, request)
    channels.check(request)
    if not output["S3OutputPath"].startswith("s3://"):
        raise not_implemented("CreateTrainingJob with an S3OutputPath that is not s3://")
    for key in (output.get("KmsKeyId"), request["ResourceConfig"].get("VolumeKmsKeyId")):
        check_key(context, key)
    check_vpc(context, request.get("VpcConfig"))
    checkpoints.check(request.get("CheckpointConfig"))
    # Members that DescribeTrainingJob gives on AWS also when the request had none.
    algorithm.setdefault("EnableSageMakerMetricsTimeSeries", "MetricDefinitions" in algorithm)
    output.setdefault("KmsKeyId", "")
    output.setdefault("CompressionType", "GZIP")
    request.setdefault("StoppingCondition", {}).setdefault("MaxRuntimeInSeconds", 86_400)
    _check_times(request["StoppingCondition"], request.get("EnableManagedSpotTraining", False))


def _check_times(condition: dict[str, Any], spot: bool) -> None:
    """Source: API Reference, StoppingCondition; Developer Guide, model-managed-spot-training."""
    runtime, wait = condition["MaxRuntimeInSeconds"], condition.get("MaxWaitTimeInSeconds")
    if runtime > LONGEST:
        raise validation(f"MaxRuntimeInSeconds is {runtime}: it must be at most {LONGEST}.")
    # AWS's words. Source: Kenza-AI/sagify, issue 111.
    if wait is not None and not spot:
        raise validation(
            "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is "
            "set to true"
        )
    if spot and (wait is None or wait < runtime):
        raise validation(
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
            "MaxRuntimeInSeconds"
        )


def _check_resources(context: Context, request: dict[str, Any]) -> None:
    resources = request.get("ResourceConfig", {})
    groups = resources.get("InstanceGroups")
    if groups is not None:
        if "InstanceType" in resources or "InstanceCount" in resources:
            raise validation(
                "ResourceConfig has either InstanceGroups or InstanceType and InstanceCount."
            )
        names = [group["InstanceGroupName"] for group in groups]
        if len(set(names)) < len(names) or not names:
            raise validation("The names of instance groups must be given and unique.")
    elif "InstanceType" not in resources or "InstanceCount" not in resources:
        raise validation("ResourceConfig must have InstanceType and InstanceCount.")
    if not _hosts(resources):
        raise validation("ResourceConfig must have at least one instance.")


def _hosts(resources: dict[str, Any]) -> int:
    return sum(g["InstanceCount"] for g in resources.get("InstanceGroups", [resources]))
