"""Asynchronous endpoints: the queue, what comes to S3, what is told, and what is refused."""

import base64
import json

import pytest
from botocore.exceptions import ClientError

from byoc.local.backlog import Request
from byoc.local.state import now


class Asynchronous:
    """An asynchronous endpoint of the toy image on the local AWS that publishes at once."""

    def __init__(self, cloud, image, until):
        self.cloud, self._until = cloud, until
        cloud.put("ready", b"")
        cloud.sagemaker.create_model(
            ModelName="toy", PrimaryContainer={"Image": image}, ExecutionRoleArn=cloud.role
        )
        self.topics = {}
        sns, sqs = cloud.client("sns"), cloud.client("sqs")
        self.queue = sqs.create_queue(QueueName="told")["QueueUrl"]
        for name in ("SuccessTopic", "ErrorTopic"):
            self.topics[name] = sns.create_topic(Name=name)["TopicArn"]
            arn = f"arn:aws:sqs:{cloud.region}:{cloud.account}:told"
            sns.subscribe(
                TopicArn=self.topics[name],
                Protocol="sqs",
                Endpoint=arn,
                Attributes={"RawMessageDelivery": "true"},
            )

    def config(self, name="toy", included=(), failure="bad", output="good", most=None):
        bucket = self.cloud.aws.bucket
        places = {"S3OutputPath": output, "S3FailurePath": failure}
        found = {
            "OutputConfig": {
                **{member: f"s3://{bucket}/{p}" for member, p in places.items() if p},
                "NotificationConfig": {
                    **self.topics,
                    "IncludeInferenceResponseIn": list(included),
                },
            }
        }
        if most is not None:
            found["ClientConfig"] = {"MaxConcurrentInvocationsPerInstance": most}
        self.cloud.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": "AllTraffic",
                    "ModelName": "toy",
                    "InstanceType": "ml.m5.large",
                    "InitialInstanceCount": 1,
                }
            ],
            AsyncInferenceConfig=found,
        )
        return found

    def create(self, **config):
        found = self.config(**config)
        self.cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="toy")
        assert self.cloud.deployed()["EndpointStatus"] == "InService"
        return found

    def send(self, content=None, **members):
        """InvokeEndpointAsync with `content` in S3 as its input."""
        if content is not None:
            members["InputLocation"] = self.cloud.put("in/input", content)
        runtime = self.cloud.client("sagemaker-runtime")
        return runtime.invoke_endpoint_async(EndpointName="toy", **members)

    def order(self, members=None, **orders):
        """Have the container do as the test says."""
        return self.send(json.dumps(orders), ContentType="application/orders", **(members or {}))

    def exists(self, uri):
        try:
            self.cloud.get(uri)
        except ClientError:
            return False
        return True

    def result(self, uri):
        self._until(lambda: self.exists(uri), uri)
        return self.cloud.get(uri)

    def told(self):
        """The next message of either topic."""
        sqs = self.cloud.client("sqs")

        def receive():
            return sqs.receive_message(QueueUrl=self.queue).get("Messages")

        (message,) = self._until(receive)
        sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return json.loads(message["Body"])

    def metric(self, name, statistic="Sum", **dimensions):
        """The metric's values over all time until now."""
        cloudwatch = self.cloud.client("cloudwatch")
        wanted = {"EndpointName": "toy", **dimensions}
        found = cloudwatch.get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=name,
            Dimensions=[{"Name": n, "Value": v} for n, v in wanted.items()],
            StartTime="2020-01-01T00:00:00Z",
            EndTime="2100-01-01T00:00:00Z",
            Period=60,
            Statistics=[statistic],
        )["Datapoints"]
        return [point[statistic] for point in found]


@pytest.fixture
def asynchronous(watchful, toy_tag, until):
    """One in the watchful local AWS."""
    return Asynchronous(watchful, watchful.push(toy_tag), until)


def refusal(call, **members):
    with pytest.raises(ClientError) as caught:
        call(**members)
    return caught.value.response


