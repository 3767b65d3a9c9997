"""Application Auto Scaling that really starts and stops a variant's containers."""

import datetime as dt
import threading

import pytest
from botocore.exceptions import ClientError

from byoc.local.service import Context
from byoc.local.snapshot import RESUME
from byoc.local.state import Resource, now

VARIANT = "endpoint/toy/variant/AllTraffic"
OF_IT = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": VARIANT,
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
CONCURRENCY = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
METRIC = "SageMakerVariantInvocationsPerInstance"


def refused(call, **members):
    with pytest.raises(ClientError) as caught:
        call(**members)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


@pytest.fixture
def quick(hasty, toy_tag):
    """An endpoint in service on a local AWS whose minutes of autoscaling last 0.2 seconds."""
    hasty.create_endpoint(hasty.push(toy_tag))
    assert hasty.deployed()["EndpointStatus"] == "InService"
    return hasty


@pytest.fixture
def scaling(quick):
    return quick.client("application-autoscaling")


def count(cloud):
    found = cloud.sagemaker.describe_endpoint(EndpointName="toy")
    return found["ProductionVariants"][0]["CurrentInstanceCount"]


def register(scaling, low=1, high=3, **members):
    return scaling.register_scalable_target(**OF_IT, MinCapacity=low, MaxCapacity=high, **members)


def track(scaling, target=600.0, name="track", **members):
    """A policy; 600 calls per minute and instance are two in each period of these tests."""
    config = {
        "TargetValue": target,
        "PredefinedMetricSpecification": {"PredefinedMetricType": METRIC},
        "ScaleOutCooldown": 0,
        "ScaleInCooldown": 0,
    } | members
    return scaling.put_scaling_policy(
        **OF_IT,
        PolicyName=name,
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={k: v for k, v in config.items() if v is not None},
    )


def custom(name="Queue", statistic="Average"):
    return {
        "MetricName": name,
        "Namespace": "Mine",
        "Statistic": statistic,
        "Dimensions": [{"Name": "Of", "Value": "toy"}],
    }


class Publisher:
    """Sends a value of a metric all the time."""

    def __init__(self, cloud, value):
        self._stop, self.value, self._cloudwatch = (
            threading.Event(),
            value,
            cloud.client("cloudwatch"),
        )
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.wait(0.05):
            dimensions = [{"Name": "Of", "Value": "toy"}]
            datum = {"MetricName": "Queue", "Value": self.value, "Dimensions": dimensions}
            self._cloudwatch.put_metric_data(Namespace="Mine", MetricData=[datum])


def activities(scaling):
    found = scaling.describe_scaling_activities(**OF_IT)["ScalingActivities"]
    return [a for a in found if a["StatusCode"] != "InProgress"]


def test_load_starts_containers_and_its_end_stops_them(quick, scaling, until):
    register(scaling)
    policy = track(scaling)
    failed, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            try:
                quick.invoke("x")
            except ClientError as error:
                failed.append(error)

    clients = [threading.Thread(target=load) for _ in range(3)]
    for client in clients:
        client.start()
    until(lambda: count(quick) == 3)
    stop.set()
    for client in clients:
        client.join()
    until(lambda: count(quick) == 1)
    assert not failed
    found = until(lambda: [a for a in activities(scaling) if a["Description"].endswith("to 1.")])
    last, first = found[0], activities(scaling)[-1]
    names = {
        side: a["AlarmName"]
        for a in policy["Alarms"]
        for side in ("High", "Low")
        if side in a["AlarmName"]
    }
    assert first["Cause"] == f"monitor alarm {names['High']} in state ALARM triggered policy track"
    assert last["Cause"] == f"monitor alarm {names['Low']} in state ALARM triggered policy track"
    assert first["Description"].startswith("Setting desired instance count to ")
    assert last["StatusCode"] == first["StatusCode"] == "Successful"
    assert last["StatusMessage"] == (
        "Successfully set desired instance count to 1. Change successfully fulfilled by sagemaker."
    )
    assert last["StartTime"] <= last["EndTime"]


