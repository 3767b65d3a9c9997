"""Multi-model endpoints: models that are loaded, listed, asked and unloaded while `serve` runs.

Source: Developer Guide, mms-container-apis and build-multi-model-build-container.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from typing import Any

from byoc.check.clause import Broken, Kind, Level, Unknown, clause
from byoc.check.http import Reply, Server
from byoc.check.subject import Subject
from byoc.engines import sandbox

GROUP = "Multi-model endpoints"
PAGE = "Developer Guide, mms-container-apis"
LABEL = "com.amazonaws.sagemaker.capabilities.multi-models"
ENVIRONMENT = {"SAGEMAKER_MULTI_MODEL": "true"}
# The platform's names are opaque.
FIRST, SECOND = "3c6e0b8a9c15224a8228b9a98ca1531d", "92eb5ffee6ae2fec3ad71c777531578f"
ABSENT = "4a8a08f09d37b73795649038408b5f33"
TARGET = {"X-Amzn-SageMaker-Target-Model": "models/first.tar.gz"}
PAGES = 100  # of a list, after which it is taken to have no end
JSON = {"Content-Type": "application/json", "Accept": "application/json"}


@contextlib.contextmanager
def _start(subject: Subject) -> Iterator[Server]:
    """`serve` as a multi-model endpoint starts it: no model in memory, two on the disk."""
    if subject.engine.name == "process" and not sandbox.available():
        raise Unknown("the process engine can't mount /opt/ml on this machine: use Docker")
    ml = subject.opt_ml(hyperparameters={}, channels={})
    first = ml.path / "models" / FIRST / "model"
    shutil.copytree(subject.model, first)
    for other in (ml.path / "models" / SECOND / "model", ml.path / "elsewhere"):
        shutil.copytree(first, other, copy_function=os.link)
    with subject.serve(ml=ml, environment=ENVIRONMENT) as server:
        yield server


def _server(subject: Subject) -> Server:
    _ = subject.model  # Unknown without one
    return subject.shared("multi-model", lambda: _start(subject))


def _url(name: str) -> str:
    return f"/opt/ml/models/{name}/model"


def _load(subject: Subject, name: str, url: str | None = None) -> Reply:
    body = json.dumps({"model_name": name, "url": url or _url(name)}).encode()
    return _server(subject).ask("POST", "/models", body, JSON)


def _loaded(subject: Subject, name: str) -> None:
    """See to it that the model is loaded, whatever earlier clauses have left."""
    reply = _load(subject, name)
    if reply.status not in (200, 409):
        raise Broken(f"POST /models for {_url(name)}", reply.told)


def _unload(subject: Subject, name: str) -> Reply:
    return _server(subject).ask("DELETE", f"/models/{name}")


def _invoke(subject: Subject, name: str) -> Reply:
    payload = subject.payload
    headers = {"Content-Type": payload.content_type, **TARGET}
    return _server(subject).ask("POST", f"/models/{name}/invoke", payload.body, headers)


def _object(reply: Reply, sent: str) -> dict[str, Any]:
    """The JSON object of an answer with 200; raises Broken for any other."""
    with contextlib.suppress(ValueError):
        found = json.loads(reply.body)
        if reply.status == 200 and isinstance(found, dict):
            return found
    raise Broken(sent, reply.told)


def _list(subject: Subject) -> dict[str, str]:
    """Name to URL of all that is loaded, over all pages; raises Broken for a wrong answer."""
    models: dict[str, str] = {}
    path = "/models"
    for _ in range(PAGES):
        reply = _server(subject).ask("GET", path, headers=JSON)
        answer = _object(reply, f"GET {path}")
        try:
            models |= {one["modelName"]: one["modelUrl"] for one in answer["models"]}
        except (KeyError, TypeError):
            raise Broken(f"GET {path}", reply.told) from None
        if not (token := answer.get("nextPageToken")):
            return models
        path = f"/models?next_page_token={token}"
    raise Broken("GET /models, page after page", f"a nextPageToken still after {PAGES} pages")


@clause(
    "models-label",
    Kind.MULTI_MODEL,
    GROUP,
    Level.MUST,
    on_aws="CreateModel with Mode MultiModel is refused: Your Ecr Image … does not contain "
    f"required {LABEL}=true Docker label(s).",
    fix=f"Add to the Dockerfile: `LABEL {LABEL}=true`",
    source="Developer Guide, build-multi-model-build-container; "
    "aws/sagemaker-tensorflow-serving-container#156",
)
def label(subject: Subject) -> None:
    """The image has the label com.amazonaws.sagemaker.capabilities.multi-models=true."""
    found = subject.image.labels.get(LABEL)
    if found != "true":
        raise Broken("the image's labels were read", f"{LABEL} is {found or 'not there'}")


@clause(
    "models-in-service",
    Kind.MULTI_MODEL,
    GROUP,
    Level.MUST,
    on_aws="The endpoint fails: the primary container for production variant AllTraffic did not "
    "pass the ping health check.",
    fix="With SAGEMAKER_MULTI_MODEL=true do not look for /opt/ml/model: models come by POST "
    "/models.",
    source="Developer Guide, build-multi-model-build-container",
)
def in_service(subject: Subject) -> None:
    """With SAGEMAKER_MULTI_MODEL=true and an empty /opt/ml/model, /ping is answered with 200 before
    any model is loaded."""
    _server(subject)


@clause(
    "models-load",
    Kind.MULTI_MODEL,
    GROUP,
    Level.MUST,
    on_aws="Each first request for a model ends in ModelError.",
    fix="Load the folder that `url` names, remember it by `model_name`, and answer 200.",
    source=PAGE,
    needs=["models-in-service"],
)
def load(subject: Subject) -> None:
    """POST /models with `{"model_name": NAME, "url": FOLDER}` loads the model in that folder and is
    answered with 200."""
    reply = _load(subject, FIRST)
    if reply.status == 409:  # an earlier clause had to load it
        _unload(subject, FIRST)
        reply = _load(subject, FIRST)
    if reply.status != 200:
        raise Broken(f"POST /models for {_url(FIRST)}", reply.told)


@clause(
    "models-load-twice",
    Kind.MULTI_MODEL,
    GROUP,
    Level.SHOULD,
    on_aws="The model is loaded once more, and its memory is taken twice.",
    fix="Answer 409 to POST /models for a name that is loaded.",
    source=PAGE,
    needs=["models-load"],
)
def load_twice(subject: Subject) -> None:
    """POST /models for a model that is loaded already is answered with 409."""
    _loaded(subject, FIRST)
    reply = _load(subject, FIRST)
    if reply.status != 409:
        raise Broken("POST /models for a model that is loaded", reply.told)


@clause(
    "models-list",
    Kind.MULTI_MODEL,
    GROUP,
    Level.MUST,
    on_aws="The platform does not learn what is loaded, and can't make room.",
    fix='Answer GET /models with `{"models": [{"modelName": NAME, "modelUrl": FOLDER}]}`, and '
    "give nextPageToken only while there is more.",
    source=PAGE,
    needs=["models-load"],
)
def listed(subject: Subject) -> None:
    """GET /models is answered with 200 and lists all that is loaded, each with modelName and
    modelUrl, if need be on pages that nextPageToken leads to."""
    for name in (FIRST, SECOND):
        _loaded(subject, name)
    found = _list(subject)
    for name in (FIRST, SECOND):
        if found.get(name) != _url(name):
            raise Broken(
                f"GET /models with {_url(name)} loaded",
                f"modelUrl is {found.get(name)!r}; listed are {', '.join(found) or 'none'}",
            )


@clause(
    "models-load-failure",
    Kind.MULTI_MODEL,
    GROUP,
    Level.SHOULD,
    on_aws="The caller of a model that can't be loaded gets an error that does not say so, or all "
    "models of the instance are gone with it.",
    fix="Load the model within POST /models, and answer 4xx or 5xx with the reason (507 if memory "
    "is short) if that fails.",
    source=PAGE,
    needs=["models-list"],
)
def load_failure(subject: Subject) -> None:
    """POST /models for a folder that is not there is not answered with 200, and the other models
    stay in service."""
    _loaded(subject, FIRST)
    reply = _load(subject, ABSENT)
    sent = f"POST /models for {_url(ABSENT)}, which is not there"
    if reply.status == 200:
        raise Broken(sent, reply.told)
    if _server(subject).container.poll() is not None or FIRST not in _list(subject):
        raise Broken(f"{sent}, then GET /models", "the model that was loaded before is gone")


@clause(
    "models-get",
    Kind.MULTI_MODEL,
    GROUP,
    Level.SHOULD,
    on_aws="The platform can't ask whether a model is still loaded.",
    fix='Answer GET /models/NAME with `{"modelName": NAME, "modelUrl": FOLDER}`.',
    source=PAGE,
    needs=["models-load"],
)
def get(subject: Subject) -> None:
    """GET /models/NAME is answered with 200 and that model's modelName and modelUrl."""
    _loaded(subject, FIRST)
    reply = _server(subject).ask("GET", f"/models/{FIRST}", headers=JSON)
    sent = f"GET /models/{FIRST}"
    try:
        found: Any = json.loads(reply.body)
    except ValueError:
        raise Broken(sent, reply.told) from None
    # AWS's own model server answers a list of one.
    one = found[0] if isinstance(found, list) and found else found
    if reply.status != 200 or not isinstance(one, dict) or one.get("modelUrl") != _url(FIRST):
        raise Broken(sent, reply.told)


