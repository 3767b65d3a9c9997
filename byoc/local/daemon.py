"""One local AWS for each user of the machine: started, found again and stopped by any process."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import FileLock

from byoc.errors import ByocError
from byoc.paths import home

START_TIMEOUT = 60.0  # seconds until a starting daemon must answer
STOP_TIMEOUT = 60.0


@dataclass(frozen=True)
class Daemon:
    """A running local AWS; `started` (seconds since the epoch) tells it from a later process."""

    url: str
    pid: int
    started: float


def up(port: int = 0) -> Daemon:
    """The local AWS, started if it does not run; returns when it answers.

    Raises ByocError with the end of its log when it does not come up.
    """
    with FileLock(home() / "local-aws.lock"):
        return status() or _start(port)


def status() -> Daemon | None:
    """The local AWS that runs, or None."""
    try:
        daemon = Daemon(**json.loads(_record().read_text()))
        process = psutil.Process(daemon.pid)
        alive = process.create_time() == daemon.started and process.is_running()
    except (OSError, ValueError, TypeError, psutil.NoSuchProcess):
        return None
    return daemon if alive and process.status() != psutil.STATUS_ZOMBIE else None


def down() -> bool:
    """Stop the local AWS and all that it runs; False when none ran."""
    with FileLock(home() / "local-aws.lock"):
        daemon = status()
        if daemon is None:
            return False
        process = psutil.Process(daemon.pid)
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except psutil.TimeoutExpired:
            for child in [*process.children(recursive=True), process]:
                child.kill()
        _record().unlink(missing_ok=True)
        return True


def log_file() -> Path:
    """Where the daemon writes its own log."""
    return home() / "local-aws.log"


def _record() -> Path:
    return home() / "local-aws.json"


def _start(port: int) -> Daemon:
    announce = home() / "local-aws.url"
    announce.unlink(missing_ok=True)
    command = [sys.executable, "-m", "byoc.local.server", "--port", str(port)]
    command += ["--announce", str(announce), "--work", str(home() / "local-aws")]
    with log_file().open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        )
    try:
        _await(announce, process)
    except BaseException:  # also an interrupt: nobody would find this daemon again
        process.kill()
        raise
    daemon = Daemon(announce.read_text(), process.pid, psutil.Process(process.pid).create_time())
    _record().write_text(json.dumps(asdict(daemon)))
    return daemon


def _await(announce: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not announce.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log_file().read_text().strip().splitlines() or ["it said nothing"]
            raise ByocError(f"The local AWS did not start: {lines[-1]} (see {log_file()}).")
        time.sleep(0.02)
