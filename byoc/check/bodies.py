"""Request bodies made of the owner's payload: larger ones, and ones that are no good."""

import random

from byoc.check.clause import Unknown
from byoc.check.subject import Payload

LARGEST = 25_000_000  # bytes. Source: Developer Guide, deploy-model-options: 25 MB for real time
MOST_LINES = 1_500_000  # so that short lines do not fill the memory of server and check
LINES = {
    "text/csv",
    "text/libsvm",
    "text/x-libsvm",
    "application/jsonlines",
    "application/x-jsonlines",
    "application/x-ndjson",
}


def kind(payload: Payload) -> str:
    """The media type without its parameters."""
    return payload.content_type.partition(";")[0].strip().lower()


def is_json(payload: Payload) -> bool:
    return kind(payload) == "application/json" or kind(payload).endswith("+json")


def enlarged(payload: Payload, size: int) -> bytes:
    """The payload made larger, to `size` bytes at most: as good a request as before.

    Lines are repeated, all but the first, which may be a header, unless it is the only one; JSON
    gets spaces behind it. Raises Unknown for other types.
    """
    if is_json(payload):
        return payload.body + b" " * max(0, size - len(payload.body))
    if kind(payload) not in LINES:
        raise Unknown(
            f"nothing is known of larger bodies of {kind(payload)}: give a --payload of lines "
            "(text/csv, application/jsonlines) or JSON"
        )
    lines = [line + b"\n" for line in payload.body.splitlines() if line.strip()] or [b"\n"]
    head, block = (b"", lines[0]) if len(lines) == 1 else (lines[0], b"".join(lines[1:]))
    most = MOST_LINES // max(1, len(lines) - 1)
    return head + block * max(1, min((size - len(head)) // len(block), most))


def spoilt(payload: Payload) -> dict[str, bytes]:
    """What went wrong -> a body of the payload's type that can't be read, or not as was meant."""
    found = {
        "random bytes": random.Random(0).randbytes(1000),
        "words instead of data": b"this is no data, but words\n",
        "the payload, cut off in the middle": payload.body[: max(1, len(payload.body) // 2)],
    }
    if is_json(payload):
        found["null"] = b"null"
        found["an empty object"] = b"{}"
        found["JSON of 100,000 brackets"] = b"[" * 100_000
    return found
