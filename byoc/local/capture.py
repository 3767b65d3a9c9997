"""Data capture: what an endpoint was asked and answered, as JSON Lines in S3.

Records are only noted beside the requests; a thread of each variant writes them now and then.
Only requests that the model answered well are captured (AWS does not say). Source: Developer Guide,
model-monitor-data-capture-endpoint; API Reference, DataCaptureConfig; the names of files and the
members of `eventMetadata` as AWS's example notebooks show them.
"""

import base64
import datetime as dt
import itertools
import json
import logging
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from byoc.local.service import Context
from byoc.local.storage import split

FILE = 4 * 2**20  # bytes of bodies that are written before their time (AWS does not say)
HELD = 64 * FILE  # bytes beyond which nothing is captured, as AWS stops when a disk gets full
OCTETS = "application/octet-stream"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """One request with its answer; `at` in seconds since 1970, empty texts for what was absent."""

    at: float
    request_type: str
    request: bytes
    answer_type: str
    answer: bytes
    custom_attributes: str = ""
    inference_id: str = ""

    @property
    def size(self) -> int:
        return len(self.request) + len(self.answer)


class Capture:
    """What is captured of one variant; `settings` is a DataCaptureConfig that enables it."""

    def __init__(
        self,
        context: Context,
        endpoint: str,
        variant: str,
        settings: dict[str, Any],
        role: str | None,
    ) -> None:
        self._context, self._endpoint, self._variant = context, endpoint, variant
        self._settings, self._role = settings, role
        self._share = settings["InitialSamplingPercentage"] / 100
        self._events: deque[Event] = deque()
        self._held = 0  # bytes of their bodies
        self._lock = threading.Lock()
        self._due = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._trouble = ""  # why the last file could not be written

    @property
    def works(self) -> bool:
        """Whether the last records could be written."""
        return not self._trouble

    def note(
        self,
        received: float,
        request: bytes,
        asked: Mapping[str, str],
        answer: bytes,
        answered: Mapping[str, str],
    ) -> None:
        """Note one request, if it is one of the share that is sampled; returns at once.

        `received` is a time of the monotonic clock; `asked` and `answered` are the headers to and
        from the container, these by their names in small letters.
        """
        if random.random() >= self._share:
            return
        event = Event(
            time.time() - (time.monotonic() - received),
            asked["Content-Type"],
            request,
            answered.get("content-type", ""),
            answer,
            asked.get("X-Amzn-SageMaker-Custom-Attributes", ""),
            asked.get("X-Amzn-SageMaker-Inference-Id", ""),
        )
        with self._lock:
            if self._closed or self._held + event.size > HELD:
                return
            self._events.append(event)
            self._held += event.size
            if self._held > FILE:
                self._due.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Write what is left; returns when it is written."""
        with self._lock:
            self._closed = True
            self._due.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            self._due.wait(self._context.platform.options.capture_interval)
            with self._lock:
                events, self._events, self._held = self._events, deque(), 0
                last = self._closed
                if not last:
                    self._due.clear()
            for hour, of_hour in itertools.groupby(events, lambda e: f"{_time(e):%Y/%m/%d/%H}"):
                self._write(hour, list(of_hour))

    def _write(self, hour: str, events: list[Event]) -> None:
        bucket, prefix = split(self._settings["DestinationS3Uri"])
        file = f"{_time(events[0]):%M-%S-%f}"[:-3]
        place = [prefix.strip("/"), self._endpoint, self._variant, hour]
        key = "/".join([part for part in place if part] + [f"{file}-{uuid.uuid4()}.jsonl"])
        lines = [record(event, self._settings) for event in events]
        content = "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines)
        encryption = {}
        if "KmsKeyId" in self._settings:
            key_id = self._settings["KmsKeyId"]
            encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_id}
        try:
            s3 = self._context.s3(self._role)
            s3.put_object(Bucket=bucket, Key=key, Body=content.encode(), **encryption)
            self._trouble = ""
        except (BotoCoreError, ClientError) as error:
            self._tell(f"Data capture could not write {len(events)} records: {error}")
            self._trouble = f"{error}"

    def _tell(self, message: str) -> None:
        """Say so in the variant's log. AWS does not say in which of its streams."""
        log.warning("%s/%s: %s", self._endpoint, self._variant, message)
        names = {
            "logGroupName": f"/aws/sagemaker/Endpoints/{self._endpoint}",
            "logStreamName": f"{self._variant}/data-capture",
        }
        logs = self._context.client("logs")
        try:
            try:
                logs.create_log_stream(**names)
            except logs.exceptions.ResourceAlreadyExistsException:
                pass
            logs.put_log_events(
                **names, logEvents=[{"timestamp": int(time.time() * 1000), "message": message}]
            )
        except (BotoCoreError, ClientError):
            pass  # the group was deleted


def enabled(settings: dict[str, Any] | None) -> bool:
    """Whether a DataCaptureConfig captures; EnableCapture is true by default."""
    return settings is not None and settings.get("EnableCapture", True)


def summary(settings: dict[str, Any], captures: Iterable[Capture]) -> dict[str, Any]:
    """DataCaptureConfig of DescribeEndpoint: Stopped when it is off or its last file failed."""
    works = enabled(settings) and all(capture.works for capture in captures)
    return {
        "EnableCapture": enabled(settings),
        "CaptureStatus": "Started" if works else "Stopped",
        "CurrentSamplingPercentage": settings["InitialSamplingPercentage"],
        "DestinationS3Uri": settings["DestinationS3Uri"],
        "KmsKeyId": settings.get("KmsKeyId", ""),  # botocore's model says that it is always there
    }


def record(event: Event, settings: dict[str, Any]) -> dict[str, Any]:
    """The line of one request. Times are in whole seconds."""
    modes = {option["CaptureMode"] for option in settings["CaptureOptions"]}
    headers = settings.get("CaptureContentTypeHeader", {})
    data = {}
    if modes & {"Input", "InputAndOutput"}:
        data["endpointInput"] = _side("INPUT", event.request_type, event.request, headers)
    if modes & {"Output", "InputAndOutput"}:
        data["endpointOutput"] = _side("OUTPUT", event.answer_type, event.answer, headers)
    metadata: dict[str, Any] = {"eventId": f"{uuid.uuid4()}"}
    if event.custom_attributes:
        metadata["customAttributes"] = [event.custom_attributes]
    if event.inference_id:
        metadata["inferenceId"] = event.inference_id
    metadata["inferenceTime"] = f"{_time(event):%Y-%m-%dT%H:%M:%SZ}"
    return {"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}


def _side(mode: str, kind: str, content: bytes, headers: dict[str, list[str]]) -> dict[str, str]:
    """Text where the content type is listed as CSV or JSON, base64 for everything else.

    Parameters of the type and capitals don't count. Source: API Reference,
    CaptureContentTypeHeader. Bytes that are no UTF-8 are base64 too (AWS does not say).
    """
    bare = kind.partition(";")[0].strip().lower()
    encoding = "BASE64"
    for name, member in (("CSV", "CsvContentTypes"), ("JSON", "JsonContentTypes")):
        if bare in (listed.lower() for listed in headers.get(member, [])):
            encoding = name
            break
    try:
        text = "" if encoding == "BASE64" else content.decode()
    except UnicodeDecodeError:
        encoding = "BASE64"
    if encoding == "BASE64":
        text = base64.b64encode(content).decode()
    observed = kind or OCTETS
    return {"observedContentType": observed, "mode": mode, "data": text, "encoding": encoding}


def _time(event: Event) -> dt.datetime:
    return dt.datetime.fromtimestamp(event.at, dt.UTC)
