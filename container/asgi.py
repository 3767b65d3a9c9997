"""The web side of service.py as a bare ASGI application, the fast one; `app.py` does it with Flask.

A small request is answered in the event loop, at once. What takes long would hold up the loop, and
/ping with it, so it goes to a thread. A large body waits in the network until there is a place.
Source: ASGI specification, HTTP & WebSocket message format.
"""

import asyncio
import functools
import gc
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import contract
import logs
import service
from service import Response

Served = service.Served | str
Headers = dict[bytes, bytes]  # names in lower case
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

SMALL = 16 * 1024  # bytes of a body
QUICK = 0.005  # seconds: where even small requests take longer, they go to a thread too
PLACES = 8  # requests that are in memory and at work in threads, at a time


class Gone(Exception):
    """The caller left before the end of the request."""


class Application:
    """`served` is the model, or the reason why there is none."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.places = asyncio.Semaphore(PLACES)
        self.threads = ThreadPoolExecutor(PLACES)
        self.pace = 0.0  # seconds that the last small requests took
        self.log = logs.Log(lambda *when: asyncio.get_running_loop().call_later(*when))

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            response = await self.respond(scope, receive)
        except Gone:
            return
        more = [(name.encode(), value.encode()) for name, value in response.headers.items()]
        await send(head(response.status, response.content_type, len(response.body), *more))
        await send({"type": "http.response.body", "body": response.body})

    async def respond(self, scope: dict[str, Any], receive: Receive) -> Response:
        method, path = scope["method"], scope["path"]
        # HEAD is GET, of which the server sends no body.
        if ("GET" if method == "HEAD" else method) not in service.ROUTES.get(path, ()):
            return service.not_served(method, path)
        if path == "/ping":
            return service.ping(self.served)
        if path == "/execution-parameters":
            return service.execution_parameters()
        return await self.invocations(self.served, dict(scope["headers"]), receive)

    async def invocations(self, served: Served, headers: Headers, receive: Receive) -> Response:
        """Answer here or in a thread, and log it."""
        started = time.perf_counter()
        body, more = await part(receive)
        if more or len(body) > SMALL or self.pace > QUICK:
            async with self.places:
                parts, size = [body], len(body)
                while more and size <= service.MAX_BYTES:  # the server drops what is over
                    body, more = await part(receive)
                    parts.append(body)
                    size += len(body)
                loop, body = asyncio.get_running_loop(), b"".join(parts)
                work = functools.partial(self.answer, served, body, headers)
                response = await loop.run_in_executor(self.threads, work)
        else:
            response = self.answer(served, body, headers)
        name = text(headers.get(b"x-amzn-sagemaker-inference-id"))
        self.log.add(service.log_line(response, name, time.perf_counter() - started))
        return response

    def answer(self, served: Served, body: bytes, given: Headers) -> Response:
        started = time.perf_counter()
        kind, accept = text(given.get(b"content-type")), text(given.get(b"accept"))
        response = service.invocations(served, body, kind, accept, text(given.get(ATTRIBUTES)))
        if len(body) <= SMALL:
            self.pace += (time.perf_counter() - started - self.pace) / 8
        return response


ATTRIBUTES = service.ATTRIBUTES.lower().encode()


def text(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")


@functools.lru_cache(maxsize=256)  # the answers to one row are few
def head(status: int, kind: str, length: int, *more: tuple[bytes, bytes]) -> dict[str, Any]:
    headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % length), *more]
    return {"type": "http.response.start", "status": status, "headers": headers}


async def part(receive: Receive) -> tuple[bytes, bool]:
    """A part of the body, and whether there is more."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    return message["body"], message["more_body"]


def application() -> Application:
    ready = Application(service.load(contract.model_dir()))
    gc.freeze()  # what is there now stays: no need to look at it again, and the workers share it
    return ready
