"""Serverless endpoints: containers that come with requests and go without them."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

ONCE = Config(retries={"total_max_attempts": 1})
SERVERLESS = {"MemorySizeInMB": 1024, "MaxConcurrency": 2}


def refused(call, **members):
    """Code and message of the error that a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"].get("Message")


def model(cloud, image, name="toy", environment=None, **members):
    cloud.sagemaker.create_model(
        ModelName=name,
        PrimaryContainer={"Image": image, "Environment": environment or {}},
        ExecutionRoleArn=cloud.role,
        **members,
    )


def variant(name="toy", serverless=(), **members):
    config = {**SERVERLESS, **dict(serverless)}
    return {"VariantName": "AllTraffic", "ModelName": name, "ServerlessConfig": config, **members}


def configure(cloud, name="toy", serverless=(), **members):
    cloud.sagemaker.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[variant(name, serverless)], **members
    )


def serve(cloud, image, serverless=(), **environment):
    """A serverless endpoint called `toy` in service; what DescribeEndpoint shows."""
    model(cloud, image, environment=environment)
    configure(cloud, serverless=serverless)
    cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="toy")
    found = cloud.deployed()
    assert found["EndpointStatus"] == "InService", found
    return found


def update(cloud, until, config):
    cloud.sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName=config)

    def ask():
        found = cloud.sagemaker.describe_endpoint(EndpointName="toy")
        return found["EndpointStatus"] != "Updating" and found

    return until(ask)


def order(**members):
    """A request that the toy image's `serve` does."""
    return {"body": json.dumps(members), "ContentType": "application/orders"}


def answer(cloud, **members):
    return cloud.invoke(**order(**members))["Body"].read()


# Process numbers are each container's own, so a container gives itself a name.
NAME = "self.answer(200, os.__dict__.setdefault('own', os.urandom(8).hex()).encode())"


def container(cloud):
    """The name of the container that answers."""
    return answer(cloud, program=NAME)


@pytest.fixture
def quick(own_server, toy_tag):
    """An account of a local AWS whose idle containers end at once, and the toy image there."""
    cloud, _ = own_server(serverless_idle=0.2, metrics_interval=0.1, ping_interval=0.1)
    return cloud, cloud.push(toy_tag)


def test_a_container_comes_with_the_first_request_and_stays_for_the_next(cloud, toy, alive):
    mark = f"mark-{cloud.account}"
    found = serve(cloud, toy, MARK=mark)
    (shown,) = found["ProductionVariants"]
    assert shown["CurrentServerlessConfig"] == SERVERLESS
    assert (shown["CurrentInstanceCount"], shown["CurrentWeight"]) == (0, 1.0)
    assert "DesiredInstanceCount" not in shown
    assert not alive(mark)  # it was only seen to serve
    seen = json.loads(cloud.invoke("x")["Body"].read())
    assert seen["environment"]["MARK"] == mark
    assert len(alive(mark)) >= 1
    assert container(cloud) == container(cloud)
    cloud.delete_endpoint()
    assert not alive(mark)


def test_each_request_under_way_has_its_own_container_and_no_more_than_allowed(
    cloud, clients, toy, until, gate
):
    serve(cloud, toy)
    client = clients.client(
        "sagemaker-runtime",
        region_name=cloud.region,
        endpoint_url=cloud.url,
        aws_access_key_id=cloud.account,
        aws_secret_access_key="local",
        config=ONCE,
    )
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(answer, cloud, program=f"{gate.program}; {NAME}")
        until(lambda: gate.reached)
        other = container(cloud)
        os.unlink(f"{gate.path}.reached")
        again = pool.submit(answer, cloud, program=f"{gate.program}; {NAME}")
        until(lambda: gate.reached)
        with pytest.raises(ClientError) as caught:
            client.invoke_endpoint(EndpointName="toy", Body=b"x")
        error = caught.value.response
        assert error["Error"]["Code"] == "ThrottlingException"
        assert error["Error"]["Message"] is None  # as AWS's users see it
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
        until(lambda: gate.open() or (slow.done() and again.done()))
        assert again.result() == other != slow.result()
    assert container(cloud) in (slow.result(), other)


def test_idle_containers_end_and_the_next_request_starts_a_new_one(quick, until, alive):
    cloud, toy = quick
    mark = f"mark-{cloud.account}"
    serve(cloud, toy, MARK=mark)
    first = container(cloud)
    until(lambda: not alive(mark), "the idle container ends")
    assert cloud.sagemaker.describe_endpoint(EndpointName="toy")["EndpointStatus"] == "InService"
    assert container(cloud) != first


