"""Multi-model endpoints: a container that loads and unloads models as requests name them."""

import contextlib
import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from byoc import engines

DOCKERFILE = """\
FROM python:3.12-slim-bookworm
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true \\
      com.amazonaws.sagemaker.capabilities.multi-models={label}
COPY serve /opt/program/
ENV PATH=/opt/program:$PATH PYTHONUNBUFFERED=1
WORKDIR /opt/program
"""

# Has room for $ROOM models; a model's text is what it answers, or what is wrong with it.
SERVE = """\
#!/usr/bin/env python
import json, os, pathlib, signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
assert os.environ["SAGEMAKER_MULTI_MODEL"] == "true"
room, loaded, calls = int(os.environ.get("ROOM", "100")), {}, []
own = os.urandom(8).hex()
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, status, content=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def do_GET(self):
        if self.path == "/ping":
            return self.answer(200)
        if self.path == "/models":
            models = [{"modelName": name, "modelUrl": url} for name, (url, _) in loaded.items()]
            return self.answer(int(os.environ.get("LIST", "200")), json.dumps(models).encode())
        self.answer(200 if self.path.split("/")[2] in loaded else 404)
    def do_DELETE(self):
        name = self.path.split("/")[2]
        calls.append(["unload", name])
        self.answer(200 if loaded.pop(name, None) else 404)
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        target = self.headers["X-Amzn-SageMaker-Target-Model"]
        if self.path == "/models":
            orders = json.loads(body)
            text = (pathlib.Path(orders["url"]) / "text").read_text()
            if text == "die":
                os._exit(1)
            if text == "bad":
                return self.answer(500, b"a bad model")
            if len(loaded) >= room:
                return self.answer(507, b"no room")
            if "wait" in text:
                open(text.split()[1]).read()
            loaded[orders["model_name"]] = orders["url"], text
            calls.append(["load", target])
            return self.answer(200)
        _, root, name, invoke = self.path.split("/")
        if body == b"forget":
            loaded.clear()
        if name not in loaded:
            return self.answer(404, b"what model?")
        url, text = loaded[name]
        seen = {"target": target, "text": text, "url": url, "name": name, "calls": calls,
                "container": own, "root": root, "invoke": invoke}
        self.answer(200, json.dumps(seen).encode())
    def log_message(self, *_):
        pass
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
address = "0.0.0.0", int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
ThreadingHTTPServer(address, Handler).serve_forever()
"""


def built(tmp_path_factory, write, name, label):
    folder = tmp_path_factory.mktemp(name)
    write(folder, Dockerfile=DOCKERFILE.format(label=label), serve=SERVE)
    return engines.engine().build(folder, f"{name}:1").tag


@pytest.fixture(scope="session")
def many_tag(home, tmp_path_factory, write):
    return built(tmp_path_factory, write, "many", "true")


@pytest.fixture
def many(cloud, many_tag):
    """The URI of the image of a multi-model container in the test's account."""
    return cloud.push(many_tag)


def archive(text, size=0):
    """A model.tar.gz with a text, and as many more bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in {"text": text.encode(), "more": bytes(size)}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def put(cloud, size=0, **models):
    """Archives NAME.tar.gz below a prefix, whose address is returned."""
    places = [cloud.put(f"models/{name}.tar.gz", archive(t, size)) for name, t in models.items()]
    return places[0].rpartition("/")[0] + "/"


def container(image, prefix, **environment):
    return {
        "Image": image,
        "Mode": "MultiModel",
        "ModelDataUrl": prefix,
        "Environment": environment,
    }


def model(cloud, definition, name="many"):
    cloud.sagemaker.create_model(
        ModelName=name, PrimaryContainer=definition, ExecutionRoleArn=cloud.role
    )


def serve(cloud, definition, **members):
    """A multi-model endpoint called `toy` in service; what DescribeEndpoint shows."""
    model(cloud, definition)
    cloud.configure("many", {"AllTraffic": "many"}, **members)
    cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="many")
    return cloud.deployed()


def ask(cloud, target, body="x"):
    return json.loads(cloud.invoke(body, TargetModel=target)["Body"].read())


def refused(call, *values, **members):
    """The error that a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(*values, **members)
    return caught.value.response


def test_a_model_is_loaded_with_its_first_request_and_stays(cloud, many):
    found = serve(cloud, container(many, put(cloud, a="A", b="B")))
    assert found["EndpointStatus"] == "InService", found
    first = ask(cloud, "a.tar.gz")
    assert (first["text"], first["target"]) == ("A", "a.tar.gz")
    assert (first["root"], first["invoke"]) == ("models", "invoke")
    assert first["url"] == f"/opt/ml/models/{first['name']}/model"
    assert ask(cloud, "b.tar.gz")["text"] == "B"
    again = ask(cloud, "a.tar.gz")
    assert again["calls"] == [["load", "a.tar.gz"], ["load", "b.tar.gz"]]


