"""InvokeEndpoint. Source: API Reference, runtime_InvokeEndpoint."""

import json
from typing import Any

import urllib3
from werkzeug.wrappers import Request, Response

from byoc.local.errors import AWSError
from byoc.local.hosting import Deployment, Instance
from byoc.local.service import Context

TIMEOUT = 60.0  # seconds for the container's answer. Source: your-algorithms-inference-code
PAYLOAD = 25 * 1024 * 1024  # bytes. Source: Developer Guide, deploy-model-options

# The only headers that reach the container; all others are stripped.
PASSED = {
    "Content-Type": "Content-Type",
    "Accept": "Accept",
    **{
        f"X-Amzn-SageMaker-{name}": f"X-Amzn-SageMaker-{name}"
        for name in (
            "Custom-Attributes",
            "Inference-Id",
            "Session-Id",
            "Enable-Explanations",
            "Target-Variant",
        )
    },
}
# The only headers that come back from the container.
RETURNED = ("X-Amzn-SageMaker-Custom-Attributes", "X-Amzn-SageMaker-New-Session-Id")
REFUSED = ("Target-Model", "Target-Container-Hostname", "Inference-Component")


def invoke_endpoint(context: Context, name: str, request: Request) -> Response:
    """Pass one request to a container of the endpoint; raises AWSError as AWS answers."""
    for header in REFUSED:
        if f"X-Amzn-SageMaker-{header}" in request.headers:
            raise AWSError(
                "NotImplementedException",
                f"The local AWS does not implement InvokeEndpoint with {header.replace('-', '')}.",
                501,
            )
    endpoint = context.table("endpoint").get(name)
    if endpoint is None or endpoint.data["EndpointStatus"] not in ("InService", "Updating"):
        raise AWSError(
            "ValidationError", f"Endpoint {name} of account {context.account} not found."
        )
    body = request.get_data()
    if len(body) > PAYLOAD:
        message = f"The request's body of {len(body)} bytes is larger than {PAYLOAD} bytes."
        raise AWSError("ValidationError", message, 413)
    deployment: Deployment = endpoint.runtime
    try:
        variant = deployment.choose(request.headers.get("X-Amzn-SageMaker-Target-Variant"))
    except AWSError as error:
        raise AWSError("ValidationError", error.message) from None
    instance = variant.next()
    headers = {ours: request.headers[h] for h, ours in PASSED.items() if h in request.headers}
    headers.setdefault("Content-Type", "application/octet-stream")
    try:
        answer = instance.http.request(
            "POST",
            f"{instance.container.url}/invocations",
            body=body,
            headers=headers,
            timeout=urllib3.Timeout(connect=1.0, read=TIMEOUT),
        )
    except urllib3.exceptions.HTTPError:
        return _model_error(context, name, instance, 0, _no_answer(instance))
    if answer.status >= 400:
        return _model_error(
            context, name, instance, answer.status, answer.data.decode("utf-8", "replace")
        )
    returned = {h: answer.headers[h] for h in RETURNED if h in answer.headers}
    returned["x-Amzn-Invoked-Production-Variant"] = variant.name
    return Response(answer.data, 200, returned, content_type=answer.headers.get("Content-Type", ""))


def _no_answer(instance: Instance) -> str:
    if instance.container.poll() is not None:
        return "The container has ended."
    return (
        "Your invocation timed out while waiting for a response from container primary. Review "
        "the latency metrics for each container in Amazon CloudWatch, resolve the issue, and try "
        "again."
    )


def _model_error(
    context: Context, name: str, instance: Instance, status: int, original: str
) -> Response:
    """HTTP 424 with the container's own status and text, as AWS words it."""
    kind = "client" if 400 <= status < 500 else "server"
    group = f"/aws/sagemaker/Endpoints/{name}"
    console = (
        f"https://{context.region}.console.aws.amazon.com/cloudwatch/home?region={context.region}"
        f"#logEventViewer:group={group}"
    )
    content: dict[str, Any] = {
        "Message": (
            f'Received {kind} error ({status}) from primary with message "{original}". '
            f"See {console} in account {context.account} for more information."
        ),
        "OriginalMessage": original,
        "OriginalStatusCode": status,
        "LogStreamArn": (
            f"arn:aws:logs:{context.region}:{context.account}:log-group:{group}"
            f":log-stream:{instance.stream.stream}"
        ),
    }
    headers = {"x-amzn-ErrorType": "ModelError"}
    return Response(json.dumps(content), 424, headers, content_type="application/json")
