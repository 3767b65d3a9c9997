"""Processing jobs: created, described, listed, stopped, deleted; `processor` carries them out.

Source: API Reference, CreateProcessingJob, DescribeProcessingJob, ListProcessingJobs,
StopProcessingJob, DeleteProcessingJob.
"""

from typing import Any

from byoc import engines
from byoc.errors import ByocError
from byoc.local import events, images, protocol, quotas
from byoc.local.errors import AWSError, not_implemented, validation
from byoc.local.processor import ProcessingRun, fail
from byoc.local.references import check_key, check_vpc
from byoc.local.service import Context, operation
from byoc.local.snapshot import RESUME
from byoc.local.state import Resource, now, page, tags_of, taken
from byoc.local.training import INTERRUPTED
from byoc.optml import check_local_path

# Members of the request that DescribeProcessingJob answers as they were sent.
KEPT = (
    "ProcessingJobName",
    "ProcessingInputs",
    "ProcessingOutputConfig",
    "ProcessingResources",
    "StoppingCondition",
    "AppSpecification",
    "Environment",
    "NetworkConfig",
    "RoleArn",
    "ExperimentConfig",
)
SUMMARY = (
    "ProcessingJobName",
    "ProcessingJobArn",
    "CreationTime",
    "ProcessingEndTime",
    "LastModifiedTime",
    "ProcessingJobStatus",
    "FailureReason",
    "ExitMessage",
)