def test_a_model_that_comes_later_is_served_without_a_change(cloud, many):
    serve(cloud, container(many, put(cloud, a="A")))
    put(cloud, new="N", deep__er="D")
    assert ask(cloud, "new.tar.gz")["text"] == "N"
    cloud.put("models/deep/er.tar.gz", archive("D"))
    assert ask(cloud, "deep/er.tar.gz")["text"] == "D"


def test_what_was_not_used_for_longest_makes_room_and_comes_back_from_the_volume(cloud, many):
    serve(cloud, container(many, put(cloud, a="A", b="B", c="C"), ROOM="2"))
    names = {target: ask(cloud, target)["name"] for target in ("a.tar.gz", "b.tar.gz")}
    ask(cloud, "a.tar.gz")
    calls = ask(cloud, "c.tar.gz")["calls"]
    assert calls[2:] == [["unload", names["b.tar.gz"]], ["load", "c.tar.gz"]]
    cloud.client("s3").delete_object(**dict(zip(("Bucket", "Key"), _place(cloud), strict=True)))
    calls = ask(cloud, "a.tar.gz")["calls"]
    assert len(calls) == 4  # it was there all the time


def _place(cloud):
    place = cloud.put("models/b.tar.gz", b"")
    bucket, _, key = place.removeprefix("s3://").partition("/")
    return bucket, key


def test_files_make_room_on_the_volume(own_server, many_tag):
    cloud, _ = own_server(disk=0.1)
    prefix = put(cloud, 60 * 2**20, a="A", b="B")
    serve(cloud, container(cloud.push(many_tag), prefix))
    assert ask(cloud, "a.tar.gz")["text"] == "A"
    seen = ask(cloud, "b.tar.gz")
    assert [call[0] for call in seen["calls"]] == ["load", "unload", "load"]


def test_a_model_that_takes_too_long_goes_on_being_loaded(watchful, many_tag, gate, monkeypatch):
    serve(watchful, container(watchful.push(many_tag), put(watchful, slow=f"wait {gate.path}")))
    with monkeypatch.context() as patch:
        patch.setattr("byoc.local.runtime.TIMEOUT", 0.1)
        answer = refused(ask, watchful, "slow.tar.gz")
    assert answer["Error"]["Code"] == "ModelNotReadyException"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 429
    gate.open()
    assert ask(watchful, "slow.tar.gz")["calls"] == [["load", "slow.tar.gz"]]


def test_a_model_that_is_not_there_or_does_not_load(cloud, many):
    serve(cloud, container(many, put(cloud, a="A", bad="bad"), ROOM="0"))
    cloud.put("models/torn.tar.gz", b"no archive")
    error = refused(ask, cloud, "absent.tar.gz")["Error"]
    assert error["Code"] == "ValidationError"
    assert "absent.tar.gz" in error["Message"]
    error = refused(ask, cloud, "torn.tar.gz")["Error"]
    assert error["Code"] == "ValidationError"
    assert "Failed to extract model data archive" in error["Message"]
    answer = refused(ask, cloud, "bad.tar.gz")
    assert answer["Error"]["Code"] == "ModelError"
    assert (answer["OriginalStatusCode"], answer["OriginalMessage"]) == (500, "a bad model")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert refused(ask, cloud, "a.tar.gz")["OriginalStatusCode"] == 507


def test_a_container_that_has_lost_a_model_gets_it_again(cloud, many):
    serve(cloud, container(many, put(cloud, a="A")))
    ask(cloud, "a.tar.gz")
    answer = refused(ask, cloud, "a.tar.gz", "forget")
    assert (answer["Error"]["Code"], answer["OriginalStatusCode"]) == ("ModelError", 404)
    assert ask(cloud, "a.tar.gz")["calls"] == [["load", "a.tar.gz"]] * 2


def test_a_container_that_dies_of_a_model_is_replaced(cloud, many, until):
    serve(cloud, container(many, put(cloud, a="A", die="die")))
    first = ask(cloud, "a.tar.gz")["container"]
    answer = refused(ask, cloud, "die.tar.gz")
    assert answer["Error"]["Code"] == "ModelError"
    assert "could not get a response" in answer["Error"]["Message"]

    def again():
        with contextlib.suppress(ClientError):  # nothing is in service for a moment
            return ask(cloud, "a.tar.gz")

    seen = until(again)
    assert seen["container"] != first
    assert seen["calls"] == [["load", "a.tar.gz"]]


