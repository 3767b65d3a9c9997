"""`serve` with a model that can't be used, and with more than a model."""

import random
import tempfile
import time
from pathlib import Path

from byoc.check.clause import Broken, Kind, Level, Unknown, clause
from byoc.check.hosting import PAGE, PING_FAILED
from byoc.check.http import NoAnswer, Server
from byoc.check.subject import Subject

GROUP = "Serving: the model"
MOST_NOISE = 2**20  # bytes that stand for a file of the model, at most
PATIENCE = 30.0  # seconds more than a start takes, to end or to answer with a model that is no good
ON_AWS = (
    "The endpoint is InService with a server that can't predict: every request fails with "
    "ModelError, and no instance is replaced."
)
FIX = (
    "Load the model at the start; if that fails answer /ping with 503, or end with an exit code "
    "other than 0."
)


@clause(
    "serve-model-damaged",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws=ON_AWS,
    fix=FIX,
    source=f"{PAGE}; aws/amazon-sagemaker-examples#815",
    needs=["serve-in-service"],
)
def damaged(subject: Subject) -> str:
    """With model files that hold something else, /ping is not answered with 200, or the program
    ends with an exit code other than 0."""
    with tempfile.TemporaryDirectory(prefix="byoc-check-") as folder:
        noise = random.Random(0)
        for path in (model := subject.model).rglob("*"):
            if path.is_file():
                copy = Path(folder) / path.relative_to(model)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(noise.randbytes(min(path.stat().st_size, MOST_NOISE)))
        return _refuses(subject, Path(folder), "random bytes in its model's files")


@clause(
    "serve-model-missing",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws=ON_AWS,
    fix=FIX,
    source=f"{PAGE}; aws/amazon-sagemaker-examples#621",
    needs=["serve-in-service"],
)
def missing(subject: Subject) -> str:
    """With an empty /opt/ml/model, /ping is not answered with 200, or the program ends with an exit
    code other than 0."""
    _ = subject.model  # a container that is checked without one may need none
    with tempfile.TemporaryDirectory(prefix="byoc-check-") as folder:
        return _refuses(subject, Path(folder), "an empty /opt/ml/model")


def _refuses(subject: Subject, model: Path, what: str) -> str:
    """How the server shows that it can't use the model; raises Broken when it does not."""
    usual = subject.server.started
    right = _usual_answer(subject)
    with subject.serve(model=model, wait=False) as server:
        shown = _shown(server, 2 * usual + 1, min(subject.settings.startup_time, usual + PATIENCE))
        if shown is None:
            server.container.stop(0)
            raise Broken(
                f"`serve` with {what}",
                "it neither ends nor answers /ping, as if it tried again and again: "
                + (server.last_words or "it logs nothing"),
            )
        if shown:
            return shown
        sent, said = subject.payload, f"`serve` with {what}: GET /ping, POST /invocations"
        try:
            reply = server.invoke(sent.body, sent.content_type)
        except NoAnswer as error:
            raise Broken(said, f"/ping is answered with 200, the request: {error}") from None
        if reply.status == 200 and reply.body == right:
            raise Unknown("it answers the same with that: its model is not in /opt/ml/model")
        raise Broken(said, f"/ping is answered with 200, the request with {reply.told}")


def _usual_answer(subject: Subject) -> bytes | None:
    """The body of the answer to the payload with the right model, if there is one."""
    try:
        sent = subject.payload
        return subject.server.invoke(sent.body, sent.content_type).body
    except (Unknown, NoAnswer):
        return None


def _shown(server: Server, soon: float, late: float) -> str | None:
    """How the server has shown that it can't serve; "" when /ping is good, None for no sign.

    A bad /ping counts after `soon` seconds, silence after `late` seconds.
    """
    said = None
    while (passed := time.monotonic() - server.began) < late:
        if (code := server.container.poll()) is not None:
            if code == 0:
                raise Broken("`serve` with a model that can't be used", "it ended with exit code 0")
            return f"it ends with exit code {code}"
        try:
            said = server.ask("GET", "/ping", timeout=2.0).status
        except NoAnswer:
            said = None
        if said == 200:
            return ""
        if said is not None and passed > soon:
            return f"/ping: {said}"
        time.sleep(0.05)
    return None if said is None else f"/ping: {said}"


@clause(
    "serve-model-more-files",
    Kind.SERVING,
    GROUP,
    Level.MAY,
    on_aws=PING_FAILED,
    fix="Open the model's files by their names instead of taking the first one found.",
    source="aws/sagemaker-python-sdk, src/sagemaker/utils.py (repack_model adds code/)",
    needs=["serve-in-service", "invoke-payload"],
)
def more_files(subject: Subject) -> None:
    """Files that a model.tar.gz picks up on its way do not disturb: code/, README.md, .DS_Store and
    the ._ twin of each file, as macOS packs them."""
    sent = subject.payload
    ml = subject.opt_ml(hyperparameters={}, channels={}, model=subject.model)
    for path in [p for p in ml.model.rglob("*") if p.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
    (ml.model / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    (ml.model / "README.md").write_text("How this model was made.\n")
    (ml.model / "code").mkdir(exist_ok=True)
    (ml.model / "code/requirements.txt").write_text("")
    try:
        with subject.serve(ml=ml) as server:
            reply = server.invoke(sent.body, sent.content_type)
    except Broken as broken:
        raise Broken("`serve` with more files beside the model", broken.back) from None
    if reply.status != 200:
        raise Broken("POST /invocations with more files beside the model", reply.told)
