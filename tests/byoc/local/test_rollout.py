"""Blue/green deployments: canary, linear, baking, and alarms that call them back."""

import itertools
import json
import threading
import time

import pytest
from botocore.exceptions import ClientError

from byoc.local import rollout
from byoc.local.errors import AWSError


def refused(call, **members):
    with pytest.raises(ClientError) as caught:
        call(**members)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def model(cloud, image, name, instances=1, **environment):
    """A model and a configuration of one variant, both called so."""
    cloud.sagemaker.create_model(
        ModelName=name,
        PrimaryContainer={"Image": image, "Environment": {"LETTER": name, **environment}},
        ExecutionRoleArn=cloud.role,
    )
    cloud.configure(name, {"AllTraffic": name}, InitialInstanceCount=instances)


@pytest.fixture
def blue(hasty, toy_tag):
    """The endpoint `toy` serves `a`, and `b` is there to be deployed; waits are short."""
    image = hasty.push(toy_tag)
    model(hasty, image, "a")
    model(hasty, image, "b")
    model(hasty, image, "bad", PING="500", FIRST="sys.exit(1)")
    hasty.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="a")
    assert hasty.deployed()["EndpointStatus"] == "InService"
    hasty.client("sagemaker-runtime")
    return hasty


def config(kind, wait=60, alarms=(), size=None, **policy):
    routing = {"Type": kind, "WaitIntervalInSeconds": wait}
    if size is not None:
        member = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}[kind]
        routing[member] = {"Type": "CAPACITY_PERCENT", "Value": size}
    found = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, **policy}}
    if alarms:
        named = [{"AlarmName": alarm} for alarm in alarms]
        found["AutoRollbackConfiguration"] = {"Alarms": named}
    return found


def update(cloud, deployment, name="b", **members):
    cloud.sagemaker.update_endpoint(
        EndpointName="toy", EndpointConfigName=name, DeploymentConfig=deployment, **members
    )


def alarm(cloud, name="errors", state="OK"):
    cloudwatch = cloud.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace="Mine",
        MetricName="Errors",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1.0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",  # so that it stays as it is set
        ActionsEnabled=False,
    )
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="a test")


def described(cloud):
    return cloud.sagemaker.describe_endpoint(EndpointName="toy")


def settled(cloud, until):
    return until(lambda: (found := described(cloud))["EndpointStatus"] != "Updating" and found)


def letter(cloud):
    return json.loads(cloud.invoke("x")["Body"].read())["environment"]["LETTER"]


class Load:
    """Clients that invoke the endpoint all the time; what failed is kept."""

    def __init__(self, cloud, clients=3):
        self._cloud, self._stop, self.failed, self.letters = cloud, threading.Event(), [], []
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
                self.letters.append(letter(self._cloud))
            except Exception as error:
                self.failed.append(error)


def test_a_canary_takes_its_share_and_then_the_rest(blue, until):
    with Load(blue) as load:
        deployment = config("CANARY", size=20)
        update(blue, deployment)
        found = settled(blue, until)
    assert not load.failed
    assert (found["EndpointConfigName"], found["LastDeploymentConfig"]) == ("b", deployment)
    assert not {"FailureReason", "PendingDeploymentSummary"} & set(found)
    assert {letter(blue) for _ in range(5)} == {"b"}


def test_linear_steps(blue, until):
    weights = []

    def look():
        found = described(blue)
        for variant in found.get("PendingDeploymentSummary", {}).get("ProductionVariants", []):
            weights.append(variant["CurrentWeight"])
        return found["EndpointStatus"] == "InService"

    with Load(blue) as load:
        update(blue, config("LINEAR", size=25))
        until(look)
    assert not load.failed
    steps = [round(weight, 2) for weight, _ in itertools.groupby(weights) if weight]
    assert steps == sorted(steps)
    assert set(steps) <= {0.25, 0.5, 0.75, 1.0}
    assert letter(blue) == "b"


def test_an_alarm_calls_a_canary_back(blue, until):
    alarm(blue)
    with Load(blue) as load:
        update(blue, config("CANARY", wait=3600, size=50, alarms=["errors"]))
        until(lambda: "b" in load.letters and "a" in load.letters[load.letters.index("b") :])
        pending = described(blue)["PendingDeploymentSummary"]["ProductionVariants"][0]
        assert pending["VariantStatus"][0]["Status"] == "Baking"
        assert pending["CurrentWeight"] == pytest.approx(0.5)
        alarm(blue, state="ALARM")
        found = settled(blue, until)
        load.letters.clear()
        until(lambda: len(load.letters) > 10)
        assert "b" not in load.letters[3:]  # but for those under way
    assert not load.failed
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "a")
    assert found["FailureReason"] == (
        "The deployment was rolled back: CloudWatch alarm(s) [errors] went into ALARM state."
    )
    assert not {"LastDeploymentConfig", "PendingDeploymentSummary"} & set(found)


def test_an_alarm_calls_back_what_has_all_the_traffic(blue, until):
    alarm(blue)
    alarm(blue, "latency")
    update(
        blue,
        config("ALL_AT_ONCE", wait=0, alarms=["latency", "errors"], TerminationWaitInSeconds=3600),
    )
    until(lambda: letter(blue) == "b")
    alarm(blue, state="ALARM")
    found = settled(blue, until)
    assert "[errors]" in found["FailureReason"]
    assert letter(blue) == "a"


