"""What `byoc down --keep` writes and the next `byoc up` goes on from.

Resources are saved without what carries them out; `RESUME` has a function for each kind that must
be carried on. moto's backends are saved whole: they are Python objects in memory.
"""

import copy
import importlib
import io
import logging
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from moto.core.base_backend import BackendDict

from byoc.errors import ByocError
from byoc.local.service import Context, Platform
from byoc.local.state import Resource

log = logging.getLogger(__name__)

# Functions that carry a kind of resource on after a restart.
RESUME: dict[str, Callable[[Context, Resource], None]] = {}


def resources(platform: Platform) -> list[tuple[str, str, str, Resource]]:
    """Every resource as it is now, apart from what carries it out."""
    with platform.state.lock:
        return [
            (account, region, kind, Resource(r.name, r.arn, copy.deepcopy(r.data), dict(r.tags)))
            for account, region, kind, r in platform.state.everything()
        ]


def save(file: Path, held: list[tuple[str, str, str, Resource]]) -> None:
    """Write resources and moto's backends, whole or not at all.

    A service whose backend can't be written is left out, and the log says so.
    """
    backends = _backends()
    try:
        content = _dump({"resources": held, "backends": backends})
    except Exception:  # whatever pickle meets; which service it was in, only a trial tells
        whole = {name: backend for name, backend in backends.items() if _can_be_saved(backend)}
        for name in backends.keys() - whole.keys():
            log.warning("what %s held could not be kept", name)
        content = _dump({"resources": held, "backends": whole})
    draft = file.with_suffix(".draft")
    draft.write_bytes(content)
    draft.replace(file)


def restore(platform: Platform, file: Path) -> None:
    """Put back what `save` wrote, and carry it on; raises ByocError if it can't be read."""
    try:
        content = pickle.loads(file.read_bytes())
        for name, accounts in content["backends"].items():
            module, _, variable = name.partition(":")
            for account, regions in accounts.items():
                getattr(importlib.import_module(module), variable)[account].update(regions)
    except Exception as error:
        raise ByocError(
            f"{file}, which an earlier `byoc down --keep` wrote, can't be read by this version "
            f"({type(error).__name__}): move it away to start without it."
        ) from None
    for account, region, kind, resource in content["resources"]:
        platform.state.table(account, region, kind)[resource.name] = resource
    for account, region, kind, resource in content["resources"]:
        if kind in RESUME:
            RESUME[kind](Context(platform, account, region), resource)


def _backends() -> dict[str, dict[str, dict[str, Any]]]:
    """What moto holds: `module:variable`, account and region to the backend."""
    held = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("moto.") and name.endswith(".models"):
            for variable, value in vars(module).items():
                if isinstance(value, BackendDict) and value:
                    accounts = {account: dict(regions) for account, regions in value.items()}
                    held[f"{name}:{variable}"] = accounts
    return held


def _can_be_saved(backend: Any) -> bool:
    try:
        _dump(backend)
    except Exception:
        return False
    return True


def _dump(content: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer).dump(content)
    return buffer.getvalue()


class _Pickler(pickle.Pickler):
    """Locks are made anew; private keys go through their standard form."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, _LOCKS):
            return (threading.RLock if isinstance(value, _LOCKS[0]) else threading.Lock), ()
        if isinstance(value, _PRIVATE_KEYS):
            return _key, (
                value.private_bytes(
                    serialization.Encoding.DER,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ),
            )
        return NotImplemented


_PRIVATE_KEYS = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)
_LOCKS = (type(threading.RLock()), type(threading.Lock()))


def _key(content: bytes) -> Any:
    return serialization.load_der_private_key(content, None)
