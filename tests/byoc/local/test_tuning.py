"""Tuning jobs, carried out for real: what is tried, what becomes of it, how it ends."""

import itertools
import json
import random
import re
import threading
import time
import types

import pytest
from botocore.exceptions import ClientError

from byoc.local import tuner, tuning
from byoc.local.service import Context
from byoc.local.state import Resource

NUMBERS = itertools.count(1)
X = {"Name": "x", "MinValue": "0", "MaxValue": "1", "ScalingType": "Linear"}
ENDS = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"  # what a stopped program does
# Says how good x is: best at 0.7.
PROGRAM = "x = float(hyperparameters['x']); print(f'score={1 - (x - 0.7) ** 2}', flush=True)"
LETTERS = {"CategoricalParameterRanges": [{"Name": "x", "Values": ["0.1", "0.7", "0.9"]}]}


def request(cloud, image, program=PROGRAM, *, name=None, **config):
    """A CreateHyperParameterTuningJob request that maximises what the program prints as score."""
    definition = config.pop("definition", {})
    others = config.pop("others", {})
    job = cloud.request(image, program, **config.pop("training", {}))
    algorithm = job.pop("AlgorithmSpecification")
    algorithm["MetricDefinitions"] = [{"Name": "score", "Regex": "score=([-0-9.e]+)"}]
    static = job.pop("HyperParameters")
    job.pop("TrainingJobName")
    limits = {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2}
    limits |= config.pop("limits", {})
    objective = {"Type": config.pop("type", "Maximize"), "MetricName": "score"}
    return {
        "HyperParameterTuningJobName": name or f"tuning-{next(NUMBERS)}",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": objective,
            "ResourceLimits": {k: v for k, v in limits.items() if v is not None},
            "ParameterRanges": {"ContinuousParameterRanges": [X]},
            **config,
        },
        "TrainingJobDefinition": {
            "AlgorithmSpecification": algorithm,
            "StaticHyperParameters": static,
            **job,
            **definition,
        },
        **others,
    }


def start(cloud, image, program=PROGRAM, **members):
    """Create a tuning job; returns its name."""
    wanted = request(cloud, image, program, **members)
    cloud.sagemaker.create_hyper_parameter_tuning_job(**wanted)
    return wanted["HyperParameterTuningJobName"]


def describe(cloud, job):
    return cloud.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=job)


def finish(cloud, job):
    """DescribeHyperParameterTuningJob once the job has ended, however it ended."""
    deadline = time.monotonic() + 120
    while True:
        found = describe(cloud, job)
        if found["HyperParameterTuningJobStatus"] in ("Completed", "Failed", "Stopped"):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def tune(cloud, image, program=PROGRAM, **members):
    """A tuning job from its creation to its end."""
    return finish(cloud, start(cloud, image, program, **members))


def rows(cloud, job, **members):
    """What it launched, oldest first unless told otherwise."""
    return cloud.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=job, MaxResults=100, **members
    )["TrainingJobSummaries"]


def values(cloud, job, name="x"):
    """The values that were tried, in order."""
    return [row["TunedHyperParameters"][name] for row in rows(cloud, job)]


