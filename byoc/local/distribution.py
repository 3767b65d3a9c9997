"""Distribution, the registry in which the local ECR keeps layers: a process of its own.

It is Debian's `docker-registry`, a `registry` on PATH, or the image `registry:2`. It starts with
the first request and ends with the local AWS. Source: https://distribution.github.io/distribution.
"""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil
import urllib3

from byoc.engines.commands import PROGRAMS as ENGINES

IMAGE = "registry:2"
PROGRAMS = ("docker-registry", "registry")
START = 15.0  # seconds until the program answers
PULL = 180.0  # seconds until the image is pulled and answers
STOP = 5.0
AGAIN = 10.0  # seconds until one that did not start is tried again
ANSWER = 600.0  # seconds for an answer: a layer of gigabytes is checked before it comes
HOST = "127.0.0.1"
PIECE = 64 * 1024  # bytes that are passed on at a time
FOLDER, CONFIG = "registry", "config.yml"
TAKEN = ("address already in use", "port is already allocated")  # by somebody quicker
MISSING = "Install Debian's docker-registry, or Docker and its image registry:2, for a registry."


class Unavailable(Exception):
    """There is no registry; the sentence says what to do."""


class Distribution:
    """The process, its files in a folder of `work`, and connections to it. Safe for threads."""

    def __init__(self, work: Path) -> None:
        self._folder = work / FOLDER
        self._log = self._folder / "log"
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pool = urllib3.HTTPConnectionPool(HOST)
        self._again, self._why = 0.0, ""
        self._stopped = False

    def check(self) -> None:
        """Start it if it does not run; raises Unavailable."""
        self._running()

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: Iterable[bytes] | bytes | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """The answer to a request, its body unread; raises Unavailable."""
        pool = self._running()
        try:
            return pool.urlopen(
                method,
                path,
                body,
                headers=dict(headers or {}),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"The registry broke off: {type(error).__name__}.") from None

    def stop(self) -> None:
        """End it; it does not start again."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                _end([psutil.Process(self._process.pid)])
                self._process.wait()
            self._pool.close()

    def keep(self, place: Path) -> None:
        """Give what it holds to a later one; nothing else is there afterwards."""
        shutil.rmtree(place, ignore_errors=True)
        if self._storage.exists():
            self._storage.rename(place)

    def restore(self, place: Path) -> None:
        """Go on from what an earlier one kept, which stays. Files are linked: none is changed."""
        if place.exists():
            shutil.copytree(place, self._storage, copy_function=os.link)

    @property
    def _storage(self) -> Path:
        return self._folder / "storage"

    def _running(self) -> urllib3.HTTPConnectionPool:
        with self._lock:
            if self._stopped:
                raise Unavailable("The local AWS is being stopped.")
            if self._process is None or self._process.poll() is not None:
                self._process = self._start()
            return self._pool

    def _start(self) -> "subprocess.Popen[bytes]":
        """A process that answers, at a port that was free; raises Unavailable."""
        if time.monotonic() < self._again:
            raise Unavailable(self._why)
        for _ in range(3):
            with socket.socket() as probe:
                probe.bind((HOST, 0))
                port = probe.getsockname()[1]
            command, patience = self._command(port)
            process = self._launch(command)
            self._pool = urllib3.HTTPConnectionPool(
                HOST, port, timeout=urllib3.Timeout(ANSWER), maxsize=64, blocksize=PIECE
            )
            if _answers(self._pool, process, patience):
                return process
            if process.poll() is None:
                _end([psutil.Process(process.pid)])
            process.wait()
            said = self._log.read_text(errors="replace")
            if not any(words in said for words in TAKEN):
                break
        lines = said.strip().splitlines() or ["it said nothing"]
        line = next((line for line in lines if "rror" in line), lines[-1])
        self._again = time.monotonic() + AGAIN
        self._why = f"The registry did not start: {line} (see {self._log}). {MISSING}"
        raise Unavailable(self._why)

    def _command(self, port: int) -> tuple[list[str], float]:
        """What to run, and how long it may take; raises Unavailable where there is nothing."""
        self._storage.mkdir(parents=True, exist_ok=True)
        config = self._folder / CONFIG
        for name in PROGRAMS:
            if program := shutil.which(name):
                config.write_text(json.dumps(self._configuration(f"{HOST}:{port}")))
                return [program, "serve", f"{config}"], START
        engines = [os.environ.get("BYOC_ENGINE", ""), *ENGINES]
        for engine in engines:
            if engine in ENGINES and (program := shutil.which(engine)):
                config.write_text(json.dumps(self._configuration(":5000")))
                command = [program, "run", "--rm", "--publish", f"{HOST}:{port}:5000"]
                command += ["--volume", f"{self._folder}:{self._folder}"]
                command += ["--user", f"{os.getuid()}:{os.getgid()}"]
                return [*command, IMAGE, "serve", f"{config}"], PULL
        raise Unavailable(MISSING)

    def _configuration(self, address: str) -> dict[str, Any]:
        return {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": f"{self._storage}"},
                "delete": {"enabled": True},
            },
            "http": {"addr": address, "relativeurls": True, "secret": secrets.token_hex()},
        }

    def _launch(self, command: list[str]) -> "subprocess.Popen[bytes]":
        with self._log.open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env={k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_")},
            )


def sweep(work: Path) -> None:
    """End the registry of a dead daemon that worked in `work`; a container ends with its client."""
    config = f"{work / FOLDER / CONFIG}"
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if config in process.cmdline():
                found.append(process)
    _end(found)


def _answers(
    pool: urllib3.HTTPConnectionPool, process: "subprocess.Popen[bytes]", patience: float
) -> bool:
    deadline = time.monotonic() + patience
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            if pool.request("GET", "/v2/", retries=False, timeout=1.0).status == 200:
                return process.poll() is None
        time.sleep(0.02)
    return False


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(processes, STOP)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
