"""One tuning job being carried out: training jobs launched, watched, stopped.

Source: Developer Guide, automatic-model-tuning-progress; API Reference, ResourceLimits,
TuningJobCompletionCriteria.
"""

import copy
import math
import random
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

from byoc.local import events, training, trials
from byoc.local.early_stopping import rule_of
from byoc.local.errors import AWSError
from byoc.local.search_space import SearchSpace
from byoc.local.service import Context
from byoc.local.state import Resource, now
from byoc.local.strategies import Bayesian, Grid, Random, Strategy, Trial
from byoc.local.trainer import Observer

ATTEMPTS = 5  # training jobs after which one must have succeeded. Source: NONE_SUCCEEDED's
AGAIN = 1.0  # seconds until it is looked again whether a quota or the time is used up
IMPROVEMENT = 0.01  # of the best value. Source: API Reference, BestObjectiveNotImproving
TINY = 1e-12  # an improvement over a best value of 0
ENDS = ("Completed", "Failed", "Stopped")
# AWS's words. Source: aws/amazon-sagemaker-examples#2437.
NONE_SUCCEEDED = (
    "No training job succeeded after {count} attempts. Please take a look at the training job "
    "failures to get more details."
)
# As users of AWS quote it; there is no public log to cite.
NO_OBJECTIVE = (
    "No objective metrics found after running {count} training jobs. Please ensure that the "
    "custom algorithm is emitting the objective metric as defined by the regular expression "
    "provided."
)
TAKEN_OVER = (  # members of the definition that a training job's request has too
    "RoleArn",
    "InputDataConfig",
    "VpcConfig",
    "OutputDataConfig",
    "StoppingCondition",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "CheckpointConfig",
    "RetryStrategy",
    "Environment",
    "AlgorithmSpecification",
)


def child_request(
    tuning: dict[str, Any], name: str, tuned: dict[str, str], tags: dict[str, str]
) -> dict[str, Any]:
    """The CreateTrainingJob request of one training job of a tuning job."""
    definition = copy.deepcopy(tuning["TrainingJobDefinition"])
    request = {key: definition[key] for key in TAKEN_OVER if key in definition}
    resources = definition.get("ResourceConfig") or definition["HyperParameterTuningResourceConfig"]
    metric = trials.objective_of(tuning)["MetricName"]
    static = definition.get("StaticHyperParameters", {})
    return request | {
        "TrainingJobName": name,
        "ResourceConfig": resources,
        "HyperParameters": {**static, **tuned, "_tuning_objective_metric": metric},
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }


def change(context: Context, data: dict[str, Any], status: str) -> None:
    """Give the tuning job a status, and tell of it; whoever calls this holds the state's lock."""
    data |= {"HyperParameterTuningJobStatus": status, "LastModifiedTime": now()}
    if status in ENDS:
        data["HyperParameterTuningEndTime"] = data["LastModifiedTime"]
    arn = data["HyperParameterTuningJobArn"]
    events.changed(trials.KIND, arn, trials.description(context, data))


def fail(context: Context, data: dict[str, Any], reason: str) -> None:
    """End as Failed, for a reason of which the first 1,024 characters are kept."""
    data["FailureReason"] = reason[:1024]
    change(context, data, "Failed")


