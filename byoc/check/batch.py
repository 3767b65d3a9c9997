"""Batch transform: the same `serve`, asked for whole files.

Source: Developer Guide, your-algorithms-batch-code; API CreateTransformJob.
"""

import contextlib
import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from byoc.check.clause import Broken, Kind, Level, Unknown, clause
from byoc.check.http import NoAnswer, Reply, Server
from byoc.check.subject import Payload, Subject

GROUP = "Batch transform"
PAGE = "Developer Guide, your-algorithms-batch-code"
API = "API CreateTransformJobRequest"
JOB = {
    "SAGEMAKER_BATCH": "true",
    "SAGEMAKER_BATCH_STRATEGY": "MULTI_RECORD",
    "SAGEMAKER_MAX_PAYLOAD_IN_MB": "6",
    "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "4",
}
MEGABYTE = 2**20
DEFAULT_PAYLOAD = 6  # MB
MOST_PAYLOAD = 100  # MB, also for all concurrent payloads together
PATIENCE = 30.0  # seconds for a large payload; a slow model is no fault
LINES = ("text/csv", "application/jsonlines", "application/x-jsonlines", "application/x-ndjson")
TEXT = (*LINES, "text/plain")
JSON_LINES = LINES[1:]


def _server(subject: Subject) -> Server:
    return subject.shared("batch", lambda: subject.serve(environment=JOB))


def _line_payload(subject: Subject) -> Payload:
    """The owner's first payload that is made of lines; raises Unknown when there is none."""
    _ = subject.payload
    for one in subject.settings.payloads:
        if one.content_type.partition(";")[0].strip() in LINES and one.body.strip():
            return one
    raise Unknown("give a --payload of lines (text/csv or application/jsonlines)")


def _lines(body: bytes) -> list[bytes]:
    return [line for line in body.splitlines() if line.strip()]


def _invoke(subject: Subject, payload: Payload, lines: list[bytes]) -> Reply:
    body = b"\n".join([*lines, b""])
    accept = payload.content_type
    return _server(subject).invoke(body, payload.content_type, Accept=accept)


def _parameters(subject: Subject) -> dict[str, Any]:
    """What /execution-parameters says; raises Unknown where it says nothing."""
    reply = _server(subject).ask("GET", "/execution-parameters")
    with contextlib.suppress(ValueError):
        found = json.loads(reply.body)
        if reply.status == 200 and isinstance(found, dict):
            return found
    raise Unknown("it does not answer /execution-parameters, which is optional")


def _wants_single_records(subject: Subject) -> bool:
    try:
        return _parameters(subject).get("BatchStrategy") == "SINGLE_RECORD"
    except Unknown:
        return False


@clause(
    "batch-in-service",
    Kind.BATCH,
    GROUP,
    Level.MUST,
    on_aws="The job asks /ping for up to half an hour, and fails: Model container failed to "
    "respond to ping.",
    fix="Do not refuse, or act upon, the variables that a transform job adds to the environment.",
    source=PAGE,
    needs=["serve-in-service"],
)
def in_service(subject: Subject) -> None:
    """With the variables of a transform job (SAGEMAKER_BATCH=true, SAGEMAKER_BATCH_STRATEGY,
    SAGEMAKER_MAX_PAYLOAD_IN_MB, SAGEMAKER_MAX_CONCURRENT_TRANSFORMS), /ping is answered with 200.
    """
    _server(subject)


@clause(
    "batch-parameters-answer",
    Kind.BATCH,
    GROUP,
    Level.SHOULD,
    on_aws="The job asks before its first record; what it makes of another answer is not "
    "documented.",
    fix="Answer 404 to every path that you do not serve, or give the parameters as a JSON object.",
    source=PAGE,
    needs=["batch-in-service"],
)
def parameters_answer(subject: Subject) -> None:
    """GET /execution-parameters is answered with 200 and a JSON object, or, as it is optional, with
    404."""
    reply = _server(subject).ask("GET", "/execution-parameters")
    if reply.status == 404:
        return
    try:
        sound = reply.status == 200 and isinstance(json.loads(reply.body), dict)
    except ValueError:
        sound = False
    if not sound:
        raise Broken("GET /execution-parameters", reply.told)


