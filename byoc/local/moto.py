"""moto, which is all of AWS but SageMaker here, and the few corrections it needs."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from moto.ecr.models import Image
from moto.iam.models import Role
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app


def application() -> Callable:
    """moto as a WSGI application, corrected."""
    for model, method, corrected in (
        (Role, "put_policy", _put_policy),
        (Image, "_create_digest", _digest),
        (Image, "get_image_size_in_bytes", _size),
    ):
        setattr(model, method, corrected)
    return DomainDispatcherApplication(create_backend_app)


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


def _digest(self: Any) -> None:
    """An image's digest is that of its manifest's bytes (moto: of its layers' names)."""
    self._image_digest = "sha256:" + hashlib.sha256(self.image_manifest.encode()).hexdigest()


def _size(self: Any) -> int | None:
    """An image's size is that of its layers (moto: of its configuration)."""
    layers = json.loads(self.image_manifest).get("layers", [])
    return sum(layer["size"] for layer in layers) or None
