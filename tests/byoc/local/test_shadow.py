"""Shadow variants: they get copies of requests, and nobody hears their answers."""

import base64
import datetime as dt
import json

import pytest
from botocore.exceptions import ClientError

VARIANT = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
# The shadow's program answers in its own way, and an order to fail concerns it alone.
SHADOW = (
    "def do_POST(self):\n"
    "    body = self.rfile.read(int(self.headers['Content-Length']))\n"
    "    print('copy', flush=True)\n"
    "    if body == b'exit': os._exit(1)\n"
    "    if body == b'hang': import time; time.sleep(600)\n"
    "    self.answer(500 if body == b'fail' else 200, b'from the shadow')\n"
    "Handler.do_POST = do_POST\n"
)


class Shadowed:
    """An endpoint with a production variant and a shadow variant, which capture everything."""

    def __init__(self, cloud, image):
        self.cloud = cloud
        cloud.put("here", b"")  # makes the bucket
        for name, environment in (("main", {}), ("shadow", {"FIRST": SHADOW})):
            cloud.sagemaker.create_model(
                ModelName=name,
                PrimaryContainer={"Image": image, "Environment": environment},
                ExecutionRoleArn=cloud.role,
            )

    def configure(self, weight=1.0, name="toy", shadows=1, **members):
        return self.cloud.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[{"VariantName": "main", "ModelName": "main", **VARIANT}],
            ShadowProductionVariants=[
                {
                    "VariantName": f"shadow{number or ''}",
                    "ModelName": "shadow",
                    "InitialVariantWeight": weight,
                    **VARIANT,
                    **members,
                }
                for number in range(shadows)
            ],
            DataCaptureConfig={
                "InitialSamplingPercentage": 100,
                "DestinationS3Uri": f"s3://{self.cloud.aws.bucket}/captured",
                "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            },
        )

    def deploy(self, weight=1.0):
        self.configure(weight)
        self.cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="toy")
        found = self.cloud.deployed()
        assert found["EndpointStatus"] == "InService", found
        return found

    def invoke(self, body, **members):
        """What the client hears."""
        return json.loads(self.cloud.invoke(body, **members)["Body"].read())["body"]

    def captured(self, variant):
        """What a variant was asked and answered."""
        s3, bucket = self.cloud.client("s3"), self.cloud.aws.bucket
        listed = s3.list_objects_v2(Bucket=bucket, Prefix=f"captured/toy/{variant}/")
        found = []
        for entry in listed.get("Contents", []):
            for line in self.cloud.get(f"s3://{bucket}/{entry['Key']}").splitlines():
                sides = json.loads(line)["captureData"]
                names = ("endpointInput", "endpointOutput")
                found.append(tuple(base64.b64decode(sides[name]["data"]) for name in names))
        return found

    def count(self, metric):
        """The sum of a metric of the shadow variant."""
        now = dt.datetime.now(dt.UTC)
        found = self.cloud.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[
                {"Name": "EndpointName", "Value": "toy"},
                {"Name": "VariantName", "Value": "shadow"},
            ],
            StartTime=now - dt.timedelta(minutes=30),
            EndTime=now + dt.timedelta(minutes=30),
            Period=3600,
            Statistics=["Sum"],
        )
        return sum(point["Sum"] for point in found["Datapoints"])


@pytest.fixture
def shadowed(watchful, toy_tag):
    return Shadowed(watchful, watchful.push(toy_tag))


def test_copies_are_answered_to_nobody_and_captured_and_counted(shadowed, until):
    found = shadowed.deploy()
    assert [v["VariantName"] for v in found["ProductionVariants"]] == ["main"]
    (shadow,) = found["ShadowProductionVariants"]
    assert (shadow["VariantName"], shadow["CurrentInstanceCount"]) == ("shadow", 1)
    bodies = [f"{number}" for number in range(5)]
    assert [shadowed.invoke(body) for body in bodies] == bodies
    until(lambda: len(shadowed.captured("shadow")) == 5)
    asked, answered = zip(*shadowed.captured("shadow"), strict=True)
    assert sorted(asked) == [body.encode() for body in bodies]
    assert set(answered) == {b"from the shadow"}
    until(lambda: shadowed.count("Invocations") == 5)
    until(lambda: len(shadowed.captured("main")) == 5)
    assert b"from the shadow" not in [answer for _, answer in shadowed.captured("main")]