@clause(
    "batch-parameters-values",
    Kind.BATCH,
    GROUP,
    Level.SHOULD,
    on_aws="CreateTransformJob refuses such values; what a job does that gets them from your "
    "container is not documented.",
    fix='Answer as in `{"MaxConcurrentTransforms": 4, "BatchStrategy": "MULTI_RECORD", '
    '"MaxPayloadInMB": 6}`.',
    source=f"{PAGE}; {API}",
    needs=["batch-parameters-answer"],
)
def parameters_values(subject: Subject) -> None:
    """If /execution-parameters answers, then with the whole numbers MaxConcurrentTransforms and
    MaxPayloadInMB, each and their product at most 100 MB, and with the BatchStrategy MULTI_RECORD
    or SINGLE_RECORD."""
    found = _parameters(subject)
    wrong = []
    for name in ("MaxConcurrentTransforms", "MaxPayloadInMB"):
        value = found.get(name, "missing")
        if type(value) is not int or value < 0:
            wrong.append(f"{name} is {value!r}, not a whole number")
    if (strategy := found.get("BatchStrategy")) not in ("MULTI_RECORD", "SINGLE_RECORD"):
        wrong.append(f"BatchStrategy is {strategy!r}, not MULTI_RECORD or SINGLE_RECORD")
    if not wrong:
        size, many = found["MaxPayloadInMB"], found["MaxConcurrentTransforms"]
        if size * max(many, 1) > MOST_PAYLOAD:
            wrong.append(f"{many} payloads at a time of {size} MB are over {MOST_PAYLOAD} MB")
    if wrong:
        raise Broken("GET /execution-parameters", f"{'; '.join(wrong)}: {json.dumps(found)}")


@clause(
    "batch-line-for-line",
    Kind.BATCH,
    GROUP,
    Level.SHOULD,
    on_aws="With SplitType Line the predictions do not stand beside their records: they can't be "
    "joined to the input (JoinSource Input), and are mixed up in silence.",
    fix="Take every line for a record, the first one too (pandas: header=None), and answer a line "
    "for each; or ask for SINGLE_RECORD in /execution-parameters.",
    source="Developer Guide, batch-transform-data-processing; aws/sagemaker-python-sdk#1304",
    needs=["batch-in-service", "invoke-payload"],
)
def line_for_line(subject: Subject) -> None:
    """Many records in one payload, a line each, are answered with 200 and a line for each, in CSV
    or JSON lines."""
    payload = _line_payload(subject)
    if _wants_single_records(subject):
        raise Unknown("it asks for one record at a time, in /execution-parameters")
    given = _lines(payload.body)
    sent = [*given, *[given[-1]] * 3]
    reply = _invoke(subject, payload, sent)
    said = f"POST /invocations, {payload.content_type}, {len(sent)} lines"
    if reply.status != 200:
        raise Broken(said, reply.told)
    if (kind := reply.headers.get("content-type", "").partition(";")[0].strip()) not in TEXT:
        raise Unknown(f"the answer is {kind or 'of no type'}, not lines, though CSV was asked for")
    got = len(_lines(reply.body))
    header = not _is_numbers(given[0])
    if got != len(sent) and not (header and got == len(sent) - 1):
        raise Broken(said, f"{got} lines: {reply.told}")


def _is_numbers(line: bytes) -> bool:
    try:
        [float(field) for field in line.split(b",")]
    except ValueError:
        return False
    return True


@clause(
    "batch-bad-record",
    Kind.BATCH,
    GROUP,
    Level.SHOULD,
    on_aws="Every prediction behind the bad record stands beside the wrong record, and nobody is "
    "told.",
    fix="Refuse the payload with 400 and name the line, or answer a line in its place.",
    source="Developer Guide, batch-transform-errors",
    needs=["batch-line-for-line"],
)
def bad_record(subject: Subject) -> None:
    """A record that can't be read is never left out of an answer with 200: the payload is refused
    as a whole, or a line stands for the record."""
    payload = _line_payload(subject)
    given = _lines(payload.body)
    expected = len(_lines(_invoke(subject, payload, given).body)) + 2
    if payload.content_type.partition(";")[0].strip() in JSON_LINES:
        bad = [b'{"byoc-check": ', b"not JSON"]
    else:
        bad = [b"byoc-check", b",".join([given[-1], *[b"?"] * 5])]
    for line in bad:
        reply = _invoke(subject, payload, [*given, line, given[-1]])
        if reply.status == 200 and (got := len(_lines(reply.body))) < expected:
            raise Broken(
                f"POST /invocations, {payload.content_type}, {len(given)} good lines, then "
                f"{line[:60].decode(errors='replace')!r}, then a good one",
                f"{got} lines instead of {expected}: {reply.told}",
            )


