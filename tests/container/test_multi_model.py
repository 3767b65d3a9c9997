"""The real `serve` of a multi-model endpoint, with two workers that must agree."""

import json
import os
import shutil

import pytest
from running import CSV, ROW, serving


@pytest.fixture
def server(ml, trained):
    for name in ("first", "second"):
        shutil.copytree(trained.model, ml.base / "models" / name / "model")
    many = {"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_MODEL_SERVER_WORKERS": "2"}
    with serving(ml, **many) as server:
        server.ml = ml
        yield server


def load(server, name, folder=None):
    url = str(folder or server.ml.base / "models" / name / "model")
    body = json.dumps({"model_name": name, "url": url})
    status, answer, _ = server.ask("POST", "/models", body, {"Content-Type": "application/json"})
    return status, json.loads(answer)


def listed(server):
    status, answer, _ = server.ask("GET", "/models")
    assert status == 200
    return {one["modelName"]: one["modelUrl"] for one in json.loads(answer)["models"]}


def invoked(server, name, times=24):
    """The statuses of requests that go to either worker."""
    return {server.ask("POST", f"/models/{name}/invoke", ROW)[0] for _ in range(times)}


def test_models_come_and_go_in_every_worker(server):
    assert server.ask("GET", "/ping")[:2] == (200, b"")
    assert listed(server) == {}
    assert invoked(server, "first") == {404}
    assert load(server, "first")[0] == 200
    assert load(server, "first")[0] == 409
    assert load(server, "second")[0] == 200
    assert set(listed(server)) == {"first", "second"}
    assert server.ask("GET", "/models/first")[0] == 200
    assert invoked(server, "first") == invoked(server, "second") == {200}
    assert server.ask("POST", "/models/first/invoke", ROW)[1] == b"Adelie\n"
    assert server.ask("DELETE", "/models/first")[0] == 200
    assert server.ask("DELETE", "/models/first")[0] == 404
    assert invoked(server, "first") == {404}
    assert invoked(server, "second") == {200}
    assert set(listed(server)) == {"second"}


def test_a_model_that_is_loaded_anew_is_the_new_one_in_every_worker(server, table):
    assert load(server, "first")[0] == 200
    assert invoked(server, "first") == {200}
    assert server.ask("DELETE", "/models/first")[0] == 200
    metadata = server.ml.base / "models/second/model/metadata.json"
    metadata.write_text(metadata.read_text().replace('"Adelie"', '"Renamed"'))
    assert load(server, "first", metadata.parent)[0] == 200
    answers = {server.ask("POST", "/models/first/invoke", ROW)[1] for _ in range(24)}
    assert answers == {b"Renamed\n"}


def test_what_is_too_large_for_the_memory_is_refused_with_507(server):
    huge = server.ml.base / "models/huge/model"
    huge.mkdir(parents=True)
    with (huge / "tree.npy").open("wb") as file:
        os.truncate(file.fileno(), 2**40)  # a hole, which takes no disk
    status, answer = load(server, "huge")
    assert (status, "not enough memory" in answer["error"]) == (507, True)
    assert load(server, "first")[0] == 200


@pytest.mark.parametrize(
    ("name", "place", "word"),
    [
        ("absent", "models/absent/model", "FileNotFoundError"),
        ("outside", "models/../elsewhere", "must be below /opt/ml/models"),
        ("self", "models", "must be below /opt/ml/models"),
        ("n" * 300, "models/first/model", "with a short name"),
        ("", "models/first/model", "with a short name"),
    ],
)
def test_what_can_not_be_loaded_is_refused_and_the_others_stay(server, name, place, word):
    assert load(server, "first")[0] == 200
    status, answer = load(server, name, server.ml.base / place)
    assert status == 400
    assert word in answer["error"]
    assert invoked(server, "first", 4) == {200}


@pytest.mark.parametrize("body", ["", "{", "[]", '{"model_name": 1, "url": "x"}', '"x" ' * 9999])
def test_a_request_that_is_none_gets_a_sentence(server, body):
    status, answer, _ = server.ask("POST", "/models", body, CSV)
    assert (status, b"model_name" in answer) == (400, True)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/invocations"), ("PUT", "/models"), ("GET", "/models/a/invoke"), ("GET", "/")],
)
def test_other_calls_are_404(server, method, path):
    status, answer, _ = server.ask(method, path, ROW)
    assert (status, b"no such call" in answer) == (404, True)


def test_names_are_opaque(server):
    for name in ("..", "a b", "ü", "%2e", "."):
        assert load(server, name, server.ml.base / "models/first/model")[0] == 200
    assert set(listed(server)) == {"..", "a b", "ü", "%2e", "."}


def test_the_flask_adapter_refuses_many_models(ml):
    many = {"SAGEMAKER_MULTI_MODEL": "true", "MODEL_SERVER_ADAPTER": "flask"}
    process = ml.start("serve", **many)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "needs MODEL_SERVER_ADAPTER=asgi" in output
