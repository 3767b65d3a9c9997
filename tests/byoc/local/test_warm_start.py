"""Tuning jobs that begin with what others have found."""

import itertools
import time

import pytest
from botocore.exceptions import ClientError

NUMBERS = itertools.count(1)
LETTERS = {"CategoricalParameterRanges": [{"Name": "x", "Values": ["1", "2", "3", "4"]}]}
PROGRAM = "print('score=' + hyperparameters['x'])"


def request(cloud, image, *, parents=(), kind="IdenticalDataAndAlgorithm", **config):
    """A CreateHyperParameterTuningJob request for one training job; the best x is 4."""
    job = cloud.request(image, PROGRAM, hyperparameters=config.pop("static", {}))
    algorithm = job.pop("AlgorithmSpecification")
    algorithm["MetricDefinitions"] = [{"Name": "score", "Regex": "score=([-0-9.e]+)"}]
    static = job.pop("HyperParameters")
    job.pop("TrainingJobName")
    warm = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": p} for p in parents],
        "WarmStartType": kind,
    }
    return {
        "HyperParameterTuningJobName": f"warm-{next(NUMBERS)}",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "score"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1},
            "ParameterRanges": LETTERS,
            **config,
        },
        "TrainingJobDefinition": {
            "AlgorithmSpecification": algorithm,
            "StaticHyperParameters": static,
            **job,
        },
        **({"WarmStartConfig": warm} if parents else {}),
    }


def tune(cloud, image, **members):
    """DescribeHyperParameterTuningJob of a job that has completed."""
    wanted = request(cloud, image, **members)
    cloud.sagemaker.create_hyper_parameter_tuning_job(**wanted)
    name, deadline = wanted["HyperParameterTuningJobName"], time.monotonic() + 120
    while True:
        found = cloud.sagemaker.describe_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name
        )
        if found["HyperParameterTuningJobStatus"] == "Completed":
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def name_of(job):
    return job["HyperParameterTuningJobName"]


def x_of(job, member="BestTrainingJob"):
    return job[member]["TunedHyperParameters"]["x"]


def test_what_parents_have_tried_is_not_tried_again(cloud, toy):
    found = []
    for _ in range(4):
        job = tune(cloud, toy, parents=[name_of(one) for one in found])
        found.append(job)
    assert sorted(map(x_of, found)) == ["1", "2", "3", "4"]
    assert x_of(found[-1], "OverallBestTrainingJob") == "4"
    best = next(name_of(job) for job in found if x_of(job) == "4")
    overall = found[-1]["OverallBestTrainingJob"]
    assert overall["TrainingJobName"].startswith(best)
    assert found[-1]["WarmStartConfig"]["WarmStartType"] == "IdenticalDataAndAlgorithm"
    assert "OverallBestTrainingJob" not in found[0]


def test_transfer_learning_goes_on_from_the_best_of_parents(cloud, toy):
    four = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2}
    parent = tune(cloud, toy, ResourceLimits=four)
    wide = [{"Name": "x", "Values": ["1", "2", "3", "4", "5", "6"]}]
    job = tune(
        cloud,
        toy,
        parents=[name_of(parent)],
        kind="TransferLearning",
        Strategy="Bayesian",
        ParameterRanges={"CategoricalParameterRanges": wide},
    )
    assert x_of(job) in ("5", "6")
    assert "OverallBestTrainingJob" not in job


def test_parents_that_do_not_fit(cloud, toy, gate, until):
    parent = name_of(tune(cloud, toy, static={"depth": "1"}))
    more = {"ContinuousParameterRanges": [{"Name": "x", "MinValue": "1", "MaxValue": "4"}]}
    same = {"parents": [parent], "static": {"depth": "1"}}
    for members, words in (
        ({"static": {"width": "1"}}, "The set of tunable plus static HyperParameter names is not"),
        ({"ParameterRanges": more}, "another type"),
        (
            {"HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "score"}},
            "another objective",
        ),
        ({"Strategy": "Grid", "ResourceLimits": {"MaxParallelTrainingJobs": 1}}, "warm start of"),
    ):
        with pytest.raises(ClientError, match=words):
            cloud.sagemaker.create_hyper_parameter_tuning_job(
                **request(cloud, toy, **{**same, **members})
            )
    other = request(cloud, toy, **same)
    other["TrainingJobDefinition"]["InputDataConfig"] = [
        cloud.channel("data", f"s3://{cloud.aws.bucket}/data")
    ]
    with pytest.raises(ClientError, match="the image and the input data of the parent"):
        cloud.sagemaker.create_hyper_parameter_tuning_job(**other)


def test_a_parent_must_have_ended(cloud, toy, gate, until):
    parent = request(cloud, toy, static={"wait": "1"})
    program = f"signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); {gate.program}"
    static = cloud.request(toy, program)["HyperParameters"]
    parent["TrainingJobDefinition"]["StaticHyperParameters"] = static
    cloud.sagemaker.create_hyper_parameter_tuning_job(**parent)
    until(lambda: gate.reached)
    with pytest.raises(ClientError, match="has not ended"):
        cloud.sagemaker.create_hyper_parameter_tuning_job(
            **request(cloud, toy, parents=[name_of(parent)])
        )
    gate.open()