@clause(
    "batch-concurrent",
    Kind.BATCH,
    GROUP,
    Level.SHOULD,
    on_aws="A job with MaxConcurrentTransforms over 1 fails when a request does: Unable to get "
    "response from algorithm.",
    fix="Take several connections at a time, in threads or workers, or let them wait.",
    source=f"{PAGE}; aws/sagemaker-python-sdk#1951",
    needs=["batch-in-service", "invoke-payload"],
)
def concurrent(subject: Subject) -> None:
    """As many payloads at a time as /execution-parameters allows, four where it says nothing, are
    all answered with 200."""
    payload, server, many = subject.payload, _server(subject), 4
    with contextlib.suppress(Unknown):
        promised = _parameters(subject).get("MaxConcurrentTransforms")
        many = min(max(promised, 1), 16) if isinstance(promised, int) else many
    failed: list[str] = []

    def send() -> None:
        try:
            reply = server.invoke(payload.body, payload.content_type)
            if reply.status != 200:
                failed.append(reply.told)
        except NoAnswer as silent:
            failed.append(f"{silent}")

    threads = [threading.Thread(target=send) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise Broken(f"{many} payloads at a time", f"{len(failed)} failed: {failed[0]}")


@clause(
    "batch-payload-size",
    Kind.BATCH,
    GROUP,
    Level.SHOULD,
    on_aws="Files of some megabytes fail with ClientError: 413, small ones work.",
    fix="Raise the limit of the proxy (nginx: client_max_body_size) and of the server, or ask for "
    "a smaller MaxPayloadInMB in /execution-parameters.",
    source=f"{API}; aws/amazon-sagemaker-examples#2793",
    needs=["batch-in-service", "invoke-payload"],
)
def payload_size(subject: Subject) -> None:
    """A payload of 6 MB, which is what a job sends by default, is not refused for its size, unless
    /execution-parameters asks for a smaller MaxPayloadInMB."""
    payload, size = subject.payload, DEFAULT_PAYLOAD
    with contextlib.suppress(Unknown):
        wanted = _parameters(subject).get("MaxPayloadInMB")
        size = min(size, wanted) if type(wanted) is int and wanted > 0 else size
    body = _padded(payload, size * MEGABYTE - 1024)
    sent = f"POST /invocations, {payload.content_type}, {len(body):,} bytes"
    with subject.serve(environment=JOB) as server:  # a slow one may be busy with it for long
        try:
            reply = server.invoke(body, payload.content_type, timeout=PATIENCE)
        except NoAnswer as silent:
            if "timed out" in f"{silent}":
                raise Unknown(f"no answer to {len(body):,} bytes after {PATIENCE:.0f} s") from None
            raise Broken(sent, f"{silent}") from None
    if reply.status == 413:
        raise Broken(sent, reply.told)


def _padded(payload: Payload, size: int) -> bytes:
    """The payload made larger: its last line again and again, or blanks where it has no lines."""
    body = payload.body
    if payload.content_type.partition(";")[0].strip() in LINES and (lines := _lines(body)):
        again = lines[-1] + b"\n"
        return b"\n".join([*lines, b""]) + again * max(0, (size - len(body)) // len(again))
    return body + b" " * max(0, size - len(body))


@clause(
    "batch-load-failure",
    Kind.BATCH,
    GROUP,
    Level.SHOULD,
    on_aws="The job waits for /ping for about half an hour, which is paid for, and then says only "
    "that the container did not respond.",
    fix="Load the model before the server starts; if that fails, print why and end with a code "
    "other than 0.",
    source="aws/amazon-sagemaker-examples#815",
    needs=["batch-in-service"],
)
def load_failure(subject: Subject) -> None:
    """If the model can't be loaded, `serve` ends with an exit code other than 0, or at least writes
    to its log."""
    model = subject.model
    patience = max(5.0, 3 * _server(subject).started)
    with _spoilt(model) as spoilt, subject.serve(model=spoilt, environment=JOB, wait=False) as bad:
        if bad.container.ready(patience):
            raise Unknown("it is in service with any model: it may load it later, or needs none")
        code = bad.container.poll()
        silent = not any(line.strip() for line in bad.container.log)
        if code == 0 or (code is None and silent):
            end = "it still runs, without a word" if code is None else "it ended with exit code 0"
            raise Broken("`serve` with files of 16 random bytes for the model", end)


@contextlib.contextmanager
def _spoilt(model: Path) -> Iterator[Path]:
    """The model's files by name, with nothing sensible in them."""
    with tempfile.TemporaryDirectory(prefix="byoc-check-") as folder:
        for file in model.rglob("*"):
            if file.is_file():
                place = Path(folder) / file.relative_to(model)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(bytes.fromhex("93c1007fee0b5a3c41d2009918fe7a02"))
        yield Path(folder)