def test_the_alarms_of_a_policy_are_in_cloudwatch(quick, scaling, until):
    register(scaling)
    policy = track(scaling, target=100.0)
    cloudwatch = quick.client("cloudwatch")

    def alarms():
        return {
            alarm["AlarmName"]: alarm
            for alarm in cloudwatch.describe_alarms(AlarmNamePrefix=f"TargetTracking-{VARIANT}")[
                "MetricAlarms"
            ]
        }

    high, low = (a["AlarmName"] for a in policy["Alarms"])
    assert high.startswith(f"TargetTracking-{VARIANT}-AlarmHigh-")
    assert low.startswith(f"TargetTracking-{VARIANT}-AlarmLow-")
    assert {a["AlarmARN"] for a in policy["Alarms"]} == {a["AlarmArn"] for a in alarms().values()}
    assert (alarms()[high]["Threshold"], alarms()[high]["EvaluationPeriods"]) == (100.0, 3)
    assert (alarms()[low]["Threshold"], alarms()[low]["EvaluationPeriods"]) == (90.0, 15)
    assert alarms()[low]["MetricName"] == "InvocationsPerInstance"
    assert alarms()[low]["AlarmActions"] == [policy["PolicyARN"]]
    until(lambda: alarms()[low]["StateValue"] == "ALARM")  # nobody invokes
    assert alarms()[high]["StateValue"] == "OK"
    again = track(scaling, target=100.0, DisableScaleIn=True)
    assert again["PolicyARN"] == policy["PolicyARN"]
    assert list(alarms()) == [high]
    scaling.delete_scaling_policy(**OF_IT, PolicyName="track")
    assert not alarms()
    assert not scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]


def test_a_metric_of_ones_own_scales_within_the_bounds(quick, scaling, until):
    register(scaling, 1, 2)
    track(scaling, 10.0, PredefinedMetricSpecification=None, CustomizedMetricSpecification=custom())
    with Publisher(quick, 1000.0) as publisher:
        until(lambda: count(quick) == 2)
        publisher.value = 10.0  # neither above the target nor well below
        until(lambda: states(quick) == {"OK"})
        assert count(quick) == 2
        publisher.value = 1.0
        until(lambda: count(quick) == 1)
    done = {f"Setting desired instance count to {number}." for number in (1, 2)}
    until(lambda: {a["Description"] for a in activities(scaling)} == done)
    until(lambda: states(quick) == {"INSUFFICIENT_DATA"})


def states(cloud):
    found = cloud.client("cloudwatch").describe_alarms(AlarmNamePrefix="TargetTracking-")
    return {alarm["StateValue"] for alarm in found["MetricAlarms"]}


def test_scaling_in_needs_all_policies_and_can_be_disabled(quick, scaling, until):
    register(scaling, 1, 2)
    own = {"PredefinedMetricSpecification": None, "CustomizedMetricSpecification": custom()}
    track(scaling, 10.0, **own)
    track(scaling, name="idle")
    with Publisher(quick, 1000.0) as publisher:
        until(lambda: count(quick) == 2)
        publisher.value = 10.0
        until(lambda: states(quick) == {"OK", "ALARM"})  # `idle` would scale in
        assert count(quick) == 2
        track(scaling, 10.0, DisableScaleIn=True, **own)
        until(lambda: count(quick) == 1)  # whose word is asked for no more


def test_a_cooldown_must_end_before_it_scales_again(quick, scaling, until):
    register(scaling, 1, 3)
    own = {"PredefinedMetricSpecification": None, "CustomizedMetricSpecification": custom()}
    track(scaling, 10.0, ScaleOutCooldown=3600, **own)
    with Publisher(quick, 11.0):
        until(lambda: count(quick) == 2)
        until(lambda: "ALARM" in states(quick))
        assert count(quick) == 2
        track(scaling, 10.0, ScaleOutCooldown=0, **own)
        until(lambda: count(quick) == 3)


def test_suspended_scaling_does_nothing(quick, scaling, until):
    register(scaling, 1, 2, SuspendedState={"DynamicScalingOutSuspended": True})
    own = {"PredefinedMetricSpecification": None, "CustomizedMetricSpecification": custom()}
    track(scaling, 10.0, **own)
    with Publisher(quick, 1000.0):
        until(lambda: "ALARM" in states(quick))
        assert count(quick) == 1
        scaling.register_scalable_target(
            **OF_IT, SuspendedState={"DynamicScalingOutSuspended": False}
        )
        until(lambda: count(quick) == 2)


