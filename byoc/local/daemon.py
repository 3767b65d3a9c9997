"""One local AWS for each user of the machine: started, found again and stopped by any process."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import urllib3
from filelock import FileLock

from byoc import engines
from byoc.errors import ByocError
from byoc.local import distribution
from byoc.local.options import Options
from byoc.paths import home

START_TIMEOUT = 60.0  # seconds until a starting daemon must answer
STOP_TIMEOUT = 60.0
CLOCK = 2.0  # seconds by which a process's start may seem to move when the clock is set
STATUS = "/.byoc/status"  # no bucket's name begins with a dot
KEEP = signal.SIGUSR1  # tells the server to write what it holds before it ends


@dataclass(frozen=True)
class Daemon:
    """A running local AWS; `started` (seconds since the epoch) tells it from a later process."""

    url: str
    pid: int
    started: float


def up(port: int = 0, options: Options | None = None) -> Daemon:
    """The local AWS, started if it does not run; returns when it answers.

    A start goes on from what `down(keep=True)` kept, and ends what a killed one left running.
    Raises ByocError with the end of its log when it does not come up.
    """
    with FileLock(home() / "local-aws.lock"):
        return status() or _start(port, options or Options())


def status() -> Daemon | None:
    """The local AWS that runs, or None."""
    try:
        daemon = Daemon(**json.loads(_record().read_text()))
        process = psutil.Process(daemon.pid)
        alive = abs(process.create_time() - daemon.started) < CLOCK and process.is_running()
    except (OSError, ValueError, TypeError, psutil.NoSuchProcess):
        return None
    return daemon if alive and process.status() != psutil.STATUS_ZOMBIE else None


def down(keep: bool = False) -> bool:
    """Stop the local AWS and all that it runs; False when none ran.

    With `keep` the next `up` finds what there is now; else it is gone, also what was kept before.
    """
    with FileLock(home() / "local-aws.lock"):
        daemon = status()
        if daemon is None:
            if not keep:
                _forget()
            return False
        process = psutil.Process(daemon.pid)
        process.send_signal(KEEP if keep else signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT)
        except psutil.TimeoutExpired:
            process.kill()
            sweep(_work())
        _record().unlink(missing_ok=True)
        if keep and not kept().exists():
            raise ByocError(f"The local AWS stopped, but kept nothing: {log_file()} says why.")
        if not keep:
            _forget()
        return True


def runs(daemon: Daemon) -> list[dict[str, Any]]:
    """The jobs and endpoints of all accounts: see `byoc.local.status.runs` for the members."""
    with urllib3.PoolManager(timeout=10.0) as http:
        return http.request("GET", f"{daemon.url}{STATUS}").json()


def log_file() -> Path:
    """Where the daemon writes its own log."""
    return home() / "local-aws.log"


def kept() -> Path:
    """What `down(keep=True)` wrote."""
    return home() / "local-aws.kept"


def kept_layers() -> Path:
    """The registry's files, which `down(keep=True)` left."""
    return home() / "local-aws.layers"


def launch(
    folder: Path, log: Path, port: int = 0, options: Options | None = None, *arguments: str
) -> "tuple[subprocess.Popen[bytes], str]":
    """A server process that works in `folder`, and its address, once it listens.

    Raises ByocError with the end of its log when it does not come up.
    """
    announce = folder.with_suffix(".url")
    announce.unlink(missing_ok=True)
    command = [sys.executable, "-m", "byoc.local.server", "--port", str(port)]
    command += ["--announce", str(announce), "--work", str(folder)]
    command += ["--options", json.dumps(asdict(options or Options())), *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        )
    try:
        _await(announce, process, log)
    except BaseException:  # also an interrupt: nobody would find this process again
        process.kill()
        raise
    url = announce.read_text()
    announce.unlink()
    return process, url


def _record() -> Path:
    return home() / "local-aws.json"


def _work() -> Path:
    return home() / "local-aws"


def _forget() -> None:
    kept().unlink(missing_ok=True)
    shutil.rmtree(kept_layers(), ignore_errors=True)


def sweep(work: Path) -> None:
    """End what a daemon that worked in `work`, and was killed, has left running."""
    for engine in engines.available():
        engine.sweep(work)
    distribution.sweep(work)


def _start(port: int, options: Options) -> Daemon:
    if _work().exists():
        sweep(_work())
    process, url = launch(_work(), log_file(), port, options, "--kept", str(kept()))
    daemon = Daemon(url, process.pid, psutil.Process(process.pid).create_time())
    _record().write_text(json.dumps(asdict(daemon)))
    return daemon


def _await(announce: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not announce.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text().strip().splitlines() or ["it said nothing"]
            raise ByocError(f"The local AWS did not start: {lines[-1]} (see {log}).")
        time.sleep(0.01)
