"""Models, endpoint configurations and endpoints.

Source: API Reference, CreateModel, CreateEndpointConfig, CreateEndpoint, DescribeEndpoint;
Developer Guide, your-algorithms-inference-code.
"""

import itertools
import random
import shutil
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import urllib3

from byoc.engines import Container
from byoc.errors import ByocError
from byoc.local import images, quotas, storage
from byoc.local.errors import not_implemented, validation
from byoc.local.logs import LogStream
from byoc.local.service import Context, operation
from byoc.local.state import Resource, now, page, tags_of, taken
from byoc.optml import OptML

STOP_GRACE = 30.0  # seconds from SIGTERM to SIGKILL. Source: your-algorithms-inference-code
CANNOT_START = (126, 127)  # exit codes of a program that is not executable or not there


@operation
def create_model(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    containers = [request["PrimaryContainer"]] if "PrimaryContainer" in request else []
    containers += request.get("Containers", [])
    if len(containers) != 1:
        raise not_implemented("CreateModel without exactly one container")
    container = containers[0]
    for member in ("ModelDataSource", "ModelPackageName", "MultiModelConfig"):
        if member in container:
            raise not_implemented(f"CreateModel with {member}")
    if container.get("Mode", "SingleModel") != "SingleModel":
        raise not_implemented("CreateModel with Mode MultiModel")
    if "Image" not in container:
        raise validation("A container definition needs an Image.")
    images.find(context, container["Image"])
    archive = container.get("ModelDataUrl")
    if archive and not storage.exists(context.client("s3"), archive):
        raise validation(f"Could not find model data at {archive}.")
    data = {
        "ModelName": request["ModelName"],
        "PrimaryContainer": container,
        "ExecutionRoleArn": request.get("ExecutionRoleArn"),
        "VpcConfig": request.get("VpcConfig"),
        "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
    }
    return _create(context, request, MODEL, data)


@operation
def describe_model(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    return _find(context, MODEL, request["ModelName"]).data


@operation
def list_models(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    return _list(context, request, MODEL)


@operation
def delete_model(context: Context, request: dict[str, Any]) -> None:
    _delete(context, MODEL, request["ModelName"])


@operation
def create_endpoint_config(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    for member in ("DataCaptureConfig", "AsyncInferenceConfig", "ShadowProductionVariants"):
        if member in request:
            raise not_implemented(f"CreateEndpointConfig with {member}")
    for variant in request["ProductionVariants"]:
        for member in ("ServerlessConfig", "ManagedInstanceScaling", "RoutingConfig"):
            if member in variant:
                raise not_implemented(f"CreateEndpointConfig with {member}")
        if "ModelName" not in variant:
            raise not_implemented("CreateEndpointConfig with inference components")
        _find(context, MODEL, variant["ModelName"])
        variant.setdefault("InitialInstanceCount", 1)
        variant.setdefault("InitialVariantWeight", 1.0)
    names = [variant["VariantName"] for variant in request["ProductionVariants"]]
    if len(set(names)) < len(names):
        raise validation("The names of production variants must be unique.")
    members = ("EndpointConfigName", "ProductionVariants", "KmsKeyId", "ExecutionRoleArn")
    data = {key: request.get(key) for key in (*members, "VpcConfig", "EnableNetworkIsolation")}
    return _create(context, request, ENDPOINT_CONFIG, data)


@operation
def describe_endpoint_config(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    return _find(context, ENDPOINT_CONFIG, request["EndpointConfigName"]).data


@operation
def list_endpoint_configs(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    return _list(context, request, ENDPOINT_CONFIG)


@operation
def delete_endpoint_config(context: Context, request: dict[str, Any]) -> None:
    _delete(context, ENDPOINT_CONFIG, request["EndpointConfigName"])


@operation
def create_endpoint(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    config = _find(context, ENDPOINT_CONFIG, request["EndpointConfigName"])
    if "DeploymentConfig" in request:
        raise not_implemented("CreateEndpoint with DeploymentConfig")
    data = {
        "EndpointName": request["EndpointName"],
        "EndpointConfigName": config.name,
        "EndpointStatus": "Creating",
        "LastModifiedTime": now(),
    }
    with context.platform.state.lock:
        variants = config.data["ProductionVariants"]
        quotas.check(context, quotas.ENDPOINT, quotas.of_variants(variants))
        answer = _create(context, request, ENDPOINT, data, Deployment)
        context.table("endpoint")[request["EndpointName"]].runtime.start(config)
    return answer


@operation
def describe_endpoint(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    with context.platform.state.lock:
        return dict(_find(context, ENDPOINT, request["EndpointName"]).data)


@operation
def list_endpoints(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    return _list(context, request, ENDPOINT)


@operation
def delete_endpoint(context: Context, request: dict[str, Any]) -> None:
    with context.platform.state.lock:
        endpoint = _find(context, ENDPOINT, request["EndpointName"])
        if endpoint.data["EndpointStatus"] == "Deleting":
            return
        endpoint.data |= {"EndpointStatus": "Deleting", "LastModifiedTime": now()}

    def delete() -> None:
        endpoint.runtime.stop(STOP_GRACE)
        context.table("endpoint").pop(endpoint.name, None)

    threading.Thread(target=delete, daemon=True).start()


@dataclass(frozen=True)
class Kind:
    """One of the three kinds of this module: how AWS names it in ARNs, members and messages."""

    table: str
    member: str
    words: str


MODEL = Kind("model", "Model", "model")
ENDPOINT_CONFIG = Kind("endpoint-config", "EndpointConfig", "endpoint configuration")
ENDPOINT = Kind("endpoint", "Endpoint", "endpoint")


def _create(
    context: Context,
    request: dict[str, Any],
    kind: Kind,
    data: dict[str, Any],
    runtime: Callable[[Context, Resource], Any] | None = None,
) -> dict[str, Any]:
    name = data[f"{kind.member}Name"]
    arn = context.arn(kind.table, name)
    data |= {f"{kind.member}Arn": arn, "CreationTime": now()}
    resource = Resource(name, arn, data, tags_of(request))
    with context.platform.state.lock:
        table = context.table(kind.table)
        if taken(name, table):
            raise validation(f'Cannot create already existing {kind.words} "{arn}".')
        table[name] = resource
        if runtime is not None:
            resource.runtime = runtime(context, resource)
    return {f"{kind.member}Arn": arn}


def _find(context: Context, kind: Kind, name: str) -> Resource:
    resource = context.table(kind.table).get(name)
    if resource is None:
        raise validation(f'Could not find {kind.words} "{context.arn(kind.table, name)}".')
    return resource


def _delete(context: Context, kind: Kind, name: str) -> None:
    with context.platform.state.lock:
        _find(context, kind, name)
        del context.table(kind.table)[name]


def _list(context: Context, request: dict[str, Any], kind: Kind) -> dict[str, Any]:
    members = [f"{kind.member}Name", f"{kind.member}Arn", "CreationTime"]
    status = None
    if kind is ENDPOINT:
        status = "EndpointStatus"
        members += [status, "LastModifiedTime"]
    with context.platform.state.lock:
        return page(
            request,
            context.table(kind.table).values(),
            f"{kind.member}s",
            lambda resource: {key: resource.data[key] for key in members},
            name=members[0],
            status=status,
        )


@dataclass
class Instance:
    """One instance of a variant: its container, the way to it, and where its log goes."""

    container: Container
    stream: LogStream
    http: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(maxsize=64, retries=False)
    )


@dataclass
class Variant:
    """One production variant in service."""

    name: str
    weight: float
    image: str
    digest: str
    instances: list[Instance] = field(default_factory=list)
    turn: "itertools.count[int]" = field(default_factory=itertools.count)

    def next(self) -> Instance:
        """The instance whose turn it is."""
        return self.instances[next(self.turn) % len(self.instances)]


class Deployment:
    """What stands behind one endpoint: its variants' containers, started by a thread."""

    def __init__(self, context: Context, endpoint: Resource) -> None:
        self.context, self.endpoint = context, endpoint
        self.variants: dict[str, Variant] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._folder = context.platform.work / "hosting" / uuid.uuid4().hex

    def start(self, config: Resource) -> None:
        """Bring the configuration's variants into service, or fail as AWS words it."""
        self._thread = threading.Thread(target=self._bring_up, args=(config,), daemon=True)
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Stop all containers, also while they are being started; returns when they are gone."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        running = [i.container for v in self.variants.values() for i in v.instances]
        stoppers = [threading.Thread(target=c.stop, args=(grace,)) for c in running]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """End all containers now: the local AWS goes down."""
        self.stop(0)

    def choose(self, wanted: str | None) -> Variant:
        """The variant named, or one by weight. Source: API Reference, ProductionVariant."""
        if wanted is not None:
            if wanted not in self.variants:
                raise validation(f"Variant {wanted} not found for Request")
            return self.variants[wanted]
        variants = list(self.variants.values())
        weights = [variant.weight for variant in variants]
        return random.choices(variants, weights)[0] if any(weights) else random.choice(variants)

    def _bring_up(self, config: Resource) -> None:
        reason = None
        for settings in config.data["ProductionVariants"]:
            try:
                reason = self._bring_up_variant(settings)
            except storage.StorageError as error:
                reason = f"{error}"
            except Exception as error:  # a fault of ours must not leave the endpoint Creating
                reason = f"InternalServerError: {type(error).__name__}: {error}"
            if reason or self._stopped.is_set():
                break
        if reason and not self._stopped.is_set():
            for variant in self.variants.values():
                for instance in variant.instances:
                    instance.container.stop(STOP_GRACE)
        with self.context.platform.state.lock:
            if self._stopped.is_set():
                return
            data = self.endpoint.data
            data |= {
                "EndpointStatus": "Failed" if reason else "InService",
                "LastModifiedTime": now(),
            }
            if reason:
                data["FailureReason"] = reason
                return
            data["ProductionVariants"] = [
                {
                    "VariantName": variant.name,
                    "DeployedImages": [
                        {
                            "SpecifiedImage": variant.image,
                            "ResolvedImage": f"{_repository(variant.image)}@{variant.digest}",
                            "ResolutionTime": now(),
                        }
                    ],
                    "CurrentWeight": variant.weight,
                    "DesiredWeight": variant.weight,
                    "CurrentInstanceCount": len(variant.instances),
                    "DesiredInstanceCount": len(variant.instances),
                }
                for variant in self.variants.values()
            ]

    def _bring_up_variant(self, settings: dict[str, Any]) -> str | None:
        """Start the variant's instances; returns the failure's reason, or None."""
        context, name = self.context, settings["VariantName"]
        model = _find(context, MODEL, settings["ModelName"])
        definition = model.data["PrimaryContainer"]
        image, digest = images.find(context, definition["Image"])
        weight = settings["InitialVariantWeight"]
        variant = self.variants[name] = Variant(name, weight, definition["Image"], digest)
        group = f"/aws/sagemaker/Endpoints/{self.endpoint.name}"
        for number in range(settings["InitialInstanceCount"]):
            ml = OptML(self._folder / f"{name}-{number}")
            ml.path.mkdir(parents=True)
            if archive := definition.get("ModelDataUrl"):
                try:
                    storage.extract_model(context.client("s3"), archive, ml.model)
                except storage.StorageError as error:
                    return (
                        'Failed to extract model data archive for container "container_1" from '
                        f'URL: "{archive}": {error}. Please ensure that the object located at the '
                        "URL is a valid tar.gz archive."
                    )
            ml.model.mkdir(exist_ok=True)
            stream_name = f"{name}/i-{uuid.uuid4().hex[:17]}"
            stream = LogStream(context.client("logs"), group, stream_name)
            try:
                container = context.platform.engine.run(
                    image, ["serve"], ml=ml, environment=definition.get("Environment", {})
                )
            except ByocError as error:
                return f"The local AWS could not start the container. {error}"
            variant.instances.append(Instance(container, stream))
            threading.Thread(target=stream.follow, args=(container.lines(),), daemon=True).start()
        wanted = settings.get("ContainerStartupHealthCheckTimeoutInSeconds", 480)
        limit = min(wanted, context.platform.options.startup_timeout)
        for instance in variant.instances:
            if not self._ready(instance.container, limit):
                return _no_ping(name, definition["Image"], instance.container)
        return None

    def _ready(self, container: Container, limit: float) -> bool:
        """As `Container.ready`, but given up when the endpoint is deleted."""
        waited = 0.0
        while waited < limit and not self._stopped.is_set() and container.poll() is None:
            if container.ready(timeout=0.5):
                return True
            waited += 0.5
        return False


def _no_ping(variant: str, image: str, container: Container) -> str:
    if container.poll() in CANNOT_START:
        return (
            "CannotStartContainerError. Please ensure the model container for variant "
            f"{variant} starts correctly when invoked with 'docker run {image} serve'"
        )
    return (
        f"The primary container for production variant {variant} did not pass the ping health "
        "check. Please check CloudWatch logs for this endpoint."
    )


def _repository(image: str) -> str:
    host, _, rest = image.partition("/")
    return f"{host}/{rest.split('@')[0].split(':')[0]}"
