"""Schedules start what they name."""

import datetime as dt
import json

import pytest
from botocore.exceptions import ClientError

from byoc.local import schedules
from byoc.local.state import now

TRAIN = "arn:aws:scheduler:::aws-sdk:sagemaker:createTrainingJob"


@pytest.fixture
def schedule(cloud):
    """CreateSchedule, due at once."""

    def create(target, text, expression=None, **members):
        expression = expression or f"at({now():%Y-%m-%dT%H:%M:%S})"
        dead = {"DeadLetterConfig": members.pop("dead")} if "dead" in members else {}
        cloud.client("scheduler").create_schedule(
            Name="s",
            ScheduleExpression=expression,
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": target, "RoleArn": cloud.role, "Input": text, **dead},
            **members,
        )

    return create


@pytest.fixture
def queue(cloud):
    """A queue's ARN, and what has come to it."""
    sqs = cloud.client("sqs")

    def make(name):
        url = sqs.create_queue(QueueName=name)["QueueUrl"]

        def read():
            return [m["Body"] for m in sqs.receive_message(QueueUrl=url).get("Messages", [])]

        read.arn = f"arn:aws:sqs:{cloud.region}:{cloud.account}:{name}"
        return read

    return make


def test_a_schedule_starts_a_training_job_once(cloud, toy, schedule, until):
    request = cloud.request(toy) | {"TrainingJobName": "job-<aws.scheduler.execution-id>"}
    schedule(TRAIN, json.dumps(request), ActionAfterCompletion="DELETE")
    (job,) = until(lambda: cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"])
    found = cloud.finish(job["TrainingJobName"])
    assert found["TrainingJobStatus"] == "Completed"
    assert found["HyperParameters"] == request["HyperParameters"]
    until(lambda: not cloud.client("scheduler").list_schedules()["Schedules"])
    assert len(cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"]) == 1


def test_a_rate_begins_at_once_and_sends_its_input(schedule, queue, until):
    read = queue("q")
    schedule(read.arn, '{"n": 1}', "rate(1 minute)")
    assert until(read) == ['{"n": 1}']


def test_what_cannot_be_started_is_a_dead_letter(schedule, queue, until, cloud, toy):
    letters = queue("letters")
    request = cloud.request(toy) | {"RoleArn": cloud.role, "OutputDataConfig": {}}
    schedule(TRAIN, json.dumps(request), dead={"Arn": letters.arn})
    (text,) = until(letters)
    assert json.loads(text) == request


@pytest.mark.parametrize(
    ("target", "expression", "said"),
    [
        ("arn:aws:scheduler:::aws-sdk:sagemaker:describeTrainingJob", None, "Read-only"),
        ("arn:aws:scheduler:::aws-sdk:sagemaker:trainJob", None, "Invalid target ARN"),
        ("arn:aws:scheduler:::aws-sdk:sagemaker:createDomain", None, "CreateDomain"),
        ("arn:aws:scheduler:::aws-sdk:ec2:runInstances", None, "universal target ec2"),
        ("arn:aws:lambda:us-east-1:123456789012:function:f", None, "of the service lambda"),
        (TRAIN, "rate(1 minutes)", "Invalid Schedule Expression"),
        (TRAIN, "cron(0 10 * * * *)", "Invalid Schedule Expression"),
    ],
)
def test_a_schedule_that_would_start_nothing_is_refused(cloud, schedule, target, expression, said):
    with pytest.raises(ClientError, match=said):
        schedule(target, "{}", expression)
    assert cloud.client("scheduler").list_schedules()["Schedules"] == []


def test_a_rule_with_a_rate_sends_its_event_when_the_time_has_come(own_server, queue):
    cloud, server = own_server()
    events, sqs = cloud.client("events"), cloud.client("sqs")
    url = sqs.create_queue(QueueName="own")["QueueUrl"]
    arn = events.put_rule(Name="clock", ScheduleExpression="rate(1 hour)")["RuleArn"]
    target = f"arn:aws:sqs:{cloud.region}:{cloud.account}:own"
    events.put_targets(Rule="clock", Targets=[{"Id": "0", "Arn": target}])
    schedules.tick(server.platform)
    for minutes in (59, 61, 62):
        schedules.tick(server.platform, now() + dt.timedelta(minutes=minutes))
    (message,) = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    event = json.loads(message["Body"])
    assert event["detail-type"] == "Scheduled Event"
    assert event["source"] == "aws.events"
    assert event["resources"] == [arn]
    assert event["detail"] == {}
