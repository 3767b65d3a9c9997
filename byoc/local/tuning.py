"""Tuning jobs: created, described, listed, stopped, deleted; `tuner` carries them out.

Source: API Reference, CreateHyperParameterTuningJob, DescribeHyperParameterTuningJob,
ListHyperParameterTuningJobs, ListTrainingJobsForHyperParameterTuningJob,
StopHyperParameterTuningJob, DeleteHyperParameterTuningJob.
"""

from typing import Any

from byoc.local import quotas, training, trials, tuner, tuning_check, warm_start
from byoc.local.errors import AWSError, validation
from byoc.local.service import Context, operation
from byoc.local.snapshot import RESUME
from byoc.local.state import Resource, now, page, tags_of, taken

# Members of the request that DescribeHyperParameterTuningJob answers as they were sent.
KEPT = (
    "HyperParameterTuningJobName",
    "HyperParameterTuningJobConfig",
    "TrainingJobDefinition",
    "WarmStartConfig",
)
SUMMARY = (
    "HyperParameterTuningJobName",
    "HyperParameterTuningJobArn",
    "HyperParameterTuningJobStatus",
    "CreationTime",
    "HyperParameterTuningEndTime",
    "LastModifiedTime",
)


@operation
def create_hyper_parameter_tuning_job(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Search the ranges with training jobs that really run: Random, Grid, Bayesian, Hyperband.
    Refuse several definitions, autotune, several instance types and convergence."""
    tuning_check.check(request)
    parents = warm_start.parents(context, request)
    prototype = tuner.child_request(request, "prototype", {}, {})
    training.check(context, prototype)
    name = request["HyperParameterTuningJobName"]
    arn = context.arn(trials.KIND, name)
    data = {key: request[key] for key in KEPT if key in request}
    data |= {
        "HyperParameterTuningJobArn": arn,
        "CreationTime": now(),
    }
    job = Resource(name, arn, data, tags_of(request))
    with context.platform.state.lock:
        jobs = context.table(trials.KIND)
        if taken(name, jobs):
            # AWS's words. Source: aws/amazon-sagemaker-examples#2440.
            raise AWSError(
                "ResourceInUse",
                f"A hyperparameter tuning job with the name, {name}, already exists. Choose a "
                "different name.",
            )
        quotas.check(context, quotas.TRAINING, _instances(request, prototype))
        jobs[name] = job
        tuner.change(context, data, "InProgress")
        job.runtime = tuner.TuningRun(context, job, parents)
    job.runtime.start()
    return {"HyperParameterTuningJobArn": arn}


@operation
def describe_hyper_parameter_tuning_job(
    context: Context, request: dict[str, Any]
) -> dict[str, Any]:
    """Show the job with its counters, its best training job and its failure reason."""
    with context.platform.state.lock:
        data = find(context, request["HyperParameterTuningJobName"]).data
        return trials.description(context, data)


@operation
def list_hyper_parameter_tuning_jobs(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List the jobs with their counters, filtered and sorted."""

    def row(job: Resource) -> dict[str, Any]:
        config = job.data["HyperParameterTuningJobConfig"]
        known = {key: job.data[key] for key in SUMMARY if key in job.data}
        known |= {"Strategy": config["Strategy"], "ResourceLimits": config["ResourceLimits"]}
        jobs = trials.jobs_of(context, job.data)
        return known | trials.counters([trials.summary(job.data, one.data) for one in jobs])

    with context.platform.state.lock:
        return page(
            request,
            list(context.table(trials.KIND).values()),
            "HyperParameterTuningJobSummaries",
            row,
            name="HyperParameterTuningJobName",
            status="HyperParameterTuningJobStatus",
            default_order="Ascending",
            default_sort="Name",
        )


@operation
def list_training_jobs_for_hyper_parameter_tuning_job(
    context: Context, request: dict[str, Any]
) -> dict[str, Any]:
    """List what the job launched and what became of it: hyperparameters, status, objective."""
    with context.platform.state.lock:
        data = find(context, request["HyperParameterTuningJobName"]).data
        jobs = trials.jobs_of(context, data)
        if request.get("SortBy") == "FinalObjectiveMetricValue":
            jobs = [job for job in jobs if trials.VALUE in trials.summary(data, job.data)]
            request = request | {"SortBy": trials.VALUE}
        return page(
            request,
            jobs,
            "TrainingJobSummaries",
            lambda job: trials.summary(data, job.data),
            name="TrainingJobName",
            status="TrainingJobStatus",
            default_order="Ascending",
            default_sort="Name",
            number=trials.VALUE,
        )


@operation
def stop_hyper_parameter_tuning_job(context: Context, request: dict[str, Any]) -> None:
    """Launch no more and stop the training jobs that run; the job ends as Stopped."""
    with context.platform.state.lock:
        job = find(context, request["HyperParameterTuningJobName"])
        status = job.data["HyperParameterTuningJobStatus"]
        if status == "Stopping":
            return
        if status != "InProgress":
            raise validation(
                f"The request was rejected because the hyperparameter tuning job is in status "
                f"{status}."
            )
        job.runtime.stop()


@operation
def delete_hyper_parameter_tuning_job(context: Context, request: dict[str, Any]) -> None:
    """Delete a job that has ended; its training jobs stay."""
    with context.platform.state.lock:
        job = find(context, request["HyperParameterTuningJobName"])
        status = job.data["HyperParameterTuningJobStatus"]
        if status in quotas.UNDER_WAY:
            raise AWSError(
                "ResourceInUse",
                f"The request was rejected because the hyperparameter tuning job is in status "
                f"{status}.",
            )
        del context.table(trials.KIND)[job.name]


def find(context: Context, name: str) -> Resource:
    """The tuning job of this name; raises ResourceNotFound when there is none."""
    job = context.table(trials.KIND).get(name)
    if job is None:
        # AWS's words. Source: aws/amazon-sagemaker-examples#1540.
        raise AWSError(
            "ResourceNotFound",
            f"Amazon SageMaker can't find a tuning job called {name}. Type another name.",
        )
    return job


def resume(context: Context, resource: Resource) -> None:
    """A job that is restored after the local AWS was stopped: what had not ended has failed."""
    with context.platform.state.lock:
        if resource.data["HyperParameterTuningJobStatus"] in quotas.UNDER_WAY:
            tuner.fail(context, resource.data, training.INTERRUPTED)


RESUME[trials.KIND] = resume


def _instances(request: dict[str, Any], prototype: dict[str, Any]) -> dict[str, int]:
    """What all training jobs that run at a time use."""
    limits = request["HyperParameterTuningJobConfig"]["ResourceLimits"]
    of_one = quotas.of_job(prototype["ResourceConfig"])
    parallel = limits["MaxParallelTrainingJobs"]
    parallel = min(parallel, limits.get("MaxNumberOfTrainingJobs", parallel))
    return {kind: count * parallel for kind, count in of_one.items()}
