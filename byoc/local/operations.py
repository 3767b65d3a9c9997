"""All operations that are answered here, and what each does.

What is not among them is moto's answer, or a refusal that names the operation.
"""

import inspect
from collections.abc import Iterator

from byoc.local import (  # noqa: F401  (each fills OPERATIONS)
    async_inference,
    autoscaling,
    endpoint_configs,
    endpoints,
    iam,
    model_packages,
    models,
    processing,
    protocol,
    quotas,
    runtime,
    states,
    tagging,
    tags,
    trail,
    training,
    transform,
    tuning,
)
from byoc.local.service import OPERATIONS as OPERATIONS


def rows() -> Iterator[tuple[str, str, str]]:
    """Service as AWS writes its name, operation, and the sentence on what it does here.

    SageMaker comes first.
    """
    for service in sorted(OPERATIONS, key=lambda name: (not name.startswith("sagemaker"), name)):
        for name, handler in sorted(OPERATIONS[service].items()):
            sentence, _, _ = (inspect.getdoc(handler) or "").partition("\n\n")
            yield protocol.service(service).service_id, name, " ".join(sentence.split())
