"""Batch transform jobs: created, described, listed, stopped; `transform_job` carries them out.

Source: API Reference, CreateTransformJob, DescribeTransformJob, ListTransformJobs,
StopTransformJob.
"""

from typing import Any

from byoc.local import events, hosting, images, model_data, protocol, quotas, records
from byoc.local.errors import AWSError, not_implemented, validation
from byoc.local.hosting import MODEL
from byoc.local.jsonpath import PathError
from byoc.local.models import container_of
from byoc.local.references import check_key
from byoc.local.service import Context, operation
from byoc.local.snapshot import RESUME
from byoc.local.state import Resource, now, page, tags_of, taken
from byoc.local.transform_job import TransformRun, end

KIND = "transform-job"
MOST = 100  # MB of a payload, and of all that are sent at a time. Source: MaxPayloadInMB
KEPT = (
    "TransformJobName",
    "ModelName",
    "MaxConcurrentTransforms",
    "ModelClientConfig",
    "MaxPayloadInMB",
    "BatchStrategy",
    "Environment",
    "TransformInput",
    "TransformOutput",
    "TransformResources",
    "DataProcessing",
    "ExperimentConfig",
)
SUMMARY = (
    "TransformJobName",
    "TransformJobArn",
    "CreationTime",
    "TransformEndTime",
    "LastModifiedTime",
    "TransformJobStatus",
    "FailureReason",
)
INTERRUPTED = "InternalServerError: the local AWS was stopped while the job ran."


@operation
def create_transform_job(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Start the model's `serve` on each instance, send it the objects from S3 and store its answers
    with the suffix `.out`. Refuse RecordIO, TFRecord, chunked payloads and data capture."""
    _check(context, request)
    name = request["TransformJobName"]
    model = hosting.find(context, MODEL, request["ModelName"]).data
    container, role = container_of(model), model.get("ExecutionRoleArn")
    if container.get("Mode") == "MultiModel":
        raise validation("A transform job needs a model of one artifact, not a MultiModel one.")
    if "ModelDataSource" in container and not _is_archive(container):
        raise validation("A transform job needs a model whose data is a .tar.gz archive.")
    image, _ = images.find(context, container["Image"], role, hosted=True)
    arn = context.arn(KIND, name)
    data = {key: request[key] for key in KEPT if key in request}
    data |= {
        "TransformJobArn": arn,
        "TransformJobStatus": "InProgress",
        "CreationTime": now(),
        "LastModifiedTime": now(),
    }
    job = Resource(name, arn, data, tags_of(request))
    with context.platform.state.lock:
        jobs = context.table(KIND)
        if taken(name, jobs):
            raise AWSError(
                "ResourceInUse",
                "Job name must be unique within an AWS account and region, and a job with this "
                f"name already exists ({arn})",
            )
        wanted = quotas.of_job(request["TransformResources"])
        quotas.check(context, quotas.TRANSFORM, wanted)
        jobs[name] = job
        isolated = model["EnableNetworkIsolation"]
        job.runtime = TransformRun(context, job, image, container, role, isolated)
        events.changed(KIND, arn, data)
    job.runtime.start()
    return {"TransformJobArn": arn}


@operation
def describe_transform_job(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show the job with its status, its times and its failure reason."""
    with context.platform.state.lock:
        return dict(_find(context, request).data)


@operation
def list_transform_jobs(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List the jobs, filtered and sorted."""
    with context.platform.state.lock:
        return page(
            request,
            context.table(KIND).values(),
            "TransformJobSummaries",
            lambda job: {key: job.data[key] for key in SUMMARY if key in job.data},
            name="TransformJobName",
            status="TransformJobStatus",
        )


@operation
def stop_transform_job(context: Context, request: dict[str, Any]) -> None:
    """Stop the containers; the job ends as Stopped, and keeps the output of objects that are done.

    Source: API Reference, StopTransformJob.
    """
    with context.platform.state.lock:
        job = _find(context, request)
        status = job.data["TransformJobStatus"]
        if status == "Stopping":
            return
        if status != "InProgress":
            raise validation(
                f"The request was rejected because the transform job is in status {status}."
            )
        job.runtime.stop()


def resume(context: Context, resource: Resource) -> None:
    """A job that is restored after the local AWS was stopped: what had not ended has failed."""
    with context.platform.state.lock:
        if resource.data["TransformJobStatus"] in quotas.UNDER_WAY:
            end(resource.data, "Failed", INTERRUPTED)


RESUME[KIND] = resume


def _find(context: Context, request: dict[str, Any]) -> Resource:
    name = request["TransformJobName"]
    job = context.table(KIND).get(name)
    if job is None:
        raise validation(f"Could not find requested job with name: {name}")
    return job


def _is_archive(container: dict[str, Any]) -> bool:
    source = model_data.source_of(container)
    return source is not None and source.archive


def _check(context: Context, request: dict[str, Any]) -> None:
    """Refuse what is wrong or not done, before anything is created; set the members AWS sets."""
    given, output = request["TransformInput"], request["TransformOutput"]
    resources = request["TransformResources"]
    if "DataCaptureConfig" in request:
        raise _not_done("DataCaptureConfig")
    if "TransformAmiVersion" in resources:
        raise _not_done("TransformAmiVersion")
    source = given["DataSource"]["S3DataSource"]
    if source["S3DataType"] == "AugmentedManifestFile":
        raise validation("A transform job takes S3DataType ManifestFile or S3Prefix.")
    if source["S3DataType"] not in ("S3Prefix", "ManifestFile"):
        raise _not_done(f"S3DataType {source['S3DataType']}")
    if given.get("SplitType", "None") not in ("None", "Line"):
        raise _not_done(f"SplitType {given['SplitType']}")
    for uri in (source["S3Uri"], output["S3OutputPath"]):
        if not uri.startswith("s3://"):
            raise _not_done("a path that does not begin with s3://")
    protocol.check_texts({"environment": request.get("Environment", {})})
    for key in (output.get("KmsKeyId"), resources.get("VolumeKmsKeyId")):
        check_key(context, key)
    _check_payload(request)
    given.setdefault("CompressionType", "None")
    given.setdefault("SplitType", "None")
    output.setdefault("AssembleWith", "None")
    output.setdefault("KmsKeyId", "")
    processing = request.setdefault("DataProcessing", {})
    for member, default in (("InputFilter", "$"), ("OutputFilter", "$"), ("JoinSource", "None")):
        processing.setdefault(member, default)
    _check_processing(processing, given.get("ContentType", ""))


def _check_payload(request: dict[str, Any]) -> None:
    size = request.get("MaxPayloadInMB")
    if size == 0:
        raise _not_done("MaxPayloadInMB 0 (chunked encoding)")
    if (size or 1) > MOST:
        raise validation(f"MaxPayloadInMB is {size}: it must be at most {MOST}.")
    many = request.get("MaxConcurrentTransforms", 0)
    if size and many * size > MOST:
        raise validation(
            f"MaxConcurrentTransforms * MaxPayloadInMB is {many * size}: it must be at most {MOST}."
        )


def _check_processing(processing: dict[str, str], content_type: str) -> None:
    """AWS's words for these refusals are not documented."""
    try:
        records.Processing(processing, content_type)
    except PathError as error:
        raise validation(f"Invalid JSONPath expression in DataProcessing: {error}.") from None
    except ValueError:
        raise validation(
            "DataProcessing needs the ContentType text/csv, application/json or "
            f"application/jsonlines, not {content_type or 'none'}."
        ) from None


def _not_done(what: str) -> AWSError:
    return not_implemented(f"CreateTransformJob with {what}")
