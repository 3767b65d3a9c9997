"""What a Task state calls: the AWS of this server, as the state machine's role.

moto interprets the states; its own tasks would call an AWS at another address. Imported only when
Step Functions is used: moto's interpreter takes a second to load.
Source: Step Functions Developer Guide, supported-services-awssdk, connect-sagemaker, connect-sns,
connect-sqs, connect-eventbridge, connect-to-resource (.sync), concepts-error-handling.
"""

import datetime as dt
import functools
import json
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.response import StreamingBody
from moto.stepfunctions.parser.api import HistoryEventType
from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import (
    CustomErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
    FailureEvent,
    FailureEventException,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import (
    StatesErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import (
    StatesErrorNameType,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
    state_task_service_callback,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.resource import (
    ResourceCondition,
)
from moto.stepfunctions.parser.asl.eval.environment import Environment

from byoc.local import integrations, protocol
from byoc.local.owners import owner
from byoc.local.service import OPERATIONS, Context, Platform

LOOK = 0.2  # seconds between two looks at a job that is waited for
_LOCK = threading.Lock()


class Integration(state_task_service_callback.StateTaskServiceCallback):
    """A Task state that calls an operation of a service, and may wait for the job it creates."""

    def __init__(self) -> None:
        super().__init__(supported_integration_patterns={ResourceCondition(ResourceCondition.Sync)})

    @property
    def _sdk(self) -> bool:
        """Whether it is an SDK integration, not an optimised one."""
        return self.resource.service_name == "aws-sdk"

    def _validate_service_integration_is_supported(self) -> None:
        """`integrations.check` has done so when the state machine was created."""

    def _get_sfn_resource_type(self) -> str:
        prefix = "aws-sdk:" if self._sdk else ""
        return f"{prefix}{self.resource.api_name}"

    def _eval_service_task(
        self,
        env: Environment,
        resource_runtime_part: Any,
        normalised_parameters: Any,
        state_credentials: Any,
    ) -> None:
        env.stack.append(self._call(env, normalised_parameters, state_credentials.role_arn))

    def _eval_integration_pattern(
        self,
        env: Environment,
        resource_runtime_part: Any,
        normalised_parameters: Any,
        state_credentials: Any,
    ) -> None:
        """Wait for the job, whose description becomes the task's result."""
        env.stack.pop()
        kind = self.resource.api_action.removeprefix("create")
        created = protocol.service().operation_model(f"Create{kind}").input_shape
        name = {f"{kind}Name": _asked(created, normalised_parameters)[f"{kind}Name"]}
        details = env.aws_execution_details
        platform = _platform(details.account)
        context = Context(platform, details.account, details.region)
        job: dict[str, Any] = {}
        while env.is_running():
            job = OPERATIONS["sagemaker"][f"Describe{kind}"](context, name)
            if job[f"{kind}Status"] in ("Completed", "Failed", "Stopped"):
                break
            time.sleep(LOOK)
        else:  # the execution was stopped, or this state timed out
            self._cancel(env, kind, name, state_credentials.role_arn)
        model = protocol.service().operation_model(f"Describe{kind}")
        result = _answered(model.output_shape, job, _milliseconds)
        if env.is_running() and job[f"{kind}Status"] != "Completed":
            failed = StatesErrorName(typ=StatesErrorNameType.StatesTaskFailed)
            cause = json.dumps(result, separators=(",", ":"))
            raise FailureEventException(self._failure(env, failed, cause))
        env.stack.append(result)

    def _cancel(self, env: Environment, kind: str, name: dict[str, str], role: str) -> None:
        """Stop the job that nobody waits for any more: best effort, as on AWS."""
        try:
            getattr(self._client(env, role), xform_name(f"Stop{kind}"))(**name)
        except (ClientError, BotoCoreError):
            pass  # it has ended meanwhile, or this server stops too

    def _call(self, env: Environment, given: dict[str, Any], role: str) -> dict[str, Any]:
        client = self._client(env, role)
        model = integrations.operation(self.resource.api_name, self.resource.api_action)
        members = _asked(model.input_shape, given) if model.input_shape else {}
        if not self._sdk and self.resource.service_name == "events":
            _name_execution(env, members)
        answer = getattr(client, xform_name(model.name))(**members)
        answer.pop("ResponseMetadata", None)
        if not self._sdk and answer.get("FailedEntryCount"):
            cause = json.dumps(_answered(model.output_shape, answer, _iso))
            failed = CustomErrorName("EventBridge.FailedEntry")
            raise FailureEventException(self._failure(env, failed, cause))
        return _answered(model.output_shape, answer, _iso if self._sdk else _milliseconds)

    def _client(self, env: Environment, role: str) -> Any:
        details = env.aws_execution_details
        service = integrations.service(self.resource.api_name)
        platform = _platform(details.account)
        with _LOCK:
            return _client(platform.clients.url, service, details.account, details.region, role)

    def _failure(self, env: Environment, name: Any, cause: str) -> FailureEvent:
        details: Any = {
            "resource": self._get_sfn_resource(),
            "resourceType": self._get_sfn_resource_type(),
            "error": name.error_name,
            "cause": cause,
        }
        return FailureEvent(
            env=env,
            error_name=name,
            event_type=HistoryEventType.TaskFailed,
            event_details=cast(Any, {"taskFailedEventDetails": details}),
        )

    def _from_error(self, env: Environment, ex: Exception) -> FailureEvent:
        """The error's name and cause, as AWS gives them for a failed call."""
        if isinstance(ex, ClientError):
            name, cause = integrations.error(self.resource.api_name, self._sdk, ex)
            return self._failure(env, CustomErrorName(name), cause)
        if isinstance(ex, BotoCoreError):
            runtime = StatesErrorName(typ=StatesErrorNameType.StatesRuntime)
            cause = f"The Parameters could not be used to start the Task: [{ex}]"
            return self._failure(env, runtime, cause)
        return super()._from_error(env=env, ex=ex)


def _platform(account: str) -> Platform:
    platform = owner(account)
    if platform is None:
        raise RuntimeError("The local AWS has been stopped.")
    return platform


@functools.lru_cache(maxsize=32)
def _client(url: str, service: str, account: str, region: str, role: str) -> Any:
    """A client at the server's own address, with a session of the role: calls are the role's."""
    sts = _platform(account).clients.get("sts", account, region)
    session = sts.assume_role(RoleArn=role, RoleSessionName="StepFunctions")["Credentials"]
    return boto3.session.Session(
        session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"], region
    ).client(
        service,
        endpoint_url=url,
        config=Config(retries={"total_max_attempts": 1}, proxies={}, read_timeout=70),
    )


def _name_execution(env: Environment, members: dict[str, Any]) -> None:
    """The optimised PutEvents adds the ARNs of the execution and the state machine."""
    context = env.states.context_object.context_object_data
    arns = [context["Execution"]["Id"], context["StateMachine"]["Id"]]
    for entry in members.get("Entries", []):
        entry["Resources"] = entry.get("Resources", []) + arns


def _asked(shape: Shape, value: Any) -> Any:
    """A task's parameters as boto3 takes them: names by their letters, objects as JSON texts."""
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        names = {name.lower(): name for name in shape.members}
        named = [(names.get(given.lower(), given), inner) for given, inner in value.items()]
        known = shape.members
        return {n: _asked(known[n], inner) if n in known else inner for n, inner in named}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_asked(shape.member, inner) for inner in value]
    if isinstance(shape, MapShape) and isinstance(value, dict):
        return {key: _asked(shape.value, inner) for key, inner in value.items()}
    if shape.type_name == "blob":
        return json.dumps(value, separators=(",", ":")).encode()
    if shape.type_name == "string" and isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"))
    return value


def _answered(shape: Shape | None, value: Any, moment: Callable[[dt.datetime], Any]) -> Any:
    """An answer as a state's result: JSON, and names that begin with a capital."""
    if isinstance(shape, StructureShape):
        known = shape.members
        return {
            f"{name[0].upper()}{name[1:]}": _answered(known[name], inner, moment)
            for name, inner in value.items()
            if name in known and inner is not None
        }
    if isinstance(shape, ListShape):
        return [_answered(shape.member, inner, moment) for inner in value]
    if isinstance(shape, MapShape):
        return {key: _answered(shape.value, inner, moment) for key, inner in value.items()}
    if isinstance(value, StreamingBody):
        value = value.read()
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    return moment(value) if isinstance(value, dt.datetime) else value


def _iso(moment: dt.datetime) -> str:
    """As SDK integrations give it."""
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _milliseconds(moment: dt.datetime) -> int:
    """As optimised integrations give it."""
    return int(moment.timestamp() * 1000)