def test_what_goes_wrong_in_the_shadow_is_its_own_affair(shadowed, until):
    shadowed.deploy()
    for body in ("fail", "hang", "hang", "exit"):
        assert shadowed.invoke(body) == body
    until(lambda: shadowed.count("InvocationModelErrors") == 4)
    assert shadowed.count("Invocation5XXErrors") == 1
    assert shadowed.captured("shadow") == []
    until(lambda: shadowed.invoke("well") and shadowed.captured("shadow"))  # it is replaced


def test_a_share_is_copied(shadowed, until):
    shadowed.deploy(weight=0.5)
    for _ in range(100):
        shadowed.invoke("x")
    until(lambda: len(shadowed.captured("main")) == 100)
    until(lambda: shadowed.count("Invocations") == len(shadowed.captured("shadow")) > 0)
    assert 15 < len(shadowed.captured("shadow")) < 85  # seven standard deviations


def test_weight_zero_copies_nothing_and_no_request_can_ask_for_the_shadow(shadowed, until):
    shadowed.deploy(weight=0.0)
    shadowed.invoke("x")
    with pytest.raises(ClientError, match="Variant shadow not found"):
        shadowed.invoke("x", TargetVariant="shadow")
    until(lambda: shadowed.captured("main"))
    assert shadowed.captured("shadow") == []


def test_an_update_ends_and_begins_a_shadow(shadowed, until):
    shadowed.deploy()
    sagemaker = shadowed.cloud.sagemaker
    shadowed.cloud.configure("alone", {"main": "main"})
    sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName="alone")
    assert shadowed.cloud.settled() == "InService"
    found = sagemaker.describe_endpoint(EndpointName="toy")
    assert "ShadowProductionVariants" not in found
    assert shadowed.invoke("alone") == "alone"
    sagemaker.update_endpoint(EndpointName="toy", EndpointConfigName="toy")
    assert shadowed.cloud.settled() == "InService"
    shadowed.invoke("both")
    until(lambda: shadowed.captured("shadow"))
    assert [asked for asked, _ in shadowed.captured("shadow")] == [b"both"]


def test_capacities_are_changed_of_the_production_variant_only(shadowed, until):
    shadowed.deploy()
    change = shadowed.cloud.sagemaker.update_endpoint_weights_and_capacities
    wanted = [{"VariantName": "shadow", "DesiredInstanceCount": 2}]
    with pytest.raises(ClientError, match="of a shadow variant"):
        change(EndpointName="toy", DesiredWeightsAndCapacities=wanted)
    wanted = [{"VariantName": "main", "DesiredInstanceCount": 2}]
    change(EndpointName="toy", DesiredWeightsAndCapacities=wanted)
    assert shadowed.cloud.settled() == "InService"
    assert shadowed.invoke("x") == "x"
    until(lambda: shadowed.captured("shadow"))


def test_an_endpoint_ends_while_its_shadow_hangs(shadowed):
    shadowed.deploy()
    shadowed.invoke("hang")
    shadowed.cloud.delete_endpoint()
    assert shadowed.cloud.settled() == ""


def test_what_cannot_be_a_shadow_is_refused(shadowed):
    for members, said in (
        ({"shadows": 2}, "only specify one variant"),
        ({"VariantName": "main"}, "must be unique"),
        ({"ModelName": "missing"}, "Could not find model"),
        ({"RoutingConfig": {"RoutingStrategy": "RANDOM"}}, "RoutingConfig"),
    ):
        with pytest.raises(ClientError, match=said):
            shadowed.configure(**members)
    assert shadowed.cloud.sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
