"""The WSGI application in front: SageMaker to our handlers, Docker to the registry, everything else
to moto."""

import json
import logging
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from werkzeug.wrappers import Response

from byoc.local import (
    iam,
    interruption,
    moto,
    owners,
    protocol,
    quotas,
    states,
    status,
    tags,
    trail,
)
from byoc.local.answer import Answer, request_id
from byoc.local.async_inference import invoke_endpoint_async
from byoc.local.call import Call
from byoc.local.daemon import STATUS
from byoc.local.docker_registry import Registry
from byoc.local.errors import AWSError, not_implemented
from byoc.local.operations import OPERATIONS
from byoc.local.refusals import refusal
from byoc.local.runtime import invoke_endpoint, invoke_endpoint_with_response_stream
from byoc.local.service import Context, Platform

log = logging.getLogger(__name__)

INVOCATIONS = re.compile(r"/endpoints/([^/]*)/invocations(-response-stream)?")
ASYNC = re.compile(r"/endpoints/([^/]*)/async-invocations")
MOTO = "/moto-api"  # without a key they would forget everything, and write files where they like
# Services of which we answer operations in the JSON protocol, by what X-Amz-Target calls them.
# What they lack in OPERATIONS is moto's; SageMaker's is all ours.
SERVICES = {
    "SageMaker": "sagemaker",
    "ServiceQuotasV20190624": "service-quotas",
    "ResourceGroupsTaggingAPI_20170126": "resourcegroupstaggingapi",
    "CloudTrail_20131101": "cloudtrail",
    "AnyScaleFrontendService": "application-autoscaling",
    "AWSStepFunctions": "stepfunctions",
}


class Front:
    """Decides by the request alone who answers it."""

    def __init__(self, platform: Platform, application: Any) -> None:
        self.platform = platform
        self.registry = Registry(platform)
        self._moto = application

    def __call__(self, environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        call = Call(environ)
        if call.from_a_web_page:
            refused = Response("The local AWS does not talk to web pages.", 403)
            return refused(environ, start_response)
        if environ["PATH_INFO"].startswith(MOTO):
            refused = refusal(call, not_implemented("moto's own pages"))
            return refused(environ, start_response)
        if environ["PATH_INFO"] == STATUS:
            runs = json.dumps(status.runs(self.platform))
            return Response(runs, content_type="application/json")(environ, start_response)
        if environ["PATH_INFO"] == interruption.PATH:
            return interruption.answer(self.platform, call.request)(environ, start_response)
        if self.registry.serves(call):
            return self.registry.answer(call)(environ, start_response)
        owners.claim(call.caller.account, self.platform)
        kept = trail.keeps(call)
        if kept:
            call.read()
        answer = self._answer(call)
        if isinstance(answer, Response):
            answer.headers["x-amzn-RequestId"] = request_id()
        if kept:
            body = answer.get_data() if isinstance(answer, Response) else answer.whole
            self.platform.trail.record(call, answer.status_code, dict(answer.headers), body)
        return answer(environ, start_response)

    def _answer(self, call: Call) -> Response | Answer:
        try:
            return self._route(call)
        except AWSError as error:
            return refusal(call, error)
        except Exception:  # a fault of ours: AWS's clients must get an answer they can read
            log.exception("%s", call.words)
            fault = AWSError("InternalFailure", "The local AWS failed; its log says why.", 500)
            return refusal(call, fault)

    def _route(self, call: Call) -> Response | Answer:
        context = Context(self.platform, call.caller.account, call.caller.region)
        self.platform.authority.check(context, call)
        if call.method == "POST" and (match := INVOCATIONS.fullmatch(call.raw_path)):
            invoke = invoke_endpoint_with_response_stream if match[2] else invoke_endpoint
            return invoke(context, unquote(match[1]), call.environ)
        if call.method == "POST" and (match := ASYNC.fullmatch(call.raw_path)):
            return invoke_endpoint_async(context, unquote(match[1]), call.environ)
        if call.service == "iam" and call.operation == "SimulatePrincipalPolicy":
            return iam.simulate_principal_policy(context, call.request.form)
        prefix, name = call.target
        service = SERVICES.get(prefix, "")
        if service == "sagemaker" or name in OPERATIONS.get(service, {}):
            try:
                return self._ours(context, call, service)
            except quotas.OfAnotherService:
                pass
        return self._ask_moto(call)

    def _ours(self, context: Context, call: Call, service: str) -> Response:
        """The answer of one of our handlers to a request in the JSON protocol."""
        name = call.target[1]
        if name not in protocol.service(service).operation_names:
            raise AWSError("UnknownOperationException", f"SageMaker has no operation {name}.")
        handler = OPERATIONS[service].get(name)
        if handler is None:
            raise not_implemented(f"SageMaker's {name}")
        request = protocol.parse(name, call.body, service)
        if service == "sagemaker":
            tags.check_given(request)
            iam.check_roles(context, call.caller, request)
        if service == "stepfunctions":
            iam.check_role_of_states(context, call.caller, request)
        answer = protocol.render(name, handler(context, request), service)
        return Response(answer, 200, content_type="application/x-amz-json-1.1")

    def _ask_moto(self, call: Call) -> Answer:
        """moto's answer; where it has none but a web page, our refusal."""
        if call.service == "states":
            states.refuse(call.operation)
        moto.refuse_what_it_ignores(call.service, call.request)
        if not moto.serves(self._moto, call.environ, call.service):
            raise not_implemented(call.words)
        call.environ["HTTP_X_MOTO_ACCOUNT_ID"] = call.caller.account
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list, info: Any = None) -> Callable:
            started.append((status, headers))
            return lambda data: None

        try:
            chunks = self._moto(call.environ, start)
            answer = Answer(*started[-1], chunks)
        except AWSError:
            raise
        except Exception:  # moto reached code that it has not written
            log.exception("%s", call.words)
            raise not_implemented(call.words) from None
        code = answer.status_code
        if code == 501 or (code >= 500 and call.request.method == "HEAD"):
            raise not_implemented(call.words)
        if (code == 404 or code >= 500) and answer.whole[:9].lower() == b"<!doctype":
            raise not_implemented(call.words)
        return answer
