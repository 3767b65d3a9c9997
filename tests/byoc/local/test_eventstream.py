"""Event stream messages, read back by botocore."""

import json

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from byoc.local import eventstream


def read(*messages):
    buffer = EventStreamBuffer()
    buffer.add_data(b"".join(messages))
    return [(m.headers, m.payload) for m in buffer]


@given(st.lists(st.binary(max_size=2000), max_size=5))
def test_events_carry_any_bytes(payloads):
    found = read(*(eventstream.event("PayloadPart", payload) for payload in payloads))
    assert [payload for _, payload in found] == payloads
    assert all(headers[":event-type"] == "PayloadPart" for headers, _ in found)
    assert all(headers[":message-type"] == "event" for headers, _ in found)


def test_an_exception_carries_its_members():
    members = {"Message": "über", "ErrorCode": "StreamBroken"}
    ((headers, payload),) = read(eventstream.exception("ModelStreamError", members))
    assert headers[":message-type"] == "exception"
    assert headers[":exception-type"] == "ModelStreamError"
    assert json.loads(payload) == members
