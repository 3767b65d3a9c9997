"""moto's interpreter of the Amazon States Language, corrected. Imported when it is first used."""

import json
import logging
import re
from collections.abc import Callable
from typing import Any

from moto.stepfunctions import models
from moto.stepfunctions.parser.api import ExecutionStatus, HistoryEventType
from moto.stepfunctions.parser.asl.component.common.error_name.error_equals_decl import (
    ErrorEqualsDecl,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task import state_task_factory
from moto.stepfunctions.parser.asl.eval.environment import Environment
from moto.stepfunctions.parser.asl.eval.event.event_manager import (
    EventHistoryContext,
    EventManager,
)
from moto.stepfunctions.parser.asl.eval.program_state import (
    ProgramEnded,
    ProgramError,
    ProgramStopped,
    ProgramTimedOut,
)
from moto.stepfunctions.parser.backend.execution import (
    BaseExecutionWorkerCommunication,
    Execution,
)
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

from byoc.local.errors import not_implemented
from byoc.local.state import now
from byoc.local.tasks import Integration

log = logging.getLogger(__name__)

# Errors that States.ALL does not stand for. Source: Developer Guide, concepts-error-handling.
NEVER_ALL = ("States.Runtime", "States.DataLimitExceeded")
SUBSTITUTION = re.compile(r"\$\{([A-Za-z0-9_]+)\}")
ENDS: dict[Any, ExecutionStatus] = {
    ProgramEnded: ExecutionStatus.SUCCEEDED,
    ProgramStopped: ExecutionStatus.ABORTED,
    ProgramError: ExecutionStatus.FAILED,
    ProgramTimedOut: ExecutionStatus.TIMED_OUT,
}


def correct(changed: Callable[[Any], None], check: Callable[[dict[str, Any]], None]) -> None:
    """Put our tasks and corrections into moto.

    `changed` is called with each execution when it starts and when it has ended by itself; `check`
    with each machine that CloudFormation creates, as CreateStateMachine asks for it.
    """

    def start(self: ExecutionWorker) -> None:
        _get_evaluation_environment(self)
        changed(_execution(self))  # first: what starts may have ended before this returns
        _moto_start(self)

    def reflect(self: BaseExecutionWorkerCommunication) -> None:
        _reflect(self.execution)
        changed(self.execution)

    def create(cls: Any, name: str, resource: Any, account: str, region: str, **_: Any) -> Any:
        request = _asked(resource["Properties"], name)
        check(request)
        backend = stepfunctions_parser_backends[account][region]
        definition, role = request["definition"], request["roleArn"]
        tags = [
            {k.lower(): v for k, v in t.items()} for t in resource["Properties"].get("Tags", [])
        ]
        return backend.create_state_machine(request["name"], definition, role, tags=tags)

    def update(
        cls: Any,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> Any:
        request = _asked(cloudformation_json["Properties"], original_resource.name)
        if request["name"] != original_resource.name:
            raise not_implemented("CloudFormation's replacement of a state machine")
        check(request)
        backend = stepfunctions_parser_backends[account_id][region_name]
        arn = original_resource.arn
        return backend.update_state_machine(arn, request["definition"], request["roleArn"])

    def delete(cls: Any, name: str, resource: Any, account: str, region: str) -> None:
        stepfunctions_parser_backends[account][region].delete_state_machine(name)

    for model, method, corrected in (
        (BaseExecutionWorkerCommunication, "_reflect_execution_status", reflect),
        (models.StateMachine, "create_from_cloudformation_json", classmethod(create)),
        (models.StateMachine, "update_from_cloudformation_json", classmethod(update)),
        (models.StateMachine, "delete_from_cloudformation_json", classmethod(delete)),
        (EventManager, "add_event", _add_event),
        (Environment, "set_error", _set_error),
        (ErrorEqualsDecl, "_eval_body", _matches),
        (ExecutionWorker, "_get_evaluation_environment", _get_evaluation_environment),
        (ExecutionWorker, "_execution_logic", _execution_logic),
        (ExecutionWorker, "start", start),
        (Execution, "__getstate__", _getstate),
    ):
        setattr(model, method, corrected)
    setattr(state_task_factory, "state_task_service_for", lambda service_name: Integration())  # noqa: B010


def abort(execution: Any, error: str | None, cause: str | None) -> None:
    """End an execution whose status says so already: nothing more gets into its history."""
    env = execution.exec_worker.env
    details = {k: v for k, v in {"error": error, "cause": cause}.items() if v is not None}
    with env._state_mutex:
        env.event_manager.add_event(
            context=EventHistoryContext.of_program_start(),
            event_type=HistoryEventType.ExecutionAborted,
            event_details={"executionAbortedEventDetails": details},
        )
        env.event_manager.closed = True
        if env.program_state() is None:  # not begun
            env._program_state = ProgramStopped(stop_date=now(), error=error, cause=cause)
        env.set_stop(stop_date=now(), error=error, cause=cause)


class Ended:
    """What a snapshot keeps of the thread that carried an execution out: its history."""

    def __init__(self, rows: list[Any]) -> None:
        self.env = self.event_manager = self
        self.rows = rows

    def get_event_history(self) -> list[Any]:
        """The events, the first one first."""
        return self.rows


def _asked(properties: dict[str, Any], name: str) -> dict[str, Any]:
    """A template's state machine as CreateStateMachine takes it.

    Source: CloudFormation User Guide, AWS::StepFunctions::StateMachine.
    """
    if "DefinitionS3Location" in properties:
        raise not_implemented("CloudFormation's DefinitionS3Location of a state machine")
    text = properties.get("DefinitionString") or json.dumps(properties.get("Definition", {}))
    values = properties.get("DefinitionSubstitutions", {})
    request = {
        "name": properties.get("StateMachineName", name),
        "definition": SUBSTITUTION.sub(lambda m: _inside(values.get(m[1], m[0])), text),
        "roleArn": properties["RoleArn"],
        "type": properties.get("StateMachineType", "STANDARD"),
    }
    if "LoggingConfiguration" in properties:
        level = properties["LoggingConfiguration"].get("Level", "OFF")
        request["loggingConfiguration"] = {"level": level}
    return request


def _inside(value: Any) -> str:
    """A value as it is written within a JSON text."""
    return value if isinstance(value, str) else json.dumps(value)


def _reflect(execution: Any) -> None:
    """The status comes last: who sees the end sees the output too (moto: the other way round)."""
    if execution.exec_status != ExecutionStatus.RUNNING:
        return
    env = execution.exec_worker.env
    state = env.program_state()
    if isinstance(state, ProgramEnded):
        execution.output = env.states.get_input()
    elif isinstance(state, ProgramError):
        error: Any = state.error or {}
        execution.error, execution.cause = error.get("error"), error.get("cause")
    execution.stop_date = now()
    execution.exec_status = ENDS[type(state)]


def _add_event(self: EventManager, *places: Any, **members: Any) -> int:
    """Nothing is added after an execution was stopped (moto: what its threads still do)."""
    return 0 if getattr(self, "closed", False) else _moto_add_event(self, *places, **members)


def _set_error(self: Environment, error: Any) -> None:
    """What was stopped or has timed out has not failed (moto: fails on its way out)."""
    if not isinstance(self._program_state, ProgramStopped | ProgramTimedOut):
        _moto_set_error(self, error)


def _matches(self: ErrorEqualsDecl, env: Environment) -> None:
    """States.ALL does not stand for all errors (moto: it does)."""
    name = env.stack[-1]
    if name is not None and name.error_name in NEVER_ALL and name not in self.error_names:
        env.stack.pop()
        env.stack.append(False)
    else:
        _moto_matches(self, env)


def _get_evaluation_environment(self: ExecutionWorker) -> Environment:
    """Made before the thread starts, so that an execution can be stopped at once."""
    if self.env is None:
        self.env = _moto_environment(self)
    return self.env


def _execution(worker: ExecutionWorker) -> Any:
    return vars(worker._execution_communication)["execution"]


def _execution_logic(self: ExecutionWorker) -> None:
    try:
        _moto_logic(self)
    except Exception as fault:  # of the interpreter, which must not leave it running for ever
        execution = _execution(self)
        if execution.exec_status == ExecutionStatus.RUNNING:
            log.exception("%s", execution.execution_arn)
            execution.error, execution.cause = "States.Runtime", f"{fault!r}"
            execution.stop_date, execution.exec_status = now(), ExecutionStatus.FAILED


def _getstate(self: Execution) -> dict[str, Any]:
    worker: Any = self.exec_worker
    rows = worker.env.event_manager.get_event_history() if worker else []
    return vars(self) | {"exec_worker": Ended(rows)}


_moto_add_event, _moto_set_error = EventManager.add_event, Environment.set_error
_moto_matches, _moto_start = ErrorEqualsDecl._eval_body, ExecutionWorker.start
_moto_environment = ExecutionWorker._get_evaluation_environment
_moto_logic = ExecutionWorker._execution_logic
