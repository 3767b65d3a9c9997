"""Step Functions: state machines that run, in moto's interpreter of the Amazon States Language.

moto keeps the machines and interprets their states; what a Task calls is `tasks`' subject, what a
definition may hold `integrations'`. Standard workflows only.
Source: API Reference (Step Functions); Step Functions Developer Guide, concepts-error-handling,
connect-to-resource; EventBridge User Guide, eb-targets.
"""

import copy
import datetime as dt
import functools
import importlib
import json
import logging
import sys
import threading
import uuid
from typing import Any, cast

from moto.core.config import default_user_config
from moto.core.exceptions import AWSError as MotoError
from moto.utilities.arns import Arn

from byoc.local import events, iam, integrations
from byoc.local.errors import AWSError, not_implemented
from byoc.local.owners import owner
from byoc.local.service import Context, Handler, Platform, operation_of
from byoc.local.state import POSITION, now

log = logging.getLogger(__name__)

PARSER = "moto.stepfunctions.parser.models"
STOPPED = "The local AWS was stopped while the execution ran"
EVENTS = 100  # of one answer of GetExecutionHistory when maxResults is absent
# Operations that moto answers for a machine that does not run, or by keeping a record.
REFUSED = {
    "CreateActivity",
    "CreateStateMachineAlias",
    "DescribeActivity",
    "DescribeMapRun",
    "GetActivityTask",
    "ListActivities",
    "ListMapRuns",
    "SendTaskFailure",
    "SendTaskHeartbeat",
    "SendTaskSuccess",
    "UpdateMapRun",
}
_LOCK = threading.Lock()
_installed = False


def operation(handler: Handler) -> Handler:
    """An operation of Step Functions, in which moto's errors become AWS's."""

    @functools.wraps(handler)
    def corrected(context: Context, request: dict[str, Any]) -> Any:
        try:
            return handler(context, request)
        except MotoError as error:
            raise AWSError(error.TYPE or type(error).__name__, f"{error.message}") from None

    return operation_of("stepfunctions")(corrected)