def test_provisioned_containers_are_there_before_requests_and_stay(quick, until, alive, gate):
    cloud, toy = quick
    mark = f"mark-{cloud.account}"
    found = serve(cloud, toy, {"ProvisionedConcurrency": 1}, MARK=mark)
    (shown,) = found["ProductionVariants"]
    assert shown["CurrentServerlessConfig"] == {**SERVERLESS, "ProvisionedConcurrency": 1}
    assert alive(mark)
    provisioned = container(cloud)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(answer, cloud, program=f"{gate.program}; {NAME}")
        until(lambda: gate.reached)
        assert container(cloud) != provisioned  # one more comes with a request
        until(lambda: gate.open() or slow.done())
        assert slow.result() == provisioned
    many = len(alive(mark))
    until(lambda: len(alive(mark)) < many, "the one that is not provisioned ends")
    assert container(cloud) == provisioned
    assert refused(cloud.invoke, **order(exit=True))[0] == "ModelError"
    until(lambda: alive(mark), "it is replaced without a request")


def test_a_container_that_dies_is_not_started_again_without_a_request(cloud, toy, until, alive):
    mark = f"mark-{cloud.account}"
    serve(cloud, toy, MARK=mark)
    assert refused(cloud.invoke, **order(exit=True))[0] == "ModelError"
    until(lambda: not alive(mark), "nothing runs")
    assert cloud.invoke("x")["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_a_container_beyond_its_memory_is_killed(cloud, toy, until):
    serve(cloud, toy)
    greedy = (
        "import time; hoard = []\nwhile True: hoard.append(bytearray(1 << 26)); time.sleep(0.02)"
    )
    code, message = refused(cloud.invoke, **order(program=greedy))
    assert code == "ModelError"
    assert "could not get a response" in message

    def answers():  # one that is dying may take a request more
        try:
            return cloud.invoke("x")["ResponseMetadata"]["HTTPStatusCode"] == 200
        except ClientError:
            return False

    until(answers)


def test_a_container_that_does_not_start_when_it_is_needed(own_server, toy_tag, tmp_path):
    cloud, _ = own_server(startup_timeout=1.0)
    broken = tmp_path / "broken"
    first = f"pathlib.Path({str(broken)!r}).exists() and sys.exit('broken')"
    serve(cloud, cloud.push(toy_tag), FIRST=first)
    broken.touch()
    with pytest.raises(ClientError) as caught:
        cloud.invoke("x")
    error = caught.value.response
    assert error["Error"]["Code"] == "ModelNotReadyException"
    assert "did not pass the ping health check" in error["Error"]["Message"]
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 429
    broken.unlink()
    assert cloud.invoke("x")["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_an_image_that_does_not_serve_fails_the_endpoint(impatient, toy_tag):
    model(impatient, impatient.push(toy_tag), environment={"PING": "500"})
    configure(impatient)
    impatient.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="toy")
    found = impatient.deployed()
    assert found["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in found["FailureReason"]


def test_four_megabytes_go_in_and_out(cloud, toy):
    serve(cloud, toy)
    most = 4 * 2**20
    full = json.dumps({"body": "whole"}).ljust(most).encode()
    assert cloud.invoke(full, ContentType="application/orders")["Body"].read() == b"whole"
    code, message = refused(cloud.invoke, body=b"x" * (most + 1))
    assert (code, message) == ("ValidationError", f"HTTP content length exceeded {most} bytes.")
    large = "self.answer(200, b'x' * {})".format
    assert len(answer(cloud, program=large(most))) == most
    code, message = refused(cloud.invoke, **order(program=large(most + 1)))
    assert code == "ModelError"
    assert f"larger than {most} bytes" in message


def test_what_a_container_does_counts_and_how_long_it_took_to_come(quick, until):
    cloud, toy = quick
    serve(cloud, toy)
    container(cloud)
    listed = cloud.client("cloudwatch").list_metrics

    def names():
        wanted = [{"Name": "EndpointName", "Value": "toy"}]
        return {m["MetricName"] for m in listed(Dimensions=wanted)["Metrics"]}

    invoked = {"Invocations", "ModelLatency", "OverheadLatency", "ModelSetupTime"}
    until(lambda: invoked | {"ServerlessConcurrentExecutionsUtilization"} <= names())
    until(lambda: container(cloud) and "MemoryUtilization" in names())
    assert not {"InvocationsPerInstance", "CPUUtilization", "DiskUtilization"} & names()


def test_another_serverless_configuration_takes_over(cloud, toy, until, alive):
    mark = f"mark-{cloud.account}"
    serve(cloud, toy, MARK=mark)
    container(cloud)
    model(cloud, toy, "b", {"LETTER": "b"})
    configure(cloud, "b", {"MaxConcurrency": 5})
    found = update(cloud, until, "b")
    (shown,) = found["ProductionVariants"]
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "b")
    assert shown["CurrentServerlessConfig"] == {"MemorySizeInMB": 1024, "MaxConcurrency": 5}
    assert json.loads(cloud.invoke("x")["Body"].read())["environment"]["LETTER"] == "b"
    assert not alive(mark)


def test_a_serverless_endpoint_gets_instances_and_never_goes_back(cloud, toy, until):
    serve(cloud, toy)
    cloud.configure("instances", {"AllTraffic": "toy"})
    found = update(cloud, until, "instances")
    (shown,) = found["ProductionVariants"]
    assert shown["CurrentInstanceCount"] == 1
    assert "CurrentServerlessConfig" not in shown
    assert cloud.invoke("x")["ResponseMetadata"]["HTTPStatusCode"] == 200
    code, message = refused(
        cloud.sagemaker.update_endpoint, EndpointName="toy", EndpointConfigName="toy"
    )
    assert code == "ValidationException"
    assert "can't be converted to a serverless" in message


def test_it_is_not_scaled(cloud, toy):
    serve(cloud, toy)
    code, _ = refused(
        cloud.client("application-autoscaling").register_scalable_target,
        ServiceNamespace="sagemaker",
        ResourceId="endpoint/toy/variant/AllTraffic",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        MinCapacity=1,
        MaxCapacity=2,
    )
    assert code == "ValidationException"
    code, _ = refused(
        cloud.sagemaker.update_endpoint_weights_and_capacities,
        EndpointName="toy",
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 2}],
    )
    assert code == "NotImplementedException"