class TuningRun(Observer):
    """One tuning job being carried out, in a thread of its own."""

    def __init__(self, context: Context, job: Resource, parents: Sequence[Trial]) -> None:
        self.context, self.job = context, job
        self._data, self._parents = job.data, list(parents)
        self._sign = trials.sign_of(job.data)
        self._metric = trials.objective_of(job.data)["MetricName"]
        config = job.data["HyperParameterTuningJobConfig"]
        limits = config["ResourceLimits"]
        space = SearchSpace(config.get("ParameterRanges", {}))
        self._strategy = _strategy(config, space)
        static = job.data["TrainingJobDefinition"].get("StaticHyperParameters", {})
        self._rule = rule_of(config, static)
        most = space.count if config["Strategy"] == "Grid" else math.inf
        self._most = limits.get("MaxNumberOfTrainingJobs", most)
        self._parallel = limits["MaxParallelTrainingJobs"]
        self._deadline = time.monotonic() + limits.get("MaxRuntimeInSeconds", math.inf)
        self._criteria = config.get("TuningJobCompletionCriteria", {})
        self._lock = threading.Lock()  # of the trials; who holds it never waits for the state's
        self._trials: dict[str, Trial] = {}  # by the names of their training jobs
        self._jobs: list[Resource] = []
        self._next: dict[str, str] | None = None  # what is tried when there is room
        self._completed = self._not_improving = 0
        self._best: float | None = None
        self._stopping = self._killed = False
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._carry_out, name=job.arn, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask the job to end as Stopped, and its training jobs too; returns at once."""
        with self.context.platform.state.lock:
            if self._data["HyperParameterTuningJobStatus"] != "InProgress":
                return
            self._stopping = True
            change(self.context, self._data, "Stopping")
        self._changed.set()

    def kill(self) -> None:
        """Launch no more: the local AWS goes down."""
        self._killed = True
        self._changed.set()

    def measured(self, job: Resource, name: str, value: float) -> None:
        """A training job has reported; it may be stopped for that."""
        if name != self._metric:
            return
        with self._lock:
            trial = self._trials[job.name]
            trial.reports.append(self._sign * value)
            others = [one for one in self._trials.values() if one is not trial]
            stops = self._rule.stops(trial, others)
        if stops:
            job.runtime.stop("Stopped")

    def ended(self, job: Resource) -> None:
        """A training job has ended."""
        value = trials.value_of(job.data, self._metric)
        with self._lock:
            trial = self._trials[job.name]
            trial.ended = True
            self._completed += job.data["TrainingJobStatus"] == "Completed"
            if value is not None:
                trial.score = self._sign * value
                self._note(trial.score)
        self._changed.set()

    def _note(self, score: float) -> None:
        """Count how many jobs in a row were not better by one percent than the best before."""
        if self._best is None or score - self._best >= max(IMPROVEMENT * abs(self._best), TINY):
            self._not_improving = 0
        else:
            self._not_improving += 1
        self._best = score if self._best is None else max(score, self._best)

    @property
    def _ending(self) -> bool:
        return self._killed or self._stopping or time.monotonic() > self._deadline

    def _carry_out(self) -> None:
        reason = None
        try:
            reason = self._tune()
        except AWSError as error:
            reason = error.message
        except Exception as error:  # our fault must not leave the job InProgress for ever
            reason = f"InternalServerError: {type(error).__name__}: {error}"
        self._end_jobs()
        with self.context.platform.state.lock:
            if self._killed:
                return
            if self._stopping:
                change(self.context, self._data, "Stopped")
            elif reason is not None:
                fail(self.context, self._data, reason)
            else:
                change(self.context, self._data, "Completed")

    def _tune(self) -> str | None:
        """Launch training jobs until it is enough; returns why the tuning job failed, or None."""
        while not self._ending:
            self._changed.clear()
            reason = self._failure(ATTEMPTS)
            if reason is not None or self._is_good():
                return reason
            if self._fill() and not self._running():
                return self._failure(1)
            self._changed.wait(AGAIN)
        return None

    def _fill(self) -> bool:
        """Launch training jobs while there is room; whether there are no more to launch."""
        while len(self._trials) < self._most:
            if self._running() >= self._parallel or self._ending:
                return False
            if self._next is None:
                with self._lock:
                    known = copy.deepcopy([*self._parents, *self._trials.values()])
                self._next = self._strategy.next(known)
            if self._next is None:
                return True
            try:
                self._launch(self._next)
            except AWSError as error:
                if error.code != "ResourceLimitExceeded":
                    raise
                return False  # until others have ended
            self._next = None
        return True

    def _launch(self, tuned: dict[str, str]) -> None:
        # So are they named on AWS: the tuning job, a number, eight digits.
        name = f"{self.job.name}-{len(self._trials) + 1:03}-{uuid.uuid4().hex[:8]}"
        request = child_request(self._data, name, tuned, self.job.tags)
        trial = Trial(request["HyperParameters"], tuned)
        with self._lock:
            self._trials[name] = trial
        members = {"TuningJobArn": self.job.arn, "TunedHyperParameters": tuned}
        try:
            job = training.launch(self.context, request, members, self)
        except BaseException:
            with self._lock:
                del self._trials[name]
            raise
        self._jobs.append(job)
        if self._killed:
            job.runtime.kill()

    def _running(self) -> int:
        with self._lock:
            return sum(not trial.ended for trial in self._trials.values())

    def _failure(self, attempts: int) -> str | None:
        """Why nothing can come of the tuning job, once so many training jobs have ended."""
        with self._lock:
            ended = [trial for trial in self._trials.values() if trial.ended]
            completed = self._completed
        if len(ended) < attempts or any(trial.score is not None for trial in ended):
            return None
        words = NO_OBJECTIVE if completed else NONE_SUCCEEDED
        return words.format(count=len(ended))

    def _is_good(self) -> bool:
        """Whether a completion criterion is met; also tells what Describe shows of them."""
        with self._lock:
            best, not_improving = self._best, self._not_improving
        details = {"NumberOfTrainingJobsObjectiveNotImproving": not_improving}
        with self.context.platform.state.lock:
            self._data["TuningJobCompletionDetails"] = details
        target = self._criteria.get("TargetObjectiveMetricValue")
        if target is not None and best is not None and best >= self._sign * target:
            return True
        patience = self._criteria.get("BestObjectiveNotImproving", {})
        return not_improving >= patience.get("MaxNumberOfTrainingJobsNotImproving", math.inf)

    def _end_jobs(self) -> None:
        """Stop the training jobs that still run, and wait for their ends."""
        while self._running() and not self._killed:
            for job in self._jobs:
                job.runtime.stop("Stopped")  # does nothing to one that has ended
            self._changed.wait(AGAIN)
            self._changed.clear()


def _strategy(config: dict[str, Any], space: SearchSpace) -> Strategy:
    source = random.Random(config.get("RandomSeed"))
    if config["Strategy"] == "Grid":
        return Grid(space)
    return (Bayesian if config["Strategy"] == "Bayesian" else Random)(space, source)
