"""The queue of an asynchronous endpoint: requests wait here, go to a container, and end in S3.

Source: Developer Guide, async-inference, async-inference-invoke-endpoint and
async-inference-check-predictions; API Reference, AsyncInferenceConfig.
"""

import base64
import datetime as dt
import json
import logging
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from byoc.local import storage
from byoc.local.async_metrics import Tally
from byoc.local.connections import NoAnswer, TimedOut, Unreachable
from byoc.local.errors import AWSError
from byoc.local.instances import Instance, Replica
from byoc.local.state import now
from byoc.local.storage import StorageError

if TYPE_CHECKING:
    from byoc.local.deployment import Deployment, Variant

CONCURRENT = 4  # requests of one instance at a time, where nothing is set (AWS doesn't say)
PAYLOAD = 1 << 30  # bytes of an input or an answer. Source: async-inference
INCLUDED = 128 * 1024  # bytes of an answer that a message includes. Source: AsyncInference…Config
PAUSE = 0.02  # seconds until the containers are looked at again

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """One InvokeEndpointAsync, whole enough to be carried on after a restart."""

    key: str  # a UUID, of which the objects in S3 have their names
    inference_id: str
    parameters: dict[str, str]  # requestParameters of its message
    headers: dict[str, str]  # for the container
    body: bytes | None  # what was sent inline, in place of the input in S3
    output: str | None  # where the answer goes
    failure: str | None  # where a failure goes
    received: dt.datetime
    ttl: float  # seconds in which it must leave the queue
    timeout: float  # seconds that the container has

    @property
    def age(self) -> float:
        """Seconds since it came."""
        return (now() - self.received).total_seconds()


class _Failed(Exception):
    """Why there is no answer: `payload` is the container's own error, `metric` counts it."""

    def __init__(self, reason: str, payload: bytes | None = None, metric: str = "") -> None:
        super().__init__(reason)
        self.reason, self.metric = reason, metric
        self.payload = reason.encode() if payload is None else payload


@dataclass(frozen=True)
class _Result:
    content: bytes
    content_type: str


