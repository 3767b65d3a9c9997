"""Managed Spot training: interruptions that are ordered, what a job waits, what it pays."""

import itertools

import pytest
from botocore.exceptions import ClientError

from byoc.errors import ByocError
from byoc.local import interruption

FOLDER = "import time; saved = ml / 'checkpoints/step'"
# Waits for ever in its first attempt, and ends in its second.
PROGRAM = f"""{FOLDER}
def save(*_):
    saved.write_text('late')
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
if saved.exists():
    (ml / 'model/from').write_text(saved.read_text())
    sys.exit(0)
print('ready')
while True: signal.pause()
"""


def statuses(job):
    return [t["Status"] for t in job["SecondaryStatusTransitions"]]


def spot(cloud, runtime=600, wait=600):
    return {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": runtime, "MaxWaitTimeInSeconds": wait},
        "CheckpointConfig": {"S3Uri": f"s3://{cloud.aws.bucket}/saved"},
    }


def interrupt(cloud, job):
    interruption.order(cloud.url, job, cloud.account, cloud.region)


def says(cloud, job, text):
    """Whether any of the job's log streams holds the text."""
    logs, group = cloud.client("logs"), "/aws/sagemaker/TrainingJobs"
    try:
        found = logs.filter_log_events(logGroupName=group, logStreamNamePrefix=f"{job}/")
    except logs.exceptions.ResourceNotFoundException:
        return 0
    return sum(text in event["message"] for event in found["events"])


def test_an_interrupted_job_goes_on_from_its_checkpoints(cloud, toy, until):
    job = cloud.start(toy, PROGRAM, **spot(cloud))
    until(lambda: says(cloud, job, "ready"))
    interrupt(cloud, job)
    found = cloud.finish(job)
    assert found["TrainingJobStatus"] == "Completed", found.get("FailureReason")
    assert statuses(found) == [
        *("Starting", "Downloading", "Training", "Interrupted"),
        *("Starting", "Downloading", "Training", "Uploading", "Completed"),
    ]
    for earlier, later in itertools.pairwise(found["SecondaryStatusTransitions"]):
        assert earlier["EndTime"] == later["StartTime"]
    assert cloud.get(f"s3://{cloud.aws.bucket}/saved/step") == b"late"
    assert found["EnableManagedSpotTraining"] is True
    assert found["StoppingCondition"]["MaxWaitTimeInSeconds"] == 600
    assert 1 <= found["BillableTimeInSeconds"] <= found["TrainingTimeInSeconds"]


def test_a_job_that_is_never_interrupted_is_as_any_other(cloud, toy):
    found = cloud.train(toy, **spot(cloud))
    assert statuses(found) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert found["BillableTimeInSeconds"] == found["TrainingTimeInSeconds"]


def test_a_deaf_program_is_killed_after_the_grace(impatient, toy_tag, until):
    program = (
        f"{FOLDER}\nif saved.exists(): sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); saved.write_text('early')\n"
        "print('ready')\nwhile True: signal.pause()"
    )
    job = impatient.start(impatient.push(toy_tag), program, **spot(impatient))
    until(lambda: says(impatient, job, "ready"))
    interrupt(impatient, job)
    assert impatient.finish(job)["TrainingJobStatus"] == "Completed"


def test_all_hosts_are_interrupted(cloud, toy, until):
    program = (
        f"{FOLDER}\nhosts = json.loads((ml / 'input/config/resourceconfig.json').read_text())\n"
        "saved = ml / 'checkpoints' / hosts['current_host']\n" + PROGRAM.partition("\n")[2]
    )
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}
    job = cloud.start(toy, program, ResourceConfig=resources, **spot(cloud))
    until(lambda: says(cloud, job, "ready") == 2)
    interrupt(cloud, job)
    found = cloud.finish(job)
    assert found["TrainingJobStatus"] == "Completed", found.get("FailureReason")
    assert statuses(found).count("Interrupted") == 1