def test_requests_at_a_time_load_a_model_once(cloud, many, gate, until):
    serve(cloud, container(many, put(cloud, slow=f"wait {gate.path}")))
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, cloud, "slow.tar.gz") for _ in range(4)]
        until(lambda: gate.open() or all(one.done() for one in asked))
    assert [one.result()["calls"] for one in asked] == [[["load", "slow.tar.gz"]]] * 4


def test_requests_name_a_model_where_there_are_many_and_only_there(cloud, many, toy):
    serve(cloud, container(many, put(cloud, a="A")))
    error = refused(cloud.invoke, "x")["Error"]
    assert error["Code"] == "ValidationError"
    assert "is missing a target model header" in error["Message"]
    cloud.sagemaker.create_model(
        ModelName="one", PrimaryContainer={"Image": toy}, ExecutionRoleArn=cloud.role
    )
    cloud.configure("one", {"AllTraffic": "one"})
    cloud.sagemaker.create_endpoint(EndpointName="one", EndpointConfigName="one")
    cloud.deployed("one")
    error = refused(cloud.invoke, "x", "one", TargetModel="a.tar.gz")["Error"]
    assert (error["Code"], error["Message"]) == (
        "ValidationError",
        "Endpoint one is not a multi-model endpoint and does not support target model header.",
    )


def test_a_model_stays_on_the_instance_that_has_it(cloud, many):
    serve(cloud, container(many, put(cloud, a="A", b="B")), InitialInstanceCount=2)
    assert len({ask(cloud, "a.tar.gz")["container"] for _ in range(4)}) == 1


def test_a_container_that_does_not_list_its_models_fails(impatient, many_tag):
    definition = container(impatient.push(many_tag), put(impatient, a="A"), LIST="404")
    found = serve(impatient, definition)
    assert found["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in found["FailureReason"]


def test_metrics_of_loading(watchful, many_tag, until):
    prefix = put(watchful, a="A", b="B")
    serve(watchful, container(watchful.push(many_tag), prefix, ROOM="1"))
    for target in ("a.tar.gz", "a.tar.gz", "b.tar.gz"):
        ask(watchful, target)
    listed = watchful.client("cloudwatch").list_metrics
    wanted = {
        "ModelCacheHit",
        "ModelDownloadingTime",
        "ModelLoadingTime",
        "ModelLoadingWaitTime",
        "ModelUnloadingTime",
        "LoadedModelCount",
    }

    def names():
        dimensions = [{"Name": "EndpointName", "Value": "toy"}]
        return {m["MetricName"] for m in listed(Dimensions=dimensions)["Metrics"]}

    until(lambda: wanted <= names())


def test_what_a_model_of_many_needs(cloud, many, toy):
    prefix = put(cloud, a="A")
    for definition, said in (
        (container(toy, prefix), f"Your Ecr Image {toy} does not contain required"),
        (container(many, f"{prefix}none/"), "Could not find model data"),
        ({"Image": many, "Mode": "MultiModel"}, "needs a ModelDataUrl"),
    ):
        error = refused(model, cloud, definition)["Error"]
        assert error["Code"] == "ValidationException"
        assert said in error["Message"]
    uncached = {"MultiModelConfig": {"ModelCacheSetting": "Disabled"}}
    error = refused(model, cloud, container(many, prefix) | uncached)["Error"]
    assert error["Code"] == "NotImplementedException"
    assert cloud.sagemaker.list_models()["Models"] == []


def test_what_many_models_can_not_be_combined_with(cloud, many):
    model(cloud, container(many, put(cloud, a="A")))
    create = cloud.sagemaker.create_endpoint_config
    variant = {"VariantName": "v", "ModelName": "many"}
    instances = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    serverless = variant | {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}
    error = refused(create, EndpointConfigName="c", ProductionVariants=[serverless])["Error"]
    assert error["Code"] == "ValidationException"
    assert "MultiModel is not supported when using a ServerlessConfig" in error["Message"]
    error = refused(
        create,
        EndpointConfigName="c",
        ProductionVariants=[variant | instances],
        ShadowProductionVariants=[variant | instances | {"VariantName": "shadow"}],
    )["Error"]
    assert error["Code"] == "ValidationException"
    error = refused(
        create,
        EndpointConfigName="c",
        ProductionVariants=[variant | instances],
        AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": "s3://bucket/async"}},
    )["Error"]
    assert error["Code"] == "NotImplementedException"
