"""A real `serve` for as long as a `with` block, and the requests that it is sent."""

import http.client
import socket
import time
from contextlib import closing, contextmanager, nullcontext

ROW = b"39.1,18.7,181,3750\n"
CSV = {"Content-Type": "text/csv"}


class Server:
    def __init__(self, process, port, log):
        self.process, self.port, self.log = process, port, log

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, method, path, body=None, headers=CSV, connection=None):
        with closing(self.connect()) if connection is None else nullcontext(connection) as used:
            used.request(method, path, body, headers)
            response = used.getresponse()
            return response.status, response.read(), response.headers


@contextmanager
def serving(ml, **variables):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1", "MAX_PAYLOAD_MB": "1"} | variables
    process = ml.start("serve", SAGEMAKER_BIND_TO_PORT=str(port), **variables)
    server = Server(process, port, log=lambda: process.communicate(timeout=60)[0])
    try:
        for _ in range(600):
            try:
                server.ask("GET", "/ping")
                break
            except OSError:
                assert process.poll() is None, server.log()
                time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.communicate(timeout=60)
