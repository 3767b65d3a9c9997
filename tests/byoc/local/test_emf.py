"""Log events in the embedded metric format become metrics, and other log events do not."""

import datetime as dt
import json
import time

import pytest
from botocore.exceptions import ClientError

from tests.byoc.local.conftest import account_of, serving

GROUP, STREAM = "/mine", "stream"
# Runs its argument in a container.
PROGRAM = "import json, sys, time; exec(sys.argv[1])"


def document(value=1.0, *, dimensions=(("Model",),), metadata=(), directive=(), metric=(), **root):
    """A document of the metric Mine/Loss; its parts may be given otherwise."""
    metrics = [{"Name": "Loss", "Unit": "Count", **dict(metric)}]
    directives = [
        {"Namespace": "Mine", "Dimensions": dimensions, "Metrics": metrics, **dict(directive)}
    ]
    moment = int(time.time() * 1000)
    about = {"Timestamp": moment, "CloudWatchMetrics": directives, **dict(metadata)}
    return {"_aws": about, "Model": "a", "Host": "h", "Loss": value, **root}


@pytest.fixture
def logged(cloud):
    """Put a document, or another text, into a log group of one's own."""
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName=GROUP)
    logs.create_log_stream(logGroupName=GROUP, logStreamName=STREAM)

    def put(*messages):
        texts = [m if isinstance(m, str) else json.dumps(m) for m in messages]
        moment = int(time.time() * 1000)
        events = [{"timestamp": moment, "message": text} for text in texts]
        logs.put_log_events(logGroupName=GROUP, logStreamName=STREAM, logEvents=events)
        kept = logs.get_log_events(logGroupName=GROUP, logStreamName=STREAM)["events"]
        assert [event["message"] for event in kept][-len(texts) :] == texts

    return put


@pytest.fixture
def listed(cloud):
    """Names and dimensions of the metrics of a namespace."""

    def ask(namespace="Mine"):
        found = cloud.client("cloudwatch").list_metrics(Namespace=namespace)["Metrics"]
        return sorted(
            (one["MetricName"], *sorted(d["Value"] for d in one["Dimensions"])) for one in found
        )

    return ask


def statistics(cloud, *dimensions, name="Loss", minutes=30, **members):
    """The one data point of a metric, over an hour."""
    now = dt.datetime.now(dt.UTC)
    (point,) = cloud.client("cloudwatch").get_metric_statistics(
        Namespace="Mine",
        MetricName=name,
        Dimensions=[{"Name": n, "Value": v} for n, v in dimensions],
        StartTime=now - dt.timedelta(minutes=minutes),
        EndTime=now + dt.timedelta(minutes=30),
        Period=3600,
        Statistics=["Sum", "SampleCount", "Minimum", "Maximum"],
        **members,
    )["Datapoints"]
    return point


