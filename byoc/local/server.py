"""The local AWS as a server on loopback; `python -m byoc.local.server` is what `byoc up` starts."""

import argparse
import logging
import os
import shutil
import signal
import threading
from pathlib import Path
from types import FrameType

import psutil
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from byoc import engines
from byoc.local.front import Front
from byoc.local.service import Options, Platform
from byoc.local.slots import Slots
from byoc.local.state import State

HOST = "127.0.0.1"


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # as AWS speaks it

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Not one line a request."""


class Server:
    """A local AWS that listens as long as it is not stopped; port 0 takes a free one."""

    def __init__(self, work: Path, port: int = 0, options: Options | None = None) -> None:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        self._server: BaseWSGIServer = make_server(
            HOST, port, lambda *_: [], threaded=True, request_handler=_Handler
        )
        self.url = f"http://{HOST}:{self._server.port}"
        options = options or Options()
        self.platform = Platform(
            State(),
            engines.engine(),
            options,
            work,
            self.url,
            Slots(options.parallel_jobs),
        )
        self._server.app = Front(self.platform)

    def serve(self) -> None:
        """Answer requests until `stop` is called."""
        self._server.serve_forever()

    def stop(self) -> None:
        """End every job and endpoint, then stop listening: what ends still uses this AWS."""
        enders = []
        for *_, resource in self.platform.state.everything():
            if resource.runtime is not None:
                enders.append(threading.Thread(target=resource.runtime.kill, daemon=True))
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join(15)
        self._server.shutdown()
        shutil.rmtree(self.platform.work, ignore_errors=True)


def main() -> None:
    """Serve until SIGTERM or SIGINT; the address goes into the file that `--announce` names."""
    parser = argparse.ArgumentParser(prog="python -m byoc.local.server")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--announce", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--startup-timeout", type=float, default=Options.startup_timeout)
    parser.add_argument("--stop-grace", type=float, default=Options.stop_grace)
    arguments = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    options = Options(startup_timeout=arguments.startup_timeout, stop_grace=arguments.stop_grace)
    server = Server(arguments.work, arguments.port, options)

    def end(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=server.stop).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    draft = arguments.announce.with_suffix(f".{os.getpid()}")
    draft.write_text(server.url)
    draft.replace(arguments.announce)
    server.serve()
    for child in psutil.Process().children(recursive=True):
        child.kill()  # whatever was started while we stopped


if __name__ == "__main__":
    main()
