"""Endpoints that are updated, scaled, hurt and deleted while they serve."""

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from botocore.exceptions import ClientError

from byoc import engines
from byoc.local.deployment import Deployment
from byoc.local.endpoints import resume
from byoc.local.service import Context


def refused(call, **members):
    """Code and message of the error that a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def model(cloud, image, name, **environment):
    """A model and a configuration of one variant, both called so."""
    cloud.sagemaker.create_model(
        ModelName=name,
        PrimaryContainer={"Image": image, "Environment": {"LETTER": name, **environment}},
        ExecutionRoleArn=cloud.role,
    )
    cloud.configure(name, {"AllTraffic": name})


def serve(cloud, image, name="a", **environment):
    """An endpoint called `toy` in service."""
    model(cloud, image, name, **environment)
    cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName=name)
    found = cloud.deployed()
    assert found["EndpointStatus"] == "InService", found


def settled(cloud, until):
    """DescribeEndpoint once the endpoint is no longer being changed."""

    def ask():
        found = cloud.sagemaker.describe_endpoint(EndpointName="toy")
        return found["EndpointStatus"] not in ("Creating", "Updating") and found

    return until(ask)


def environment_of(cloud, **members):
    return json.loads(cloud.invoke("x", **members)["Body"].read())["environment"]


def scale(cloud, until, **wanted):
    cloud.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="toy", DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", **wanted}]
    )
    return settled(cloud, until)


def ports(cloud, times=12):
    return {environment_of(cloud)["SAGEMAKER_BIND_TO_PORT"] for _ in range(times)}


class Load:
    """Clients that invoke the endpoint all the time; what failed is kept."""

    def __init__(self, cloud, clients=4):
        self._cloud, self._stop, self.failed, self.letters = cloud, threading.Event(), [], []
        cloud.client("sagemaker-runtime")
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self):
        while not self._stop.is_set():
            try:
                self.letters.append(environment_of(self._cloud)["LETTER"])
            except Exception as error:
                self.failed.append(error)


def test_an_update_puts_new_containers_in_the_place_of_the_old_ones(cloud, toy, until, alive, gate):
    mark = f"mark-{cloud.account}"
    serve(cloud, toy, "a", MARK=f"old-{mark}")
    model(cloud, toy, "b", MARK=f"new-{mark}")
    arn = cloud.sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName="b")["EndpointArn"]
    found = cloud.sagemaker.describe_endpoint(EndpointName="toy")
    assert (found["EndpointArn"], found["EndpointStatus"]) == (arn, "Updating")
    assert found["EndpointConfigName"] == "a"
    pending = found["PendingDeploymentSummary"]
    assert pending["EndpointConfigName"] == "b"
    assert pending["ProductionVariants"][0]["VariantStatus"][0]["Status"] == "Creating"
    found = settled(cloud, until)
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "b")
    assert not {"FailureReason", "PendingDeploymentSummary", "LastDeploymentConfig"} & set(found)
    assert environment_of(cloud)["LETTER"] == "b"
    assert not alive(f"old-{mark}")


def test_no_request_fails_while_the_endpoint_is_updated(cloud, toy, until):
    serve(cloud, toy, "a")
    model(cloud, toy, "b")
    with Load(cloud) as load:
        for config in ("b", "a", "b"):
            until(lambda: load.letters)
            cloud.sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName=config)
            assert settled(cloud, until)["EndpointConfigName"] == config
    assert load.failed == []
    assert {"a", "b"} <= set(load.letters)


def test_a_request_under_way_is_finished_before_its_container_is_stopped(cloud, toy, until, gate):
    serve(cloud, toy, "a")
    model(cloud, toy, "b")
    program = f"{gate.program}; self.answer(200, os.environ['LETTER'].encode())"
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(
            cloud.invoke, json.dumps({"program": program}), ContentType="application/orders"
        )
        until(lambda: gate.reached)
        cloud.sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName="b")
        until(lambda: environment_of(cloud)["LETTER"] == "b")
        gate.open()
        assert slow.result()["Body"].read() == b"a"
    assert settled(cloud, until)["EndpointStatus"] == "InService"


def test_an_update_that_fails_leaves_the_old_containers_serving(watchful, toy_tag, until, alive):
    cloud, mark = watchful, f"mark-{watchful.account}"
    toy = cloud.push(toy_tag)
    serve(cloud, toy, "a")
    model(cloud, toy, "bad", PATH="/nowhere", MARK=mark)
    with Load(cloud, clients=1) as load:
        cloud.sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName="bad")
        found = settled(cloud, until)
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "a")
    assert found["FailureReason"].startswith("CannotStartContainerError.")
    assert "PendingDeploymentSummary" not in found
    assert load.failed == []
    assert not alive(mark)
    model(cloud, toy, "c")
    cloud.sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName="c")
    assert "FailureReason" not in settled(cloud, until)


def test_an_image_that_knows_one_port_only_cannot_be_updated_here(cloud, toy_folder, until):
    text = (toy_folder / "Dockerfile").read_text()
    (toy_folder / "Dockerfile").write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith("LABEL"))
    )
    engines.engine().build(toy_folder, "fixed:1")
    image = cloud.push("fixed:1")
    serve(cloud, image, "a")
    model(cloud, image, "b")
    cloud.sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName="b")
    found = settled(cloud, until)
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "a")
    assert "could not start the container. Port 8080 is in use" in found["FailureReason"]
    assert environment_of(cloud)["LETTER"] == "a"
    cloud.delete_endpoint()


def test_instances_are_started_and_stopped_as_desired(cloud, toy, until, alive):
    mark = f"mark-{cloud.account}"
    serve(cloud, toy, MARK=mark)
    cloud.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="toy",
        DesiredWeightsAndCapacities=[
            {"VariantName": "AllTraffic", "DesiredInstanceCount": 3, "DesiredWeight": 0.5}
        ],
    )
    found = cloud.sagemaker.describe_endpoint(EndpointName="toy")
    (variant,) = found["ProductionVariants"]
    assert found["EndpointStatus"] == "Updating"
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (1, 3)
    assert (variant["CurrentWeight"], variant["DesiredWeight"]) == (1.0, 0.5)
    (variant,) = settled(cloud, until)["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (3, 3)
    assert (variant["CurrentWeight"], variant["DesiredWeight"]) == (0.5, 0.5)
    assert "VariantStatus" not in variant
    assert len(ports(cloud)) == 3
    (variant,) = scale(cloud, until, DesiredInstanceCount=1)["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["CurrentWeight"]) == (1, 0.5)
    assert len(ports(cloud)) == 1


def test_no_request_fails_while_the_endpoint_is_scaled(cloud, toy, until):
    serve(cloud, toy)
    with Load(cloud) as load:
        for count in (3, 1, 2, 1):
            scale(cloud, until, DesiredInstanceCount=count)
    assert load.failed == []


def test_weights_move_the_traffic(cloud, toy, until):
    for name in ("a", "b"):
        model(cloud, toy, name)
    cloud.configure("both", {"first": "a", "second": "b"})
    cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="both")
    cloud.deployed()
    for weights, expected in (((1, 0), {"first"}), ((0, 1), {"second"})):
        cloud.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="toy",
            DesiredWeightsAndCapacities=[
                {"VariantName": name, "DesiredWeight": weight}
                for name, weight in zip(("first", "second"), weights, strict=True)
            ],
        )
        settled(cloud, until)
        assert {cloud.invoke("x")["InvokedProductionVariant"] for _ in range(8)} == expected


def test_scaling_that_fails_leaves_what_was(watchful, toy_tag, until):
    cloud = watchful
    uri = cloud.put("model.tar.gz", b"")
    toy = cloud.push(toy_tag)
    cloud.sagemaker.create_model(
        ModelName="a",
        PrimaryContainer={
            "Image": toy,
            "ModelDataSource": {
                "S3DataSource": {
                    "S3Uri": uri,
                    "S3DataType": "S3Object",
                    "CompressionType": "None",
                }
            },
        },
        ExecutionRoleArn=cloud.role,
    )
    cloud.configure("a", {"AllTraffic": "a"})
    cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="a")
    assert cloud.deployed()["EndpointStatus"] == "InService"
    cloud.client("s3").delete_object(Bucket=cloud.aws.bucket, Key="model.tar.gz")
    found = scale(cloud, until, DesiredInstanceCount=2, DesiredWeight=7)
    (variant,) = found["ProductionVariants"]
    assert found["EndpointStatus"] == "InService"
    assert found["FailureReason"].startswith("Failed to download model data")
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (1, 1)
    assert (variant["CurrentWeight"], variant["DesiredWeight"]) == (1.0, 1.0)
    assert cloud.invoke("x")["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize(
    ("excluded", "count", "weight"),
    [
        (None, 1, 1.0),
        ([], 2, 0.5),
        (["DesiredInstanceCount"], 1, 0.5),
        (["DesiredWeight", "DataCaptureConfig"], 2, 1.0),
    ],
)
def test_an_update_retains_what_it_is_told_to(cloud, toy, until, excluded, count, weight):
    serve(cloud, toy, "a")
    model(cloud, toy, "b")
    scale(cloud, until, DesiredInstanceCount=2, DesiredWeight=0.5)
    retain = {}
    if excluded is not None:
        properties = [{"VariantPropertyType": kind} for kind in excluded]
        retain = {
            "RetainAllVariantProperties": True,
            "ExcludeRetainedVariantProperties": properties,
        }
    cloud.sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName="b", **retain)
    (variant,) = settled(cloud, until)["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["CurrentWeight"]) == (count, weight)


def test_an_endpoint_is_changed_by_one_at_a_time(cloud, toy, until, gate):
    serve(cloud, toy, "a")
    model(cloud, toy, "b")
    sagemaker = cloud.sagemaker
    arn = sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName="b")["EndpointArn"]
    said = ("ValidationException", f'Cannot update in-progress endpoint "{arn}".')
    wanted = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 2}]
    change = sagemaker.update_endpoint_weights_and_capacities
    assert refused(sagemaker.update_endpoint, EndpointName="toy", EndpointConfigName="a") == said
    assert refused(change, EndpointName="toy", DesiredWeightsAndCapacities=wanted) == said
    assert settled(cloud, until)["EndpointConfigName"] == "b"


def test_of_many_updates_at_once_one_is_accepted(cloud, toy, until):
    serve(cloud, toy, "a")
    model(cloud, toy, "b")
    cloud.client("sagemaker")

    def update(_):
        try:
            cloud.sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName="b")
        except ClientError as error:
            return error.response["Error"]["Message"].split(" endpoint")[0]
        return "accepted"

    with ThreadPoolExecutor(6) as pool:
        answers = sorted(pool.map(update, range(6)))
    assert answers == ["Cannot update in-progress"] * 5 + ["accepted"]
    assert settled(cloud, until)["EndpointStatus"] == "InService"


def test_of_many_creations_of_one_name_one_is_accepted(cloud, toy, alive, until):
    mark = f"mark-{cloud.account}"
    model(cloud, toy, "a", MARK=mark)

    def create(_):
        try:
            cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="a")
        except ClientError as error:
            return error.response["Error"]["Message"].split(" endpoint")[0]
        return "accepted"

    with ThreadPoolExecutor(6) as pool:
        answers = sorted(pool.map(create, range(6)))
    assert answers == ["Cannot create already existing"] * 5 + ["accepted"]
    assert cloud.deployed()["EndpointStatus"] == "InService"
    cloud.delete_endpoint()
    assert not alive(mark)


def test_a_failed_endpoint_can_only_be_deleted(impatient, toy_tag):
    cloud = impatient
    toy = cloud.push(toy_tag)
    model(cloud, toy, "a", PATH="/nowhere")
    cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="a")
    assert cloud.deployed()["EndpointStatus"] == "Failed"
    update = cloud.sagemaker.update_endpoint
    code, message = refused(update, EndpointName="toy", EndpointConfigName="a")
    assert (code, "can only be deleted" in message) == ("ValidationException", True)
    cloud.delete_endpoint()


def test_updates_that_name_what_is_not_there(cloud, toy):
    serve(cloud, toy, "a")
    sagemaker, arn = cloud.sagemaker, f"arn:aws:sagemaker:us-east-1:{cloud.account}"
    update, change = sagemaker.update_endpoint, sagemaker.update_endpoint_weights_and_capacities
    _, message = refused(update, EndpointName="none", EndpointConfigName="a")
    assert message == f'Could not find endpoint "{arn}:endpoint/none".'
    _, message = refused(update, EndpointName="toy", EndpointConfigName="none")
    assert message == f'Could not find endpoint configuration "{arn}:endpoint-config/none".'
    for wanted, said in (
        (
            [{"VariantName": "v", "DesiredWeight": 1}],
            'The variant name(s) "v" is/are not present within endpoint configuration "a".',
        ),
        ([{"VariantName": "AllTraffic"}] * 2, 'The variant name "AllTraffic" was non-unique'),
        ([{"VariantName": "AllTraffic", "DesiredInstanceCount": 0}], "must be at least 1"),
    ):
        _, message = refused(change, EndpointName="toy", DesiredWeightsAndCapacities=wanted)
        assert said in message
    assert sagemaker.describe_endpoint(EndpointName="toy")["EndpointStatus"] == "InService"


def test_an_endpoint_whose_configuration_was_deleted_cannot_be_changed(cloud, toy):
    serve(cloud, toy, "a")
    model(cloud, toy, "b")
    sagemaker = cloud.sagemaker
    sagemaker.delete_endpoint_config(EndpointConfigName="a")
    wanted = [{"VariantName": "AllTraffic", "DesiredWeight": 2}]
    for call, members in (
        (sagemaker.update_endpoint, {"EndpointConfigName": "b"}),
        (sagemaker.update_endpoint_weights_and_capacities, {"DesiredWeightsAndCapacities": wanted}),
    ):
        code, message = refused(call, EndpointName="toy", **members)
        assert code == "ValidationException"
        assert message.startswith("Could not find endpoint configuration")
        assert message.endswith(':endpoint-config/a".')
    assert environment_of(cloud)["LETTER"] == "a"


def test_deployment_configurations(cloud, toy, until):
    serve(cloud, toy, "a")

    routing = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    config = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    cloud.sagemaker.update_endpoint(
        EndpointName="toy", EndpointConfigName="a", DeploymentConfig=config
    )
    assert settled(cloud, until)["LastDeploymentConfig"] == config


def test_a_container_that_dies_under_load_is_replaced(cloud, toy, until, alive):
    mark = f"mark-{cloud.account}"
    serve(cloud, toy, MARK=mark)
    scale(cloud, until, DesiredInstanceCount=2)
    before = ports(cloud)
    with Load(cloud) as load:
        until(lambda: load.letters)
        _server(alive(mark)).kill()
        until(lambda: len(new := _ports_or_none(cloud, 12) or ()) == 2 and new != before)
    assert len(load.failed) <= 4  # what was under way, one for each client
    assert cloud.sagemaker.describe_endpoint(EndpointName="toy")["EndpointStatus"] == "InService"


def _server(processes):
    return next(p for p in processes if "unshare" not in p.cmdline()[0])


def test_a_container_that_stops_answering_pings_is_replaced(watchful, toy_tag, until):
    cloud = watchful
    serve(cloud, cloud.push(toy_tag))
    before = ports(cloud, 1)
    program = "type(self).do_GET = lambda self: self.answer(503, b''); self.answer(200, b'')"
    cloud.invoke(json.dumps({"program": program}), ContentType="application/orders")
    until(lambda: _ports_or_none(cloud) not in (None, before))
    assert cloud.sagemaker.describe_endpoint(EndpointName="toy")["EndpointStatus"] == "InService"


def test_a_container_that_hangs_is_replaced(watchful, toy_tag, until, alive):
    cloud, mark = watchful, f"mark-{watchful.account}"
    serve(cloud, cloud.push(toy_tag), MARK=mark)
    hanging = _server(alive(mark))
    os.kill(hanging.pid, signal.SIGSTOP)
    until(lambda: not psutil.pid_exists(hanging.pid))
    until(lambda: _ports_or_none(cloud))


def _ports_or_none(cloud, times=1):
    """None while an invocation fails, as one does that is under way when its container dies."""
    try:
        return ports(cloud, times)
    except ClientError:
        return None


def test_a_program_that_ends_while_starting_is_started_again(cloud, toy, until, tmp_path):
    counter = tmp_path / "starts"
    serve_twice = (
        f"import pathlib; p = pathlib.Path({str(counter)!r}); p.open('a').write('x'); "
        "p.stat().st_size > 2 or os._exit(1)"
    )
    serve(cloud, toy, FIRST=serve_twice)
    assert counter.read_text() == "xxx"


@pytest.mark.parametrize("stage", ["at once", "started"])
def test_deleting_while_it_is_created_is_refused_and_then_leaves_nothing(
    impatient, toy_tag, alive, until, stage
):
    cloud, mark = impatient, f"mark-{impatient.account}"
    model(cloud, cloud.push(toy_tag), "a", MARK=mark, PING="503")
    cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="a")
    if stage == "started":
        until(lambda: alive(mark))
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        cloud.sagemaker.delete_endpoint(EndpointName="toy")
    cloud.delete_endpoint()
    assert not alive(mark)
    assert cloud.sagemaker.list_endpoints()["Endpoints"] == []


@pytest.mark.parametrize("change", ["update", "scale"])
def test_deleting_while_it_is_changed_is_refused_and_then_leaves_nothing(
    impatient, toy_tag, alive, until, change
):
    cloud, mark = impatient, f"mark-{impatient.account}"
    toy = cloud.push(toy_tag)
    serve(cloud, toy, "a", MARK=mark)
    model(cloud, toy, "b", MARK=f"new-{mark}", PING="503")
    if change == "update":
        cloud.sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName="b")
        until(lambda: alive(f"new-{mark}"))
    else:
        cloud.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="toy",
            DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 3}],
        )
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        cloud.sagemaker.delete_endpoint(EndpointName="toy")
    cloud.delete_endpoint()
    assert not alive(mark)


def test_deleting_twice_is_refused_while_it_goes(cloud, toy):
    serve(cloud, toy, "a", program="signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    cloud.sagemaker.delete_endpoint(EndpointName="toy")
    with pytest.raises(ClientError, match=r"in-progress|Could not find"):
        cloud.sagemaker.delete_endpoint(EndpointName="toy")


def test_an_endpoint_leaves_no_folder_port_or_thread(watchful, watchful_server, toy_tag, until):
    cloud = watchful
    toy = cloud.push(toy_tag)
    hosting = watchful_server.platform.work / "hosting"

    def live():
        serve(cloud, toy, "a")
        model(cloud, toy, "b")
        scale(cloud, until, DesiredInstanceCount=2)
        cloud.sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName="b")
        settled(cloud, until)
        port = next(iter(ports(cloud, 1)))
        cloud.delete_endpoint()
        for name in ("a", "b"):
            cloud.sagemaker.delete_endpoint_config(EndpointConfigName=name)
            cloud.sagemaker.delete_model(ModelName=name)
        return int(port)

    before = _threads()
    port = live()
    until(lambda: _threads() <= before)
    assert not any(hosting.iterdir())
    assert all(c.laddr.port != port for c in psutil.net_connections() if c.status == "LISTEN")


def _threads():
    """Threads of this process that the local AWS has started, but for those that answer."""
    return {
        thread
        for thread in threading.enumerate()
        if (module := getattr(getattr(thread, "_target", None), "__module__", None))
        and module.startswith("byoc.local.")
        and module != "byoc.local.server"
    }


def test_the_model_is_there_and_cannot_be_written(cloud, toy):
    uri = cloud.put("m/weights", b"1 2 3")
    source = {
        "S3Uri": uri.removesuffix("weights"),
        "S3DataType": "S3Prefix",
        "CompressionType": "None",
    }
    cloud.create_endpoint(toy, ModelDataSource={"S3DataSource": source})
    assert cloud.deployed()["EndpointStatus"] == "InService"
    program = """
