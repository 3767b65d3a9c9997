"""Messages of `application/vnd.amazon.eventstream`, as AWS's clients decode them.

Source: AWS SDKs, "Event stream encoding"; `botocore.eventstream`.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any
from zlib import crc32

CONTENT_TYPE = "application/vnd.amazon.eventstream"
STRING = 7  # type of a header's value
PART = 1024 * 1024  # bytes of one PayloadPart at most


def event(name: str, payload: bytes) -> bytes:
    """One event that carries bytes."""
    headers = {
        ":event-type": name,
        ":content-type": "application/octet-stream",
        ":message-type": "event",
    }
    return message(headers, payload)


def exception(name: str, members: Mapping[str, Any]) -> bytes:
    """The exception that ends a stream."""
    headers = {
        ":exception-type": name,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return message(headers, json.dumps(members).encode())


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Lengths, their checksum, headers, payload, and the checksum of all."""
    block = b"".join(_header(name, value) for name, value in headers.items())
    lengths = struct.pack("!II", 16 + len(block) + len(payload), len(block))
    prelude = lengths + struct.pack("!I", crc32(lengths))
    content = prelude + block + payload
    return content + struct.pack("!I", crc32(content))


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack("!B", len(key)) + key + struct.pack("!BH", STRING, len(text)) + text