def test_a_job_from_its_ranges_to_its_best_training_job(cloud, toy):
    name = start(
        cloud,
        toy,
        others={"Tags": [{"Key": "project", "Value": "ours"}]},
        definition={"Environment": {"COLOUR": "blue"}},
    )
    job = finish(cloud, name)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"] == {
        "Completed": 3,
        "InProgress": 0,
        "RetryableError": 0,
        "NonRetryableError": 0,
        "Stopped": 0,
    }
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 3, "Pending": 0, "Failed": 0}
    found = rows(cloud, name)
    best = max(found, key=lambda r: r["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])
    assert job["BestTrainingJob"] == best
    x = float(best["TunedHyperParameters"]["x"])
    objective = {
        "Type": "Maximize",
        "MetricName": "score",
        "Value": pytest.approx(1 - (x - 0.7) ** 2),
    }
    assert best["FinalHyperParameterTuningJobObjectiveMetric"] == objective
    assert best["TrainingJobName"].startswith(f"{name}-00")
    child = cloud.sagemaker.describe_training_job(TrainingJobName=best["TrainingJobName"])
    assert child["TuningJobArn"] == job["HyperParameterTuningJobArn"]
    assert child["HyperParameters"]["_tuning_objective_metric"] == "score"
    assert child["HyperParameters"]["x"] == best["TunedHyperParameters"]["x"]
    assert child["Environment"] == {"COLOUR": "blue"}
    for arn in (child["TrainingJobArn"], job["HyperParameterTuningJobArn"]):
        tags = cloud.sagemaker.list_tags(ResourceArn=arn)["Tags"]
        assert tags == [{"Key": "project", "Value": "ours"}]


# --- strategies


@pytest.mark.parametrize("strategy", ["Random", "Bayesian"])
def test_a_seed_gives_the_same_values(cloud, toy, strategy):
    limits = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 1}
    first, second = (
        start(cloud, toy, Strategy=strategy, RandomSeed=3, limits=limits) for _ in range(2)
    )
    for job in (first, second):
        assert finish(cloud, job)["HyperParameterTuningJobStatus"] == "Completed"
    assert values(cloud, first) == values(cloud, second)
    assert len(set(values(cloud, first))) == 4


def test_a_grid_tries_every_combination_and_counts_them_itself(cloud, toy):
    wanted = {"Strategy": "Grid", "ParameterRanges": LETTERS}
    job = start(cloud, toy, limits={"MaxNumberOfTrainingJobs": None}, **wanted)
    found = finish(cloud, job)
    assert sorted(values(cloud, job)) == ["0.1", "0.7", "0.9"]
    assert found["BestTrainingJob"]["TunedHyperParameters"] == {"x": "0.7"}


def test_minimising(cloud, toy):
    job = tune(cloud, toy, Strategy="Grid", ParameterRanges=LETTERS, type="Minimize")
    assert job["BestTrainingJob"]["TunedHyperParameters"] == {"x": "0.1"}


# Reports four times; a job that is worse than another waits to be stopped after the first.
EPOCHS = f"""{ENDS}
x = float(hyperparameters["x"])
for epoch in range(4):
    print("score=" + str(x), flush=True)
    while x < 0.5:
        time.sleep(0.01)
"""


@pytest.mark.parametrize(
    "config",
    [
        {"TrainingJobEarlyStoppingType": "Auto", "Strategy": "Bayesian"},
        {
            "Strategy": "Hyperband",
            "StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 5}},
        },
    ],
)
def test_a_job_that_is_worse_is_stopped_early(cloud, toy, config):
    ranges = {"CategoricalParameterRanges": [{"Name": "x", "Values": ["0.9", "0.1"]}]}
    job = start(
        cloud,
        toy,
        EPOCHS,
        ParameterRanges=ranges,
        RandomSeed=next(seed for seed in range(99) if _first_is_better(seed)),
        limits={"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1},
        **config,
    )
    found = finish(cloud, job)
    assert values(cloud, job) == ["0.9", "0.1"]
    statuses = [(row["TrainingJobStatus"], row["ObjectiveStatus"]) for row in rows(cloud, job)]
    assert statuses == [("Completed", "Succeeded"), ("Stopped", "Succeeded")]
    assert found["TrainingJobStatusCounters"]["Stopped"] == 1
    assert found["HyperParameterTuningJobStatus"] == "Completed"


def _first_is_better(seed):
    return random.Random(seed).random() < 0.5


# --- limits and completion criteria


@pytest.mark.parametrize(
    "criteria",
    [
        {"TargetObjectiveMetricValue": 0.5},
        {"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}},
    ],
)
def test_a_completion_criterion_ends_the_job(cloud, toy, criteria):
    job = start(
        cloud,
        toy,
        "print('score=0.75')",
        TuningJobCompletionCriteria=criteria,
        limits={"MaxNumberOfTrainingJobs": None, "MaxParallelTrainingJobs": 1},
    )
    found = finish(cloud, job)
    assert found["HyperParameterTuningJobStatus"] == "Completed"
    count = 1 if "TargetObjectiveMetricValue" in criteria else 4
    assert len(rows(cloud, job)) == count
    details = {"NumberOfTrainingJobsObjectiveNotImproving": count - 1}
    assert found["TuningJobCompletionDetails"] == details


def test_what_still_runs_when_the_target_is_reached_is_stopped(cloud, toy):
    job = start(
        cloud,
        toy,
        f"{ENDS}print('score=' + hyperparameters['x'], flush=True)\n"
        "while hyperparameters['x'] != '0.7': time.sleep(0.01)",
        Strategy="Grid",
        ParameterRanges=LETTERS,
        limits={"MaxParallelTrainingJobs": 3},
        TuningJobCompletionCriteria={"TargetObjectiveMetricValue": 0.7},
    )
    assert finish(cloud, job)["HyperParameterTuningJobStatus"] == "Completed"
    assert sorted(row["TrainingJobStatus"] for row in rows(cloud, job)) == [
        "Completed",
        "Stopped",
        "Stopped",
    ]


def test_the_time_of_a_tuning_job_is_limited(own_server, toy_tag, until, monkeypatch):
    cloud, _ = own_server()
    clock = types.SimpleNamespace(time=0.0)
    monkeypatch.setattr(tuner, "time", types.SimpleNamespace(monotonic=lambda: clock.time))
    limits = {"MaxRuntimeInSeconds": 120, "MaxNumberOfTrainingJobs": None}
    job = start(cloud, cloud.push(toy_tag), "time.sleep(600)", limits=limits)
    until(lambda: len(rows(cloud, job)) == 2)
    clock.time = 121.0
    assert finish(cloud, job)["HyperParameterTuningJobStatus"] == "Completed"
    assert {row["TrainingJobStatus"] for row in rows(cloud, job)} == {"Stopped"}


def test_jobs_run_side_by_side_up_to_the_limit(cloud, toy, gate, until):
    program = f"{ENDS}{gate.program}; print('score=1')"
    limits = {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1}
    job = start(cloud, toy, program, limits=limits)
    until(lambda: gate.reached)
    found = describe(cloud, job)
    assert found["TrainingJobStatusCounters"]["InProgress"] == 1
    assert found["ObjectiveStatusCounters"]["Pending"] == 1
    assert "BestTrainingJob" not in found
    cloud.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=job)
    finish(cloud, job)


# --- failures


def test_a_metric_that_is_never_found_fails_the_job(cloud, toy):
    job = tune(cloud, toy, "print('accuracy=1')", limits={"MaxNumberOfTrainingJobs": 2})
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(
        "No objective metrics found after running 2 training jobs. Please ensure that the custom"
    )
    assert job["TrainingJobStatusCounters"]["Completed"] == 2
    assert job["ObjectiveStatusCounters"]["Failed"] == 2


def test_five_failures_are_enough(cloud, toy):
    limits = {"MaxNumberOfTrainingJobs": 50, "MaxParallelTrainingJobs": 1}
    job = tune(cloud, toy, "sys.exit(1)", limits=limits)
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"] == (
        "No training job succeeded after 5 attempts. Please take a look at the training job "
        "failures to get more details."
    )
    assert job["TrainingJobStatusCounters"]["NonRetryableError"] == 5
    assert "BestTrainingJob" not in job


def test_one_failure_among_others_does_no_harm(cloud, toy):
    job = start(
        cloud,
        toy,
        "x = hyperparameters['x']; print('score=' + x, flush=True); sys.exit(x == '0.9')",
        Strategy="Grid",
        ParameterRanges=LETTERS,
    )
    found = finish(cloud, job)
    assert found["HyperParameterTuningJobStatus"] == "Completed"
    assert found["ObjectiveStatusCounters"] == {"Succeeded": 2, "Pending": 0, "Failed": 1}
    assert found["BestTrainingJob"]["TunedHyperParameters"] == {"x": "0.7"}
    (failed,) = rows(cloud, job, StatusEquals="Failed")
    assert failed["FailureReason"] == "AlgorithmError: , exit code: 1"
    assert "FinalHyperParameterTuningJobObjectiveMetric" not in failed


def test_an_image_that_goes_away_fails_the_job(cloud, toy, gate, until):
    program = f"{gate.program}; print('score=1')"
    limits = {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1}
    job = start(cloud, toy, program, limits=limits)
    until(lambda: gate.reached)
    cloud.client("ecr").delete_repository(repositoryName="toy", force=True)
    gate.open()
    found = finish(cloud, job)
    assert found["HyperParameterTuningJobStatus"] == "Failed"
    assert toy.partition("/")[2].partition(":")[0] in found["FailureReason"]


# --- stop, delete, list


def test_stopping_stops_the_training_jobs(impatient, toy_tag, until):
    job = start(impatient, impatient.push(toy_tag), "print('score=1', flush=True); time.sleep(600)")
    until(lambda: len(rows(impatient, job)) == 2)
    wanted = {"HyperParameterTuningJobName": job}
    with pytest.raises(ClientError, match="is in status InProgress"):
        impatient.sagemaker.delete_hyper_parameter_tuning_job(**wanted)
    for _ in range(2):  # the second changes nothing
        impatient.sagemaker.stop_hyper_parameter_tuning_job(**wanted)
    found = finish(impatient, job)
    assert found["HyperParameterTuningJobStatus"] == "Stopped"
    assert "FailureReason" not in found
    assert {row["TrainingJobStatus"] for row in rows(impatient, job)} == {"Stopped"}
    with pytest.raises(ClientError, match="tuning job is in status Stopped"):
        impatient.sagemaker.stop_hyper_parameter_tuning_job(**wanted)


def test_deleting_leaves_the_training_jobs(cloud, toy):
    wanted = {"HyperParameterTuningJobName": start(cloud, toy, name="again")}
    finish(cloud, "again")
    with pytest.raises(ClientError, match="the name, again, already exists") as refused:
        start(cloud, toy, name="again")
    assert refused.value.response["Error"]["Code"] == "ResourceInUse"
    cloud.sagemaker.delete_hyper_parameter_tuning_job(**wanted)
    assert len(cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"]) == 3
    with pytest.raises(ClientError, match="can't find a tuning job called again") as refused:
        describe(cloud, "again")
    assert refused.value.response["Error"]["Code"] == "ResourceNotFound"
    tune(cloud, toy, name="again", limits={"MaxNumberOfTrainingJobs": 1})
    assert len(rows(cloud, "again")) == 1


def test_lists(cloud, toy):
    job = start(cloud, toy, Strategy="Grid", ParameterRanges=LETTERS)
    finish(cloud, job)
    pages = cloud.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
    wanted = {
        "HyperParameterTuningJobName": job,
        "SortBy": "FinalObjectiveMetricValue",
        "SortOrder": "Descending",
    }
    found = [
        row["TunedHyperParameters"]["x"]
        for page in pages.paginate(**wanted, PaginationConfig={"PageSize": 1})
        for row in page["TrainingJobSummaries"]
    ]
    assert found == ["0.7", "0.9", "0.1"]
    names = [row["TrainingJobName"] for row in rows(cloud, job)]
    assert names == sorted(names)
    assert rows(cloud, job, StatusEquals="Failed") == []
    listed = cloud.sagemaker.list_hyper_parameter_tuning_jobs(NameContains=job.upper())
    (summary,) = listed["HyperParameterTuningJobSummaries"]
    assert summary["Strategy"] == "Grid"
    assert summary["ResourceLimits"]["MaxParallelTrainingJobs"] == 2
    assert summary["TrainingJobStatusCounters"]["Completed"] == 3


def test_a_training_job_without_objective_is_not_in_the_list_by_objective(cloud, toy):
    job = start(
        cloud,
        toy,
        "x = hyperparameters['x']; x != '0.1' and print('score=' + x)",
        Strategy="Grid",
        ParameterRanges=LETTERS,
    )
    finish(cloud, job)
    found = rows(cloud, job, SortBy="FinalObjectiveMetricValue")
    assert [row["TunedHyperParameters"]["x"] for row in found] == ["0.7", "0.9"]


# --- what is refused


def refusal(cloud, image, **members):
    with pytest.raises(ClientError) as refused:
        start(cloud, image, **members)
    assert (
        cloud.sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"] == []
    )
    return f"{refused.value.response['Error']['Code']}: {refused.value}"


MANY = {"Name": "n", "MinValue": "1", "MaxValue": "3"}


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (
            {"HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "other"}},
            "A metric is required for this hyperparameter tuning job objective. Provide a metric",
        ),
        (
            {
                "ParameterRanges": {"IntegerParameterRanges": [MANY]},
                "limits": {"MaxNumberOfTrainingJobs": 10},
            },
            r"You don't have enough combinations .* ranges \[3.0\] must .* MaxNumberOfJobs, \[10\]",
        ),
        ({"Strategy": "Grid"}, "categorical hyperparameters only"),
        (
            {
                "Strategy": "Grid",
                "ParameterRanges": LETTERS,
                "limits": {"MaxNumberOfTrainingJobs": 2},
            },
            "tries all 3 combinations",
        ),
        ({"training": {"hyperparameters": {"x": "1"}}}, "either static or searched: x"),
        (
            {"training": {"hyperparameters": {f"h{n}": "1" for n in range(98)}}},
            "at most 100 hyperparameters",
        ),
        ({"limits": {"MaxNumberOfTrainingJobs": None}}, "must have MaxNumberOfTrainingJobs"),
        (
            {
                "definition": {
                    "ResourceConfig": {
                        "InstanceType": "ml.p5.48xlarge",
                        "InstanceCount": 1,
                        "VolumeSizeInGB": 1,
                    }
                }
            },
            "ResourceLimitExceeded.*'ml.p5.48xlarge for training job usage' is 0.*delta of 2",
        ),
        (
            {"definition": {"RoleArn": "arn:aws:iam::123456789012:role/nobody"}},
            "AccessDeniedException.*Cross-account pass role",
        ),
        (
            {
                "others": {
                    "WarmStartConfig": {
                        "ParentHyperParameterTuningJobs": [
                            {"HyperParameterTuningJobName": "nobody"}
                        ],
                        "WarmStartType": "TransferLearning",
                    }
                }
            },
            "ResourceNotFound",
        ),
    ],
)
def test_what_is_wrong(cloud, toy, members, words):
    assert re.search(words, refusal(cloud, toy, **members))


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"others": {"Autotune": {"Mode": "Enabled"}}}, "Autotune"),
        (
            {
                "TuningJobCompletionCriteria": {
                    "ConvergenceDetected": {"CompleteOnConvergence": "Enabled"}
                }
            },
            "CompleteOnConvergence",
        ),
        (
            {
                "definition": {
                    "HyperParameterTuningResourceConfig": {"AllocationStrategy": "Prioritized"}
                }
            },
            "AllocationStrategy",
        ),
    ],
)
def test_what_is_not_done(cloud, toy, members, words):
    found = refusal(cloud, toy, **members)
    assert found.startswith("NotImplementedException")
    assert words in found


