"""The training jobs of a tuning job, as its answers show them: summaries, counters, the best one.

Source: API Reference, HyperParameterTrainingJobSummary, TrainingJobStatusCounters,
ObjectiveStatusCounters.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from byoc.local.service import Context
from byoc.local.state import Resource, now
from byoc.local.strategies import Trial

KIND = "hyper-parameter-tuning-job"  # of the state's tables
MEMBERS = (
    "TrainingJobName",
    "TrainingJobArn",
    "CreationTime",
    "TrainingStartTime",
    "TrainingEndTime",
    "TrainingJobStatus",
    "TunedHyperParameters",
    "FailureReason",
)
VALUE = "FinalObjectiveMetricValue"  # of a summary; to sort by, no answer shows it


def objective_of(tuning: dict[str, Any]) -> dict[str, str]:
    """The objective of a tuning job: its Type and MetricName."""
    return tuning["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]


def sign_of(tuning: dict[str, Any]) -> int:
    """What makes a value of the objective a score, of which a greater one is better."""
    return 1 if objective_of(tuning)["Type"] == "Maximize" else -1


def jobs_of(context: Context, tuning: dict[str, Any]) -> list[Resource]:
    """The training jobs that it launched and that were not deleted, oldest first."""
    arn, created = tuning["HyperParameterTuningJobArn"], tuning["CreationTime"]
    jobs = context.table("training-job").values()
    found = [job for job in jobs if job.data.get("TuningJobArn") == arn]
    # One of the same name may have been deleted before.
    return [job for job in found if job.data["CreationTime"] >= created]


def value_of(job: dict[str, Any], metric: str) -> float | None:
    """The objective's last value of a job that has ended well; one that was stopped has too."""
    if job["TrainingJobStatus"] not in ("Completed", "Stopped"):
        return None
    found = (d["Value"] for d in job.get("FinalMetricDataList", []) if d["MetricName"] == metric)
    return next(found, None)


def summary(tuning: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """The job's entry in ListTrainingJobsForHyperParameterTuningJob."""
    objective = objective_of(tuning)
    row = {key: job[key] for key in MEMBERS if key in job}
    value = value_of(job, objective["MetricName"])
    if value is not None:
        row["FinalHyperParameterTuningJobObjectiveMetric"] = {**objective, "Value": value}
        row[VALUE] = value
    under_way = job["TrainingJobStatus"] in ("InProgress", "Stopping")
    ended = "Failed" if value is None else "Succeeded"
    row["ObjectiveStatus"] = "Pending" if under_way else ended
    return row


def counters(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """How many jobs have which status, and which status of the objective."""
    statuses = Counter(row["TrainingJobStatus"] for row in rows)
    objectives = Counter(row["ObjectiveStatus"] for row in rows)
    internal = sum(row.get("FailureReason", "").startswith("InternalServerError") for row in rows)
    return {
        "TrainingJobStatusCounters": {
            "Completed": statuses["Completed"],
            "InProgress": statuses["InProgress"] + statuses["Stopping"],
            "RetryableError": internal,
            "NonRetryableError": statuses["Failed"] - internal,
            "Stopped": statuses["Stopped"],
        },
        "ObjectiveStatusCounters": {
            name: objectives[name] for name in ("Succeeded", "Pending", "Failed")
        },
    }


def best(tuning: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The summary with the best value; of equal ones, the first."""
    rated = [row for row in rows if VALUE in row]
    return max(rated, key=lambda row: sign_of(tuning) * row[VALUE], default=None)


def description(context: Context, tuning: dict[str, Any]) -> dict[str, Any]:
    """What DescribeHyperParameterTuningJob answers; call it with the state's lock held."""
    rows = [summary(tuning, job.data) for job in jobs_of(context, tuning)]
    until = tuning.get("HyperParameterTuningEndTime") or now()
    answer = {
        **tuning,
        **counters(rows),
        "ConsumedResources": {
            "RuntimeInSeconds": int((until - tuning["CreationTime"]).total_seconds())
        },
        "BestTrainingJob": best(tuning, rows),
    }
    warm = tuning.get("WarmStartConfig", {})
    if warm.get("WarmStartType") == "IdenticalDataAndAlgorithm":
        for parent in parents(context, warm):
            name = {"TuningJobName": parent.name}
            jobs = jobs_of(context, parent.data)
            rows += [summary(parent.data, job.data) | name for job in jobs]
        answer["OverallBestTrainingJob"] = best(tuning, rows)
    return answer


def parents(context: Context, warm: dict[str, Any]) -> list[Resource]:
    """The tuning jobs that a WarmStartConfig names and that were not deleted."""
    table = context.table(KIND)
    names = [
        one.get("HyperParameterTuningJobName") for one in warm["ParentHyperParameterTuningJobs"]
    ]
    return [table[name] for name in names if name in table]


def of_parent(context: Context, parent: dict[str, Any]) -> list[Trial]:
    """What a tuning job that has ended found out."""
    found = []
    for job in jobs_of(context, parent):
        value = value_of(job.data, objective_of(parent)["MetricName"])
        if value is not None:
            found.append(
                Trial(
                    hyperparameters=dict(job.data["HyperParameters"]),
                    tuned=dict(job.data["TunedHyperParameters"]),
                    score=sign_of(parent) * value,
                    ended=True,
                    parent=parent["HyperParameterTuningJobName"],
                )
            )
    return found
