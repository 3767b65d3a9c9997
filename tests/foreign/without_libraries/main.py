"""y = a + b·x by least squares, with Python's standard library alone.

`main.py train` and `main.py serve` are what the platform runs; the server speaks HTTP by itself.
"""

import asyncio
import json
import os
import pathlib
import signal
import statistics
import sys

ML = pathlib.Path("/opt/ml")
PORT = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", 8080))


def train():
    hyperparameters = json.loads((ML / "input/config/hyperparameters.json").read_text())
    lines = [
        line
        for file in sorted((ML / "input/data/training").iterdir())
        for line in file.read_text().splitlines()
    ]
    try:
        xs, ys = zip(*[map(float, line.split(",")) for line in lines], strict=True)
    except ValueError as error:
        (ML / "output/failure").write_text(f"a row is not two numbers: {error}")
        sys.exit(1)
    slope, intercept = statistics.linear_regression(xs, ys)
    print(f"rows={len(xs)} slope={slope}")
    model = {"a": intercept, "b": slope, "decimals": int(hyperparameters.get("decimals", 3))}
    (ML / "model/line.json").write_text(json.dumps(model))


async def serve():
    model = json.loads((ML / "model/line.json").read_text())

    def answer(path, body):
        if path == "/ping":
            return "200 OK", ""
        try:
            xs = [float(line) for line in body.split()]
        except ValueError as error:
            return "400 Bad Request", f"{error}\n"
        ys = [round(model["a"] + model["b"] * x, model["decimals"]) for x in xs]
        return "200 OK", "".join(f"{y}\n" for y in ys)

    async def talk(reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *fields = head.decode("latin-1").split("\r\n")
                headers = {k.lower(): v for k, _, v in (f.partition(": ") for f in fields)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                status, text = answer(first.split()[1], body.decode())
                content = text.encode()
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: text/csv\r\n"
                    f"Content-Length: {len(content)}\r\n\r\n".encode()
                    + content
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with await asyncio.start_server(talk, "0.0.0.0", PORT):
        await ended.wait()


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train()
    else:
        asyncio.run(serve())
