"""The passwords that ECR gives out for `docker login`: whose they are, until when they are good.

Source: API Reference (ECR), GetAuthorizationToken; ECR User Guide, registry_auth.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import asdict, dataclass

HOURS = 12  # Source: API Reference (ECR), GetAuthorizationToken
USER = "AWS"
_SECRET = secrets.token_bytes(32)  # a password ends with the local AWS that gave it


@dataclass(frozen=True)
class Holder:
    """Who asked for a password; `expires` is in seconds since the epoch.

    `arns` are the caller's own and, of a session, its role's; `access_key` is what it signed with.
    """

    account: str
    region: str
    arns: tuple[str, ...]
    expires: float
    access_key: str = ""

    @property
    def expired(self) -> bool:
        return self.expires <= time.time()


def issue(
    account: str, region: str, arns: tuple[str, ...], hours: float = HOURS, access_key: str = ""
) -> str:
    """A password for the caller, which nobody else can make."""
    holder = Holder(account, region, arns, time.time() + hours * 3600, access_key)
    content = base64.urlsafe_b64encode(json.dumps(asdict(holder)).encode())
    return f"{content.decode()}.{_seal(content)}"


def holder(user: str, password: str) -> Holder | None:
    """Who was given the password, also when it has expired; None if nobody was."""
    content, _, seal = password.rpartition(".")
    try:
        given = content.encode("ascii")
        if user != USER or not hmac.compare_digest(seal.encode(), _seal(given).encode()):
            return None
        known = json.loads(base64.urlsafe_b64decode(given))
    except (UnicodeError, binascii.Error):
        return None
    return Holder(**{**known, "arns": tuple(known["arns"])})


def _seal(content: bytes) -> str:
    return hmac.new(_SECRET, content, hashlib.sha256).hexdigest()
