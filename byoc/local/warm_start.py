"""Tuning jobs that begin with what others have found.

Source: Developer Guide, automatic-model-tuning-warm-start.
"""

from typing import Any

from byoc.local import trials
from byoc.local.errors import AWSError, not_implemented, validation
from byoc.local.search_space import SearchSpace
from byoc.local.service import Context
from byoc.local.strategies import Trial

ENDS = ("Completed", "Stopped", "Failed")
# AWS's words. Source: aws/amazon-sagemaker-examples#861. The others here are ours.
OTHER_NAMES = (
    "The set of tunable plus static HyperParameter names is not the same across current and "
    "parent tuning jobs. Please ensure this set is constant when warm starting. Note that "
    "previously static HyperParameters can be tuned in warm start jobs and vice versa."
)


def parents(context: Context, request: dict[str, Any]) -> list[Trial]:
    """The trials of all parents, if there are any; raises AWSError for parents that don't fit."""
    config = request.get("WarmStartConfig")
    if config is None:
        return []
    strategy = request["HyperParameterTuningJobConfig"]["Strategy"]
    if strategy not in ("Bayesian", "Random"):
        raise not_implemented(f"CreateHyperParameterTuningJob with a warm start of {strategy}")
    with context.platform.state.lock:
        found = trials.parents(context, config)
        if len(found) < len(config["ParentHyperParameterTuningJobs"]):
            raise AWSError("ResourceNotFound", "A parent of the warm start does not exist.")
        for parent in found:
            _check(request, parent.data, config["WarmStartType"])
        return [trial for parent in found for trial in trials.of_parent(context, parent.data)]


def _check(request: dict[str, Any], parent: dict[str, Any], kind: str) -> None:
    name = parent["HyperParameterTuningJobName"]
    if parent["HyperParameterTuningJobStatus"] not in ENDS:
        raise validation(f"The parent tuning job {name} has not ended.")
    if trials.objective_of(request) != trials.objective_of(parent):
        raise validation(f"The parent tuning job {name} has another objective.")
    mine, theirs = _space(request), _space(parent)
    if _names(request, mine) != _names(parent, theirs):
        raise validation(OTHER_NAMES)
    if any(mine.kinds[key] != theirs.kinds[key] for key in set(mine.kinds) & set(theirs.kinds)):
        raise validation(f"A hyperparameter has another type in the parent tuning job {name}.")
    if kind == "IdenticalDataAndAlgorithm" and _data(request) != _data(parent):
        raise validation(
            f"{kind} asks for the image and the input data of the parent tuning job {name}."
        )


def _space(tuning: dict[str, Any]) -> SearchSpace:
    return SearchSpace(tuning["HyperParameterTuningJobConfig"].get("ParameterRanges", {}))


def _names(tuning: dict[str, Any], space: SearchSpace) -> set[str]:
    return {*space.kinds, *tuning["TrainingJobDefinition"].get("StaticHyperParameters", {})}


def _data(tuning: dict[str, Any]) -> tuple[Any, Any]:
    """The image and the input of a tuning job."""
    definition = tuning["TrainingJobDefinition"]
    image = definition["AlgorithmSpecification"].get("TrainingImage")
    return image, definition.get("InputDataConfig")