def test_several_definitions_are_not_done(cloud, toy):
    wanted = request(cloud, toy)
    wanted["TrainingJobDefinitions"] = [wanted.pop("TrainingJobDefinition")]
    with pytest.raises(ClientError, match="TrainingJobDefinitions"):
        cloud.sagemaker.create_hyper_parameter_tuning_job(**wanted)


def test_the_resources_may_have_their_tuning_name(cloud, toy):
    wanted = request(cloud, toy, limits={"MaxNumberOfTrainingJobs": 1})
    definition = wanted["TrainingJobDefinition"]
    definition["HyperParameterTuningResourceConfig"] = definition.pop("ResourceConfig")
    cloud.sagemaker.create_hyper_parameter_tuning_job(**wanted)
    found = finish(cloud, wanted["HyperParameterTuningJobName"])
    assert found["HyperParameterTuningJobStatus"] == "Completed"


# --- the end of the local AWS


def test_a_job_that_was_under_way_when_the_local_aws_stopped_has_failed(own_server, toy_tag):
    cloud, server = own_server()
    job = tune(cloud, cloud.push(toy_tag), limits={"MaxNumberOfTrainingJobs": 1})
    context = Context(server.platform, cloud.account, cloud.region)
    for status in ("InProgress", "Stopping", "Completed"):
        resource = Resource("x", "arn", {**job, "HyperParameterTuningJobStatus": status})
        tuning.resume(context, resource)
        ended = "Completed" if status == "Completed" else "Failed"
        assert resource.data["HyperParameterTuningJobStatus"] == ended
        assert ("the local AWS was stopped" in resource.data.get("FailureReason", "")) == (
            ended == "Failed"
        )


