"""Events of SageMaker on EventBridge, and their delivery to the targets of rules."""

import json

import pytest
from botocore.exceptions import ClientError

SOURCE = {"source": ["aws.sagemaker"]}


class Queue:
    """An SQS queue, and what has come to it."""

    def __init__(self, cloud, name, **attributes):
        self._sqs = cloud.client("sqs")
        self.url = self._sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        self.arn = attributes["Attributes"]["QueueArn"]
        self.texts = []

    def read(self):
        """All texts that have come so far."""
        while found := self._sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in found:
                self.texts.append(message["Body"])
                self._sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return self.texts

    @property
    def events(self):
        return [json.loads(text) for text in self.read()]


@pytest.fixture
def queue(cloud):
    return lambda name="events", **attributes: Queue(cloud, name, **attributes)


@pytest.fixture
def rule(cloud):
    """A rule with a pattern and targets."""
    events = cloud.client("events")

    def put(name, pattern, *targets):
        events.put_rule(Name=name, EventPattern=json.dumps(pattern))
        rows = [{"Id": f"{i}", **target} for i, target in enumerate(targets)]
        assert events.put_targets(Rule=name, Targets=rows)["FailedEntryCount"] == 0

    return put


@pytest.fixture
def publish(cloud):
    """Put an event of one's own onto the default bus; it is delivered when this returns."""

    def put(detail, source="mine", kind="Thing"):
        entry = {"Source": source, "DetailType": kind, "Detail": json.dumps(detail)}
        answer = cloud.client("events").put_events(Entries=[entry])
        assert answer["FailedEntryCount"] == 0

    return put


def test_each_status_of_a_training_job_is_an_event(cloud, toy, queue, rule, until):
    here = queue()
    pattern = SOURCE | {"detail-type": ["SageMaker Training Job State Change"]}
    rule("jobs", pattern, {"Arn": here.arn})
    job = cloud.train(toy)
    until(lambda: any(e["detail"]["TrainingJobStatus"] == "Completed" for e in here.events))
    statuses = [e["detail"]["SecondaryStatus"] for e in here.events]
    assert statuses == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    last = here.events[-1]
    assert last["resources"] == [job["TrainingJobArn"]] == [last["detail"]["TrainingJobArn"]]
    assert (last["account"], last["region"], last["version"]) == (cloud.account, cloud.region, "0")
    assert last["detail"]["CreationTime"] == int(job["CreationTime"].timestamp() * 1000)
    assert last["detail"]["Tags"] == {}
    assert last["time"].endswith("Z")
    assert len({e["id"] for e in here.events}) == len(here.events)


