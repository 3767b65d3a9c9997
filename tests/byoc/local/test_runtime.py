"""InvokeEndpoint: what passes to the container and back, and how errors look."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import urllib3
from botocore.exceptions import ClientError, EventStreamError


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


def test_a_container_that_dies_is_a_model_error_and_is_replaced(order, until):
    response = failure(order, exit=True)
    assert response["Error"]["Code"] == "ModelError"
    assert response["OriginalStatusCode"] == 0
    assert response["OriginalMessage"].startswith(
        "Amazon SageMaker could not get a response from the toy endpoint."
    )
    until(lambda: answers(order))


def answers(order):
    """Whether an instance answers; while the only one dies and is replaced, errors say so."""
    try:
        return order(body="x")["Body"].read() == b"x"
    except ClientError as error:
        replaced = error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        dying = error.response.get("OriginalStatusCode") == 0
        if not (replaced or dying):
            raise
        return False


@pytest.mark.parametrize(
    "program",
    [
        "self.wfile.write(b'this is not HTTP\\r\\n\\r\\n'); self.close_connection = True",
        "self.close_connection = True",
        "self.send_response(200); self.send_header('Content-Length', '9'); self.end_headers(); "
        "self.wfile.write(b'short'); self.close_connection = True",
        "self.answer(200, b'', {'Content-Type': 'text/\\x01plain'})",
        "self.answer(200, b'', {'X-Amzn-SageMaker-Custom-Attributes': 'x' * 1025})",
    ],
    ids=["no HTTP", "no answer", "half an answer", "strange header", "long attributes"],
)
def test_an_answer_that_is_none_is_a_model_error(order, program):
    response = failure(order, program=program)
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == 0
    assert "could not get a response from the toy endpoint" in response["OriginalMessage"]
    assert order(body="as before")["Body"].read() == b"as before"


def test_an_error_that_breaks_off(order):
    response = failure(
        order,
        program="self.send_response(500); self.send_header('Content-Length', '9'); "
        "self.end_headers(); self.wfile.write(b'short'); self.close_connection = True",
    )
    assert response["OriginalStatusCode"] == 500
    assert response["OriginalMessage"] == ""
    assert response["Error"]["Message"].startswith(
        "Received server error (500) from primary and could not load the entire response body."
    )


def test_a_redirection_is_not_followed(order):
    response = failure(order, status=302, body="elsewhere", headers={"Location": "http://x/"})
    assert (response["Error"]["Code"], response["OriginalStatusCode"]) == ("ModelError", 302)


def test_an_answer_over_the_limit(order):
    response = failure(order, program="self.answer(200, bytes(25 * 1024 * 1024 + 1))")
    assert response["Error"]["Code"] == "ModelError"
    assert "larger than 26214400 bytes" in response["OriginalMessage"]


def test_a_long_message_is_cut(order):
    response = failure(order, status=500, body="x" * 5000)
    assert response["OriginalMessage"] == "x" * 2048


def test_a_connection_that_was_closed_while_idle_is_no_error(order):
    closing = "self.answer(200, b'ok'); self.connection.shutdown(2); self.close_connection = True"
    for _ in range(20):
        assert order(program=closing)["Body"].read() == b"ok"


def test_custom_attributes_and_the_inference_id_go_both_ways(cloud, endpoint):
    program = (
        "given = {n: self.headers[n] for n in ('X-Amzn-SageMaker-Custom-Attributes', "
        "'X-Amzn-SageMaker-Inference-Id')}; self.answer(200, b'', given)"
    )
    answer = cloud.invoke(
        json.dumps({"program": program}),
        ContentType="application/orders",
        CustomAttributes="a" * 1024,
        InferenceId="one",
    )
    assert answer["CustomAttributes"] == "a" * 1024
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-sagemaker-inference-id"] == "one"


@pytest.mark.parametrize(
    ("member", "place"),
    [
        ({"CustomAttributes": "x" * 1025}, "customAttributes"),
        ({"InferenceId": "x" * 65}, "inferenceId"),
        ({"SessionId": "not an id"}, "sessionId"),
        ({"TargetVariant": "-"}, "targetVariant"),
        ({"ContentType": "x" * 1025}, "contentType"),
    ],
)
def test_members_are_checked_as_the_service_model_says(cloud, endpoint, member, place):
    response = failure(cloud.invoke, body="x", **member)
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert response["Error"]["Code"] == "ValidationError"
    assert f"at '{place}'" in response["Error"]["Message"]


def test_a_session_stays_at_its_instance(cloud, toy):
    cloud.create_endpoint(toy, instances=3)
    cloud.deployed()
    program = (
        "self.answer(200, os.environ['SAGEMAKER_BIND_TO_PORT'].encode(),"
        " {} if self.headers['X-Amzn-SageMaker-Session-Id'] != 'NEW_SESSION' else "
        "{'X-Amzn-SageMaker-New-Session-Id': 's1; Expires=2030-01-01T00:00:00Z'})"
    )

    def ask(**members):
        orders = json.dumps({"program": program})
        answer = cloud.invoke(orders, ContentType="application/orders", **members)
        return answer["Body"].read(), answer

    where, answer = ask(SessionId="NEW_SESSION")
    assert answer["NewSessionId"] == "s1; Expires=2030-01-01T00:00:00Z"
    assert {ask(SessionId="s1")[0] for _ in range(6)} == {where}
    assert len({ask()[0] for _ in range(6)}) == 3


STREAM = r"""
self.send_response(200)
self.send_header("Content-Type", "text/plain")
self.send_header("X-Amzn-SageMaker-Custom-Attributes", "streamed")
self.send_header("Transfer-Encoding", "chunked")
self.end_headers()
def part(text):
    self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
    self.wfile.flush()