def test_what_a_job_prints_is_a_metric_with_dimensions_and_time(cloud, toy, listed):
    moment = int((time.time() - 600) * 1000)
    text = json.dumps(document(0.25, metadata={"Timestamp": moment}))
    cloud.sagemaker.create_processing_job(
        ProcessingJobName="emf",
        AppSpecification={
            "ImageUri": toy,
            "ContainerEntrypoint": ["python", "-c", PROGRAM, f"print('hello'); print({text!r})"],
        },
        ProcessingResources={"ClusterConfig": {"InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
        RoleArn=cloud.role,
    )
    waiter = cloud.sagemaker.get_waiter("processing_job_completed_or_stopped")
    waiter.wait(ProcessingJobName="emf", WaiterConfig=cloud.waiter)
    assert text in cloud.log("/aws/sagemaker/ProcessingJobs", "emf")
    assert listed() == [("Loss", "a")]
    point = statistics(cloud, ("Model", "a"))
    assert (point["Sum"], point["SampleCount"], point["Unit"]) == (0.25, 1, "Count")
    assert abs(point["Timestamp"].timestamp() * 1000 - moment) < 1000


def test_what_an_endpoint_prints_is_a_metric(cloud, toy, listed, until):
    cloud.create_endpoint(toy)
    cloud.deployed()
    program = f"print({json.dumps(document())!r}, flush=True); self.answer(200, b'')"
    cloud.invoke(json.dumps({"program": program}), ContentType="application/orders")
    assert until(listed) == [("Loss", "a")]


def test_an_array_is_as_many_values_and_each_set_of_dimensions_a_metric(cloud, logged, listed):
    sets = [[], ["Model"], ["Model", "Host"]]
    logged(document([1, 2, 2.5], dimensions=sets), document(10, dimensions=sets[1:2]))
    assert listed() == [("Loss",), ("Loss", "a"), ("Loss", "a", "h")]
    for dimensions in ((), (("Host", "h"), ("Model", "a"))):
        point = statistics(cloud, *dimensions)
        assert (point["Sum"], point["SampleCount"], point["Maximum"]) == (5.5, 3, 2.5)
    assert statistics(cloud, ("Model", "a"), Unit="Count")["Sum"] == 15.5


def test_get_metric_data_gives_each_query_its_own_metric(cloud, logged):
    sets = [[], ["Model"]]
    metrics = {"Namespace": "Mine", "MetricName": "Loss"}
    logged(document(3), document(4, dimensions=sets))
    now = dt.datetime.now(dt.UTC)
    model = {"Dimensions": [{"Name": "Model", "Value": "a"}]}
    queries = [
        {"Id": name, "MetricStat": {"Metric": {**metrics, **more}, "Period": 3600, "Stat": "Sum"}}
        for name, more in (("all", {}), ("one", model), ("none", {"Namespace": "Yours"}))
    ]
    queries.append({"Id": "sum", "Expression": "all"})
    found = cloud.client("cloudwatch").get_metric_data(
        MetricDataQueries=queries,
        StartTime=now - dt.timedelta(minutes=30),
        EndTime=now + dt.timedelta(minutes=30),
    )["MetricDataResults"]
    assert {row["Id"]: row["Values"] for row in found} == {
        "all": [4.0],
        "one": [7.0],
        "none": [],
        "sum": [4.0],
    }


def test_a_query_in_sql_is_refused(cloud):
    now = dt.datetime.now(dt.UTC)
    queries = [{"Id": "q", "Expression": "SELECT SUM(Loss) FROM Mine", "Period": 60}]
    with pytest.raises(ClientError, match="Metrics Insights"):
        cloud.client("cloudwatch").get_metric_data(
            MetricDataQueries=queries, StartTime=now - dt.timedelta(hours=1), EndTime=now
        )


def test_several_directives_and_metrics_of_a_document(logged, listed):
    other = {"Namespace": "Other", "Dimensions": [[]], "Metrics": [{"Name": "Time"}]}
    first = document()["_aws"]["CloudWatchMetrics"]
    many = [{"Name": f"m{n}", "StorageResolution": 1} for n in range(100)]
    root = {f"m{n}": n for n in range(100)}
    logged(
        document(metadata={"CloudWatchMetrics": [*first, other]}, Time=[], Unknown={"x": None}),
        document(directive={"Metrics": many}, **root),
    )
    assert listed("Other") == []  # of no values
    assert len(listed()) == 101


BREAKS = {
    "text before it": "INFO " + json.dumps(document()),
    "cut off": json.dumps(document())[:-1],
    "a list": [document()],
    "NaN": json.dumps(document(float("nan"))),
    "infinite": json.dumps(document()).replace("1.0", "1e999"),
    "too large": document(2**361),
    "nested": "[" * 100_000 + '"_aws"',
    "a text as value": document("1"),
    "a boolean as value": document(True),
    "a text among values": document([1, "2"]),
    "101 values": document([1] * 101),
    "no value": {"_aws": document()["_aws"], "Model": "a"},
    "a value within another": document(metric={"Name": "In.Loss"}, In={"Loss": 1}),
    "no dimension": document(dimensions=[["Model", "Missing"]]),
    "a number as dimension": document(Model=1),
    "an empty dimension": document(Model=""),
    "a long dimension": document(Model="x" * 1025),
    "no sets of dimensions": document(dimensions=[]),
    "dimensions without sets": document(dimensions=["Model"]),
    "31 dimensions": document(
        dimensions=[[f"d{n}" for n in range(31)]], **{f"d{n}": "x" for n in range(31)}
    ),
    "101 metrics": document(directive={"Metrics": [{"Name": "Loss"}] * 101}),
    "no unit that there is": document(metric={"Unit": "Fish"}),
    "a resolution that there is not": document(metric={"StorageResolution": 5}),
    "no namespace": document(directive={"Namespace": ""}),
    "a time as text": document(metadata={"Timestamp": "2026-01-01T00:00:00Z"}),
    "no time": {**document(), "_aws": {"CloudWatchMetrics": [{}]}},
    "seconds for a time": document(metadata={"Timestamp": int(time.time())}),
    "the far future": document(metadata={"Timestamp": int((time.time() + 80_000) * 1000)}),
    "no directives": document(metadata={"CloudWatchMetrics": 5}),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_malformed_document_is_only_a_log_event(cloud, logged, listed, name):
    good = document(dimensions=[["Host"]])
    logged(BREAKS[name], good)
    assert listed() == [("Loss", "h")]


def test_a_metric_in_a_log_sets_off_an_alarm_which_sends_its_event(
    tmp_path, environment, clients, account, open_cloud, until
):
    with serving(tmp_path / "work", alarm_interval=0.05) as server:
        cloud = account_of(server, open_cloud(account), clients)
        sqs, events, logs = map(cloud.client, ("sqs", "events", "logs"))
        url = sqs.create_queue(QueueName="q")["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        pattern = {"source": ["aws.cloudwatch"], "detail": {"state": {"value": ["ALARM"]}}}
        events.put_rule(Name="alarms", EventPattern=json.dumps(pattern))
        target = {"Id": "0", "Arn": attributes["Attributes"]["QueueArn"]}
        events.put_targets(Rule="alarms", Targets=[target])
        cloud.client("cloudwatch").put_metric_alarm(
            AlarmName="loss",
            Namespace="Mine",
            MetricName="Loss",
            Dimensions=[{"Name": "Model", "Value": "a"}],
            Period=60,
            EvaluationPeriods=1,
            Threshold=5.0,
            Statistic="Maximum",
            ComparisonOperator="GreaterThanThreshold",
        )
        logs.create_log_group(logGroupName=GROUP)
        logs.create_log_stream(logGroupName=GROUP, logStreamName=STREAM)
        moment = int(time.time() * 1000) - 1000
        text = json.dumps(document([1, 9], metadata={"Timestamp": moment}))
        logs.put_log_events(
            logGroupName=GROUP,
            logStreamName=STREAM,
            logEvents=[{"timestamp": moment, "message": text}],
        )
        (message,) = until(lambda: sqs.receive_message(QueueUrl=url).get("Messages"))
        detail = json.loads(message["Body"])["detail"]
        assert (detail["alarmName"], detail["state"]["value"]) == ("loss", "ALARM")
        assert "[9.0 (" in detail["state"]["reason"]