def test_an_answer_comes_to_s3_and_is_told(asynchronous):
    config = asynchronous.create()
    described = asynchronous.cloud.sagemaker.describe_endpoint(EndpointName="toy")
    assert described["AsyncInferenceConfig"] == config
    answer = asynchronous.send(
        "1,2", ContentType="text/csv", Accept="x/y", CustomAttributes="c=1", InferenceId="mine"
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["InferenceId"] == "mine"
    bucket = asynchronous.cloud.aws.bucket
    key = answer["OutputLocation"].removeprefix(f"s3://{bucket}/good/").removesuffix(".out")
    assert answer["FailureLocation"] == f"s3://{bucket}/bad/{key}-error.out"
    seen = json.loads(asynchronous.result(answer["OutputLocation"]))
    assert seen["body"] == "1,2"
    assert seen["headers"]["Content-Type"] == "text/csv"
    assert seen["headers"]["Accept"] == "x/y"
    assert seen["headers"]["X-Amzn-SageMaker-Custom-Attributes"] == "c=1"
    assert seen["headers"]["X-Amzn-SageMaker-Inference-Id"] == "mine"
    told = asynchronous.told()
    assert told.pop("receivedTime") <= told.pop("eventTime")
    assert told == {
        "awsRegion": "us-east-1",
        "invocationStatus": "Completed",
        "requestParameters": {
            "accept": "x/y",
            "contentType": "text/csv",
            "endpointName": "toy",
            "inputLocation": f"s3://{bucket}/in/input",
        },
        "responseParameters": {
            "contentType": "application/json",
            "outputLocation": answer["OutputLocation"],
        },
        "inferenceId": "mine",
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }


def test_a_body_may_be_sent_inline(asynchronous):
    asynchronous.create()
    answer = asynchronous.send(Body=b"3,4", ContentType="text/csv")
    assert json.loads(asynchronous.result(answer["OutputLocation"]))["body"] == "3,4"
    assert "inputLocation" not in asynchronous.told()["requestParameters"]


def test_an_answer_may_come_with_the_message_alone(asynchronous):
    asynchronous.create(
        output=None,
        failure=None,
        included=["SUCCESS_NOTIFICATION_TOPIC", "ERROR_NOTIFICATION_TOPIC"],
    )
    answer = asynchronous.order(body="good")
    assert not {"OutputLocation", "FailureLocation"} & set(answer)
    assert base64.b64decode(asynchronous.told()["responseBody"]["content"]) == b"good"
    asynchronous.order(body="bad", status=400)
    assert asynchronous.told()["responseBody"]["content"] == "bad"


def test_an_error_of_the_container_comes_to_the_failure_path(asynchronous, until):
    asynchronous.create()
    answer = asynchronous.order(body="row 2 is wrong", status=500)
    assert asynchronous.result(answer["FailureLocation"]) == b"row 2 is wrong"
    told = asynchronous.told()
    assert told["invocationStatus"] == "Failed"
    assert told["failureReason"] == (
        "ClientError: Received server error (500) from model. See the SageMaker Endpoint logs in "
        "your account for more information."
    )
    assert "responseParameters" not in told
    assert not asynchronous.exists(answer["OutputLocation"])
    until(lambda: sum(asynchronous.metric("Invocation5XXErrors", VariantName="AllTraffic")) == 1)
    until(lambda: sum(asynchronous.metric("InvocationFailures", VariantName="AllTraffic")) == 1)


def test_a_missing_input_fails_and_the_next_one_goes_on(asynchronous, until):
    asynchronous.create()
    missing = f"s3://{asynchronous.cloud.aws.bucket}/in/missing"
    answer = asynchronous.send(InputLocation=missing)
    assert missing in asynchronous.result(answer["FailureLocation"]).decode()
    assert missing in asynchronous.told()["failureReason"]
    good = asynchronous.order(body="good")
    assert asynchronous.result(good["OutputLocation"]) == b"good"
    name = "RequestDownloadFailures"
    until(lambda: sum(asynchronous.metric(name, VariantName="AllTraffic")) == 1)


def test_the_container_has_the_time_that_the_request_gives(asynchronous):
    asynchronous.create()
    program = "import time; time.sleep(600)"
    answer = asynchronous.order({"InvocationTimeoutSeconds": 1}, program=program)
    assert b"timed out" in asynchronous.result(answer["FailureLocation"])


def test_a_container_that_dies_fails_the_request_and_is_replaced(asynchronous):
    asynchronous.create()
    answer = asynchronous.order(exit=True)
    assert b"could not get a response" in asynchronous.result(answer["FailureLocation"])
    good = asynchronous.order(body="again")
    assert asynchronous.result(good["OutputLocation"]) == b"again"


def test_a_topic_that_is_gone_costs_the_message_only(asynchronous, until):
    asynchronous.create()
    asynchronous.cloud.client("sns").delete_topic(TopicArn=asynchronous.topics["SuccessTopic"])
    answer = asynchronous.order(body="good")
    assert asynchronous.result(answer["OutputLocation"]) == b"good"
    name = "NotificationFailures"
    until(lambda: sum(asynchronous.metric(name, VariantName="AllTraffic")) == 1)


def test_an_output_bucket_that_is_gone_fails_the_request(asynchronous):
    asynchronous.create()
    s3 = asynchronous.cloud.client("s3")
    s3.create_bucket(Bucket="other-" + asynchronous.cloud.account)
    s3.put_object(Bucket="other-" + asynchronous.cloud.account, Key="in", Body=b"1")
    bucket = asynchronous.cloud.aws.bucket
    for row in s3.list_objects_v2(Bucket=bucket)["Contents"]:
        s3.delete_object(Bucket=bucket, Key=row["Key"])
    s3.delete_bucket(Bucket=bucket)
    asynchronous.send(InputLocation=f"s3://other-{asynchronous.cloud.account}/in")
    assert "Failed to upload the response" in asynchronous.told()["failureReason"]


def test_no_more_than_wanted_at_once_and_the_rest_waits(asynchronous, until, gate):
    asynchronous.create(most=1)
    first = asynchronous.order(program=f"{gate.program}; self.answer(200, b'first')")
    until(lambda: gate.reached)
    second = asynchronous.order(body="second")
    until(lambda: 2.0 in asynchronous.metric("ApproximateBacklogSize", "Maximum"))
    until(lambda: 2.0 in asynchronous.metric("ApproximateBacklogSizePerInstance", "Maximum"))
    assert not asynchronous.exists(second["OutputLocation"])
    gate.open()
    assert asynchronous.result(first["OutputLocation"]) == b"first"
    assert asynchronous.result(second["OutputLocation"]) == b"second"
    waited = "TimeInBacklog", "SampleCount"
    until(lambda: sum(asynchronous.metric(*waited, VariantName="AllTraffic")) == 2)
    assert asynchronous.metric("Invocations", VariantName="AllTraffic") == []


def test_an_endpoint_without_instances_keeps_its_requests(asynchronous, until):
    asynchronous.create()

    def scale(count):
        asynchronous.cloud.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="toy",
            DesiredWeightsAndCapacities=[
                {"VariantName": "AllTraffic", "DesiredInstanceCount": count}
            ],
        )
        assert asynchronous.cloud.settled() == "InService"

    scale(0)
    answer = asynchronous.order(body="waited")
    until(lambda: 1.0 in asynchronous.metric("HasBacklogWithoutCapacity", "Maximum"))
    scale(1)
    assert asynchronous.result(answer["OutputLocation"]) == b"waited"