def test_processing_and_transform_jobs_tell_of_themselves(cloud, toy, queue, rule, until):
    here = queue()
    kinds = [f"SageMaker {kind} Job State Change" for kind in ("Processing", "Transform")]
    rule("jobs", SOURCE | {"detail-type": kinds}, {"Arn": here.arn})
    cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 10}
    cloud.sagemaker.create_processing_job(
        ProcessingJobName="toy",
        AppSpecification={"ImageUri": toy, "ContainerEntrypoint": ["true"]},
        ProcessingResources={"ClusterConfig": cluster},
        RoleArn=cloud.role,
    )
    cloud.sagemaker.create_model(
        ModelName="toy", PrimaryContainer={"Image": toy}, ExecutionRoleArn=cloud.role
    )
    uri = cloud.put("nothing/here", "")
    source = {"S3DataType": "S3Prefix", "S3Uri": uri}
    cloud.sagemaker.create_transform_job(
        TransformJobName="toy",
        ModelName="toy",
        TransformInput={"DataSource": {"S3DataSource": source}},
        TransformOutput={"S3OutputPath": f"s3://{cloud.aws.bucket}/answers"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    until(lambda: len(here.events) == 4)
    for kind in ("Processing", "Transform"):
        details = [e["detail"] for e in here.events if kind in e["detail-type"]]
        statuses = [detail[f"{kind}JobStatus"] for detail in details]
        assert statuses == ["InProgress", "Completed"]


def test_an_endpoint_tells_of_itself_in_capitals(cloud, toy, queue, rule, until):
    here = queue()
    detail = {"EndpointName": [{"prefix": "to"}]}
    pattern = SOURCE | {"detail-type": ["SageMaker Endpoint State Change"], "detail": detail}
    rule("endpoints", pattern, {"Arn": here.arn})
    cloud.create_endpoint(toy)
    cloud.deployed()
    cloud.delete_endpoint()
    until(lambda: len(here.events) == 3)
    statuses = [e["detail"]["EndpointStatus"] for e in here.events]
    assert statuses == ["CREATING", "IN_SERVICE", "DELETING"]


def test_a_refused_job_is_no_event(cloud, toy, queue, rule, publish):
    cloud.train(toy, TrainingJobName="twice")
    here = queue()
    rule("jobs", {"source": ["aws.sagemaker", "mine"]}, {"Arn": here.arn})
    with pytest.raises(ClientError, match="already exists"):
        cloud.train(toy, TrainingJobName="twice")
    publish({"end": True})
    assert [e["source"] for e in here.events] == ["mine"]


def test_every_kind_of_target_gets_the_event_once(cloud, queue, rule, publish):
    sns, logs = cloud.client("sns"), cloud.client("logs")
    direct, behind = queue("direct"), queue("behind")
    topic = sns.create_topic(Name="topic")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=behind.arn)
    logs.create_log_group(logGroupName="/aws/events/all")
    group = f"arn:aws:logs:{cloud.region}:{cloud.account}:log-group:/aws/events/all"
    rule("all", {"source": ["mine"]}, *({"Arn": arn} for arn in (direct.arn, topic, group)))
    publish({"n": 1})
    (event,) = direct.events
    assert event["detail"] == {"n": 1}
    (through,) = behind.events
    assert json.loads(through["Message"]) == event
    (logged,) = logs.filter_log_events(logGroupName="/aws/events/all")["events"]
    assert json.loads(logged["message"]) == event


def test_an_event_comes_once_for_each_rule_that_matches(queue, rule, publish):
    here = queue()
    for name in ("one", "two"):
        rule(name, {"source": ["mine"]}, {"Arn": here.arn})
    rule("three", {"source": ["yours"]}, {"Arn": here.arn})
    publish({})
    assert len(here.events) == 2


def test_an_event_that_comes_twice_has_one_id_and_starts_one_job(cloud, toy, queue, rule, publish):
    """EventBridge delivers at least once: who consumes must tell the second from a new one."""
    here, once = queue(), queue("once.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    target = {"Arn": once.arn, "SqsParameters": {"MessageGroupId": "all"}}
    for name in ("one", "two"):
        rule(name, {"source": ["mine"]}, {"Arn": here.arn}, target)
    publish({"n": 1})
    publish({"n": 1})
    first, again, new, _ = events = here.events
    assert first == again
    assert first["id"] != new["id"]
    assert once.events == [first, new]
    codes = []
    for event in events:
        try:
            cloud.train(toy, TrainingJobName=f"job-{event['id']}")
        except ClientError as error:
            codes.append(error.response["Error"]["Code"])
    assert codes == ["ResourceInUse"] * 2
    jobs = cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"]
    assert {job["TrainingJobName"] for job in jobs} == {f"job-{e['id']}" for e in (first, new)}


def test_a_target_that_is_gone_keeps_nobody_from_the_event(cloud, queue, rule, publish):
    gone, here, letters = queue("gone"), queue("here"), queue("letters")
    config = {"DeadLetterConfig": {"Arn": letters.arn}}
    rule("both", {"source": ["mine"]}, {"Arn": gone.arn, **config}, {"Arn": here.arn})
    cloud.client("sqs").delete_queue(QueueUrl=gone.url)
    publish({"n": 1})
    assert len(here.events) == 1
    assert letters.events == here.events


def test_a_disabled_rule_and_a_schedule_get_no_event(cloud, queue, rule, publish):
    events, here = cloud.client("events"), queue()
    rule("off", {"source": ["mine"]}, {"Arn": here.arn})
    events.disable_rule(Name="off")
    events.put_rule(Name="clock", ScheduleExpression="rate(1 day)")
    events.put_targets(Rule="clock", Targets=[{"Id": "0", "Arn": here.arn}])
    publish({})
    assert here.events == []


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ({"name": [{"prefix": "pen"}]}, True),
        ({"name": [{"suffix": "guin"}]}, True),
        ({"name": [{"anything-but": "whale"}]}, True),
        ({"name": [{"anything-but": ["penguin"]}]}, False),
        ({"name": [{"anything-but": {"prefix": "pen"}}]}, False),
        ({"name": [{"wildcard": "p*n"}]}, True),
        ({"name": [{"equals-ignore-case": "PENGUIN"}]}, True),
        ({"size": [{"numeric": [">", 3, "<=", 5]}]}, True),
        ({"size": [{"numeric": ["=", 5]}, 4]}, True),
        ({"size": [{"numeric": [">", 4]}]}, False),
        ({"missing": [{"exists": False}]}, True),
        ({"size": [{"exists": False}]}, False),
        ({"inner": {"deep": [True]}}, True),
        ({"inner": {"deep": ["true"]}}, False),
        ({"list": ["b"]}, True),
        ({"rows": {"kind": ["y"]}}, True),
        ({"rows": {"kind": ["z"]}}, False),
        ({"$or": [{"size": [1]}, {"name": ["penguin"]}]}, True),
        ({"none": [None]}, True),
    ],
)
def test_patterns(queue, rule, publish, pattern, matches):
    here = queue()
    rule("r", {"detail": pattern}, {"Arn": here.arn})
    publish(
        {
            "name": "penguin",
            "size": 4,
            "inner": {"deep": True},
            "list": ["a", "b"],
            "rows": [{"kind": "x"}, {"kind": "y"}],
            "none": None,
        }
    )
    assert len(here.events) == matches


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"Input": '{"fixed": 1}'}, '{"fixed": 1}'),
        ({"InputPath": "$.detail"}, '{"name": "a \\"b\\"", "rows": [{"n": 7}]}'),
        ({"InputPath": "$.detail-type"}, '"Thing"'),
        (
            {
                "InputTransformer": {
                    "InputPathsMap": {"name": "$.detail.name", "n": "$.detail.rows[0].n"},
                    "InputTemplate": '{"name": <name>, "n": <n>, "text": "<name> has <n>"}',
                }
            },
            '{"name": "a \\"b\\"", "n": 7, "text": "a \\"b\\" has 7"}',
        ),
        (
            {
                "InputTransformer": {
                    "InputPathsMap": {"n": "$.detail.rows[0].n"},
                    "InputTemplate": '"<n> of <aws.events.rule-name>"',
                }
            },
            "7 of r",
        ),
    ],
)
def test_what_a_target_gets(queue, rule, publish, settings, text):
    here = queue()
    rule("r", {"source": ["mine"]}, {"Arn": here.arn, **settings})
    publish({"name": 'a "b"', "rows": [{"n": 7}]})
    assert here.read() == [text]


@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        (
            {"Arn": "arn:aws:lambda:us-east-1:123456789012:function:f"},
            "NotImplementedException",
            "targets of the service lambda",
        ),
        ({"Arn": "sqs", "Input": "1", "InputPath": "$"}, "ValidationException", "Only one of"),
        ({"Arn": "sqs", "InputPath": "$["}, "ValidationException", "Invalid JsonPath"),
    ],
)
def test_a_target_that_would_get_nothing_is_refused(cloud, queue, target, code, said):
    events = cloud.client("events")
    events.put_rule(Name="r", EventPattern=json.dumps(SOURCE))
    target = target | ({"Arn": queue().arn} if target["Arn"] == "sqs" else {})
    with pytest.raises(ClientError, match=said) as caught:
        events.put_targets(Rule="r", Targets=[{"Id": "0", **target}])
    assert caught.value.response["Error"]["Code"] == code
    assert events.list_targets_by_rule(Rule="r")["Targets"] == []
