"""The local AWS as a server on loopback; `python -m byoc.local.server` is what `byoc up` starts."""

import argparse
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psutil
from cheroot import wsgi

from byoc import engines
from byoc.errors import ByocError
from byoc.local import alarms, daemon, moto, owners, schedules, snapshot, states
from byoc.local.authorisation import Authority
from byoc.local.clients import Clients
from byoc.local.clock import Clock
from byoc.local.front import Front
from byoc.local.http import Connection
from byoc.local.options import Options
from byoc.local.service import Context, Platform
from byoc.local.slots import Slots
from byoc.local.state import State
from byoc.local.trail import Trail

HOST = "127.0.0.1"
THREADS = 256  # requests that are answered at a time; an invocation may take a minute
SECOND = 1.0  # between two looks at schedules
IDLE = 60  # seconds after which a connection without a request is closed


def _with_whole_path(application: Callable) -> Callable:
    """The application with PATH_INFO decoded whole (cheroot leaves %2F) and RAW_URI as it came."""

    def answer(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        environ["RAW_URI"] = environ["REQUEST_URI"]
        path = environ["REQUEST_URI"].partition("?")[0]
        environ["PATH_INFO"] = unquote(path, "latin-1")
        return application(environ, start_response)

    return answer


class Server:
    """A local AWS that listens as long as it is not stopped; port 0 takes a free one."""

    def __init__(self, work: Path, port: int = 0, options: Options | None = None) -> None:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        options = options or Options()
        application = moto.application()
        authority = Authority(options.iam, work.with_name(f"{work.name}.calls"))

        def refuses(account: str, region: str, *asked: Any) -> str:
            return authority.refuses_role(Context(self.platform, account, region), *asked)

        self.platform = Platform(
            State(),
            options,
            work,
            Clients(application, refuses),
            Slots(options.parallel_jobs),
            Trail(),
            authority,
        )
        front = Front(self.platform, application)
        self.distribution = front.registry.distribution
        self._server = wsgi.Server(
            (HOST, port),
            _with_whole_path(front),
            numthreads=THREADS,
            request_queue_size=1024,
            timeout=IDLE,
            shutdown_timeout=1,
        )
        self._server.ConnectionClass = Connection
        self._server.keep_alive_conn_limit = 4096
        try:
            self._server.prepare()
        except OSError:
            raise ByocError(
                f"Port {port} is in use: name another, or none to take a free one."
            ) from None
        self.url = f"http://{HOST}:{self._server.bind_addr[1]}"
        self.platform.clients.url = self.url
        owners.start(self.platform)
        self._clocks = [
            Clock(options.alarm_interval, partial(alarms.evaluate, self.platform)),
            Clock(SECOND, partial(schedules.tick, self.platform)),
        ]

    def serve(self) -> None:
        """Answer requests until `stop` is called."""
        self._server.serve()

    def stop(self, keep: Path | None = None) -> None:
        """Stop listening and end every job and endpoint; what they were is kept if asked."""
        self._server.stop()
        for clock in self._clocks:
            clock.stop()
        states.stop(self.platform)
        owners.stop(self.platform)
        held = snapshot.resources(self.platform)
        enders = []
        for *_, resource in self.platform.state.everything():
            if resource.runtime is not None:
                enders.append(threading.Thread(target=resource.runtime.kill, daemon=True))
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join(15)
        self.distribution.stop()
        if keep is not None:
            self.distribution.keep(daemon.kept_layers())
            snapshot.save(keep, held)
        shutil.rmtree(self.platform.work, ignore_errors=True)


def main() -> None:
    """Serve until SIGTERM or SIGINT; the address goes into the file that `--announce` names."""
    parser = argparse.ArgumentParser(prog="python -m byoc.local.server")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--announce", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--options", default=json.dumps(asdict(Options())))
    parser.add_argument("--kept", type=Path, help="go on from this file, if it is there")
    parser.add_argument(
        "--attached", type=Path, help="end with standard input, and remove this folder"
    )
    arguments = parser.parse_args()
    ended = threading.Event()
    try:
        server = Server(arguments.work, arguments.port, Options(**json.loads(arguments.options)))
        if arguments.kept is not None and arguments.kept.exists():
            snapshot.restore(server.platform, arguments.kept)
            server.distribution.restore(daemon.kept_layers())
    except ByocError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(1)  # the threads that would answer are there already

    def end(keep: Path | None = None) -> None:
        def stop() -> None:
            try:
                server.stop(keep)
            finally:
                ended.set()

        threading.Thread(target=stop).start()

    def end_with_input() -> None:
        sys.stdin.read()
        end()

    signal.signal(signal.SIGTERM, lambda *_: end())
    signal.signal(signal.SIGINT, lambda *_: end())
    signal.signal(daemon.KEEP, lambda *_: end(arguments.kept))
    if arguments.attached is not None:
        threading.Thread(target=end_with_input, daemon=True).start()
    draft = arguments.announce.with_suffix(f".{os.getpid()}")
    draft.write_text(server.url)
    draft.replace(arguments.announce)
    server.serve()
    ended.wait()
    for child in psutil.Process().children(recursive=True):
        child.kill()  # whatever was started while we stopped
    for engine in engines.available():
        engine.sweep(arguments.work)
    if arguments.attached is not None:
        shutil.rmtree(arguments.attached, ignore_errors=True)
    os._exit(0)  # a thread that still waits for something must not hold it up


if __name__ == "__main__":
    main()
