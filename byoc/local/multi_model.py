"""The models of one multi-model container: fetched, loaded and unloaded as requests name them.

Source: Developer Guide, mms-container-apis, multi-model-endpoints, multi-model-caching,
invoke-multi-model-endpoint, create-multi-model-endpoint.
"""

import hashlib
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from byoc.local import model_data
from byoc.local.connections import NoAnswer
from byoc.local.errors import AWSError
from byoc.local.model_data import Budget, ModelDataError, NoSpace
from byoc.local.storage import split

LABEL = "com.amazonaws.sagemaker.capabilities.multi-models"
VARIABLE = "SAGEMAKER_MULTI_MODEL"  # set to "true". Source: build-multi-model-build-container
LOADING = 360.0  # seconds to download and load a model
SHORT = 60.0  # seconds for the other calls (AWS does not say)
PATIENCE = 5.0  # seconds for a download to notice that it is not wanted any more
FULL = 507  # the container's answer when it has no room for one more model
LOADED = 409  # when it has the model already

Measure = Callable[[str, str, float], None]  # name, unit and value of a metric


class Refused(Exception):
    """The container does not load the model: its status and the text of its answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


@dataclass(eq=False)
class _Model:
    """A model that is loaded, or on its way."""

    target: str
    settled: threading.Event = field(default_factory=threading.Event)
    failure: Exception | None = None
    users: set[object] = field(default_factory=set)
    used: float = 0.0

    @property
    def name(self) -> str:
        """What the container calls it: an opaque identifier."""
        return hashlib.md5(self.target.encode(), usedforsecurity=False).hexdigest()


class Models:
    """What a container has in memory and on its volume; safe for threads.

    `prefix` is the model's ModelDataUrl, `folder` the container's /opt/ml/models on this machine,
    `volume` the bytes that it may hold, `free` those that this machine still has, `url` where the
    container listens.
    """

    def __init__(
        self,
        s3: Any,
        prefix: str,
        folder: Path,
        volume: int,
        free: Callable[[], int],
        url: str,
    ) -> None:
        self._s3, self._prefix, self._folder = s3, prefix.rstrip("/") + "/", folder
        self._volume, self._free, self._url = volume, free, url
        self._models: dict[str, _Model] = {}
        self._stored: dict[str, int] = {}  # targets on the volume, and their bytes
        self._lock = threading.Lock()
        self._disk, self._memory = threading.Lock(), threading.Lock()  # one change at a time
        self._closed = threading.Event()
        self._http = urllib3.PoolManager(retries=False)

    def __contains__(self, target: str) -> bool:
        model = self._models.get(target)
        return model is not None and model.settled.is_set()

    def __len__(self) -> int:
        """How many models are loaded."""
        return sum(model.settled.is_set() for model in list(self._models.values()))

    def enter(self, target: str, token: object, deadline: float, measure: Measure) -> str:
        """Where to POST a request for a model, which is loaded first if need be.

        It stays until `leave` is called with the token. Raises AWSError: ModelNotReadyException
        when that takes until `deadline` (monotonic clock) and goes on, ValidationError when there
        is no sound archive; Refused; NoAnswer.
        """
        began = time.monotonic()
        with self._lock:
            model = self._models.get(target)
            if model is None:
                model = self._models[target] = _Model(target)
                threading.Thread(target=self._bring, args=(model, measure), daemon=True).start()
            model.users.add(token)
            model.used = began
            hit = model.settled.is_set()
        measure("ModelCacheHit", "None", float(hit))
        if not hit:
            model.settled.wait(max(0.0, deadline - began))
            measure("ModelLoadingWaitTime", "Microseconds", 1e6 * (time.monotonic() - began))
        if not model.settled.is_set():
            raise AWSError(
                "ModelNotReadyException",
                f"Model {target} is still being downloaded or loaded. Wait and try again.",
                429,
            )
        if model.failure is not None:
            raise model.failure
        return f"/models/{model.name}/invoke"

    def leave(self, token: object) -> None:
        """The request has its answer."""
        with self._lock:
            for model in self._models.values():
                model.users.discard(token)

    def doubt(self, target: str) -> None:
        """The container said that it does not know a model: if so, the next request loads it."""
        with self._lock:
            model = self._models.get(target)
        try:
            if model is not None and self._ask("GET", f"/models/{model.name}").status == 404:
                self._forget(model)
        except NoAnswer:
            pass

    def close(self) -> None:
        """Fetch nothing more: the container ends, and its folder goes."""
        self._closed.set()
        if self._disk.acquire(timeout=PATIENCE):
            self._disk.release()

    def _bring(self, model: _Model, measure: Measure) -> None:
        deadline = time.monotonic() + LOADING
        try:
            with self._disk:
                if model.target not in self._stored:
                    began = time.monotonic()
                    self._fetch(model, deadline, measure)
                    spent = time.monotonic() - began
                    measure("ModelDownloadingTime", "Microseconds", 1e6 * spent)
            with self._memory:
                self._load(model, deadline, measure)
        except (AWSError, Refused, NoAnswer) as error:
            model.failure = error
        except Exception as error:  # a fault of ours must not let requests wait
            model.failure = AWSError("InternalFailure", f"{error!r}", 500)
        if model.failure is not None:
            self._forget(model)
        model.settled.set()

    def _fetch(self, model: _Model, deadline: float, measure: Measure) -> None:
        """Put its files on the volume; what nobody needs makes room for them."""
        if self._closed.is_set():
            raise NoAnswer("The container has ended.")
        uri = self._prefix + model.target.lstrip("/")
        bucket, key = split(uri)
        try:
            self._s3.head_object(Bucket=bucket, Key=key)
        except (ClientError, BotoCoreError):
            raise AWSError(  # after AWS's sentence for other endpoints; AWS's own is not known
                "ValidationError",
                f'Failed to download model data from URL: "{uri}". Please ensure that there is an '
                "object located at the URL and that the role passed to CreateModel has "
                "permissions to download the object.",
            ) from None
        folder = self._folder / model.name
        while True:
            space = self._volume - sum(self._stored.values())
            budget = Budget(min(space, self._free()), deadline, self._closed)
            try:
                model_data.fetch(self._s3, {"ModelDataUrl": uri}, folder / "model", budget)
                self._stored[model.target] = budget.used
                return
            except ModelDataError as error:
                shutil.rmtree(folder, ignore_errors=True)
                if not (isinstance(error, NoSpace) and self._free_volume(measure)):
                    raise AWSError("ValidationError", f"{error}") from None

    def _free_volume(self, measure: Measure) -> bool:
        """Delete a model's files, of one that is not loaded if there is any; False if none can."""
        with self._lock:
            idle = [target for target in self._stored if target not in self._models]
        if not idle:
            with self._memory:
                gone = self._unload(measure)
            if gone is None:
                return False
            idle = [gone]
        del self._stored[idle[0]]
        doomed = self._folder / f".{uuid.uuid4().hex}"
        (self._folder / _Model(idle[0]).name).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        return True

    def _load(self, model: _Model, deadline: float, measure: Measure) -> None:
        """Have the container load it; what was not used for longest makes room at 507."""
        body = {"model_name": model.name, "url": f"/opt/ml/models/{model.name}/model"}
        headers = {"X-Amzn-SageMaker-Target-Model": model.target}
        while True:
            began = time.monotonic()
            left = max(1.0, deadline - began)
            answer = self._ask("POST", "/models", left, json=body, headers=headers)
            if answer.status == LOADED or 200 <= answer.status < 300:
                spent = time.monotonic() - began
                measure("ModelLoadingTime", "Microseconds", 1e6 * spent)
                return
            if answer.status != FULL or self._unload(measure) is None:
                raise Refused(answer.status, answer.data.decode("utf-8", "replace"))

    def _unload(self, measure: Measure) -> str | None:
        """Unload the model that nobody has used for longest; its target, None if all are in use."""
        with self._lock:
            idle = [m for m in self._models.values() if m.settled.is_set() and not m.users]
            if not idle:
                return None
            model = min(idle, key=lambda m: m.used)
            del self._models[model.target]
        began = time.monotonic()
        self._ask("DELETE", f"/models/{model.name}")
        measure("ModelUnloadingTime", "Microseconds", 1e6 * (time.monotonic() - began))
        return model.target

    def _forget(self, model: _Model) -> None:
        with self._lock:
            if self._models.get(model.target) is model:
                del self._models[model.target]

    def _ask(self, method: str, path: str, seconds: float = SHORT, **given: Any) -> Any:
        try:
            return self._http.request(method, self._url + path, timeout=seconds, **given)
        except urllib3.exceptions.HTTPError as error:
            raise NoAnswer(f"{error}") from None


def speaks(url: str) -> bool:
    """Whether the container at `url` lists its models."""
    try:
        return urllib3.request("GET", f"{url}/models", retries=False, timeout=2.0).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def is_multi(container: dict[str, Any]) -> bool:
    """Whether a container definition is one of many models."""
    return container.get("Mode") == "MultiModel"
