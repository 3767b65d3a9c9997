"""How the objects of a transform job go through one container, and where the answers go.

Source: Developer Guide, your-algorithms-batch-code ("How Containers Serve Requests"); API
Reference, CreateTransformJob, ModelClientConfig, TransformOutput.
"""

import gzip
import json
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import urllib3

from byoc.engines import Container
from byoc.local import records, storage
from byoc.local.connections import NoAnswer, TimedOut, Unreachable
from byoc.local.instances import Replica
from byoc.local.records import Payload, RecordError
from byoc.local.storage import Object, StorageError

MIB = 2**20
ASK = 2.0  # seconds for /execution-parameters (AWS does not say)
TIMEOUT, RETRIES = 600, 3  # Source: ModelClientConfig
ANSWER = 2**30  # bytes of one answer that are read (AWS does not say)
PAUSE = 0.2  # seconds before a retry (AWS does not say)
SEE_LOGS = "See job logs for more information"
NO_ANSWER = "Unable to get response from algorithm"  # aws/sagemaker-python-sdk#1951


@dataclass(frozen=True)
class Settings:
    """How much is sent at a time."""

    concurrent: int
    megabytes: int
    single: bool

    @classmethod
    def of(cls, job: dict[str, Any], container: Container) -> "Settings":
        """The request's, then the container's /execution-parameters, then AWS's defaults.

        What makes no sense in the container's answer is overlooked (AWS does not say).
        """
        told = _parameters(container)
        many = job.get("MaxConcurrentTransforms") or _number(told, "MaxConcurrentTransforms", 1)
        size = job.get("MaxPayloadInMB") or _number(told, "MaxPayloadInMB", 6)
        strategy = job.get("BatchStrategy") or told.get("BatchStrategy")
        return cls(many, size, strategy in ("SingleRecord", "SINGLE_RECORD"))

    @property
    def told(self) -> str:
        """The first line of the data log. Source: aws/amazon-sagemaker-examples#1620."""
        strategy = "SINGLE_RECORD" if self.single else "MULTI_RECORD"
        return data_line(
            f"MaxConcurrentTransforms={self.concurrent}, MaxPayloadInMB={self.megabytes}, "
            f"BatchStrategy={strategy}"
        )


@dataclass(eq=False)
class Failure(Exception):
    """Why an object has no output: for FailureReason, and for the data log."""

    reason: str
    lines: tuple[str, ...]


class Sender:
    """Sends objects to one container; safe for threads."""

    def __init__(self, s3: Any, job: dict[str, Any], settings: Settings, replica: Replica) -> None:
        self._s3, self._job, self._settings, self._replica = s3, job, settings, replica
        self._given, self._output = job["TransformInput"], job["TransformOutput"]
        self._kind = self._given.get("ContentType", "")
        self._processing = records.Processing(job["DataProcessing"], self._kind)
        client = job.get("ModelClientConfig", {})
        self._timeout = client.get("InvocationsTimeoutInSeconds", TIMEOUT)
        self._retries = client.get("InvocationsMaxRetries", RETRIES)
        self._places = threading.Semaphore(settings.concurrent)
        self.stopped = threading.Event()

    def transform(self, wanted: Object) -> Failure | None:
        """Store the output of one object, whole or not at all; why not, if it has none."""
        if self.stopped.is_set():
            return None
        try:
            results = self._results(self._content(wanted))
            lines = self._output["AssembleWith"] == "Line"
            if not self.stopped.is_set():
                self._store(wanted, records.assemble(results, lines))
        except Failure as failure:
            return failure
        except (RecordError, StorageError) as error:
            return Failure(f"ClientError: {SEE_LOGS}", (f"ClientError: {error}",))
        return None

    def _content(self, wanted: Object) -> bytes:
        content = storage.read(self._s3, f"s3://{wanted.bucket}/{wanted.key}")
        if self._given["CompressionType"] == "Gzip":
            try:
                return gzip.decompress(content)
            except (OSError, EOFError, zlib.error) as error:
                raise RecordError(f"The object is not a sound gzip file: {error}") from None
        return content

    def _results(self, content: bytes) -> list[bytes]:
        split = records.split(content, self._given["SplitType"] == "Line")
        settings = self._settings
        most = settings.megabytes * MIB
        payloads = records.payloads(split, self._processing, settings.single, most)
        failed = threading.Event()

        def send(payload: Payload) -> bytes:
            if failed.is_set() or self.stopped.is_set():
                return b""
            try:
                with self._places:
                    answer = self._invoke(payload.body)
                return self._processing.result(payload, answer)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(settings.concurrent) as pool:
            return list(pool.map(send, payloads))

    def _invoke(self, body: bytes) -> bytes:
        """The answer to one payload; raises Failure. Only 5xx and no answer are tried again."""
        headers = {"Content-Type": self._kind, "Accept": self._output.get("Accept", "")}
        headers = {name: value for name, value in headers.items() if value}
        failure = Failure("", ())
        for attempt in range(self._retries + 1):
            if attempt and self.stopped.wait(PAUSE):
                break
            deadline = time.monotonic() + self._timeout
            connections = self._replica.connections
            try:
                exchange = connections.send("/invocations", body, headers, deadline)
                try:
                    answer = exchange.read(ANSWER)
                finally:
                    exchange.close()
            except (Unreachable, TimedOut, NoAnswer):
                failure = Failure(f"AlgorithmError: {SEE_LOGS}", (NO_ANSWER,))
                continue
            if 200 <= exchange.status < 300:
                return answer
            failure = _refused(exchange.status, answer)
            if exchange.status < 500:
                break
        raise failure

    def _store(self, wanted: Object, content: bytes) -> None:
        place = f"{self._output['S3OutputPath'].rstrip('/')}/{wanted.path}.out"
        storage.write(self._s3, content, place, self._output["KmsKeyId"])


def _refused(status: int, answer: bytes) -> Failure:
    """Source of the lines: aws/amazon-sagemaker-examples#1620."""
    kind = "ClientError" if status < 500 else "AlgorithmError"
    text = answer[:4096].decode(errors="replace").splitlines()
    return Failure(f"{kind}: {SEE_LOGS}", (f"{kind}: {status}", "", "Message:", *text))


def _parameters(container: Container) -> dict[str, Any]:
    """What the container says of itself; nothing where it says nothing, which it may."""
    try:
        with urllib3.PoolManager(retries=False, timeout=ASK) as http:
            answer = http.request("GET", f"{container.url}/execution-parameters")
        found = json.loads(answer.data) if answer.status == 200 else {}
    except (urllib3.exceptions.HTTPError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(told: dict[str, Any], name: str, default: int) -> int:
    value = told.get(name)
    return value if type(value) is int and 0 < value <= 100 else default


def data_line(text: str) -> str:
    """As AWS's own lines in a data log begin."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    return f"{moment}.{int(time.time() * 1000) % 1000:03d}:[sagemaker logs]: {text}"
