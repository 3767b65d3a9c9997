"""InvokeEndpoint: what passes to the container and back, and how errors look."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def endpoint(cloud, toy):
    """An endpoint in service."""
    name = cloud.create_endpoint(toy)
    assert cloud.deployed()["EndpointStatus"] == "InService"
    return name


@pytest.fixture
def order(cloud, endpoint):
    """Have the container answer as the test says."""

    def send(**orders):
        return cloud.invoke(json.dumps(orders), ContentType="application/orders")

    return send


def failure(call, **members):
    with pytest.raises(ClientError) as caught:
        call(**members)
    return caught.value.response


def test_the_body_and_the_content_type_arrive_as_sent(cloud, endpoint):
    body = bytes(range(256))
    answer = cloud.invoke(body, ContentType="application/x-npy")
    seen = json.loads(answer["Body"].read())
    assert seen["body"].encode("latin-1") == body
    assert seen["headers"]["Content-Type"] == "application/x-npy"
    assert answer["ContentType"] == "application/json"
    assert answer["InvokedProductionVariant"] == "AllTraffic"


def test_only_the_platforms_headers_reach_the_container(cloud, endpoint):
    runtime = cloud.client("sagemaker-runtime")

    def add(request, **_):
        request.headers["X-Api-Key"] = "secret"
        request.headers["Cookie"] = "secret"

    runtime.meta.events.register("before-sign.sagemaker-runtime.InvokeEndpoint", add)
    answer = cloud.invoke(
        "1,2",
        Accept="text/csv",
        CustomAttributes="trace=1",
        InferenceId="inference-1",
        TargetVariant="AllTraffic",
    )
    runtime.meta.events.unregister("before-sign.sagemaker-runtime.InvokeEndpoint", add)
    headers = json.loads(answer["Body"].read())["headers"]
    assert headers["Accept"] == "text/csv"
    assert headers["X-Amzn-SageMaker-Custom-Attributes"] == "trace=1"
    assert headers["X-Amzn-SageMaker-Inference-Id"] == "inference-1"
    assert headers["X-Amzn-SageMaker-Target-Variant"] == "AllTraffic"
    for name in ("X-Api-Key", "Cookie", "Authorization", "X-Amz-Date"):
        assert name not in headers
    assert "secret" not in str(headers)


def test_a_body_without_a_type_is_called_octets(cloud, endpoint):
    seen = json.loads(cloud.invoke("x")["Body"].read())
    assert seen["headers"]["Content-Type"] == "application/octet-stream"


def test_only_the_platforms_headers_come_back(order):
    answer = order(
        body="a,b",
        headers={
            "Content-Type": "text/csv; charset=utf-8",
            "X-Amzn-SageMaker-Custom-Attributes": "out-of-range=1,4",
            "X-Mine": "1",
            "Server-Timing": "x",
        },
    )
    assert answer["Body"].read() == b"a,b"
    assert answer["ContentType"] == "text/csv; charset=utf-8"
    assert answer["CustomAttributes"] == "out-of-range=1,4"
    assert not {"x-mine", "server-timing"} & set(answer["ResponseMetadata"]["HTTPHeaders"])


@pytest.mark.parametrize(("status", "kind"), [(400, "client"), (415, "client"), (500, "server")])
def test_an_error_of_the_container_is_a_model_error(cloud, order, until, status, kind):
    response = failure(order, status=status, body='row 2: "x" is not a number\nmend it é')
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["ResponseMetadata"]["RetryAttempts"] == 0
    assert response["Error"]["Code"] == "ModelError"
    assert response["OriginalStatusCode"] == status
    assert response["OriginalMessage"] == 'row 2: "x" is not a number\nmend it é'
    assert response["Error"]["Message"].startswith(
        f'Received {kind} error ({status}) from primary with message "row 2'
    )
    assert cloud.account in response["Error"]["Message"]
    group, _, stream = response["LogStreamArn"].partition(":log-stream:")
    assert group == (
        f"arn:aws:logs:us-east-1:{cloud.account}:log-group:/aws/sagemaker/Endpoints/toy"
    )
    until(lambda: cloud.log("/aws/sagemaker/Endpoints/toy", stream)[:1] == ["serving"])


def test_a_container_that_dies_is_a_model_error_and_not_a_hang(order):
    response = failure(order, exit=True)
    assert response["Error"]["Code"] == "ModelError"
    assert response["OriginalStatusCode"] in (0, 500, 502)
    response = failure(order, body="still there?")
    assert response["Error"]["Code"] == "ModelError"


def test_unknown_endpoints(cloud, endpoint, open_cloud):
    response = failure(cloud.invoke, body="x", name="nothing")
    assert response["Error"] == {
        "Code": "ValidationError",
        "Message": f"Endpoint nothing of account {cloud.account} not found.",
    }
    elsewhere = open_cloud(cloud.account, "eu-west-1")
    assert failure(elsewhere.invoke, body="x")["Error"]["Code"] == "ValidationError"


def test_an_endpoint_that_is_not_yet_in_service(cloud, toy):
    cloud.create_endpoint(toy, Environment={"PING": "503"})
    response = failure(cloud.invoke, body="x")
    assert response["Error"]["Code"] == "ValidationError"


@pytest.mark.parametrize(
    "member", [{"TargetModel": "a.tar.gz"}, {"TargetContainerHostname": "second"}]
)
def test_ways_of_calling_that_are_not_done_yet(cloud, endpoint, member):
    response = failure(cloud.invoke, body="x", **member)
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert next(iter(member)) in response["Error"]["Message"]


def test_a_body_over_the_limit(cloud, endpoint):
    limit = 25 * 1024 * 1024
    assert len(cloud.invoke(b"x" * limit, ContentType="text/plain")["Body"].read()) > limit
    response = failure(cloud.invoke, body=b"x" * (limit + 1))
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_many_requests_at_once(cloud, endpoint):
    cloud.client("sagemaker-runtime")
    with ThreadPoolExecutor(8) as pool:
        bodies = [str(n) for n in range(64)]
        answers = pool.map(lambda body: json.loads(cloud.invoke(body)["Body"].read()), bodies)
        assert [answer["body"] for answer in answers] == bodies
