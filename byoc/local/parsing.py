"""Which operation of AWS a request asks for, and with which parameters, in whatever protocol."""

from typing import Any

from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router

# Services whose botocore name is not the one they sign with.
NAMES = {
    "elasticfilesystem": "efs",
    "elasticloadbalancing": "elbv2",
    "email": "ses",
    "monitoring": "cloudwatch",
    "servicequotas": "service-quotas",
    "states": "stepfunctions",
    "tagging": "resourcegroupstaggingapi",
}


def parse(service: str, request: Request, body: bytes) -> tuple[Any, Any]:
    """The operation's model, and its parameters.

    Raises whatever moto raises when it does not know the service, or the request is broken.
    """
    model, uri = get_service_router(NAMES.get(service, service)).match(request)
    kind = determine_request_protocol(model.service_model, request.mimetype)
    parsed = PROTOCOL_PARSERS[kind](model).parse(
        {
            "body": body,
            "headers": request.headers,
            "method": request.method,
            "url_params": uri,
            "url_path": request.path,
            "values": request.values,
        }
    )
    return model, parsed