try:
    (ml / "model/cache").write_text("x")
except OSError as error:
    said = str(error)
(pathlib.Path("/tmp") / f"cache-{os.getpid()}").write_text("x")
self.answer(200, ((ml / "model/weights").read_text() + said).encode())
"""
    answer = cloud.invoke(json.dumps({"program": program}), ContentType="application/orders")
    assert answer["Body"].read().startswith(b"1 2 3[Errno 30] Read-only file system")


def test_an_endpoint_is_resumed_from_its_data(watchful, watchful_server, toy_tag, until):
    cloud = watchful
    serve(cloud, cloud.push(toy_tag), "a")
    scale(cloud, until, DesiredInstanceCount=2, DesiredWeight=0.25)
    context = Context(watchful_server.platform, cloud.account, cloud.region)
    endpoint = context.table("endpoint")["toy"]
    endpoint.runtime.kill()
    resume(context, endpoint)
    found = settled(cloud, until)
    (variant,) = found["ProductionVariants"]
    assert found["EndpointStatus"] == "InService"
    assert (variant["CurrentInstanceCount"], variant["CurrentWeight"]) == (2, 0.25)
    assert len(ports(cloud)) == 2
    endpoint.runtime.kill()
    cloud.sagemaker.delete_endpoint_config(EndpointConfigName="a")
    resume(context, endpoint)
    found = settled(cloud, until)
    assert found["EndpointStatus"] == "Failed"
    assert "Could not find endpoint configuration" in found["FailureReason"]
    assert isinstance(endpoint.runtime, Deployment)
    cloud.delete_endpoint()