def test_the_bounds_are_kept_from_the_start(quick, scaling, until):
    arn = register(scaling, 2, 3)["ScalableTargetARN"]
    until(lambda: count(quick) == 2)
    assert register(scaling, 1, 1)["ScalableTargetARN"] == arn
    until(lambda: count(quick) == 1)
    down, up = until(lambda: len(activities(scaling)) == 2 and activities(scaling))
    assert up["Cause"] == "minimum capacity was set to 2"
    assert down["Cause"] == "maximum capacity was set to 1"
    (row,) = scaling.describe_scalable_targets(**OF_IT_ROWS)["ScalableTargets"]
    assert (row["MinCapacity"], row["MaxCapacity"], row["ScalableTargetARN"]) == (1, 1, arn)
    assert row["RoleARN"].endswith("AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint")


OF_IT_ROWS = {"ServiceNamespace": "sagemaker", "ResourceIds": [VARIANT]}


def test_a_scheduled_action_sets_the_bounds(quick, scaling, until):
    register(scaling, 1, 1)
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=6)
    scaling.put_scheduled_action(
        **OF_IT,
        ScheduledActionName="morning",
        Schedule=f"at({soon:%Y-%m-%dT%H:%M:%S})",
        ScalableTargetAction={"MinCapacity": 2, "MaxCapacity": 4},
    )
    (row,) = scaling.describe_scheduled_actions(ServiceNamespace="sagemaker")["ScheduledActions"]
    assert row["ScheduledActionName"] == "morning"
    assert row["ScalableTargetAction"] == {"MinCapacity": 2, "MaxCapacity": 4}
    until(lambda: count(quick) == 2)
    second, first = until(lambda: len(activities(scaling)) == 2 and activities(scaling))
    assert first["Cause"] == "scheduled action name morning was triggered"
    assert first["Description"] == "Setting min capacity to 2 and max capacity to 4"
    assert second["Cause"] == "minimum capacity was set to 2"
    scaling.delete_scheduled_action(**OF_IT, ScheduledActionName="morning")
    assert not scaling.describe_scheduled_actions(ServiceNamespace="sagemaker")["ScheduledActions"]


def test_what_a_failed_activity_says(quick, scaling, until):
    register(scaling, 100, 100)  # more than the quota
    (failed, *_) = until(lambda: activities(scaling))
    assert failed["StatusCode"] == "Failed"
    assert failed["StatusMessage"].startswith(
        "Failed to set desired instance count to 100. Reason: The account-level service limit"
    )
    assert count(quick) == 1


@pytest.mark.parametrize("end", ["endpoint", "target"])
def test_policies_actions_and_alarms_end_with(quick, scaling, until, end):
    register(scaling)
    track(scaling)
    action = {"MinCapacity": 1, "MaxCapacity": 2}
    scaling.put_scheduled_action(
        **OF_IT,
        ScheduledActionName="daily",
        Schedule="cron(0 8 * * ? *)",
        ScalableTargetAction=action,
    )
    if end == "endpoint":
        quick.sagemaker.delete_endpoint(EndpointName="toy")
    else:
        scaling.deregister_scalable_target(**OF_IT)
    assert not scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert not scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert not scaling.describe_scheduled_actions(ServiceNamespace="sagemaker")["ScheduledActions"]
    assert not quick.client("cloudwatch").describe_alarms()["MetricAlarms"]


def test_a_target_has_tags(quick, scaling):
    arn = register(scaling, Tags={"project": "penguins"})["ScalableTargetARN"]
    scaling.tag_resource(ResourceARN=arn, Tags={"more": "x"})
    scaling.untag_resource(ResourceARN=arn, TagKeys=["project"])
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"more": "x"}
    (row,) = quick.client("resourcegroupstaggingapi").get_resources(
        ResourceTypeFilters=["application-autoscaling:scalable-target"]
    )["ResourceTagMappingList"]
    assert row["ResourceARN"] == arn


