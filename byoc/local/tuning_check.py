"""What CreateHyperParameterTuningJob refuses before anything is created.

Source: API Reference, CreateHyperParameterTuningJob; Developer Guide,
automatic-model-tuning-define-ranges and automatic-model-tuning-how-it-works.
"""

from typing import Any

from byoc.local.early_stopping import rule_of
from byoc.local.errors import not_implemented, validation
from byoc.local.search_space import SearchSpace

MOST = 100  # hyperparameters, with `_tuning_objective_metric`
OPERATION = "CreateHyperParameterTuningJob"

# AWS's words. Sources: aws/amazon-sagemaker-examples#1207 and
# aws/amazon-sagemaker-operator-for-k8s#123.
NO_METRIC = (
    "A metric is required for this hyperparameter tuning job objective. Provide a metric in the "
    "metric definitions."
)
TOO_FEW = (
    "You don't have enough combinations of hyperparameter ranges. The total number of "
    "hyperparameter combinations for the provided ranges [{count}] must be equal or greater than "
    "the value of MaxNumberOfJobs, [{most}]. Provide additional ranges."
)


def check(request: dict[str, Any]) -> None:
    """Raise AWSError for what is wrong or not done."""
    _check_done(request)
    config, definition = request["HyperParameterTuningJobConfig"], request["TrainingJobDefinition"]
    objective = config.get("HyperParameterTuningJobObjective")
    defined = definition["AlgorithmSpecification"].get("MetricDefinitions", [])
    if objective is None or objective["MetricName"] not in [one["Name"] for one in defined]:
        raise validation(NO_METRIC)
    space = SearchSpace(config.get("ParameterRanges", {}))
    static = definition.get("StaticHyperParameters", {})
    both = sorted(set(static) & set(space.kinds))
    if both:
        raise validation(f"Hyperparameters are either static or searched: {', '.join(both)}.")
    if len(static) + len(space.kinds) + 1 > MOST:
        raise validation(f"A tuning job has at most {MOST} hyperparameters, with its own one.")
    rule_of(config, static)
    _check_number(config, space)


def _check_number(config: dict[str, Any], space: SearchSpace) -> None:
    limits = config["ResourceLimits"]
    most = limits.get("MaxNumberOfTrainingJobs")
    if config["Strategy"] == "Grid":
        if set(space.kinds.values()) - {"Categorical"} or not space.parameters:
            raise validation("The strategy Grid searches categorical hyperparameters only.")
        if most not in (None, space.count):
            raise validation(
                f"The strategy Grid tries all {space.count} combinations: MaxNumberOfTrainingJobs "
                f"must be that number or be left out, got {most}."
            )
        return
    if most is not None and space.count < most:
        raise validation(TOO_FEW.format(count=float(space.count), most=most))
    criteria = config.get("TuningJobCompletionCriteria", {})
    if most is None and "MaxRuntimeInSeconds" not in limits and not criteria:
        raise validation(
            "ResourceLimits must have MaxNumberOfTrainingJobs or MaxRuntimeInSeconds, or the "
            "tuning job completion criteria."
        )


def _check_done(request: dict[str, Any]) -> None:
    config = request["HyperParameterTuningJobConfig"]
    if "TrainingJobDefinitions" in request:
        raise not_implemented(f"{OPERATION} with TrainingJobDefinitions")
    if "Autotune" in request or config.get("ParameterRanges", {}).get("AutoParameters"):
        raise not_implemented(f"{OPERATION} with Autotune")
    if "TrainingJobDefinition" not in request:
        raise validation("A tuning job must have a TrainingJobDefinition.")
    convergence = config.get("TuningJobCompletionCriteria", {}).get("ConvergenceDetected", {})
    if convergence.get("CompleteOnConvergence") == "Enabled":
        # An algorithm that AWS does not describe decides. Source: Developer Guide,
        # automatic-model-tuning-progress.
        raise not_implemented(f"{OPERATION} with CompleteOnConvergence")
    definition = request["TrainingJobDefinition"]
    for member in ("TuningObjective", "HyperParameterRanges"):
        if member in definition:
            raise validation(f"{member} belongs to one of several TrainingJobDefinitions.")
    resources = definition.get("HyperParameterTuningResourceConfig", {})
    for member in ("InstanceConfigs", "AllocationStrategy"):
        if member in resources:
            raise not_implemented(f"{OPERATION} with {member}")
    if ("ResourceConfig" in definition) == bool(resources):
        raise validation(
            "A definition has a ResourceConfig or a HyperParameterTuningResourceConfig."
        )
