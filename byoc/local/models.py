"""Models: an image, its model data and its environment.

Source: API Reference, CreateModel, ContainerDefinition, S3ModelDataSource.
"""

from typing import Any

from byoc.local import hosting, images, model_data, model_packages, multi_model, protocol
from byoc.local.errors import not_implemented, validation
from byoc.local.hosting import MODEL
from byoc.local.service import Context, operation

ENVIRONMENT = 32 * 1024  # bytes of all keys and values. Source: ContainerDefinition
SUPPORTED = {
    "ContainerHostname",
    "Environment",
    "Image",
    "ImageConfig",
    "Mode",
    "ModelDataSource",
    "ModelDataUrl",
    "MultiModelConfig",
}
RESOLVED = "_Container"  # what a model package says; no answer shows it
KEPT = ("PrimaryContainer", "Containers", "ExecutionRoleArn", "VpcConfig")


@operation
def create_model(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Check image, model data and role and keep the model; it has one container, of one model or
    many, or that of an approved model package. Refuse inference pipelines and private registries.
    """
    container = container_of(request)
    data = {member: request[member] for member in KEPT if member in request}
    if "ModelPackageName" in container:
        container = data[RESOLVED] = model_packages.container_of(context, container)
    _check(context, container, request)
    data["EnableNetworkIsolation"] = request.get("EnableNetworkIsolation", False)
    return {"ModelArn": hosting.create(context, request, MODEL, data).arn}


@operation
def describe_model(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show the model as it was created."""
    return hosting.find(context, MODEL, request["ModelName"]).data


@operation
def list_models(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List the models, filtered and sorted."""
    return hosting.listing(context, request, MODEL)


@operation
def delete_model(context: Context, request: dict[str, Any]) -> None:
    """Delete the model; endpoints that run it go on."""
    hosting.delete(context, MODEL, request["ModelName"])


def container_of(model: dict[str, Any]) -> dict[str, Any]:
    """The container definition of a model, which has exactly one here."""
    if RESOLVED in model:
        return model[RESOLVED]
    given = [model["PrimaryContainer"]] if "PrimaryContainer" in model else []
    given += model.get("Containers", [])
    if len(given) != 1:
        raise not_implemented("CreateModel without exactly one container")
    return given[0]


def _check(context: Context, container: dict[str, Any], request: dict[str, Any]) -> None:
    unsupported = sorted(set(container) - SUPPORTED)
    if "InferenceExecutionConfig" in request:
        unsupported.append("InferenceExecutionConfig")
    if unsupported:
        raise not_implemented(f"CreateModel with {unsupported[0]}")
    if container.get("MultiModelConfig", {}).get("ModelCacheSetting", "Enabled") != "Enabled":
        raise not_implemented("CreateModel with ModelCacheSetting Disabled")
    if container.get("ImageConfig", {}).get("RepositoryAccessMode", "Platform") != "Platform":
        raise not_implemented("CreateModel with ImageConfig for a private registry")
    if "Image" not in container:
        raise validation("A container definition needs an Image.")
    environment = container.get("Environment", {})
    protocol.check_texts({"environment": environment})
    size = sum(len(f"{key}{value}".encode()) for key, value in environment.items())
    if size > ENVIRONMENT:
        raise validation(
            f"The keys and values of Environment are {size} bytes together; "
            f"at most {ENVIRONMENT} are allowed."
        )
    role = request.get("ExecutionRoleArn")
    image, _ = images.find(context, container["Image"], role, hosted=True)
    if multi_model.is_multi(container) and image.labels.get(multi_model.LABEL) != "true":
        raise validation(  # AWS's words: aws/deep-learning-containers#2131
            f"Your Ecr Image {container['Image']} does not contain required "
            f"{multi_model.LABEL}=true Docker label(s)."
        )
    model_data.check(context.s3(role), container)