@clause(
    "models-invoke",
    Kind.MULTI_MODEL,
    GROUP,
    Level.MUST,
    on_aws="The caller sees ModelError, HTTP 424.",
    fix="Answer POST /models/NAME/invoke as you would answer /invocations.",
    source=PAGE,
    needs=["models-load"],
)
def invoke(subject: Subject) -> None:
    """POST /models/NAME/invoke, with the header X-Amzn-SageMaker-Target-Model, answers a good
    request with 200."""
    _loaded(subject, FIRST)
    reply = _invoke(subject, FIRST)
    if reply.status != 200:
        raise Broken(f"POST /models/{FIRST}/invoke, {subject.payload.content_type}", reply.told)


@clause(
    "models-not-loaded",
    Kind.MULTI_MODEL,
    GROUP,
    Level.SHOULD,
    on_aws="The platform takes the model for loaded and does not load it again.",
    fix="Answer 404 for every name that is not loaded.",
    source=PAGE,
    needs=["models-load"],
)
def not_loaded(subject: Subject) -> None:
    """GET and DELETE of /models/NAME, and POST to its /invoke, are answered with 404 for a model
    that is not loaded."""
    path = f"/models/{ABSENT}"
    replies = {
        f"{method} {path}": _server(subject).ask(method, path, headers=JSON)
        for method in ("GET", "DELETE")
    }
    if subject.settings.payloads:
        replies[f"POST {path}/invoke"] = _invoke(subject, ABSENT)
    for sent, reply in replies.items():
        if reply.status != 404:
            raise Broken(f"{sent}, which is not loaded", reply.told)


