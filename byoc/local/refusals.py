"""Errors in the form of the client's protocol, so that every client can read them."""

import json
import uuid
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response

from byoc.local.call import CBOR, FORM, Call
from byoc.local.errors import AWSError

REST_XML = ("s3", "s3express", "route53", "cloudfront")  # by the name they sign with


def refusal(call: Call, error: AWSError) -> Response:
    """XML for the query, EC2 and REST-XML protocols, CBOR for RPC v2, else JSON."""
    # What is sent to an endpoint has a type of its own, which says nothing of the protocol.
    kind = call.request.mimetype if call.service != "sagemaker" else ""
    if kind == FORM:
        return _form(call, error)
    if call.service in REST_XML or call.request.path.startswith("/v20180820/"):  # S3 control
        return _rest_xml(call, error)
    if kind == CBOR:
        return _rpc_cbor(error)
    content = {
        "__type": error.code,
        "message": error.message or None,
        "Message": error.message or None,
    }
    headers = {"x-amzn-ErrorType": error.code}
    return Response(
        json.dumps(content), error.status, headers, content_type="application/x-amz-json-1.1"
    )


def _form(call: Call, error: AWSError) -> Response:
    content = f"<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
    if call.service == "ec2":
        text = f"<Response><Errors>{content}</Errors><RequestID>{uuid.uuid4()}</RequestID>"
        return Response(f"{text}</Response>", error.status, content_type="text/xml")
    text = f"<ErrorResponse>{content}<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
    return Response(text, error.status, content_type="text/xml")


def _rest_xml(call: Call, error: AWSError) -> Response:
    content = f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message>"
    text = f"<Error>{content}</Error>"
    if call.service in ("route53", "cloudfront"):  # S3 alone has no envelope
        text = f"<ErrorResponse>{text}</ErrorResponse>"
    return Response(text, error.status, content_type="text/xml")


def _rpc_cbor(error: AWSError) -> Response:
    fields = (_cbor("__type"), _cbor(error.code), _cbor("message"), _cbor(error.message))
    headers = {"smithy-protocol": "rpc-v2-cbor"}
    return Response(b"\xa2" + b"".join(fields), error.status, headers, content_type=CBOR)


def _cbor(text: str) -> bytes:
    """A CBOR text string (RFC 8949, major type 3, two bytes of length)."""
    content = text.encode()
    return b"\x79" + len(content).to_bytes(2, "big") + content
