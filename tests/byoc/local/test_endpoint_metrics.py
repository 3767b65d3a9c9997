"""What an endpoint tells CloudWatch about its invocations and its instances."""

import datetime as dt
import json

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def statistic(watchful):
    """One statistic of a metric of the endpoint over all time, 0 when there is none."""
    cloudwatch = watchful.client("cloudwatch")

    def ask(name, kind="Sum", namespace="AWS/SageMaker", unit="None"):
        now = dt.datetime.now(dt.UTC)
        found = cloudwatch.get_metric_statistics(
            Namespace=namespace,
            MetricName=name,
            Dimensions=[
                {"Name": "EndpointName", "Value": "toy"},
                {"Name": "VariantName", "Value": "AllTraffic"},
            ],
            StartTime=now - dt.timedelta(minutes=30),
            EndTime=now + dt.timedelta(minutes=30),
            Period=3600,
            Statistics=[kind],
            Unit=unit,
        )
        return sum(point[kind] for point in found["Datapoints"])

    return ask


def test_every_invocation_is_counted_by_its_outcome(watchful, toy_tag, statistic, until):
    watchful.create_endpoint(watchful.push(toy_tag), instances=2)
    watchful.deployed()
    for status in (200, 200, 200, 400, 404, 500):
        try:
            orders = json.dumps({"status": status})
            watchful.invoke(orders, ContentType="application/orders")
        except ClientError as error:
            assert error.response["OriginalStatusCode"] == status  # noqa: PT017
    until(lambda: statistic("Invocations") == 6)
    assert statistic("Invocation4XXErrors") == 2
    assert statistic("Invocation5XXErrors") == 1
    assert statistic("InvocationModelErrors") == 3
    assert statistic("InvocationsPerInstance") == 3
    for latency in ("ModelLatency", "OverheadLatency"):
        assert statistic(latency, "SampleCount", unit="Microseconds") == 6
        assert 0 < statistic(latency, "Maximum", unit="Microseconds") < 60e6
    assert (
        statistic("ModelLatency", "Average", unit="Microseconds") > 100
    )  # microseconds, not seconds


def test_an_invocation_without_an_answer_is_a_model_error(watchful, toy_tag, statistic, until):
    watchful.create_endpoint(watchful.push(toy_tag))
    watchful.deployed()
    with pytest.raises(ClientError, match="ModelError"):
        watchful.invoke(json.dumps({"exit": True}), ContentType="application/orders")
    until(lambda: statistic("InvocationModelErrors") == 1)
    assert statistic("Invocation5XXErrors") == 0


def test_a_stream_that_breaks_is_counted(watchful, toy_tag, statistic, until):
    watchful.create_endpoint(watchful.push(toy_tag))
    watchful.deployed()
    program = (
        "self.send_response(200); self.send_header('Content-Length', '9'); self.end_headers(); "
        "self.wfile.write(b'short'); self.close_connection = True"
    )
    answer = watchful.client("sagemaker-runtime").invoke_endpoint_with_response_stream(
        EndpointName="toy",
        Body=json.dumps({"program": program}),
        ContentType="application/orders",
    )
    with pytest.raises(ClientError, match="ModelStreamError"):
        list(answer["Body"])
    until(lambda: statistic("MidStreamErrors") == 1)
    assert statistic("Invocations") == 1


def test_what_the_instances_use(watchful, toy_tag, statistic, until):
    watchful.create_endpoint(watchful.push(toy_tag))
    watchful.deployed()
    for name in ("CPUUtilization", "MemoryUtilization", "DiskUtilization"):
        place = {"namespace": "/aws/sagemaker/Endpoints", "unit": "Percent"}
        until(lambda name=name, place=place: statistic(name, "SampleCount", **place) > 0)
        assert 0 <= statistic(name, "Maximum", **place) <= 400
    assert statistic("MemoryUtilization", "Maximum", **place) > 0
    assert statistic("DiskUtilization", "Maximum", **place) > 0


def test_the_last_invocations_are_counted_when_the_endpoint_is_deleted(cloud, toy, until):
    cloud.create_endpoint(toy)
    cloud.deployed()
    cloud.invoke("x")
    cloud.delete_endpoint()
    found = cloud.client("cloudwatch").list_metrics(
        Namespace="AWS/SageMaker", MetricName="Invocations"
    )
    assert len(found["Metrics"]) == 1
