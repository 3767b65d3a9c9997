"""Composite alarms follow the alarms that their rule names."""

import json

import pytest
from botocore.exceptions import ClientError

from byoc.local import alarm_expressions
from tests.byoc.local.conftest import account_of, serving


@pytest.fixture(scope="session")
def slow_server(tmp_path_factory):
    """A local AWS that never looks at its alarms by itself: they are set by hand."""
    with serving(tmp_path_factory.mktemp("slow") / "work", alarm_interval=3600.0) as server:
        yield server


class Alarms:
    """Alarms of an account, and what their topic and a rule put into a queue."""

    def __init__(self, cloud):
        self.cloud, self.cloudwatch = cloud, cloud.client("cloudwatch")
        sqs, sns, events = map(cloud.client, ("sqs", "sns", "events"))
        self._sqs, self._url = sqs, sqs.create_queue(QueueName="q")["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        queue = attributes["Attributes"]["QueueArn"]
        self.topic = sns.create_topic(Name="alarms")["TopicArn"]
        sns.subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=queue)
        pattern = {"source": ["aws.cloudwatch"], "detail": {"alarmName": ["both"]}}
        events.put_rule(Name="alarms", EventPattern=json.dumps(pattern))
        events.put_targets(Rule="alarms", Targets=[{"Id": "0", "Arn": queue}])
        self._got = []

    def arn(self, name):
        return f"arn:aws:cloudwatch:{self.cloud.region}:{self.cloud.account}:alarm:{name}"

    def metric(self, *names):
        for name in names:
            self.cloudwatch.put_metric_alarm(
                AlarmName=name,
                Namespace="Mine",
                MetricName=name,
                Period=60,
                EvaluationPeriods=1,
                Threshold=5.0,
                Statistic="Sum",
                ComparisonOperator="GreaterThanThreshold",
            )

    def put(self, name, rule, **members):
        self.cloudwatch.put_composite_alarm(AlarmName=name, AlarmRule=rule, **members)

    def set(self, state, *names, **members):
        for name in names:
            self.cloudwatch.set_alarm_state(
                AlarmName=name, StateValue=state, StateReason="set", **members
            )

    def described(self, name):
        kinds = ["CompositeAlarm", "MetricAlarm"]
        found = self.cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=kinds)
        (alarm,) = found["CompositeAlarms"] + found["MetricAlarms"]
        return alarm

    def state(self, name):
        return self.described(name)["StateValue"]

    def messages(self):
        """What has come: messages of the topic, and events, as they were sent."""
        while found := self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in found:
                self._got.append(json.loads(message["Body"]))
                receipt = message["ReceiptHandle"]
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=receipt)
        return self._got


@pytest.fixture
def alarms(slow_server, environment, clients, account, open_cloud):
    return Alarms(account_of(slow_server, open_cloud(account), clients))


def test_it_goes_off_tells_its_topic_and_sends_its_event(alarms, until):
    alarms.metric("a", "b")
    actions = {"AlarmActions": [alarms.topic], "OKActions": [alarms.topic]}
    alarms.put("both", "ALARM(a) AND ALARM(b)", AlarmDescription="Both.", **actions)
    calm = alarms.described("both")
    own = alarms.arn("both")
    assert (calm["StateValue"], calm["AlarmRule"]) == ("OK", "ALARM(a) AND ALARM(b)")
    assert calm["StateReason"] == f"{own} was created and its alarm rule evaluates to OK"
    alarms.set("ALARM", "a")
    assert alarms.state("both") == "OK"
    alarms.set("ALARM", "b")
    alarm = alarms.described("both")
    assert alarm["StateValue"] == "ALARM"
    assert alarm["StateReason"].startswith(f"{alarms.arn('b')} transitioned to ALARM at ")
    (trigger,) = json.loads(alarm["StateReasonData"])["triggeringAlarms"]
    assert (trigger["arn"], trigger["state"]["value"]) == (alarms.arn("b"), "ALARM")
    until(lambda: len(alarms.messages()) == 4)
    first, note = [m for m in alarms.messages() if "Message" in m]
    assert first["Subject"].startswith('OK: "both" in ')
    assert note["Subject"].startswith('ALARM: "both" in ')
    message = json.loads(note["Message"])
    assert (message["OldStateValue"], message["NewStateValue"]) == ("OK", "ALARM")
    assert message["AlarmRule"] == "ALARM(a) AND ALARM(b)"
    (child,) = message["TriggeringChildren"]
    assert (child["Arn"], child["State"]["Value"]) == (alarms.arn("b"), "ALARM")
    assert "Trigger" not in message
    _, event = [m for m in alarms.messages() if "detail" in m]
    assert event["resources"] == [own]
    assert event["detail"]["configuration"] == {"alarmRule": message["AlarmRule"]} | {
        "description": "Both."
    }
    assert event["detail"]["state"]["reason"] == alarm["StateReason"]
    asked = {"AlarmName": "both", "AlarmTypes": ["CompositeAlarm"], "HistoryItemType": "Action"}
    history = alarms.cloudwatch.describe_alarm_history(**asked)["AlarmHistoryItems"]
    assert [item["AlarmType"] for item in history] == ["CompositeAlarm"] * 2