class Backlog:
    """Takes each request to a container that has room, one thread for each under way.

    All that has no end yet is in the endpoint's data, so that a snapshot keeps it.
    """

    def __init__(self, deployment: "Deployment") -> None:
        self._deployment, self._endpoint = deployment, deployment.endpoint
        self._context = deployment.context
        self._unended: dict[str, Request] = self._endpoint.data.setdefault("Backlog", {})
        self._waiting = deque(self._unended.values())
        self._running: Counter[Replica] = Counter()
        self._changed = threading.Condition()
        self._closed = False
        self._threads: set[threading.Thread] = set()
        self._tally = Tally(self._endpoint.name)
        self._dispatcher = threading.Thread(target=self._dispatch, daemon=True)
        self._dispatcher.start()

    def add(self, request: Request) -> None:
        """Let a request wait for its turn."""
        with self._context.platform.state.lock:
            self._unended[request.key] = request
        with self._changed:
            self._waiting.append(request)
            self._changed.notify()

    def close(self) -> None:
        """Take no more to containers; what has no end yet gets none (AWS does not say)."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def join(self) -> None:
        """Wait until nothing is under way."""
        self._dispatcher.join()
        for thread in list(self._threads):
            thread.join()

    def publish(self) -> None:
        """Send what has been counted, and how long the queue is, to CloudWatch."""
        with self._context.platform.state.lock:
            ages = [request.age for request in self._unended.values()]
        variants = self._deployment.variants.values()
        self._tally.publish(self._context, ages, sum(len(v.instances) for v in variants))

    @property
    def _config(self) -> dict[str, Any]:
        return self._endpoint.data["AsyncInferenceConfig"]

    def _dispatch(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._closed):
                    self._changed.wait()
                if self._closed:
                    return
                late = [request for request in self._waiting if request.age > request.ttl]
                for request in late:
                    self._waiting.remove(request)
                taken = self._room() if self._waiting else None
                if taken is None and not late:
                    self._changed.wait(PAUSE)
                elif taken is not None:
                    self._running[taken[2]] += 1
                    self._begin(self._process, self._waiting.popleft(), *taken)
            for request in late:
                self._begin(self._expire, request)

    def _room(self) -> tuple["Variant", Instance, Replica, object] | None:
        """A container that may take one more request, or None."""
        client = self._config.get("ClientConfig", {})
        most = client.get("MaxConcurrentInvocationsPerInstance", CONCURRENT)
        full = {replica for replica, count in self._running.items() if count >= most}
        if not self._deployment.variants:
            return None
        try:
            return self._deployment.enter(None, None, full)
        except AWSError:
            return None

    def _begin(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads = {t for t in self._threads if t.is_alive()} | {thread}
        thread.start()

    def _expire(self, request: Request) -> None:
        variants = list(self._deployment.variants.values())
        role = variants[0].plan.role if variants else None
        name = variants[0].plan.name if variants else ""
        reason = f"ClientError: The request waited longer than {request.ttl:.0f} seconds."
        self._fail(request, name, role, _Failed(reason, metric="ExpiredRequests"))
        self._end(request)

    def _process(
        self,
        request: Request,
        variant: "Variant",
        instance: Instance,
        replica: Replica,
        token: object,
    ) -> None:
        name, role = variant.plan.name, variant.plan.role
        waited = 1e3 * request.age
        failure, result, again = None, None, False
        try:
            body = self._download(request, name, role)
            result = self._invoke(request, body, replica, name)
        except Unreachable:
            instance.suspect()
            time.sleep(PAUSE)  # until it is seen to be gone
            again = True
        except _Failed as error:
            failure = error
        except Exception as error:  # a fault of ours must not lose the request
            log.exception("%s", request.inference_id)
            failure = _Failed(f"InternalServerError: {error!r}")
        finally:
            replica.leave(token)
            with self._changed:
                self._running[replica] -= 1
                self._running += Counter()  # forgets who has none
                if again:
                    self._waiting.appendleft(request)
                self._changed.notify()
        if again or (failure is not None and self._closed):
            return  # an endpoint that goes breaks off what is under way
        self._tally.add("TimeInBacklog", "Milliseconds", waited, name)
        if result is not None:
            failure = self._succeed(request, name, role, result)
        if failure is not None:
            self._fail(request, name, role, failure)
        self._tally.add("InvocationsProcessed", "Count", 1.0, name)
        self._tally.add("TotalProcessingTime", "Milliseconds", 1e3 * request.age, name)
        self._end(request)

    def _end(self, request: Request) -> None:
        with self._context.platform.state.lock:
            self._unended.pop(request.key, None)

    def _download(self, request: Request, variant: str, role: str | None) -> bytes:
        if request.body is not None:
            return request.body
        uri, began = request.parameters["inputLocation"], time.monotonic()
        s3 = self._context.s3(role)
        try:
            if storage.find(s3, uri, "input").size > PAYLOAD:
                raise StorageError(f"it is larger than {PAYLOAD} bytes")
            body = storage.read(s3, uri)
        except StorageError as error:  # AWS's words are not documented
            reason = f"ClientError: Failed to download the input {uri}: {error}"
            raise _Failed(reason, metric="RequestDownloadFailures") from None
        taken = 1e6 * (time.monotonic() - began)
        self._tally.add("RequestDownloadLatency", "Microseconds", taken, variant)
        return body

    def _invoke(self, request: Request, body: bytes, replica: Replica, variant: str) -> _Result:
        """The container's answer; raises _Failed, or Unreachable when it got nothing."""
        began, status, content = time.monotonic(), 0, b""
        try:
            exchange = replica.connections.send(
                "/invocations", body, request.headers, began + request.timeout
            )
            try:
                status, content = exchange.status, exchange.read(PAYLOAD)
            finally:
                exchange.close()
        except TimedOut:
            raise _Failed(
                "ClientError: Your invocation timed out while waiting for a response from "
                "container primary. Review the latency metrics for each container in Amazon "
                "CloudWatch, resolve the issue, and try again."
            ) from None
        except NoAnswer:
            raise _Failed(
                "InternalServerError: Amazon SageMaker could not get a response from the "
                f"{self._endpoint.name} endpoint."
            ) from None
        for digit in (4, 5):
            self._tally.add(f"Invocation{digit}XXErrors", "None", status // 100 == digit, variant)
        taken = 1e6 * (time.monotonic() - began)
        self._tally.add("ModelLatency", "Microseconds", taken, variant)
        if not 200 <= status < 300:
            kind = "client" if 400 <= status < 500 else "server"
            raise _Failed(
                f"ClientError: Received {kind} error ({status}) from model. See the SageMaker "
                "Endpoint logs in your account for more information.",
                content,
            )
        if len(content) > PAYLOAD:
            raise _Failed(f"ClientError: The answer is larger than {PAYLOAD} bytes.")
        return _Result(content, exchange.headers.get("content-type", "application/octet-stream"))

    def _succeed(
        self, request: Request, variant: str, role: str | None, result: _Result
    ) -> _Failed | None:
        """Upload the answer and tell of it; why not, where it can't be uploaded."""
        parameters = {"contentType": result.content_type}
        if request.output is not None:
            began = time.monotonic()
            try:
                self._upload(role, request.output, result)
            except (BotoCoreError, ClientError) as error:
                reason = f"ClientError: Failed to upload the response to {request.output}: {error}"
                return _Failed(reason, metric="ResponseUploadFailures")
            taken = 1e6 * (time.monotonic() - began)
            self._tally.add("ResponseUploadLatency", "Microseconds", taken, variant)
            parameters["outputLocation"] = request.output
        body = {"content": base64.b64encode(result.content).decode(), "encoding": "BASE64"}
        self._notify(request, variant, "Completed", {"responseParameters": parameters}, body)
        return None

    def _fail(self, request: Request, variant: str, role: str | None, failure: _Failed) -> None:
        self._tally.add("InvocationFailures", "Count", 1.0, variant)
        if failure.metric:
            self._tally.add(failure.metric, "Count", 1.0, variant)
        if request.failure is not None:
            try:
                self._upload(role, request.failure, _Result(failure.payload, "text/plain"))
            except (BotoCoreError, ClientError):
                self._tally.add("ResponseUploadFailures", "Count", 1.0, variant)
        body = {"content": failure.payload.decode("utf-8", "replace"), "message": failure.reason}
        self._notify(request, variant, "Failed", {"failureReason": failure.reason}, body)

    def _upload(self, role: str | None, uri: str, result: _Result) -> None:
        bucket, key = storage.split(uri)
        extra = {"ContentType": result.content_type}
        if key_id := self._config["OutputConfig"].get("KmsKeyId"):
            extra |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_id}
        s3 = self._context.s3(role)
        s3.put_object(Bucket=bucket, Key=key, Body=result.content, **extra)

    def _notify(
        self,
        request: Request,
        variant: str,
        status: str,
        members: dict[str, Any],
        body: dict[str, str],
    ) -> None:
        """Publish AWS's message to the topic for this status, if there is one.

        Source: async-inference-check-predictions; of a failure: aws-solutions-library-samples,
        osml-model-runner. How the included response looks is not documented.
        """
        config = self._config["OutputConfig"].get("NotificationConfig", {})
        good = status == "Completed"
        topic = config.get("SuccessTopic" if good else "ErrorTopic")
        if topic is None:
            return
        message = {
            "awsRegion": self._context.region,
            "eventTime": _moment(now()),
            "receivedTime": _moment(request.received),
            "invocationStatus": status,
            **{name: value for name, value in members.items() if not good},
            "requestParameters": request.parameters,
            **{name: value for name, value in members.items() if good},
            "inferenceId": request.inference_id,
            "eventVersion": "1.0",
            "eventSource": "aws:sagemaker",
            "eventName": "InferenceResult",
        }
        wanted = f"{'SUCCESS' if good else 'ERROR'}_NOTIFICATION_TOPIC"
        included = wanted in config.get("IncludeInferenceResponseIn", [])
        if included and len(body["content"]) * (0.75 if good else 1) <= INCLUDED:
            message["responseBody"] = body
        try:
            sns = self._context.client("sns")
            sns.publish(TopicArn=topic, Message=json.dumps(message, separators=(",", ":")))
        except (BotoCoreError, ClientError) as error:
            log.warning("notification of %s: %s", request.inference_id, error)
            self._tally.add("NotificationFailures", "Count", 1.0, variant)


def _moment(time: dt.datetime) -> str:
    """A time as these messages have it."""
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"