def test_nothing_of_a_tuning_job_outlives_the_local_aws(own_server, toy_tag, alive, until):
    cloud, server = own_server()
    job = start(cloud, cloud.push(toy_tag), "time.sleep(600)")
    until(lambda: alive(f"{job}-001"))
    server.stop()
    until(lambda: not alive(f"{job}-00"))
    until(lambda: not [t for t in threading.enumerate() if t.name.endswith(f"/{job}")])


def test_each_status_is_an_event(cloud, toy, until):
    sqs, events = cloud.client("sqs"), cloud.client("events")
    url = sqs.create_queue(QueueName="events")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    pattern = {"detail-type": ["SageMaker HyperParameter Tuning Job State Change"]}
    events.put_rule(Name="tuning", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="tuning", Targets=[{"Id": "1", "Arn": arn["QueueArn"]}])
    tune(cloud, toy, limits={"MaxNumberOfTrainingJobs": 1})
    seen = []

    def completed():
        for message in sqs.receive_message(QueueUrl=url).get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            seen.append(json.loads(message["Body"])["detail"])
        return len(seen) == 2

    until(completed)
    assert [one["HyperParameterTuningJobStatus"] for one in seen] == ["InProgress", "Completed"]
    assert seen[-1]["TrainingJobStatusCounters"]["Completed"] == 1