def test_a_request_that_waits_too_long_fails(asynchronous, watchful_server, until, gate):
    asynchronous.create(most=1)
    asynchronous.order(program=gate.program)
    until(lambda: gate.reached)
    cloud = asynchronous.cloud
    table = watchful_server.platform.state.table(cloud.account, cloud.region, "endpoint")
    failure = f"s3://{cloud.aws.bucket}/bad/late"
    parameters = {"endpointName": "toy"}
    # the least that the API takes is a minute
    late = Request("late", "late", parameters, {}, b"1", None, failure, now(), ttl=0.1, timeout=1)
    table["toy"].runtime.backlog.add(late)
    assert b"waited longer" in asynchronous.result(failure)
    assert asynchronous.told()["inferenceId"] == "late"
    until(lambda: sum(asynchronous.metric("ExpiredRequests", VariantName="AllTraffic")) == 1)


def test_an_endpoint_with_a_backlog_can_be_deleted(asynchronous, until, gate):
    asynchronous.create(most=1)
    begun = asynchronous.order(program=gate.program)
    until(lambda: gate.reached)
    waiting = asynchronous.order(body="never")
    asynchronous.cloud.delete_endpoint()
    for answer in (begun, waiting):
        assert not asynchronous.exists(answer["OutputLocation"])
        assert not asynchronous.exists(answer["FailureLocation"])
    assert refusal(asynchronous.send, InputLocation="s3://b/k")["Error"]["Code"] == (
        "ValidationError"
    )


