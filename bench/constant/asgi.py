"""Reads a body and gives a constant answer: what is left is the worker's own cost."""

from typing import Any


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"text/csv"), (b"content-length", b"7")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Adelie\n"})


def application() -> Any:
    return answer
