"""A training job's statuses: each with its beginning, its end and its message.

Source: API Reference, SecondaryStatusTransition; the messages as public logs of jobs show them.
Whoever calls these functions holds the state's lock.
"""

import datetime as dt
from typing import Any

from byoc.local import events
from byoc.local.state import now

MESSAGES = {
    "Starting": "Starting the training job",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Interrupted": "Spot instances were interrupted",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}


ENDS = ("Completed", "Failed", "Stopped", "MaxRuntimeExceeded")


def move(job: dict[str, Any], secondary: str, status: str = "InProgress") -> None:
    """Enter a secondary status; the one before gets its end time."""
    moment = now()
    transitions = job.setdefault("SecondaryStatusTransitions", [])
    if transitions:
        transitions[-1]["EndTime"] = moment
    message = MESSAGES[secondary]
    transitions.append({"Status": secondary, "StartTime": moment, "StatusMessage": message})
    job |= {
        "SecondaryStatus": secondary,
        "TrainingJobStatus": status,
        "LastModifiedTime": moment,
    }
    if secondary not in ENDS:
        events.changed("training-job", job["TrainingJobArn"], job)


def say(job: dict[str, Any], message: str) -> None:
    """Change the message of the secondary status the job is in."""
    job["SecondaryStatusTransitions"][-1]["StatusMessage"] = message
    job["LastModifiedTime"] = now()


def end(job: dict[str, Any], status: str, secondary: str) -> None:
    """Enter the last status. Its times are those of its own beginning, as on AWS."""
    move(job, secondary, status)
    last = job["SecondaryStatusTransitions"][-1]
    last["EndTime"] = job["TrainingEndTime"] = last["StartTime"]
    if "TrainingStartTime" in job:
        seconds = (job["TrainingEndTime"] - job["TrainingStartTime"]).total_seconds()
        job["TrainingTimeInSeconds"] = max(1, int(seconds))
        job["BillableTimeInSeconds"] = max(1, int(on_instances(job).total_seconds()))
    events.changed("training-job", job["TrainingJobArn"], job)


def on_instances(job: dict[str, Any]) -> dt.timedelta:
    """The job's time on instances until now, or its end: all but what it waits when interrupted.

    On AWS the billable time of a Spot job is also less by its discount, which nobody has here.
    """
    until = job.get("TrainingEndTime") or now()
    waits = [
        (step.get("EndTime") or until) - step["StartTime"]
        for step in job["SecondaryStatusTransitions"]
        if step["Status"] in ("Interrupted", "Starting")
        and step["StartTime"] >= job["TrainingStartTime"]
    ]
    return until - job["TrainingStartTime"] - sum(waits, dt.timedelta())


def fail(job: dict[str, Any], reason: str) -> None:
    """End as Failed, for a reason of which the first 1,024 characters are kept."""
    job["FailureReason"] = reason[:1024]
    end(job, "Failed", "Failed")