def test_an_interruption_is_no_retry(cloud, toy, until):
    job = cloud.start(toy, PROGRAM, RetryStrategy={"MaximumRetryAttempts": 1}, **spot(cloud))
    until(lambda: says(cloud, job, "ready"))
    interrupt(cloud, job)
    assert cloud.finish(job)["TrainingJobStatus"] == "Completed"


def test_a_job_whose_instances_never_come_ends_when_its_wait_is_over(own_server, toy_tag, gate):
    cloud, _ = own_server(parallel_jobs=1)
    toy = cloud.push(toy_tag)
    first = cloud.start(toy, gate.program)
    second = cloud.train(toy, **spot(cloud, runtime=1, wait=1))
    assert second["TrainingJobStatus"] == "Stopped"
    assert statuses(second) == ["Starting", "Stopping", "MaxWaitTimeExceeded"]
    gate.open()
    assert cloud.finish(first)["TrainingJobStatus"] == "Completed"


def test_an_interrupted_job_gives_its_place_to_others_and_can_be_stopped(
    own_server, toy_tag, gate, until
):
    cloud, _ = own_server(parallel_jobs=1)
    toy = cloud.push(toy_tag)
    job = cloud.start(toy, PROGRAM, **spot(cloud))
    until(lambda: says(cloud, job, "ready"))
    other = cloud.start(toy, gate.program)
    interrupt(cloud, job)
    until(lambda: gate.reached)
    found = cloud.sagemaker.describe_training_job(TrainingJobName=job)
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("InProgress", "Interrupted")
    with pytest.raises(ByocError, match="has no instances to interrupt: Interrupted"):
        interrupt(cloud, job)
    cloud.sagemaker.stop_training_job(TrainingJobName=job)
    found = cloud.finish(job)
    assert statuses(found)[3:] == ["Interrupted", "Stopping", "Stopped"]
    gate.open()
    assert cloud.finish(other)["TrainingJobStatus"] == "Completed"


def test_waiting_is_not_billed_and_does_not_use_up_the_runtime(own_server, toy_tag, gate, until):
    cloud, _ = own_server(parallel_jobs=1)
    toy = cloud.push(toy_tag)
    job = cloud.start(toy, PROGRAM, **spot(cloud))
    until(lambda: says(cloud, job, "ready"))
    other = cloud.start(toy, gate.program)
    interrupt(cloud, job)
    until(lambda: gate.reached)
    gate.open()
    cloud.finish(other)
    found = cloud.finish(job)
    waited = sum(
        (t["EndTime"] - t["StartTime"]).total_seconds()
        for t in found["SecondaryStatusTransitions"][3:5]
    )
    total = (found["TrainingEndTime"] - found["TrainingStartTime"]).total_seconds()
    assert found["BillableTimeInSeconds"] == max(1, int(total - waited))


def test_a_program_that_fails_by_itself_fails(cloud, toy):
    found = cloud.train(toy, "sys.exit(3)", **spot(cloud))
    assert found["FailureReason"] == "AlgorithmError: , exit code: 3"


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"EnableManagedSpotTraining": True}, "Invalid MaxWaitTimeInSeconds. It must be present"),
        (
            {
                "EnableManagedSpotTraining": True,
                "StoppingCondition": {"MaxRuntimeInSeconds": 2, "MaxWaitTimeInSeconds": 1},
            },
            "greater than or equal to MaxRuntimeInSeconds",
        ),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 2, "MaxWaitTimeInSeconds": 3}},
            "only supported when EnableManagedSpotTraining is set to true",
        ),
    ],
)
def test_times_that_do_not_go_together_are_refused(cloud, toy, members, said):
    with pytest.raises(ClientError, match=said):
        cloud.start(toy, **members)


def test_what_cannot_be_interrupted(cloud, toy):
    with pytest.raises(ByocError, match=r"Requested resource not found"):
        interrupt(cloud, "nobody")
    job = cloud.train(toy)["TrainingJobName"]
    with pytest.raises(ByocError, match="does not run on Spot instances"):
        interrupt(cloud, job)
    job = cloud.train(toy, **spot(cloud))["TrainingJobName"]
    with pytest.raises(ByocError, match="has no instances to interrupt: Completed"):
        interrupt(cloud, job)