SUBNETS = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
CAPTURE = {
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://bucket/capture",
    "CaptureOptions": [{"CaptureMode": "Input"}],
}
ASYNC = {"OutputConfig": {"S3OutputPath": "s3://bucket/async"}}


@pytest.mark.parametrize(
    ("wrong", "members", "said"),
    [
        ({"serverless": {"MemorySizeInMB": 1500}}, {}, "MemorySizeInMB must be one of 1024"),
        ({"serverless": {"MemorySizeInMB": 7168}}, {}, "6144"),
        ({"serverless": {"MaxConcurrency": 201}}, {}, "200"),
        ({"serverless": {"ProvisionedConcurrency": 3}}, {}, "must be at most MaxConcurrency"),
        ({"InstanceType": "ml.m5.large"}, {}, "InstanceType is not supported"),
        ({"InitialInstanceCount": 1}, {}, "InitialInstanceCount is not supported"),
        ({"VolumeSizeInGB": 5}, {}, "VolumeSizeInGB is not supported"),
        ({}, {"DataCaptureConfig": CAPTURE}, "DataCaptureConfig is not supported"),
        ({}, {"AsyncInferenceConfig": ASYNC}, "AsyncInferenceConfig is not supported"),
        ({}, {"EnableNetworkIsolation": True}, "EnableNetworkIsolation is not supported"),
        ({}, {"VpcConfig": SUBNETS}, "VpcConfig is not supported"),
        ({}, {"ShadowProductionVariants": [variant(VariantName="B")]}, "ShadowProductionVariants"),
    ],
)
def test_what_can_not_be_combined_is_refused(cloud, toy, clients, wrong, members, said):
    model(cloud, toy)
    client = clients.client(
        "sagemaker",
        region_name=cloud.region,
        endpoint_url=cloud.url,
        aws_access_key_id=cloud.account,
        aws_secret_access_key="local",
        config=Config(parameter_validation=False, retries={"total_max_attempts": 1}),
    )
    code, message = refused(
        client.create_endpoint_config,
        EndpointConfigName="wrong",
        ProductionVariants=[variant(**wrong)],
        **members,
    )
    assert code == "ValidationException"
    assert said in message
    assert cloud.sagemaker.list_endpoint_configs()["EndpointConfigs"] == []


def test_several_variants_and_isolated_models_are_refused(cloud, toy):
    create = cloud.sagemaker.create_endpoint_config
    model(cloud, toy)
    model(cloud, toy, "isolated", EnableNetworkIsolation=True)
    two = [variant(), variant(VariantName="B")]
    code, message = refused(create, EndpointConfigName="two", ProductionVariants=two)
    assert code == "ValidationException"
    assert "must be the only variant" in message
    one = [variant("isolated")]
    code, message = refused(create, EndpointConfigName="isolated", ProductionVariants=one)
    assert code == "ValidationException"
    assert "EnableNetworkIsolation is not" in message