@clause(
    "models-unload",
    Kind.MULTI_MODEL,
    GROUP,
    Level.MUST,
    on_aws="The memory of the instance fills up, until no other model can be loaded.",
    fix="Drop the model and its memory before you answer DELETE /models/NAME with 200.",
    source=PAGE,
    needs=["models-list"],
)
def unload(subject: Subject) -> None:
    """DELETE /models/NAME is answered with 200; after that the model is not listed, the others
    are, and it can be loaded again."""
    for name in (FIRST, SECOND):
        _loaded(subject, name)
    reply = _unload(subject, FIRST)
    if reply.status != 200:
        raise Broken(f"DELETE /models/{FIRST}", reply.told)
    found = _patiently_without(subject, FIRST)
    if FIRST in found or SECOND not in found:
        raise Broken(
            f"DELETE /models/{FIRST} with another one loaded, then GET /models",
            f"listed are {', '.join(found) or 'none'}",
        )
    if (again := _load(subject, FIRST)).status != 200:
        raise Broken("DELETE of a model, then POST /models for it", again.told)


def _patiently_without(subject: Subject, name: str) -> dict[str, str]:
    """What is listed, once `name` is gone, or after a second."""
    deadline = time.monotonic() + 1.0
    while name in (found := _list(subject)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


@clause(
    "models-stay-inside",
    Kind.MULTI_MODEL,
    GROUP,
    Level.MAY,
    on_aws="Nothing, as the platform asks for nothing else; a second wall is missing.",
    fix="Resolve `url` (realpath), and answer 400 unless it lies below /opt/ml/models.",
    source=PAGE,
    needs=["models-load"],
)
def stay_inside(subject: Subject) -> None:
    """POST /models for a folder outside /opt/ml/models, reached by `..`, is refused."""
    url = "/opt/ml/models/../elsewhere"
    reply = _load(subject, ABSENT, url)
    if reply.status == 200:
        _unload(subject, ABSENT)
        raise Broken(f"POST /models for {url}, a copy of the model", reply.told)