def test_a_metric_sets_off_the_composite_alarms_above_it(own_server, clients, until):
    cloud, _ = own_server(alarm_interval=0.05)
    alarms = Alarms(cloud)
    alarms.metric("a")
    alarms.put("low", f'ALARM("{alarms.arn("a")}")')
    alarms.put("high", "NOT OK(low) AND TRUE", ActionsEnabled=False)
    assert alarms.state("high") == "OK"
    alarms.cloudwatch.put_metric_data(
        Namespace="Mine", MetricData=[{"MetricName": "a", "Value": 9.0}]
    )
    until(lambda: alarms.state("high") == "ALARM")
    assert alarms.state("low") == "ALARM"


def test_a_state_that_is_set_stays_until_a_child_changes(alarms):
    alarms.metric("a")
    alarms.put("both", "ALARM(a)", AlarmActions=[alarms.topic])
    alarms.set("ALARM", "both", StateReasonData="[1]")
    assert alarms.state("both") == "ALARM"
    (note,) = [m for m in alarms.messages() if "Message" in m]
    assert json.loads(note["Message"])["TriggeringChildren"] == []
    alarms.set("OK", "a")
    assert alarms.state("both") == "OK"


def test_a_changed_rule_is_looked_at_again(alarms):
    alarms.metric("a")
    alarms.put("both", "ALARM(a)", Tags=[{"Key": "k", "Value": "v"}])
    alarms.put("both", "INSUFFICIENT_DATA(a)")
    alarm = alarms.described("both")
    assert alarm["StateValue"] == "ALARM"
    assert "was updated and its alarm rule evaluates to ALARM" in alarm["StateReason"]
    tags = alarms.cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
    assert tags == [{"Key": "k", "Value": "v"}]


def test_alarms_are_described_by_their_kinds(alarms):
    alarms.metric("a")
    alarms.put("both", "ALARM(a)")
    found = alarms.cloudwatch.describe_alarms()
    assert [row["AlarmName"] for row in found["MetricAlarms"]] == ["a"]
    assert found.get("CompositeAlarms", []) == []
    found = alarms.cloudwatch.describe_alarms(AlarmTypes=["CompositeAlarm"])
    assert [row["AlarmName"] for row in found["CompositeAlarms"]] == ["both"]
    assert found.get("MetricAlarms", []) == []


def test_alarms_that_depend_on_each_other_stay_as_they_are(alarms):
    alarms.metric("a")
    alarms.put("one", "ALARM(a)")
    alarms.put("two", "ALARM(one)")
    alarms.put("one", "ALARM(two) OR ALARM(a)")
    alarms.set("ALARM", "a")
    assert (alarms.state("one"), alarms.state("two")) == ("OK", "OK")
    with pytest.raises(ClientError, match="Cannot delete one as there are composite"):
        alarms.cloudwatch.delete_alarms(AlarmNames=["one"])
    alarms.put("one", "FALSE")
    for name in ("two", "one"):
        alarms.cloudwatch.delete_alarms(AlarmNames=[name])


