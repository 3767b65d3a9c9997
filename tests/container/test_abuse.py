"""What somebody sends who means harm: the server stays, answers, and takes no memory for it.

Requests that are merely wrong are in test_service.py, forged models in test_algorithm.py.
"""

import json
import os
import pickle
import socket
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from running import CSV, ROW, serving

JSON = {"Content-Type": "application/json"}
MANY = 2_000  # connections at a time


@pytest.fixture(scope="module", params=["asgi", "flask"])
def server(trained, request):
    variables = {"MODEL_SERVER_ADAPTER": request.param, "SAGEMAKER_MODEL_SERVER_TIMEOUT": "3"}
    with serving(trained, **variables) as server:
        for _ in range(20):  # so that all that is made once is there
            server.ask("POST", "/invocations", ROW * 10_000)
        yield server


@pytest.fixture(autouse=True)
def unharmed(request):
    """The server is alive and well after each test, with the memory that it had."""
    if "server" not in request.fixturenames:
        yield
        return
    server = request.getfixturevalue("server")
    before = memory(server)
    yield
    assert server.process.poll() is None
    assert server.ask("GET", "/ping")[:2] == (200, b"")
    assert server.ask("POST", "/invocations", ROW)[:2] == (200, b"Adelie\n")
    deadline = time.monotonic() + 5
    while memory(server) > 1.5 * before + 2**24 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert memory(server) <= 1.5 * before + 2**24


def memory(server):
    """Bytes that the server and its workers hold."""
    process = psutil.Process(server.process.pid)
    return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])


