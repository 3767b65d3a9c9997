"""The real `serve` over real HTTP."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import service
from running import CSV, ROW, serving


@pytest.fixture(scope="module", params=["asgi", "flask"])
def adapter(request):
    return {"MODEL_SERVER_ADAPTER": request.param}


@pytest.fixture(scope="module")
def server(trained, adapter):
    with serving(trained, **adapter) as server:
        yield server


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_ping_is_200_with_an_empty_body(server, method):
    assert server.ask(method, "/ping")[:2] == (200, b"")


def test_invocations_answer_in_the_type_that_is_asked_for(server):
    status, body, headers = server.ask(
        "POST", "/invocations", ROW, CSV | {"Accept": "application/json", "X-Amzn-Other": "1"}
    )
    assert (status, json.loads(body)) == (200, {"predictions": ["Adelie"]})
    assert headers["Content-Type"] == "application/json"


def test_execution_parameters(server):
    status, body, _ = server.ask("GET", "/execution-parameters")
    assert status == 200
    assert json.loads(body)["MaxPayloadInMB"] == 1


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "message"),
    [
        ("GET", "/nothing", {}, 404, "There is nothing at '/nothing': use /ping or /invocations."),
        ("GET", "/invocations", {}, 405, "GET is not for '/invocations': use POST."),
        ("POST", "/invocations", {"Content-Type": "image/png"}, 415, "'image/png' is not known"),
        ("POST", "/invocations", CSV | {"Accept": "image/png"}, 406, "can't be met"),
        ("POST", "/invocations", CSV, 400, "The body is empty"),
    ],
)
def test_every_error_is_json_with_a_sentence(server, method, path, headers, status, message):
    got, body, answered = server.ask(method, path, b"" if method == "POST" else None, headers)
    assert (got, answered["Content-Type"]) == (status, "application/json")
    assert message in json.loads(body)["error"]


def test_a_405_names_the_methods_in_its_header(server):
    assert "POST" in server.ask("GET", "/invocations")[2]["Allow"]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("extra", "status"), [(0, 200), (1, 413), (500_000, 413)])
def test_the_limit_holds_to_the_byte_and_the_connection_goes_on(server, chunked, extra, status):
    whole = (ROW * 60_000)[: 2**20 + extra - 20].rsplit(b"\n", 1)[0]
    whole += b"\n" + b" " * (2**20 + extra - len(whole) - len(ROW) - 1) + ROW
    assert len(whole) == 2**20 + extra
    with closing(server.connect()) as connection:
        body = iter([whole]) if chunked else whole
        got, answer, _ = server.ask("POST", "/invocations", body, CSV, connection)
        assert got == status
        if status == 200:
            assert answer.count(b"Adelie\n") == whole.count(b"\n")
        assert server.ask("POST", "/invocations", ROW, CSV, connection)[:2] == (200, b"Adelie\n")


def test_a_body_that_ends_early_is_not_answered_as_if_it_were_whole(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as raw:
        head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
        raw.sendall(head + b"Content-Length: 1000\r\n\r\n" + ROW)
        raw.shutdown(socket.SHUT_WR)
        assert b"200 OK" not in raw.recv(1000)


def test_custom_attributes_come_back_and_far_rows_are_flagged(server):
    headers = CSV | {service.ATTRIBUTES: b"trace=\xe97"}
    _, _, answered = server.ask("POST", "/invocations", b"1,2,3,4", headers)
    assert answered[service.ATTRIBUTES] == "trace=7;out-of-range=1"


def test_one_log_line_an_invocation_and_none_a_ping(trained, adapter):
    with serving(trained, **adapter) as server:
        server.ask("GET", "/ping")
        name = {"X-Amzn-SageMaker-Inference-Id": "order 66\t\x9b"}
        server.ask("POST", "/invocations", ROW * 2, CSV | name)
        server.ask("POST", "/invocations", b"1,2,3,4")
        server.ask("POST", "/invocations", b"x")
        server.process.terminate()
        lines = server.log().splitlines()
    assert re.fullmatch(rf"Serving on port {server.port} with 1 workers as user \d+\.", lines[0])
    assert re.fullmatch(r"invocation id=order_66 status=200 ms=[\d.]+ rows=2", lines[1])
    assert re.fullmatch(r"invocation id=- status=200 ms=[\d.]+ rows=1 out-of-range=1", lines[2])
    assert re.fullmatch(r"invocation id=\S+ status=400 ms=[\d.]+ error=\".*\"", lines[3])
    assert len(lines) == 4


def test_ping_is_answered_beside_a_request_and_sigterm_lets_it_finish(trained, adapter):
    with (
        serving(trained, **adapter) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as slow,
    ):
        slow.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(ROW)
        )
        assert slow.recv(1000).startswith(b"HTTP/1.1 100")  # it is being worked on
        assert server.ask("GET", "/ping")[0] == 200
        server.process.send_signal(signal.SIGTERM)
        time.sleep(1)  # by now a server that drops its requests would have
        slow.sendall(ROW)
        answer = b""
        while part := slow.recv(1000):
            answer += part
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"Adelie\n")
        assert server.process.wait(timeout=60) == 0


def test_an_idle_connection_does_not_hold_up_the_stop(trained, adapter):
    # gunicorn alone would wait for it for all of its graceful timeout.
    with serving(trained, **adapter) as server, closing(server.connect()) as idle:
        assert server.ask("GET", "/ping", connection=idle)[0] == 200
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0
        assert time.monotonic() - started < 20  # 25 is the graceful timeout; here it takes 2 to 3


def test_a_broken_model_gives_503_and_the_server_lives(trained, ml):
    shutil.copytree(trained.model, ml.model)
    (ml.model / "tree.npy").write_bytes(b"not a model")
    with serving(ml) as server:
        for _ in range(2):
            status, body, _ = server.ask("GET", "/ping")
            assert status == 503
            assert "The model can't be used" in json.loads(body)["error"]
        assert server.ask("POST", "/invocations", ROW)[0] == 503
        server.process.terminate()
        assert "The model can't be used" in server.log()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SAGEMAKER_MODEL_SERVER_WORKERS", "many"), ("MAX_PAYLOAD_MB", "0")],
)
def test_a_wrong_setting_stops_with_a_sentence(ml, variable, value):
    process = ml.start("serve", **{variable: value})
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output == f"The variable {variable}='{value}' must be a whole number of at least 1.\n"


def test_an_unknown_adapter_stops_with_a_sentence(ml):
    process = ml.start("serve", MODEL_SERVER_ADAPTER="django")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output == "The variable MODEL_SERVER_ADAPTER='django' must be asgi or flask.\n"


def test_head_is_answered_as_get_without_a_body(server):
    assert server.ask("HEAD", "/execution-parameters")[:2] == (200, b"")


def test_headers_without_end_are_refused(trained):
    with (
        serving(trained) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as raw,
    ):
        answer = endless(raw, b"GET /ping HTTP/1.1\r\nX: ", b"x" * 4096)
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"headers are over 64 KB" in answer
        assert server.ask("GET", "/ping")[0] == 200


def test_a_body_without_end_is_refused_and_the_connection_is_ended(trained):
    with (
        serving(trained, SAGEMAKER_MODEL_SERVER_TIMEOUT="2") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as raw,
    ):
        head = b"POST /invocations HTTP/1.1\r\nContent-Type: text/csv\r\n"
        answer = endless(
            raw, head + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"1" * 4096 + b"\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 413")
        assert server.ask("POST", "/invocations", ROW)[0] == 200


def endless(raw, begin, part):
    """Send `part` until the server hangs up; what it had said by then."""
    answer = b""
    raw.sendall(begin)
    try:
        while True:
            raw.sendall(part)
            raw.settimeout(0.001)
            try:
                answer += raw.recv(10_000)
            except TimeoutError:
                pass
            raw.settimeout(60)
    except OSError:
        return answer


@pytest.mark.parametrize(
    "begin",
    [b"\r\n", b"POST /invoc", b"POST /invocations HTTP/1.1\r\nContent-Length: 10\r\n\r\n1,2"],
    ids=["a blank", "half a head", "half a body"],
)
def test_a_request_that_stops_halfway_is_ended(trained, begin):
    with (
        serving(trained, SAGEMAKER_MODEL_SERVER_TIMEOUT="1") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as raw,
    ):
        raw.sendall(begin)
        assert raw.recv(100) == b""  # closed without an answer
        assert server.ask("POST", "/invocations", ROW)[:2] == (200, b"Adelie\n")


def test_the_server_imports_neither_scikit_learn_nor_pandas(trained):
    program = (
        "import sys, app, asgi, worker; client = app.app.test_client()\n"
        f"answer = client.post('/invocations', data={ROW!r}, content_type='text/csv')\n"
        "print(answer.text, *{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(service.__file__).parent,
        env={**os.environ, "SAGEMAKER_BASE_DIR": str(trained.base)},
        capture_output=True,
        text=True,
        check=True,
    )
    words = set(done.stdout.split())
    assert {"Adelie", "numpy", "flask", "uvicorn"} <= words
    assert not words & {"sklearn", "pandas", "scipy", "joblib"}
