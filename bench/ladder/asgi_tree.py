"""Rung 5: without Flask. The server calls us with what it read, ASGI says how."""

from tree import label


async def app(scope, receive, send):
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        part = await receive()
        body += part.get("body", b"")
        more = part.get("more_body", False)
    known = (scope["method"], scope["path"]) in (("GET", "/ping"), ("POST", "/invocations"))
    answer = "".join(f"{label(line)}\n" for line in body.decode().splitlines()).encode()
    headers = [
        (b"content-type", b"text/csv"),
        (b"content-length", str(len(answer)).encode()),
    ]
    status = 200 if known else 404
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