def raw(server, *parts, timeout=10.0):
    """All that comes back for bytes as they stand, until the server hangs up or waits for more."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        answer = b""
        try:
            for part in parts:
                connection.sendall(part)
            connection.settimeout(0.5)
            while part := connection.recv(65536):
                answer += part
        except OSError:
            pass
        return answer


def statuses(answer):
    """The status of each answer in what came back."""
    lines = answer.split(b"\r\n")
    return [int(line.split()[1]) for line in lines if line.startswith(b"HTTP/1.1 ")]


POST = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
INNER = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"  # of which nobody may ever answer


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n" + INNER),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n", b"0\r\n\r\n" + INNER),
        (b"Content-Length: 19\r\nContent-Length: 4\r\n\r\n", ROW + INNER),
        (b"Content-Length: 4, 19\r\n\r\n", ROW + INNER),
        (b"Content-Length: +19\r\n\r\n", ROW + INNER),
        (b"Content-Length: -1\r\n\r\n", INNER),
        (b"Content-Length: 0x13\r\n\r\n", ROW + INNER),
        (b"Content-Length: 1_9\r\n\r\n", ROW + INNER),
        (b"Content-Length: 99999999999999999999999\r\n\r\n", ROW + INNER),
        (b"Content-Length : 19\r\n\r\n", ROW + INNER),
        (b"Content-Length: 1\r\n 9\r\n\r\n", ROW + INNER),  # obsolete folding
        (b"X: a\r\n\tContent-Length: 19\r\n\r\n", ROW + INNER),
        (b"Transfer-Encoding: chunked, identity\r\n\r\n", b"0\r\n\r\n" + INNER),
        (b"Transfer-Encoding: xchunked\r\n\r\n", b"0\r\n\r\n" + INNER),
        (b"Transfer-Encoding:\x0bchunked\r\n\r\n", b"0\r\n\r\n" + INNER),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", b"0\r\n\r\n" + INNER),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"-1\r\n" + INNER),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"0x5\r\n" + INNER),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"FFFFFFFFFFFFFFFFF\r\n" + INNER),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nabcdeXX0\r\n\r\n" + INNER),
        (b"Content-Length: 19\n\n", ROW + INNER),  # a bare line feed
        (b"X: a\rContent-Length: 19\r\n\r\n", ROW + INNER),  # a bare carriage return
        (b"X: a\x00b\r\nContent-Length: 19\r\n\r\n", ROW + INNER),
        (b": nameless\r\nContent-Length: 19\r\n\r\n", ROW + INNER),
    ],
    ids=range(24),
)
def test_two_readers_of_a_request_would_see_the_same(server, head, body):
    """What may be read in two ways is refused, and what follows it is never taken for a request."""
    answer = raw(server, POST + head + body)
    print(statuses(answer), b"/smuggled" in answer)
    assert all(status < 500 or status == 501 for status in statuses(answer)), (
        answer
    )  # RFC 9112, 6.1
    assert b"/smuggled" not in answer


@pytest.mark.parametrize(
    "value",
    [
        b"a\r\nSet-Cookie: s=1",
        b"a\rSet-Cookie: s=1",
        b"a\nSet-Cookie: s=1",
        b"a\x00b",
        b"\xff" * 900,
    ],
)
def test_no_header_comes_in_by_another_one(server, value):
    for name in (
        b"X-Amzn-SageMaker-Custom-Attributes",
        b"X-Amzn-SageMaker-Inference-Id",
        b"Accept",
    ):
        head = POST + b"Content-Length: %d\r\n%s: %s\r\n\r\n" % (len(ROW), name, value)
        answer = raw(server, head + ROW)
        assert not any(line.lower().startswith(b"set-cookie") for line in answer.splitlines())
        assert all(status < 500 for status in statuses(answer)), answer


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, "[" * 500_000),
        (JSON, '{"data":' * 100_000 + "1" + "}" * 100_000),
        (JSON, '{"data": [' + "[1,2,3,4]," * 90_000 + "[1,2,3]]}"),
        (JSON, "[[" + "1," * 500_000 + "1]]"),
        (JSON, "[[1, 2, 3, " + "9" * 1_000_000 + "]]"),
        (JSON, "[[1, 2, 3, 0." + "1" * 1_000_000 + "e-400]]"),
        (JSON, "[[1, 2, 3, 1e" + "9" * 1_000 + "]]"),
        (JSON, "{" + ",".join(f'"k{n}": 1' for n in range(80_000)) + "}"),
        (JSON, '[["' + "\\u0000" * 150_000 + '", 2, 3, 4]]'),
        (CSV, '"' + "1," * 500_000),
        (CSV, '"1","2","3","4"\n' * 60_000),
        (CSV, '=cmd|" /C calc"!A0,1,2,3'),
        (CSV, "1,2,3,4\r" * 100_000),
        (CSV, "," * 1_000_000),
        (CSV, "\n" * 1_000_000),
        (CSV, "\x00" * 1_000_000),
        (CSV, "1," * 3 + "9" * 1_000_000),
        (CSV, "\ufeff1,2,3,4"),
    ],
    ids=range(18),
)
def test_bodies_that_swell_are_answered_soon(server, headers, body):
    started = time.monotonic()
    status, answer, _ = server.ask("POST", "/invocations", body.encode(), headers)
    assert status in (200, 400, 413), answer[:300]
    assert time.monotonic() - started < 10  # a few ms here
    assert len(answer) < len(body) + 1000


def test_a_body_that_is_over_the_limit_is_not_kept(server):
    held = memory(server)
    for _ in range(4):
        raw(server, POST + b"Content-Length: 1073741824\r\n\r\n", b"1" * 2**23)
    assert memory(server) < held + 2**26


@contextmanager
def connections(server, count, begin=b""):
    with ExitStack() as opened:
        for _ in range(count):
            place = ("127.0.0.1", server.port)
            one = opened.enter_context(socket.create_connection(place, timeout=60))
            one.sendall(begin)
        yield


@pytest.mark.parametrize(
    "begin",
    [b"", b"GET /ping HTTP/1.1\r\nX: ", POST + b"Content-Length: 10\r\n\r\n1,2"],
    ids=["silent", "half a head", "half a body"],
)
def test_many_slow_clients_do_not_keep_others_out(server, request, begin):
    """Flask has 16 threads: as many clients hold it up until their time is over, which is what the
    event loop is for."""
    count = 12 if "flask" in request.node.callspec.id else MANY // 10
    with connections(server, count, begin):
        started = time.monotonic()
        assert server.ask("GET", "/ping")[0] == 200
        assert server.ask("POST", "/invocations", ROW)[0] == 200
        assert time.monotonic() - started < 15


def test_thousands_of_connections(server):
    with connections(server, MANY):
        pass
    assert server.ask("GET", "/ping")[0] == 200
    assert psutil.Process(server.process.pid).children()


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def archive(trained, ml):
    """A folder with the good model, to be spoilt."""
    ml.model.mkdir(parents=True)
    for path in trained.model.iterdir():
        (ml.model / path.name).write_bytes(path.read_bytes())
    return ml.model


def spoilt(ml):
    """What `serve` says of the model: its status, its reason and what it holds in memory."""
    with serving(ml) as server:
        status, body, _ = server.ask("GET", "/ping")
        assert server.process.poll() is None
        assert server.ask("POST", "/invocations", ROW)[0] == status
        return status, json.loads(body)["error"] if body else "", memory(server)


def test_a_pickle_in_the_archive_is_not_run(trained, ml, tmp_path):
    model, mark = archive(trained, ml), tmp_path / "mark"
    with (model / "tree.npy").open("wb") as file:
        np.lib.format.write_array(file, np.array([Bomb(mark)], object), allow_pickle=True)
    (model / "model.pkl").write_bytes(pickle.dumps(Bomb(mark)))
    (model / "metadata.json").write_bytes(pickle.dumps(Bomb(mark)))
    assert spoilt(ml)[0] == 503
    assert not mark.exists()


@pytest.mark.parametrize("name", ["tree.npy", "metadata.json"])
def test_a_file_of_ten_gigabytes_is_refused_before_it_is_read(trained, ml, name):
    """A hole in the file, which takes no disk, but would take memory."""
    model = archive(trained, ml)
    nodes = np.load(model / "tree.npy")
    with (model / name).open("r+b") as file:
        if name == "tree.npy":  # a header that says so
            count = 10 * 2**30 // nodes.itemsize
            header = {"descr": nodes.dtype.descr, "fortran_order": False, "shape": (count,)}
            np.lib.format.write_array_header_1_0(file, header)
        os.truncate(file.fileno(), 10 * 2**30)
    status, reason, held = spoilt(ml)
    assert (status, "larger than" in reason) == (503, True), reason
    assert held < 2**30


def test_a_model_whose_description_is_a_bomb(trained, ml):
    (archive(trained, ml) / "metadata.json").write_text('{"classes":' + "[" * 200_000)
    assert spoilt(ml)[0] == 503


def test_links_in_the_archive_lead_nowhere(trained, ml):
    model = archive(trained, ml)
    (model / "metadata.json").unlink()
    (model / "metadata.json").symlink_to("/etc/passwd")
    status, reason, _ = spoilt(ml)
    assert status == 503
    assert "root:" not in reason


@pytest.mark.parametrize(
    "value", ["3; touch MARK", "$(touch MARK)", "`touch MARK`", "3\ntouch MARK", "../../etc/passwd"]
)
def test_a_hyperparameter_is_never_a_command(ml, table, tmp_path, value):
    mark = tmp_path / "mark"
    ml.config("hyperparameters", {"max_depth": value.replace("MARK", str(mark))})
    ml.channel("training", training_data=table)
    code, _ = ml.train()
    assert (code, "max_depth" in ml.failure()) == (1, True)
    assert not mark.exists()


def test_a_poisoned_channel_ends_the_job_with_a_sentence(ml, table):
    ml.channel("training", training_data=table)
    folder = ml.base / "input/data/training"
    (folder / "link.csv").symlink_to("/etc/passwd")
    code, log = ml.train()
    assert code == 1
    assert "root:" not in ml.failure() + log
    (folder / "link.csv").unlink()
    os.mkfifo(folder / "pipe.csv")  # nobody will ever write
    (folder / "folder.csv").mkdir()
    assert ml.train()[0] == 0
    (folder / "bad\n.csv").write_bytes(b"1,2,3,4,\x00\xff\n" * 10)
    code, _ = ml.train()
    assert code == 1
    assert ml.failure().count("\n") <= 1


def test_secrets_do_not_show(ml, trained, table):
    secret = "s3cr3t-0123456789"
    ml.channel("training", training_data=table)
    code, log = ml.train(AWS_SECRET_ACCESS_KEY=secret, API_KEY=secret)
    assert (code, secret in log) == (0, False)
    ml.channel("training", training_data=table.replace("species", secret, 1) + "1,2,x,4,Adelie\n")
    code, log = ml.train(API_KEY=secret)
    assert (code, secret in log + ml.failure()) == (1, False)
    with serving(trained, API_KEY=secret) as server:
        headers = {
            "Authorization": secret,
            "Cookie": secret,
            "X-Amzn-SageMaker-Custom-Attributes": secret,
        }
        server.ask("POST", "/invocations", ROW, CSV | headers)
        server.ask("POST", "/invocations", f"1,2,3,{'9' * 60}", CSV | headers)
        server.ask("GET", f"/{secret}", None, headers)
        server.process.terminate()
        assert secret not in server.log()


@pytest.mark.parametrize(
    "name", ["../../etc", "..%2f..%2fetc", "%2e%2e/x", "a%00b", "a%0d%0aX: y", "..\\..\\x", "%ff"]
)
def test_names_of_models_lead_nowhere(trained, ml, name):
    folder = ml.base / "models/one/model"
    folder.mkdir(parents=True)
    for path in trained.model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    outside = ml.base / "models/link"
    outside.symlink_to(trained.model)
    with serving(ml, SAGEMAKER_MULTI_MODEL="true") as server:
        request = f"POST /models/{name}/invoke HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        answer = raw(server, request.encode("latin-1"))
        assert all(status < 500 for status in statuses(answer)), answer
        assert b"200" not in answer.split(b"\r\n")[0]
        body = json.dumps({"model_name": "link", "url": str(outside)})
        assert server.ask("POST", "/models", body)[0] == 400
        body = json.dumps({"model_name": "up", "url": f"{folder}/../../../../{Path('etc')}"})
        assert server.ask("POST", "/models", body)[0] == 400
        assert server.ask("GET", "/ping")[0] == 200
