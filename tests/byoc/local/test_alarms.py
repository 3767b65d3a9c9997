"""CloudWatch alarms change their state by the metrics, and tell of it."""

import datetime as dt
import json

import pytest
from botocore.exceptions import ClientError

from byoc.local import alarm_rules
from byoc.local.alarm_rules import Point, Rule
from tests.byoc.local.conftest import account_of, serving

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="session")
def alert_server(tmp_path_factory):
    """A local AWS that looks at its alarms all the time."""
    with serving(tmp_path_factory.mktemp("alert") / "work", alarm_interval=0.05) as server:
        yield server


@pytest.fixture
def alert(alert_server, environment, clients, account, open_cloud):
    return account_of(alert_server, open_cloud(account), clients)


@pytest.fixture
def put(alert):
    """PutMetricAlarm on the average of the metric Mine/Errors over a minute, greater than 5."""

    def put_alarm(**members):
        standard = {
            "AlarmName": "errors",
            "AlarmDescription": "too many",
            "Namespace": "Mine",
            "MetricName": "Errors",
            "Dimensions": [{"Name": "Where", "Value": "here"}],
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 5.0,
            "Statistic": "Average",
            "ComparisonOperator": "GreaterThanThreshold",
        }
        request = {k: v for k, v in (standard | members).items() if v is not None}
        alert.client("cloudwatch").put_metric_alarm(**request)

    return put_alarm


@pytest.fixture
def measure(alert):
    """Values of the metric Mine/Errors; `ago` in seconds."""

    def put_data(*values, ago=0.0, where="here"):
        moment = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=ago)
        dimensions = [{"Name": "Where", "Value": where}]
        data = [
            {"MetricName": "Errors", "Value": v, "Timestamp": moment, "Dimensions": dimensions}
            for v in values
        ]
        alert.client("cloudwatch").put_metric_data(Namespace="Mine", MetricData=data)

    return put_data


@pytest.fixture
def reaches(alert, until):
    """The alarm as soon as it is in the state."""

    def wait(state, name="errors"):
        def found():
            (alarm,) = alert.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
            return alarm if alarm["StateValue"] == state else None

        return until(found)

    return wait


@pytest.fixture
def queue(alert):
    """A queue behind the topic `alarms`, and what the topic and the rule sent it."""
    sqs, sns = alert.client("sqs"), alert.client("sns")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    arn = attributes["Attributes"]["QueueArn"]
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    found = []

    def read():
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
            "Messages", []
        ):
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    read.arn, read.topic = arn, topic
    return read


def test_an_alarm_goes_off_tells_its_topic_and_calms_down(alert, put, measure, reaches, queue):
    put(AlarmActions=[queue.topic])
    new = reaches("INSUFFICIENT_DATA")
    assert new["StateReason"] == "Unchecked: Initial alarm creation"
    measure(9.0, 5.0, ago=1)
    alarm = reaches("ALARM")
    said = alarm["StateReason"]
    assert said.startswith("Threshold Crossed: 1 out of the last 1 datapoints [7.0 (")
    assert said.endswith(
        "was greater than the threshold (5.0) "
        "(minimum 1 datapoint for INSUFFICIENT_DATA -> ALARM transition)."
    )
    data = json.loads(alarm["StateReasonData"])
    assert (data["recentDatapoints"], data["threshold"], data["period"]) == ([7.0], 5.0, 60)
    assert data["evaluatedDatapoints"][0]["sampleCount"] == 2
    measure(-90.0)
    calm = reaches("OK")
    assert "was not greater than the threshold (5.0)" in calm["StateReason"]
    (note,) = queue()
    assert note["Subject"] == 'ALARM: "errors" in US East (N. Virginia)'
    message = json.loads(note["Message"])
    assert message["AlarmName"] == "errors"
    assert (message["OldStateValue"], message["NewStateValue"]) == ("INSUFFICIENT_DATA", "ALARM")
    assert message["NewStateReason"] == said
    assert message["AWSAccountId"] == alert.account
    assert message["Trigger"]["Dimensions"] == [{"value": "here", "name": "Where"}]
    assert message["Trigger"]["Statistic"] == "AVERAGE"
    history = alert.client("cloudwatch").describe_alarm_history(AlarmName="errors")
    assert [item["HistorySummary"] for item in history["AlarmHistoryItems"]] == [
        "Alarm updated from ALARM to OK",
        f"Successfully executed action {queue.topic}",
        "Alarm updated from INSUFFICIENT_DATA to ALARM",
        'Alarm "errors" created',
    ]


def test_a_change_of_state_is_an_event(alert, put, measure, reaches, queue, until):
    events = alert.client("events")
    pattern = {
        "source": ["aws.cloudwatch"],
        "detail-type": ["CloudWatch Alarm State Change"],
        "detail": {"alarmName": ["errors"], "state": {"value": ["ALARM"]}},
    }
    events.put_rule(Name="alarms", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="alarms", Targets=[{"Id": "0", "Arn": queue.arn}])
    put()
    measure(9.0, ago=1)
    alarm = reaches("ALARM")
    (event,) = until(queue)
    assert event["resources"] == [alarm["AlarmArn"]]
    detail = event["detail"]
    assert detail["previousState"]["value"] == "INSUFFICIENT_DATA"
    assert detail["state"]["reason"] == alarm["StateReason"]
    (metric,) = detail["configuration"]["metrics"]
    assert metric["metricStat"] == {
        "metric": {"dimensions": {"Where": "here"}, "name": "Errors", "namespace": "Mine"},
        "period": 60,
        "stat": "Average",
    }