def test_an_alarm_in_a_rule_cannot_be_deleted(alarms):
    alarms.metric("a", "b", "c")
    alarms.put("one", "ALARM(a) OR ALARM(b)")
    alarms.put("two", "TRUE")
    cases = ((["a", "b", "c"], "Cannot delete a,b as .* on them"), (["one", "two"], "At most one"))
    for names, said in cases:
        with pytest.raises(ClientError, match=said):
            alarms.cloudwatch.delete_alarms(AlarmNames=names)
    for names in (["one", "c"], ["a", "b", "unknown"], ["two"]):
        alarms.cloudwatch.delete_alarms(AlarmNames=names)
    kinds = ["CompositeAlarm", "MetricAlarm"]
    found = alarms.cloudwatch.describe_alarms(AlarmTypes=kinds)
    assert found["CompositeAlarms"] == found["MetricAlarms"] == []


@pytest.mark.parametrize(
    ("rule", "members", "said"),
    [
        ("ALARM(missing) OR ALARM(a)", {}, r"alarms \[missing\] in the alarm rule do not exist"),
        ("ALARM(arn:aws:cloudwatch:us-east-1:000000000000:alarm:a)", {}, "do not exist"),
        ("ALARM(a) ALARM(a)", {}, "AlarmRule ends before"),
        ("AT_LEAST(1, ALARM, (a))", {}, "AT_LEAST"),
        ("ALARM(a)", {"AlarmName": "a"}, "There is a metric alarm"),
        ("ALARM(a)", {"OKActions": ["arn:aws:lambda:us-east-1:1:function:f"]}, "the action arn"),
        (
            "ALARM(a)",
            {
                "ActionsSuppressor": "a",
                "ActionsSuppressorWaitPeriod": 1,
                "ActionsSuppressorExtensionPeriod": 1,
            },
            "ActionsSuppressor",
        ),
    ],
)
def test_what_would_not_be_evaluated_is_refused(alarms, rule, members, said):
    alarms.metric("a")
    with pytest.raises(ClientError, match=said):
        alarms.cloudwatch.put_composite_alarm(**{"AlarmName": "both", "AlarmRule": rule, **members})
    found = alarms.cloudwatch.describe_alarms(AlarmTypes=["CompositeAlarm"])
    assert found["CompositeAlarms"] == []


def test_a_metric_alarm_does_not_take_a_composite_alarms_place(alarms):
    alarms.put("both", "TRUE")
    with pytest.raises(ClientError, match="There is a composite alarm"):
        alarms.metric("both")
    assert alarms.state("both") == "ALARM"


@pytest.mark.parametrize(
    ("rule", "holds"),
    [  # a is in ALARM, b OK, c without data
        ("ALARM(a)", True),
        ('ALARM( "a" )AND OK(b)', True),
        ("NOT ALARM(a)", False),
        ("NOT NOT ALARM(a)", True),
        ("ALARM(b) AND ALARM(c) OR ALARM(a)", True),
        ("ALARM(a) OR ALARM(b) AND ALARM(c)", True),
        ("(ALARM(a) OR ALARM(b)) AND ALARM(c)", False),
        ("NOT (ALARM(b) OR OK(a)) AND INSUFFICIENT_DATA(c)", True),
        ("NOT ALARM(b) AND FALSE", False),
        ("false OR ((TRUE))", True),
        ("ALARM(an alarm, of mine)", True),
        ('ALARM("with (parentheses)")', True),
        ("(" * 100 + "TRUE" + ")" * 100, True),
        ("ALARM(unknown)", False),
    ],
)
def test_rules(rule, holds):
    states = {"a": "ALARM", "b": "OK", "c": "INSUFFICIENT_DATA"}
    states |= dict.fromkeys(("an alarm, of mine", "with (parentheses)"), "ALARM")
    assert alarm_expressions.parse(rule).holds(states) is holds


@pytest.mark.parametrize(
    "rule",
    [
        " ",
        "ALARM()",
        "ALARM(a",
        "(ALARM(a)",
        "ALARM(a))",
        "()",
        "AND ALARM(a)",
        "ALARM(a) AND",
        "ALARM(a) XOR ALARM(b)",
        "NOT",
        "a",
        "(" * 251 + "TRUE" + ")" * 251,
        " OR ".join(f"ALARM(a{n})" for n in range(101)),
    ],
)
def test_rules_that_cannot_be_read(rule):
    with pytest.raises(ValueError, match=r"lacks|ends|has|names|can't be read"):
        alarm_expressions.parse(rule)
