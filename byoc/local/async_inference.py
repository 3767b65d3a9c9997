"""Asynchronous endpoints: their configuration, and InvokeEndpointAsync.

Source: API Reference, AsyncInferenceConfig, runtime_InvokeEndpointAsync (botocore's
`sagemaker-runtime` model); Developer Guide, async-inference-invoke-endpoint.
"""

import json
import uuid
from typing import Any

from werkzeug.wrappers import Request as HttpRequest
from werkzeug.wrappers import Response

from byoc.local import protocol, references
from byoc.local.backlog import Request
from byoc.local.errors import AWSError, not_implemented, validation
from byoc.local.service import Context, operation_of
from byoc.local.state import now

INLINE = 128_000  # bytes of a body. Source: the model's Body
TTL, TIMEOUT = 21600, 900  # seconds, where the request has none. Source: the model
NAMES = {"S3OutputPathExtension", "Filename"}  # of the output's parts
PASSED = {
    "ContentType": "Content-Type",
    "Accept": "Accept",
    "CustomAttributes": "X-Amzn-SageMaker-Custom-Attributes",
    "InferenceId": "X-Amzn-SageMaker-Inference-Id",
}

operation = operation_of("sagemaker-runtime")


def check_config(context: Context, config: dict[str, Any]) -> None:
    """Raise AWSError for an AsyncInferenceConfig that can't be carried out here."""
    output = config["OutputConfig"]
    for member in ("S3OutputPath", "S3FailurePath"):
        if output.get(member, "s3:").startswith("https:"):
            raise not_implemented(f"CreateEndpointConfig with {member} at an https URL")
    notification = output.get("NotificationConfig", {})
    if "S3OutputPath" not in output and not notification.get("IncludeInferenceResponseIn"):
        raise validation(
            "AsyncInferenceConfig needs an S3OutputPath, or IncludeInferenceResponseIn."
        )
    references.check_key(context, output.get("KmsKeyId"))


@operation
def invoke_endpoint_async(context: Context, name: str, environ: dict[str, Any]) -> Response:
    """Queue the request; a container gets its input from S3, and the answer goes to S3. Refuse
    names for the output and https addresses."""
    members = _members(environ)
    endpoint = context.table("endpoint").get(name)
    if endpoint is None or endpoint.data["EndpointStatus"] not in ("InService", "Updating"):
        message = f"Endpoint {name} of account {context.account} not found."
        raise AWSError("ValidationError", message)
    if endpoint.runtime.backlog is None:  # AWS's words are not known
        raise AWSError(
            "ValidationError",
            f"Endpoint {name} is not an asynchronous endpoint: use InvokeEndpoint.",
        )
    body = _body(environ)
    if (body is None) == ("InputLocation" not in members):
        raise AWSError("ValidationError", "Provide exactly one of Body and InputLocation.")
    request = _request(endpoint.data["AsyncInferenceConfig"]["OutputConfig"], name, members, body)
    endpoint.runtime.backlog.add(request)
    headers = {}
    if request.output is not None:
        headers["X-Amzn-SageMaker-OutputLocation"] = request.output
    if request.failure is not None:
        headers["X-Amzn-SageMaker-FailureLocation"] = request.failure
    content = json.dumps({"InferenceId": request.inference_id})
    return Response(content, 202, headers, content_type="application/json")


def _request(
    output: dict[str, Any], name: str, members: dict[str, Any], body: bytes | None
) -> Request:
    key = f"{uuid.uuid4()}"
    members.setdefault("InferenceId", f"{uuid.uuid4()}")
    headers = {header: members[m] for m, header in PASSED.items() if m in members}
    headers.setdefault("Content-Type", "application/octet-stream")
    given = {
        "accept": members.get("Accept"),
        "contentType": members.get("ContentType"),
        "endpointName": name,
        "inputLocation": members.get("InputLocation"),
    }
    return Request(
        key,
        members["InferenceId"],
        {member: value for member, value in given.items() if value is not None},
        headers,
        body,
        _below(output.get("S3OutputPath"), f"{key}.out"),
        _below(output.get("S3FailurePath"), f"{key}-error.out"),
        now(),
        members.get("RequestTTLSeconds", TTL),
        members.get("InvocationTimeoutSeconds", TIMEOUT),
    )


def _below(path: str | None, name: str) -> str | None:
    return None if path is None else f"{path.rstrip('/')}/{name}"


def _members(environ: dict[str, Any]) -> dict[str, Any]:
    """The members that are headers, checked; raises AWSError."""
    model = protocol.service("sagemaker-runtime").operation_model("InvokeEndpointAsync")
    members: dict[str, Any] = {}
    problems: list[str] = []
    for member, shape in model.input_shape.members.items():
        header = shape.serialization.get("name", "").upper().replace("-", "_")
        value: Any = environ.get(f"HTTP_{header}")
        if shape.serialization.get("location") != "header" or value is None:
            continue
        if shape.type_name == "integer" and value.isdecimal():
            value = int(value)
        elif shape.type_name == "integer":
            raise AWSError("ValidationError", f"{member} is not a whole number.")
        problems += protocol.violations(shape, value, member[0].lower() + member[1:])
        members[member] = value
    if problems:
        plural = "s" if len(problems) > 1 else ""
        message = f"{len(problems)} validation error{plural} detected: {'; '.join(problems)}"
        raise AWSError("ValidationError", message)
    if unknown := NAMES & set(members):
        raise not_implemented(f"InvokeEndpointAsync with {min(unknown)}")
    if members.get("InputLocation", "s3:").startswith("https:"):
        raise not_implemented("InvokeEndpointAsync with an InputLocation at an https URL")
    return members


def _body(environ: dict[str, Any]) -> bytes | None:
    """What was sent inline, None for nothing."""
    request = HttpRequest(environ)
    request.max_content_length = INLINE
    if (request.content_length or 0) > INLINE:
        raise AWSError("ValidationError", f"Body has more than {INLINE} bytes.", 413)
    return request.get_data() or None