@operation
def create_state_machine(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Create a standard state machine whose tasks can be carried out here."""
    _check(request)
    for member in ("publish", "versionDescription"):
        if request.get(member):
            raise not_implemented(f"Step Functions' {member}")
    backend = _backend(context.account, context.region)
    same = next((m for m in backend.state_machines if m.name == request["name"]), None)
    if same and (same.definition, same.roleArn) != (request["definition"], request["roleArn"]):
        words = f"State Machine Already Exists: '{same.arn}'"
        raise AWSError("StateMachineAlreadyExists", words)
    machine = backend.create_state_machine(
        request["name"],
        request["definition"],
        request["roleArn"],
        tags=request.get("tags"),
        tracingConfiguration=request.get("tracingConfiguration"),
        encryptionConfiguration=request.get("encryptionConfiguration"),
    )
    return {"stateMachineArn": machine.arn, "creationDate": machine.creation_date}


@operation
def update_state_machine(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Change definition or role for the executions that are still to start."""
    _check(request)
    if request.get("publish"):
        raise not_implemented("Step Functions' publish")
    machine = _backend(context.account, context.region).update_state_machine(
        request["stateMachineArn"],
        request.get("definition"),
        request.get("roleArn"),
        tracing_configuration=request.get("tracingConfiguration"),
        encryption_configuration=request.get("encryptionConfiguration"),
    )
    return {"updateDate": machine.update_date}


@operation
def start_execution(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Run the state machine, in threads of this server, with its role."""
    backend = _backend(context.account, context.region)
    name = request.get("name") or str(uuid.uuid4())
    backend._validate_name(name)
    with _LOCK:  # two that start at once must not both get the name
        arn, text = request["stateMachineArn"], request.get("input", "{}")
        execution = backend.start_execution(arn, name, text)
    return {"executionArn": execution.execution_arn, "startDate": execution.start_date}


@operation
def stop_execution(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Abort an execution; the job it waits for is stopped too."""
    execution = _execution(context, request["executionArn"])
    _abort(execution, request.get("error"), request.get("cause"))
    return {"stopDate": execution.stop_date}


@operation
def describe_execution(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show an execution, its input, its output or what ended it."""
    return _description(_execution(context, request["executionArn"]))


@operation
def get_execution_history(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List what has happened in an execution, event by event."""
    execution = _execution(context, request["executionArn"])
    rows = _history(execution)
    if not request.get("includeExecutionData", True):
        rows = [_without_data(row) for row in rows]
    if request.get("reverseOrder"):
        rows.reverse()
    token = request.get("nextToken", "0")
    if not POSITION.fullmatch(token):
        raise AWSError("InvalidToken", f"Invalid Token: '{token}'")
    first = int(token)
    last = first + (request.get("maxResults") or EVENTS)
    answer: dict[str, Any] = {"events": rows[first:last]}
    if last < len(rows):
        answer["nextToken"] = f"{last}"
    return answer


def refuse(name: str | None) -> None:
    """Raise our refusal of an operation that moto only seems to carry out."""
    if name in REFUSED:
        raise not_implemented(f"Step Functions' {name}")


def stop(platform: Platform) -> None:
    """Abort what runs in the accounts of a local AWS that ends: it reads as aborted afterwards."""
    if not _installed:
        return
    for account, regions in list(_backends().items()):
        if owner(account) is platform:
            for execution in [e for b in list(regions.values()) for e in b._get_executions()]:
                _abort(execution, None, STOPPED)


def install() -> None:
    """Let moto run state machines. Only once they are asked for: its interpreter is large."""
    global _installed
    with _LOCK:
        if _installed:
            return
        machines: Any = importlib.import_module(PARSER).stepfunctions_parser_backends
        for name in ("moto.stepfunctions.models", "moto.stepfunctions.responses"):
            vars(importlib.import_module(name))["stepfunctions_backends"] = machines
        settings = cast(dict[str, Any], default_user_config)
        settings["stepfunctions"] = {"execute_state_machine": True}
        from byoc.local import interpreter

        interpreter.correct(_tell, _check)
        _installed = True


def _backends() -> Any:
    install()
    return vars(sys.modules[PARSER])["stepfunctions_parser_backends"]


def _backend(account: str, region: str) -> Any:
    return _backends()[account][region]


def _execution(context: Context, arn: str) -> Any:
    return _backend(context.account, context.region).describe_execution(arn)


def _check(request: dict[str, Any]) -> None:
    """Raise the refusal of settings and states that are not carried out here."""
    if request.get("type", "STANDARD") != "STANDARD":
        raise not_implemented("Step Functions' express workflows")
    if request.get("loggingConfiguration", {}).get("level", "OFF") != "OFF":
        raise not_implemented("Step Functions' logging to CloudWatch Logs")
    if "definition" in request:
        try:
            definition = json.loads(request["definition"])
        except (ValueError, RecursionError) as error:
            words = f"Invalid State Machine Definition: 'INVALID_JSON_DESCRIPTION: {error}'"
            raise AWSError("InvalidDefinition", words) from None
        integrations.check(definition)


def _abort(execution: Any, error: str | None, cause: str | None) -> None:
    if execution.status != "RUNNING":
        return
    execution.error, execution.cause = error, cause
    execution.stop_date, execution.exec_status = now(), type(execution.exec_status).ABORTED
    from byoc.local import interpreter

    interpreter.abort(execution, error, cause)
    _tell(execution)


def _description(execution: Any) -> dict[str, Any]:
    answer = {
        "executionArn": execution.execution_arn,
        "stateMachineArn": execution.state_machine_arn,
        "name": execution.name,
        "status": execution.status,
        "startDate": execution.start_date,
        "stopDate": execution.stop_date,
        "input": execution.execution_input or "{}",
        "inputDetails": {"included": True},
        "error": execution.error,
        "cause": execution.cause,
    }
    if execution.status == "SUCCEEDED":
        text = json.dumps(execution.output, separators=(",", ":"))
        answer |= {"output": text, "outputDetails": {"included": True}}
    return answer


def _history(execution: Any) -> list[dict[str, Any]]:
    rows = copy.deepcopy(execution.exec_worker.env.event_manager.get_event_history())
    for row in rows:
        row["timestamp"] = dt.datetime.fromisoformat(f"{row['timestamp']}")
        row["type"] = getattr(row["type"], "value", row["type"])
    return rows


def _without_data(row: dict[str, Any]) -> dict[str, Any]:
    data = {"input", "output", "inputDetails", "outputDetails"}
    return {
        name: {k: v for k, v in value.items() if k not in data}
        if isinstance(value, dict)
        else value
        for name, value in row.items()
    }


def _tell(execution: Any) -> None:
    """Send the event of an execution's new status. Source: Step Functions Developer Guide,
    eventbridge-integration."""
    detail = _description(execution)
    for name in ("startDate", "stopDate"):
        moment = detail[name]
        detail[name] = moment and int(moment.timestamp() * 1000)
    text = json.dumps(detail)
    arn = execution.execution_arn
    events.send("aws.states", "Step Functions Execution Status Change", arn, text)


def _to_state_machine(
    arn: Arn, target: dict[str, Any], text: str, delivery: events.Delivery
) -> None:
    """Start an execution, if the target's role allows it.

    What is delivered twice is started once: the execution's name holds the event's id. AWS does so
    too, as users see, but does not document it.
    """
    platform = owner(arn.account)
    if platform is None:
        raise LookupError("no local AWS")
    context = Context(platform, arn.account, arn.region)
    principal, role = delivery.principal, target.get("RoleArn", "")
    if not iam.lets(context, role, principal, "states:StartExecution", target["Arn"]):
        raise PermissionError(f"{role} does not let {principal} start {target['Arn']}")
    request = {"stateMachineArn": target["Arn"], "name": delivery.name, "input": text}
    try:
        start_execution(context, request)
    except AWSError as error:
        if error.code != "ExecutionAlreadyExists":
            raise


events.SENDERS["states"] = _to_state_machine
