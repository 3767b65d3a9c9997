"""moto, which is all of AWS but SageMaker here, and the few corrections it needs."""

import hashlib
import json
from typing import Any

from moto.core.exceptions import ServiceException
from moto.ecr.exceptions import ImageAlreadyExistsException
from moto.ecr.models import ECRBackend, Image
from moto.iam.models import Role
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app


def application() -> DomainDispatcherApplication:
    """moto as a WSGI application, corrected."""
    for model, method, corrected in (
        (Role, "put_policy", _put_policy),
        (ECRBackend, "put_image", _put_image),
        (Image, "_create_digest", _digest),
        (Image, "get_image_size_in_bytes", _size),
    ):
        setattr(model, method, corrected)
    return DomainDispatcherApplication(create_backend_app)


def serves(
    application: DomainDispatcherApplication, environ: dict[str, Any], service: str | None
) -> bool:
    """Whether moto has this service; for one it does not know it would answer as S3."""
    if service is None or service.startswith("s3"):
        return True
    host = application.infer_service_region_host(environ, environ["PATH_INFO"])
    return application.get_backend_for_host(host) not in (None, "s3")


def account_of(access_key: str) -> str:
    """The account of an access key: a key of twelve digits is the account, others moto knows."""
    if len(access_key) == 12 and access_key.isdigit():
        return access_key
    from moto.iam.models import get_account_id_from

    return get_account_id_from(access_key)


def _put_policy(self: Any, policy_name: str, policy_json: Any) -> None:
    """A role's inline policy is JSON, also when CloudFormation gives it (moto: a Python dict)."""
    text = policy_json if isinstance(policy_json, str) else json.dumps(policy_json, default=str)
    self.policies[policy_name] = text


class ImageTagAlreadyExistsException(ServiceException):
    code = "ImageTagAlreadyExistsException"


def _put_image(
    self: Any, repository_name: str, image_manifest: str, image_tag: str, *rest: Any
) -> Image:
    """An immutable tag on other content is an error of its own (moto: as on the same)."""
    try:
        return _moto_put_image(self, repository_name, image_manifest, image_tag, *rest)
    except ImageAlreadyExistsException:
        images = self.repositories[repository_name].images
        tagged = next((image for image in images if image_tag in image.image_tags), None)
        if tagged is None or tagged.image_manifest == image_manifest:
            raise
        raise ImageTagAlreadyExistsException(
            f"The image tag '{image_tag}' already exists in the '{repository_name}' repository "
            "and cannot be overwritten because the tag is immutable."
        ) from None


_moto_put_image = ECRBackend.put_image


def _digest(self: Any) -> None:
    """An image's digest is that of its manifest's bytes (moto: of its layers' names)."""
    self._image_digest = "sha256:" + hashlib.sha256(self.image_manifest.encode()).hexdigest()


def _size(self: Any) -> int | None:
    """An image's size is that of its layers (moto: of its configuration)."""
    layers = json.loads(self.image_manifest).get("layers", [])
    return sum(layer["size"] for layer in layers) or None