"""


@pytest.fixture
def stream(cloud, endpoint):
    """InvokeEndpointWithResponseStream's answer to a program that sends parts."""

    def send(program, **members):
        return cloud.client("sagemaker-runtime").invoke_endpoint_with_response_stream(
            EndpointName="toy",
            Body=json.dumps({"program": program}),
            ContentType="application/orders",
            **members,
        )

    return send


def test_parts_arrive_before_the_container_has_sent_the_last(stream, gate):
    answer = stream(f"{STREAM}part(b'first'); {gate.program}; part(b'last'); part(b'')")
    assert answer["ContentType"] == "text/plain"
    assert answer["CustomAttributes"] == "streamed"
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    events = iter(answer["Body"])
    assert next(events) == {"PayloadPart": {"Bytes": b"first"}}
    gate.open()
    assert list(events) == [{"PayloadPart": {"Bytes": b"last"}}]


def test_accept_reaches_the_container_of_a_stream(stream):
    program = "self.answer(200, self.headers['Accept'].encode())"
    (part,) = stream(program, Accept="text/csv")["Body"]
    assert part["PayloadPart"]["Bytes"] == b"text/csv"


def test_a_stream_that_breaks_ends_with_an_error(stream):
    answer = stream(f"{STREAM}part(b'first'); os._exit(1)")
    events = iter(answer["Body"])
    assert next(events)["PayloadPart"]["Bytes"] == b"first"
    with pytest.raises(EventStreamError, match="ModelStreamError") as caught:
        next(events)
    assert "reset or closed" in str(caught.value)


def test_an_error_before_the_stream_is_a_model_error(stream):
    response = failure(stream, program="self.answer(400, b'no')")
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert (response["OriginalStatusCode"], response["OriginalMessage"]) == (400, "no")


def test_a_client_that_leaves_a_stream_does_not_hold_the_container(stream, cloud, gate, until):
    answer = stream(f"{STREAM}part(b'first'); {gate.program}; part(b'x' * 2**20); part(b'x')")
    next(iter(answer["Body"]))
    answer["Body"].close()
    gate.open()
    cloud.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="toy",
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 2}],
    )
    status = cloud.sagemaker.describe_endpoint
    until(lambda: status(EndpointName="toy")["EndpointStatus"] == "InService")
    assert cloud.invoke("x")["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_unknown_endpoints(cloud, endpoint, open_cloud):
    response = failure(cloud.invoke, body="x", name="nothing")
    assert response["Error"] == {
        "Code": "ValidationError",
        "Message": f"Endpoint nothing of account {cloud.account} not found.",
    }
    elsewhere = open_cloud(cloud.account, "eu-west-1")
    assert failure(elsewhere.invoke, body="x")["Error"]["Code"] == "ValidationError"


@pytest.mark.parametrize("path", ["invocations", "invocations-response-stream"])
def test_an_endpoint_is_invoked_by_post_alone(cloud, endpoint, path):
    url = f"{cloud.url}/endpoints/toy/{path}"
    scope = f"Credential={cloud.account}/20261122/us-east-1/sagemaker/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 {scope}"}
    for method in ("GET", "PUT"):
        answer = urllib3.request(method, url, body=b"x", headers=headers)
        assert answer.status >= 400
    assert "invoked" not in "".join(cloud.log("/aws/sagemaker/Endpoints/toy"))


def test_an_endpoint_that_is_not_yet_in_service(impatient, toy_tag):
    impatient.create_endpoint(impatient.push(toy_tag), Environment={"PING": "503"})
    response = failure(impatient.invoke, body="x")
    assert response["Error"]["Code"] == "ValidationError"


def test_an_endpoint_of_one_model_has_no_target_model(cloud, endpoint):
    response = failure(cloud.invoke, body="x", TargetModel="a.tar.gz")
    assert response["Error"] == {
        "Code": "ValidationError",
        "Message": "Endpoint toy is not a multi-model endpoint and does not support target model "
        "header.",
    }


@pytest.mark.parametrize(
    "member", [{"TargetContainerHostname": "second"}, {"InferenceComponentName": "c"}]
)
def test_ways_of_calling_that_are_not_done_yet(cloud, endpoint, member):
    response = failure(cloud.invoke, body="x", **member)
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert next(iter(member)) in response["Error"]["Message"]


def test_a_body_over_the_limit(cloud, endpoint):
    limit = 25 * 1024 * 1024
    program = b'{"program": "self.answer(200, str(len(body)).encode())", "more": "%s"}'
    body = program % (b"x" * (limit - len(program) + 2))
    answer = cloud.invoke(body, ContentType="application/orders")
    assert answer["Body"].read() == b"%d" % limit
    response = failure(cloud.invoke, body=b"x" * (limit + 1))
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_many_requests_at_once(cloud, endpoint):
    cloud.client("sagemaker-runtime")
    with ThreadPoolExecutor(32) as pool:
        bodies = [str(n) for n in range(320)]
        answers = pool.map(lambda body: json.loads(cloud.invoke(body)["Body"].read()), bodies)
        assert [answer["body"] for answer in answers] == bodies