def test_two_of_three_periods(put, measure, reaches):
    for value, ago in ((9.0, 150), (1.0, 90), (9.0, 30)):
        measure(value, ago=ago)
    put(EvaluationPeriods=3, DatapointsToAlarm=2)
    assert "2 out of the last 3 datapoints [9.0 (" in reaches("ALARM")["StateReason"]


def test_an_alarm_without_data(put, reaches, measure):
    put(AlarmName="breaching", TreatMissingData="breaching")
    put(AlarmName="good", TreatMissingData="notBreaching")
    for name in ("missing", "ignore"):
        put(AlarmName=name, TreatMissingData=name)
    measure(9.0, where="elsewhere")
    said = reaches("ALARM", "breaching")["StateReason"]
    assert said == (
        "Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint "
        "was treated as [Breaching]."
    )
    assert "treated as [NonBreaching]" in reaches("OK", "good")["StateReason"]
    for name in ("missing", "ignore"):
        assert reaches("INSUFFICIENT_DATA", name)["StateReason"].startswith("Unchecked")


def test_a_percentile_and_a_metric_in_a_query(put, measure, reaches):
    put(AlarmName="p90", Statistic=None, ExtendedStatistic="p90", Threshold=8.0)
    metric = {
        "Namespace": "Mine",
        "MetricName": "Errors",
        "Dimensions": [{"Name": "Where", "Value": "here"}],
    }
    stat = {"Metric": metric, "Period": 60, "Stat": "SampleCount"}
    put(
        AlarmName="query",
        Metrics=[{"Id": "m", "MetricStat": stat, "ReturnData": True}],
        **dict.fromkeys(("Namespace", "MetricName", "Dimensions", "Period", "Statistic")),
    )
    measure(*map(float, range(11)), ago=1)
    assert "[9.0 (" in reaches("ALARM", "p90")["StateReason"]
    assert "[11.0 (" in reaches("ALARM", "query")["StateReason"]


def test_a_state_that_is_set_acts_and_is_then_corrected(alert, put, measure, reaches, queue):
    put(AlarmActions=[queue.topic], OKActions=["arn:aws:sns:us-east-1:000000000000:gone"])
    measure(1.0, ago=1)
    reaches("OK")
    alert.client("cloudwatch").set_alarm_state(
        AlarmName="errors", StateValue="ALARM", StateReason="a test"
    )
    reaches("OK")
    (note,) = queue()
    assert json.loads(note["Message"])["NewStateReason"] == "a test"


def test_an_alarm_that_is_changed_keeps_its_state_and_may_be_mute(put, measure, reaches, queue):
    measure(9.0, ago=1)
    put()
    reaches("ALARM")
    put(ActionsEnabled=False, Threshold=100.0, OKActions=[queue.topic])
    assert reaches("OK")["Threshold"] == 100.0
    assert queue() == []


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"Period": 15}, "Period must be"),
        ({"DatapointsToAlarm": 2}, "DatapointsToAlarm"),
        ({"Statistic": None}, "Exactly one of"),
        ({"AlarmActions": ["arn:aws:lambda:us-east-1:1:function:f"]}, "of the service lambda"),
        ({"Statistic": None, "ExtendedStatistic": "pr(0:1)"}, "the statistic pr"),
    ],
)
def test_what_would_not_be_evaluated_is_refused(alert, put, members, said):
    with pytest.raises(ClientError, match=said):
        put(**members)
    assert alert.client("cloudwatch").describe_alarms()["MetricAlarms"] == []


@pytest.mark.parametrize(
    ("points", "needed", "states"),
    [  # the tables of alarms-and-missing-data: missing, ignore, breaching, notBreaching
        ("0-X-X", 3, ("OK", "OK", "OK", "OK")),
        ("----0", 3, ("OK", "OK", "OK", "OK")),
        ("-----", 3, ("INSUFFICIENT_DATA", None, "ALARM", "OK")),
        ("0XX-X", 3, ("ALARM", "ALARM", "ALARM", "ALARM")),
        ("--X--", 3, ("ALARM", None, "ALARM", "OK")),
        ("----X", 3, (None, None, "ALARM", "OK")),
        ("0-X-X", 2, ("ALARM", "ALARM", "ALARM", "ALARM")),
        ("00X0X", 2, ("ALARM", "ALARM", "ALARM", "ALARM")),
        ("0-X--", 2, ("OK", "OK", "ALARM", "OK")),
        ("----0", 2, ("OK", "OK", "ALARM", "OK")),
        ("---X-", 2, ("ALARM", None, "ALARM", "OK")),
    ],
)
def test_missing_data_as_the_user_guide_shows_it(points, needed, states):
    values = {"0": 0.0, "X": 9.0, "-": None}
    row = [Point(NOW + dt.timedelta(minutes=i), values[p]) for i, p in enumerate(points)]
    for missing, state in zip(
        ("missing", "ignore", "breaching", "notBreaching"), states, strict=True
    ):
        rule = Rule("GreaterThanThreshold", 5.0, 3, needed, missing)
        assert alarm_rules.state(rule, row) == state, missing
