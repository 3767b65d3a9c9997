"""Load on a server by wrk, with one thread and connections that are kept."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from byoc.errors import ByocError

SCRIPT = Path(__file__).parent / "wrk.lua"


@dataclass(frozen=True)
class Load:
    """What wrk counted: requests a second, milliseconds, and what went wrong, by its kind."""

    requests: int
    rate: float
    p50: float
    p99: float
    errors: dict[str, int]  # without those of count 0; "status" counts answers of 400 and above
    statuses: dict[str, int] = field(default_factory=dict)  # if asked for


@contextmanager
def running(
    url: str,
    body: bytes,
    content_type: str,
    connections: int = 8,
    statuses: bool = False,
    patience: int = 30,
) -> Iterator["subprocess.Popen[str]"]:
    """wrk at work until it gets SIGINT; an answer that takes `patience` seconds is an error."""
    if shutil.which("wrk") is None:
        raise ByocError("There is no program wrk on PATH: install it (Debian: apt install wrk).")
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        variables = {"BENCH_BODY": file.name, "BENCH_TYPE": content_type}
        variables |= {"BENCH_STATUSES": "1"} if statuses else {}
        command = ["wrk", "--threads=1", f"--connections={connections}", "--duration=600s"]
        command += [f"--timeout={patience}s", "--latency", f"--script={SCRIPT}", url]
        with subprocess.Popen(
            command, env=os.environ | variables, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                process.send_signal(signal.SIGINT)


def counted(process: "subprocess.Popen[str]") -> Load:
    """End wrk and read what it counted."""
    process.send_signal(signal.SIGINT)
    output = process.communicate()[0]
    if process.returncode:
        raise ByocError(f"wrk ended with {process.returncode}: {output[-500:]}")
    found = json.loads(output.splitlines()[-1])
    return Load(
        requests=found["requests"],
        rate=found["requests"] / found["microseconds"] * 1e6,
        p50=found["p50"] / 1000,
        p99=found["p99"] / 1000,
        errors={kind: count for kind, count in found["errors"].items() if count},
        statuses=found["statuses"],
    )


def load(
    url: str,
    body: bytes,
    content_type: str,
    seconds: float,
    connections: int = 8,
    statuses: bool = False,
) -> Load:
    """POST the body to the URL for so long, over so many connections at once."""
    with running(url, body, content_type, connections, statuses) as process:
        time.sleep(seconds)  # wrk's own duration takes whole seconds only
        return counted(process)