def test_the_old_fleet_stays_while_it_is_told_to(blue, until):
    update(blue, config("ALL_AT_ONCE", wait=0, TerminationWaitInSeconds=120))
    until(lambda: letter(blue) == "b")
    assert described(blue)["EndpointStatus"] == "Updating"
    assert settled(blue, until)["EndpointConfigName"] == "b"


def test_a_new_fleet_that_does_not_start_leaves_the_old_one(own_server, toy_tag, until):
    cloud, _ = own_server(startup_timeout=1.0)
    image = cloud.push(toy_tag)
    model(cloud, image, "a")
    model(cloud, image, "bad", PING="500")
    cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="a")
    assert cloud.deployed()["EndpointStatus"] == "InService"
    with Load(cloud) as load:
        until(lambda: load.letters)
        update(cloud, config("CANARY", size=50), "bad")
        found = settled(cloud, until)
    assert not load.failed
    assert set(load.letters) == {"a"}
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "a")
    assert "did not pass the ping health check" in found["FailureReason"]


def test_an_endpoint_is_deleted_after_a_rollout_and_leaves_nothing(blue, until):
    update(blue, config("LINEAR", wait=0, size=50))
    settled(blue, until)
    blue.delete_endpoint("toy")
    assert refused(blue.sagemaker.describe_endpoint, EndpointName="toy")[0] == "ValidationException"


def test_the_server_stops_in_the_middle_of_a_rollout(own_server, toy_tag, until, alive):
    cloud, server = own_server()
    image = cloud.push(toy_tag)
    mark = f"mark-{cloud.account}"
    model(cloud, image, "a", MARK=mark)
    model(cloud, image, "b", MARK=mark)
    cloud.sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="a")
    assert cloud.deployed()["EndpointStatus"] == "InService"
    update(cloud, config("CANARY", wait=3600, size=50))
    until(lambda: letter(cloud) == "b")
    assert len(alive(mark)) >= 2
    server.stop()
    assert not alive(mark)


def test_a_policy_is_used_again_when_asked(blue, until):
    deployment = config("CANARY", wait=0, size=10)
    update(blue, deployment)
    assert settled(blue, until)["LastDeploymentConfig"] == deployment
    blue.sagemaker.update_endpoint(
        EndpointName="toy", EndpointConfigName="a", RetainDeploymentConfig=True
    )
    found = settled(blue, until)
    assert (found["EndpointConfigName"], found["LastDeploymentConfig"]) == ("a", deployment)


def test_what_takes_too_long_is_rolled_back():
    stopped = threading.Event()
    said = rollout.Rollout().watch(None, 60.0, time.monotonic() + 0.1, stopped)
    assert said.endswith("it exceeded MaximumExecutionTimeoutInSeconds.")
    stopped.set()
    assert rollout.Rollout().watch(None, 60.0, float("inf"), stopped) is None


@pytest.mark.parametrize(
    ("routing", "counts", "steps"),
    [
        ({"CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1}}, [4], (0.25, 1.0)),
        ({"CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 5}}, [1, 3], (0.05, 1.0)),
        ({"LinearStepSize": {"Type": "INSTANCE_COUNT", "Value": 1}}, [3, 3], (1 / 3, 2 / 3, 1.0)),
        ({"LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 40}}, [1], (0.4, 0.8, 1.0)),
        ({"LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 10}}, [1], None),
    ],
)
def test_the_steps_of_a_policy(routing, counts, steps):
    kind = "CANARY" if "CanarySize" in routing else "LINEAR"
    found = rollout._steps("UpdateEndpoint", {"Type": kind, **routing}, counts)
    assert found == (pytest.approx(steps) if steps else found)
    assert found[-1] == 1.0
    assert steps or len(found) == 10


@pytest.mark.parametrize(
    ("routing", "counts", "code"),
    [
        ({"Type": "CANARY"}, [1], "ValidationException"),
        (
            {"Type": "CANARY", "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1}},
            [1],
            "ValidationException",
        ),
        (
            {"Type": "LINEAR", "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 5}},
            [1],
            "ValidationException",
        ),
        (
            {"Type": "ALL_AT_ONCE", "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 5}},
            [1],
            "ValidationException",
        ),
        (
            {"Type": "CANARY", "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1}},
            [2, 4],
            "NotImplementedException",
        ),
    ],
)
def test_steps_that_cannot_be(routing, counts, code):
    with pytest.raises(AWSError) as caught:
        rollout._steps("UpdateEndpoint", routing, counts)
    assert caught.value.code == code


def test_deployments_that_are_refused(blue):
    size = {"Type": "CAPACITY_PERCENT", "Value": 50}
    rolling = {"RollingUpdatePolicy": {"MaximumBatchSize": size, "WaitIntervalInSeconds": 0}}
    for deployment, code, said in (
        (rolling, "NotImplementedException", "UpdateEndpoint with RollingUpdatePolicy"),
        (rolling | config("ALL_AT_ONCE"), "ValidationException", "Only one update policy"),
        (config("CANARY", size=60), "ValidationException", "at most 50%"),
        (config("ALL_AT_ONCE", alarms=["none"]), "ValidationException", "[none] could not be"),
        (
            config("ALL_AT_ONCE", wait=600, MaximumExecutionTimeoutInSeconds=600),
            "ValidationException",
            "must be larger than the total waiting time",
        ),
    ):
        found = refused(update, cloud=blue, deployment=deployment)
        assert found[0] == code, deployment
        assert said in found[1]
    found = described(blue)
    assert (found["EndpointStatus"], "PendingDeploymentSummary" in found) == ("InService", False)
