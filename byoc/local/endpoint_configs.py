"""Endpoint configurations: which models to host, on how many instances, with what share of calls.

Source: API Reference, CreateEndpointConfig, ProductionVariant.
"""

from typing import Any

from byoc.local import async_inference, hosting, references, serverless
from byoc.local.errors import not_implemented, validation
from byoc.local.hosting import ENDPOINT_CONFIG, MODEL
from byoc.local.models import container_of
from byoc.local.multi_model import is_multi
from byoc.local.service import Context, operation

KEPT = (
    "ProductionVariants",
    "AsyncInferenceConfig",
    "KmsKeyId",
    "ExecutionRoleArn",
    "VpcConfig",
    "EnableNetworkIsolation",
    "DataCaptureConfig",
    "ShadowProductionVariants",
)
SUPPORTED = {"EndpointConfigName", "Tags", *KEPT}
VARIANT_SUPPORTED = {
    "ContainerStartupHealthCheckTimeoutInSeconds",
    "InferenceAmiVersion",
    "InitialInstanceCount",
    "InitialVariantWeight",
    "InstanceType",
    "ModelDataDownloadTimeoutInSeconds",
    "ModelName",
    "ServerlessConfig",
    "VariantName",
    "VolumeSizeInGB",
}


@operation
def create_endpoint_config(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Keep variants of models, instances or serverless settings, and weights, what of their data
    is captured, and where asynchronous answers go; refuse accelerators and inference components."""
    _refuse(set(request) - SUPPORTED)
    shadows = request.get("ShadowProductionVariants", [])
    if shadows and len(shadows) + len(request["ProductionVariants"]) > 2:
        raise validation(
            "With ShadowProductionVariants you can only specify one variant for ProductionVariants "
            "and one variant for ShadowProductionVariants."
        )
    variants = request["ProductionVariants"] + shadows
    for variant in variants:
        _check(context, request, variant)
        variant.setdefault("InitialVariantWeight", 1.0)
    _check_multi_model(context, request, variants)
    names = [variant["VariantName"] for variant in variants]
    if len(set(names)) < len(names):
        raise validation("The names of production variants must be unique.")
    _check_capture(context, request.get("DataCaptureConfig"))
    if "AsyncInferenceConfig" in request:
        async_inference.check_config(context, request["AsyncInferenceConfig"])
    data = {member: request[member] for member in KEPT if member in request}
    created = hosting.create(context, request, ENDPOINT_CONFIG, data)
    return {"EndpointConfigArn": created.arn}


@operation
def describe_endpoint_config(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Show the configuration as it was created."""
    return hosting.find(context, ENDPOINT_CONFIG, request["EndpointConfigName"]).data


@operation
def list_endpoint_configs(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List the configurations, filtered and sorted."""
    return hosting.listing(context, request, ENDPOINT_CONFIG)


@operation
def delete_endpoint_config(context: Context, request: dict[str, Any]) -> None:
    """Delete the configuration; endpoints made from it go on."""
    hosting.delete(context, ENDPOINT_CONFIG, request["EndpointConfigName"])


def _check(context: Context, request: dict[str, Any], variant: dict[str, Any]) -> None:
    # Terraform says of what is not wanted that it is false.
    _refuse({name for name, value in variant.items() if value is not False} - VARIANT_SUPPORTED)
    if "ModelName" not in variant:
        raise not_implemented("CreateEndpointConfig with inference components")
    model = hosting.find(context, MODEL, variant["ModelName"])
    if "ServerlessConfig" in variant:
        return serverless.check(request, variant, model.data)
    for member in ("InstanceType", "InitialInstanceCount"):
        if member not in variant:
            raise validation(
                f"Production variant {variant['VariantName']} needs {member}: "
                "it is not a serverless variant."
            )


def _check_multi_model(
    context: Context, request: dict[str, Any], variants: list[dict[str, Any]]
) -> None:
    """Raise AWSError for what can't be combined with many models; the words are ours.

    Source: Developer Guide, shadow-tests-exclusions.
    """
    models = [hosting.find(context, MODEL, variant["ModelName"]).data for variant in variants]
    multi = [is_multi(container_of(model)) for model in models]
    if not any(multi):
        return
    if "AsyncInferenceConfig" in request:
        raise not_implemented("CreateEndpointConfig with AsyncInferenceConfig and MultiModel")
    if request.get("ShadowProductionVariants"):
        raise validation("Shadow variants are not supported with a multi-model container.")
    if not all(multi):
        raise not_implemented("CreateEndpointConfig with variants of one and of many models")


def _check_capture(context: Context, settings: dict[str, Any] | None) -> None:
    """Raise ValidationException for a key that is not there; the bucket is asked only when files
    are written, as AWS's users find."""
    if settings is None:
        return
    if not settings["DestinationS3Uri"].startswith("s3://"):
        raise not_implemented("CreateEndpointConfig with a DestinationS3Uri of https")
    references.check_key(context, settings.get("KmsKeyId"))


def _refuse(unsupported: set[str]) -> None:
    if unsupported:
        raise not_implemented(f"CreateEndpointConfig with {min(unsupported)}")