def test_each_kind_of_endpoint_refuses_the_others_operation(asynchronous):
    asynchronous.create()
    found = refusal(asynchronous.cloud.invoke, body=b"x")
    assert found["Error"]["Code"] == "ValidationError"
    assert "InvokeEndpointAsync" in found["Error"]["Message"]
    asynchronous.cloud.configure("real", {"AllTraffic": "toy"})
    update = asynchronous.cloud.sagemaker.update_endpoint
    found = refusal(update, EndpointName="toy", EndpointConfigName="real")
    assert found["Error"]["Code"] == "NotImplementedException"
    asynchronous.cloud.delete_endpoint()
    asynchronous.cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="real")
    assert asynchronous.cloud.deployed()["EndpointStatus"] == "InService"
    found = refusal(asynchronous.send, InputLocation="s3://b/k")
    assert found["Error"]["Code"] == "ValidationError"
    assert "InvokeEndpoint" in found["Error"]["Message"]


def test_an_update_changes_where_answers_go(asynchronous):
    asynchronous.create()
    config = asynchronous.config("other", output="elsewhere")
    asynchronous.cloud.sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName="other")
    assert asynchronous.cloud.settled() == "InService"
    described = asynchronous.cloud.sagemaker.describe_endpoint(EndpointName="toy")
    assert described["AsyncInferenceConfig"] == config
    assert "/elsewhere/" in asynchronous.order(body="x")["OutputLocation"]


def test_a_request_is_checked(asynchronous):
    asynchronous.create()
    at = {"InputLocation": "s3://b/k"}
    for members, code, words in (
        ({}, "ValidationError", "exactly one"),
        ({**at, "Body": b"1"}, "ValidationError", "exactly one"),
        ({"InputLocation": "b/k"}, "ValidationError", "inputLocation"),
        ({"InputLocation": "https://b/k"}, "NotImplementedException", "https"),
        ({**at, "Filename": "f"}, "NotImplementedException", "Filename"),
        ({**at, "InferenceId": "x" * 65}, "ValidationError", "inferenceId"),
        ({"Body": b"1" * 128_001}, "ValidationError", "128000"),
    ):
        found = refusal(asynchronous.send, **members)
        assert found["Error"]["Code"] == code
        assert words in found["Error"]["Message"]


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ({}, "ValidationException"),
        ({"S3OutputPath": "https://bucket/x"}, "NotImplementedException"),
        ({"S3OutputPath": "s3://b/o", "KmsKeyId": "no-such-key"}, "ValidationException"),
    ],
)
def test_a_configuration_is_checked(asynchronous, output, code):
    variant = {"VariantName": "v", "ModelName": "toy", "InstanceType": "ml.m5.large"}
    found = refusal(
        asynchronous.cloud.sagemaker.create_endpoint_config,
        EndpointConfigName="c",
        ProductionVariants=[{**variant, "InitialInstanceCount": 1}],
        AsyncInferenceConfig={"OutputConfig": output},
    )
    assert found["Error"]["Code"] == code
    assert not asynchronous.cloud.sagemaker.list_endpoint_configs()["EndpointConfigs"]
