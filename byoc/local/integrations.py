"""What a state machine may call here, and how a call that fails reads.

Source: Step Functions Developer Guide, supported-services-awssdk, integrate-optimized,
concepts-error-handling; the forms of causes are those that users quote.
"""

import re
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError, UnknownServiceError
from botocore.model import OperationModel

from byoc.local import protocol
from byoc.local.errors import AWSError, not_implemented
from byoc.local.service import OPERATIONS

RESOURCE = re.compile(
    r"arn:[a-z-]+:states:::([a-z0-9-]+):([a-z0-9]+:)?([A-Za-z0-9]+)(\.[a-zA-Z:0-9]+)?"
)
# Optimised integrations, and which of them wait for the job's end with .sync.
OPTIMISED = {
    "sagemaker": {
        "createEndpoint",
        "createEndpointConfig",
        "createHyperParameterTuningJob",
        "createModel",
        "createProcessingJob",
        "createTrainingJob",
        "createTransformJob",
        "updateEndpoint",
    },
    "sns": {"publish"},
    "sqs": {"sendMessage"},
    "events": {"putEvents"},
}
JOBS = re.compile(r"create[A-Za-z]+Job")
# Services whose name in boto3 is not the one in a resource's ARN.
BOTO = {"sfn": "stepfunctions", "eventbridge": "events", "cloudwatchlogs": "logs"}
# What stands before an error's name: of SDK integrations where it is not the service's id, and of
# optimised ones.
PREFIXES = {"sns": "Sns", "sqs": "Sqs", "sfn": "Sfn", "iam": "Iam", "sts": "Sts", "ecr": "Ecr"}
OPTIMISED_PREFIXES = {"sagemaker": "SageMaker", "sns": "SNS", "sqs": "SQS", "events": "EventBridge"}
# The names of services in the causes and catch-all errors of optimised integrations.
CLIENTS = {
    "sagemaker": "AmazonSageMaker",
    "sns": "AmazonSNS",
    "sqs": "AmazonSQS",
    "events": "AmazonEventBridge",
}


def check(definition: Any) -> None:
    """Raise the refusal of what a definition (JSON, read) asks for that is not done here, and
    InvalidDefinition for what AWS refuses and moto's parser does not see."""
    for path, node in _objects(definition, ""):
        if node.get("QueryLanguage") == "JSONata":
            raise not_implemented("Step Functions' query language JSONata")
        if node.get("Type") == "Task":
            _check_resource(node.get("Resource"), f"{path}/Resource")
        if isinstance(node.get("States"), dict):
            _check_targets(node, path)
        mode = node.get("ProcessorConfig")
        if isinstance(mode, dict) and mode.get("Mode") == "DISTRIBUTED":
            raise not_implemented("Step Functions' distributed Map states")


def service(name: str) -> str:
    """A service as boto3 names it."""
    return BOTO.get(name, name)


def operation(api: str, action: str) -> OperationModel:
    """The operation that a resource's service and action name, in botocore's model."""
    model = protocol.service(service(api))
    wanted = action.lower()
    return model.operation_model(next(n for n in model.operation_names if n.lower() == wanted))


def error(api: str, sdk: bool, caught: ClientError) -> tuple[str, str]:
    """Name and cause of the error that a failed call is to the state machine."""
    code, text = caught.response["Error"]["Code"], caught.response["Error"].get("Message", "")
    metadata = caught.response["ResponseMetadata"]
    status, request = metadata["HTTPStatusCode"], metadata.get("RequestId", "")
    model = protocol.service(service(api))
    modelled = {s.metadata.get("error", {}).get("code", s.name): s.name for s in model.error_shapes}
    name = modelled.get(code)
    if sdk:
        prefix = PREFIXES.get(api, model.service_id.replace(" ", ""))
        cause = f"{text} (Service: {prefix}, Status Code: {status}, Request ID: {request})"
        name = name or prefix
    else:
        prefix, client = OPTIMISED_PREFIXES[api], CLIENTS[api]
        cause = (
            f"{text} (Service: {client}; Status Code: {status}; Error Code: {code}; "
            f"Request ID: {request}; Proxy: null)"
        )
        name = name or client
    return f"{prefix}.{name.removesuffix('Exception')}Exception", cause


def _check_resource(arn: Any, path: str) -> None:
    if not isinstance(arn, str):
        raise _invalid("SCHEMA_VALIDATION_FAILED", "The field 'Resource' is missing", path)
    match = RESOURCE.fullmatch(arn)
    if match is None:
        raise not_implemented(f"a Task state's resource {arn}")
    kind, api, action, pattern = match[1], (match[2] or "")[:-1], match[3], match[4]
    if kind == "aws-sdk":
        known = _knows(api, action) and pattern is None
    else:
        known = not api and action in OPTIMISED.get(kind, set())
        known = known and (pattern is None or (pattern == ".sync" and _waits(kind, action)))
    if not known:
        raise not_implemented(f"a Task state's resource {arn}")


def _waits(kind: str, action: str) -> bool:
    """Whether the job can be described and stopped here."""
    job = action.removeprefix("create")
    ours = OPERATIONS["sagemaker"]
    return bool(kind == "sagemaker" and JOBS.fullmatch(action)) and {
        f"Create{job}",
        f"Describe{job}",
        f"Stop{job}",
    } <= set(ours)


def _knows(api: str, action: str) -> bool:
    try:
        return operation(api, action).name != "" and action[:1].islower()
    except (UnknownServiceError, StopIteration):
        return False


def _check_targets(machine: dict[str, Any], path: str) -> None:
    """Each state that is named must be there."""
    states = machine["States"]
    named = [(machine.get("StartAt"), "StartAt", f"{path}/StartAt")]
    for name, state in states.items():
        if not isinstance(state, dict):
            continue
        here = f"{path}/States/{name}"
        named += [(state[m], m, f"{here}/{m}") for m in ("Next", "Default") if m in state]
        for member in ("Choices", "Catch"):
            rows = state.get(member, [])
            for i, row in enumerate(rows if isinstance(rows, list) else []):
                if isinstance(row, dict):
                    named.append((row.get("Next"), "Next", f"{here}/{member}[{i}]/Next"))
    for target, member, where in named:
        if target not in states:
            words = f"Missing '{member}' target: {target}"
            raise _invalid("MISSING_TRANSITION_TARGET", words, where)


def _objects(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of a definition, with its place, but not what is passed on as it stands."""
    if isinstance(node, dict):
        yield path, node
        for name, inner in node.items():
            if name not in ("Parameters", "Result", "ResultSelector", "ItemSelector"):
                yield from _objects(inner, f"{path}/{name}")
    elif isinstance(node, list):
        for i, inner in enumerate(node):
            yield from _objects(inner, f"{path}[{i}]")


def _invalid(code: str, words: str, path: str) -> AWSError:
    text = f"Invalid State Machine Definition: '{code}: {words} at {path}'"
    return AWSError("InvalidDefinition", text)