def test_what_is_refused(quick, scaling):
    put = scaling.put_scaling_policy
    target = "TargetTrackingScalingPolicyConfiguration"
    code, said = refused(put, **OF_IT, PolicyName="p", PolicyType="TargetTrackingScaling")
    assert code == "ObjectNotFoundException"
    assert said.startswith("No scalable target registered for service namespace: sagemaker, ")
    elsewhere = OF_IT | {"ResourceId": "endpoint/none/variant/AllTraffic"}
    register_target = scaling.register_scalable_target
    code, _ = refused(register_target, **elsewhere, MinCapacity=1, MaxCapacity=1)
    assert code == "ValidationException"
    assert refused(register_target, **OF_IT, MinCapacity=1)[0] == "ValidationException"
    assert (
        refused(register_target, **OF_IT, MinCapacity=3, MaxCapacity=1)[0] == "ValidationException"
    )
    register(scaling)
    for kind in ("StepScaling", "PredictiveScaling"):
        code, _ = refused(put, **OF_IT, PolicyName="p", PolicyType=kind)
        assert code == "NotImplementedException"
    for config, expected in (
        ({"TargetValue": 1.0}, "ValidationException"),
        ({"TargetValue": 1.0, "CustomizedMetricSpecification": {}}, "ValidationException"),
        (
            {"TargetValue": 0.0, "CustomizedMetricSpecification": custom()},
            "ValidationException",
        ),
        (
            {
                "TargetValue": 1.0,
                "PredefinedMetricSpecification": {
                    "PredefinedMetricType": "ALBRequestCountPerTarget"
                },
            },
            "ValidationException",
        ),
        (
            {
                "TargetValue": 1.0,
                "PredefinedMetricSpecification": {"PredefinedMetricType": CONCURRENCY},
            },
            "NotImplementedException",
        ),
    ):
        members = {"PolicyType": "TargetTrackingScaling", target: config}
        assert refused(put, **OF_IT, PolicyName="p", **members)[0] == expected, config
    assert not scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    for schedule, expected in (
        ("daily", "ValidationException"),
        ("cron(0 25 * * ? *)", "ValidationException"),
        ("at(2030-02-31T00:00:00)", "ValidationException"),
        ("cron(0 8 ? * 6L *)", "NotImplementedException"),
    ):
        members = {"Schedule": schedule, "ScalableTargetAction": {"MinCapacity": 1}}
        code, _ = refused(scaling.put_scheduled_action, **OF_IT, ScheduledActionName="a", **members)
        assert code == expected, schedule


def test_the_instance_type_stays_while_it_is_scaled(quick, scaling, until):
    quick.configure("large", {"AllTraffic": "toy"}, InstanceType="ml.m5.xlarge")
    register(scaling)
    update = quick.sagemaker.update_endpoint
    code, said = refused(update, EndpointName="toy", EndpointConfigName="large")
    assert code == "ValidationException"
    assert "DeregisterScalableTarget" in said
    scaling.deregister_scalable_target(**OF_IT)
    update(EndpointName="toy", EndpointConfigName="large")
    assert quick.settled("toy") == "InService"


def test_a_target_is_scaled_again_after_a_restart(quick, hasty_server, scaling, until):
    register(scaling, 1, 2)
    own = {"PredefinedMetricSpecification": None, "CustomizedMetricSpecification": custom()}
    track(scaling, 10.0, **own)
    context = Context(hasty_server.platform, quick.account, quick.region)
    target = context.table("scalable-target")[VARIANT]
    target.runtime.kill()
    known = {member: OF_IT[member] for member in OF_IT}
    data = {**known, "StatusCode": "InProgress", "StartTime": now()}
    data |= {"ActivityId": "x", "Description": "Setting …", "Cause": "a stop"}
    activity = context.table("scaling-activity")["x"] = Resource("x", "", data)
    with Publisher(quick, 1000.0):
        RESUME["scalable-target"](context, target)
        RESUME["scaling-activity"](context, activity)
        until(lambda: count(quick) == 2)
    broken = activities(scaling)[-1]
    assert (broken["ActivityId"], broken["StatusCode"]) == ("x", "Failed")


def test_other_services_stay_with_moto(cloud):
    scaling = cloud.client("application-autoscaling")
    table = {
        "ServiceNamespace": "dynamodb",
        "ResourceId": "table/t",
        "ScalableDimension": "dynamodb:table:ReadCapacityUnits",
    }
    scaling.register_scalable_target(**table, MinCapacity=1, MaxCapacity=2)
    (row,) = scaling.describe_scalable_targets(ServiceNamespace="dynamodb")["ScalableTargets"]
    assert row["ResourceId"] == "table/t"
    assert not scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