@operation
def create_processing_job(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Run the image's own program, or the request's, on one host or several, with input from S3 in
    File mode, and upload its outputs. Refuse Pipe, datasets, feature stores and AppManaged."""
    _check(context, request)
    image, _ = images.find(context, request["AppSpecification"]["ImageUri"], request["RoleArn"])
    cluster = request["ProcessingResources"]["ClusterConfig"]
    if cluster["InstanceCount"] > 1 and not engines.engine(image.engine).has_networks():
        raise not_implemented("CreateProcessingJob on several instances on this kind of machine")
    name = request["ProcessingJobName"]
    arn = context.arn("processing-job", name)
    data = {key: request[key] for key in KEPT if key in request}
    moment = now()
    data |= {
        "ProcessingJobArn": arn,
        "ProcessingJobStatus": "InProgress",
        "CreationTime": moment,
        "LastModifiedTime": moment,
    }
    job = Resource(name, arn, data, tags_of(request))
    with context.platform.state.lock:
        jobs = context.table("processing-job")
        if taken(name, jobs):
            raise AWSError(
                "ResourceInUse",
                "Job name must be unique within an AWS account and region, and a job with this "
                f"name already exists ({arn})",
            )
        quotas.check(context, quotas.PROCESSING, quotas.of_job(cluster))
        jobs[name] = job
        job.runtime = ProcessingRun(context, job, image)
        events.changed("processing-job", arn, data)
    job.runtime.start()
    return {"ProcessingJobArn": arn}


@operation
def describe_processing_job(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show the job with its status, exit message and failure reason."""
    with context.platform.state.lock:
        return dict(_find(context, request).data)


@operation
def list_processing_jobs(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List the jobs, filtered and sorted."""
    with context.platform.state.lock:
        return page(
            request,
            list(context.table("processing-job").values()),
            "ProcessingJobSummaries",
            lambda job: {key: job.data[key] for key in SUMMARY if key in job.data},
            name="ProcessingJobName",
            status="ProcessingJobStatus",
            default_order="Ascending",
            created_after_includes=False,
        )


@operation
def stop_processing_job(context: Context, request: dict[str, Any]) -> None:
    """Send SIGTERM, after the grace period SIGKILL; the job ends as Stopped."""
    with context.platform.state.lock:
        job = _find(context, request)
        status = job.data["ProcessingJobStatus"]
        if status == "Stopping":
            return
        if status != "InProgress":
            raise validation(
                f"The request was rejected because the processing job is in status {status}."
            )
        job.runtime.stop()


@operation
def delete_processing_job(context: Context, request: dict[str, Any]) -> None:
    """Delete a job that has ended."""
    name = request["ProcessingJobName"]
    with context.platform.state.lock:
        jobs = context.table("processing-job")
        if name not in jobs:
            raise AWSError("ResourceNotFound", "Requested resource not found.")
        status = jobs[name].data["ProcessingJobStatus"]
        if status in quotas.UNDER_WAY:
            raise AWSError(
                "ResourceInUse",
                f"The request was rejected because the processing job is in status {status}.",
            )
        del jobs[name]


def resume(context: Context, resource: Resource) -> None:
    """A job that is restored after the local AWS was stopped: what had not ended has failed."""
    with context.platform.state.lock:
        if resource.data["ProcessingJobStatus"] in quotas.UNDER_WAY:
            fail(resource.data, INTERRUPTED)


RESUME["processing-job"] = resume


def _find(context: Context, request: dict[str, Any]) -> Resource:
    name = request["ProcessingJobName"]
    job = context.table("processing-job").get(name)
    if job is None:
        raise validation(f"Could not find requested job with name: {name}")
    return job


def _check(context: Context, request: dict[str, Any]) -> None:
    """Refuse what is wrong or not done, before anything is created; set the members AWS sets."""
    application, cluster = request["AppSpecification"], request["ProcessingResources"]
    protocol.check_texts(
        {
            "environment": request.get("Environment", {}),
            "appSpecification.containerEntrypoint": application.get("ContainerEntrypoint", []),
            "appSpecification.containerArguments": application.get("ContainerArguments", []),
        }
    )
    _check_cluster(cluster["ClusterConfig"])
    outputs = request.get("ProcessingOutputConfig", {})
    _check_inputs(request.get("ProcessingInputs", []))
    _check_outputs(outputs.get("Outputs", []))
    places = [one["S3Input"]["LocalPath"] for one in request.get("ProcessingInputs", [])]
    places += [one["S3Output"]["LocalPath"] for one in outputs.get("Outputs", [])]
    _check_places(places)
    for key in (outputs.get("KmsKeyId"), cluster["ClusterConfig"].get("VolumeKmsKeyId")):
        check_key(context, key)
    check_vpc(context, request.get("NetworkConfig", {}).get("VpcConfig"))
    request.setdefault("StoppingCondition", {"MaxRuntimeInSeconds": 86_400})


def _check_cluster(cluster: dict[str, Any]) -> None:
    for member in ("SelectedInstanceType", "SelectedInstanceCount"):
        if member in cluster:
            raise validation(f"{member} is read-only and isn't accepted in CreateProcessingJob.")
    if "InstancePreferences" in cluster:
        raise _not_done("InstancePreferences")
    if "InstanceType" not in cluster:
        raise validation("ClusterConfig must have an InstanceType.")
    cluster.setdefault("InstanceCount", 1)  # Source: API Reference, ProcessingClusterConfig


def _check_inputs(inputs: list[dict[str, Any]]) -> None:
    _check_names("inputs", [one["InputName"] for one in inputs])
    for one in inputs:
        name, given = one["InputName"], one.get("S3Input")
        if "DatasetDefinition" in one:
            raise _not_done("DatasetDefinition")
        if one.get("AppManaged"):
            raise _not_done("an AppManaged input")
        if given is None:
            raise validation(f"The input {name} must have an S3Input or a DatasetDefinition.")
        if given.get("S3CompressionType") == "Gzip" and given.get("S3InputMode") != "Pipe":
            # Source: API Reference, ProcessingS3Input; the words are ours.
            raise validation(f"The input {name} can be Gzip only if its S3InputMode is Pipe.")
        if given.get("S3InputMode") == "Pipe":
            raise _not_done("S3InputMode Pipe")
        _check_uri(given["S3Uri"])
        if "LocalPath" not in given:
            raise validation(f"The input {name} must have a LocalPath.")
        given.setdefault("S3InputMode", "File")
        given.setdefault("S3DataDistributionType", "FullyReplicated")
        given.setdefault("S3CompressionType", "None")


def _check_outputs(outputs: list[dict[str, Any]]) -> None:
    _check_names("outputs", [one["OutputName"] for one in outputs])
    for one in outputs:
        name, given = one["OutputName"], one.get("S3Output")
        if "FeatureStoreOutput" in one:
            raise _not_done("FeatureStoreOutput")
        if one.get("AppManaged"):
            raise _not_done("an AppManaged output")
        if given is None:
            raise validation(f"The output {name} must have an S3Output or a FeatureStoreOutput.")
        _check_uri(given["S3Uri"])
        if "LocalPath" not in given:
            raise validation(f"The output {name} must have a LocalPath.")


def _check_names(what: str, names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise validation(f"The names of {what} must be unique, got {', '.join(names)}.")


def _check_uri(uri: str) -> None:
    if not uri.startswith("s3://"):
        raise _not_done("an S3Uri that does not begin with s3://")


def _check_places(places: list[str]) -> None:
    """LocalPaths are unique: aws/sagemaker-python-sdk#4939 and #1950; the words are ours."""
    for place in places:
        try:
            check_local_path(place)
        except ByocError as error:
            raise validation(f"{error}") from None
    bare = [place.rstrip("/") for place in places]
    if len(set(bare)) < len(bare):
        raise validation(f"Inputs and outputs must have different LocalPaths: {', '.join(places)}.")


def _not_done(what: str) -> AWSError:
    return not_implemented(f"CreateProcessingJob with {what}")
