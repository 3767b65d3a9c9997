"""Step Functions: state machines that call this local AWS, and wait for its jobs."""

import json
import pickle
import re
import sys

import pytest
from botocore.exceptions import ClientError
from moto.events.models import events_backends

from byoc.local import events, snapshot, states

TRAIN = "arn:aws:states:::sagemaker:createTrainingJob.sync"
SDK = "arn:aws:states:::aws-sdk"
ENDED = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")


def trusting(service):
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


class Machines:
    """The state machines of an account, with a role that may do all."""

    def __init__(self, cloud, until):
        self.cloud, self._until, self.client = cloud, until, cloud.client("stepfunctions")
        self.role = self.make_role("machine", "states.amazonaws.com", "*")

    def make_role(self, name, service, action):
        iam = self.cloud.client("iam")
        trust = trusting(service)
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=policy)
        return role

    def create(self, states, start=None, name="machine", **members):
        definition = {"StartAt": start or next(iter(states)), "States": states, **members}
        return self.client.create_state_machine(
            name=name, definition=json.dumps(definition), roleArn=self.role
        )["stateMachineArn"]

    def start(self, arn, given=None, **members):
        text = json.dumps(given or {})
        return self.client.start_execution(stateMachineArn=arn, input=text, **members)[
            "executionArn"
        ]

    def finish(self, execution):
        def ended():
            found = self.client.describe_execution(executionArn=execution)
            return found if found["status"] in ENDED else None

        return self._until(ended, execution)

    def run(self, states, given=None, **members):
        """An execution's description once it has ended, and its output."""
        ended = self.finish(self.start(self.create(states, **members), given))
        return ended, json.loads(ended.get("output", "null"))

    def history(self, execution):
        return self.client.get_execution_history(executionArn=execution)["events"]


@pytest.fixture
def machines(cloud, until):
    return Machines(cloud, until)


def test_a_machine_trains_and_chooses_by_the_metric(cloud, toy, machines):
    definitions = [{"Name": "accuracy", "Regex": "accuracy=([0-9.]+)"}]
    request = cloud.request(
        toy,
        "print('accuracy=0.97', flush=True); (ml / 'model/m').write_text('x')",
        algorithm={"MetricDefinitions": definitions},
    )
    del request["TrainingJobName"]
    request["TrainingJobName.$"] = "States.Format('job-{}', $$.Execution.Name)"
    metric = "$.job.FinalMetricDataList[?(@.MetricName=='accuracy')].Value"
    states = {
        "Train": {
            "Type": "Task",
            "Resource": TRAIN,
            "Parameters": request,
            "ResultPath": "$.job",
            "Next": "Read",
        },
        "Read": {
            "Type": "Pass",
            "Parameters": {"value.$": f"States.ArrayGetItem({metric}, 0)", "job.$": "$.job"},
            "Next": "Gate",
        },
        "Gate": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.value", "NumericGreaterThan": 0.9, "Next": "Good"}],
            "Default": "Bad",
        },
        "Good": {"Type": "Succeed"},
        "Bad": {"Type": "Fail", "Error": "Worse"},
    }
    arn = machines.create(states)
    execution = machines.start(arn, {"from": "me"}, name="one")
    ended = machines.finish(execution)
    assert ended["status"] == "SUCCEEDED", ended
    output = json.loads(ended["output"])
    job = cloud.finish("job-one")
    assert output["value"] == pytest.approx(0.97)
    assert output["job"]["TrainingJobStatus"] == "Completed"
    assert output["job"]["ModelArtifacts"] == job["ModelArtifacts"]
    assert output["job"]["CreationTime"] == int(job["CreationTime"].timestamp() * 1000)
    kinds = [row["type"] for row in machines.history(execution)]
    assert kinds[:5] == [
        "ExecutionStarted",
        "TaskStateEntered",
        "TaskScheduled",
        "TaskStarted",
        "TaskSubmitted",
    ]
    assert kinds[-2:] == ["SucceedStateExited", "ExecutionSucceeded"]


def test_a_job_that_fails_is_caught_and_somebody_is_told(cloud, toy, machines):
    sns, sqs = cloud.client("sns"), cloud.client("sqs")
    topic = sns.create_topic(Name="news")["TopicArn"]
    queue = sqs.create_queue(QueueName="news")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    arn = attributes["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    program = "(ml / 'output/failure').write_text('no data'); sys.exit(1)"
    states = {
        "Train": {
            "Type": "Task",
            "Resource": TRAIN,
            "Parameters": cloud.request(toy, program, name="bad"),
            "Catch": [
                {"ErrorEquals": ["States.TaskFailed"], "ResultPath": "$.error", "Next": "Read"}
            ],
            "Next": "Never",
        },
        "Read": {
            "Type": "Pass",
            "Parameters": {
                "job.$": "States.StringToJson($.error.Cause)",
                "error.$": "$.error.Error",
            },
            "Next": "Tell",
        },
        "Tell": {
            "Type": "Task",
            "Resource": "arn:aws:states:::sns:publish",
            "Parameters": {
                "TopicArn": topic,
                "Subject": "It failed",
                "Message.$": "$.job.FailureReason",
            },
            "ResultPath": "$.told",
            "End": True,
        },
        "Never": {"Type": "Fail"},
    }
    ended, output = machines.run(states)
    assert ended["status"] == "SUCCEEDED", ended
    assert output["error"] == "States.TaskFailed"
    assert output["job"]["TrainingJobStatus"] == "Failed"
    assert "MessageId" in output["told"]
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    told = json.loads(message["Body"])
    assert (told["Subject"], told["Message"]) == (
        "It failed",
        "AlgorithmError: no data, exit code: 1",
    )


def blocked(gate):
    """A program that waits until it is asked to end."""
    ends = "signal.signal(signal.SIGTERM, lambda *_: os._exit(0))"
    return f"{ends}; {gate.program}"


def test_a_stopped_execution_stops_its_job(cloud, toy, machines, gate):
    states = {
        "Train": {
            "Type": "Task",
            "Resource": TRAIN,
            "Parameters": cloud.request(toy, blocked(gate), name="long"),
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Never"}],
            "End": True,
        },
        "Never": {"Type": "Pass", "End": True},
    }
    execution = machines.start(machines.create(states))
    submitted = lambda: [e for e in machines.history(execution) if e["type"] == "TaskSubmitted"]  # noqa: E731
    machines._until(lambda: submitted() and gate.reached)
    answer = machines.client.stop_execution(executionArn=execution, error="Enough", cause="of it")
    ended = machines.finish(execution)
    assert (ended["status"], ended["error"], ended["cause"]) == ("ABORTED", "Enough", "of it")
    assert ended["stopDate"] == answer["stopDate"]
    assert "output" not in ended
    assert cloud.finish("long")["TrainingJobStatus"] == "Stopped"
    last = machines.history(execution)[-1]
    assert last["executionAbortedEventDetails"] == {"error": "Enough", "cause": "of it"}
    again = machines.client.stop_execution(executionArn=execution)
    assert again["stopDate"] == answer["stopDate"]


def test_a_task_that_takes_too_long_is_given_up_with_its_job(cloud, toy, machines, gate):
    states = {
        "Train": {
            "Type": "Task",
            "Resource": TRAIN,
            "TimeoutSeconds": 6,
            "Parameters": cloud.request(toy, blocked(gate), name="long"),
            "Catch": [{"ErrorEquals": ["States.Timeout"], "Next": "Late"}],
            "End": True,
        },
        "Late": {"Type": "Pass", "End": True},
    }
    ended, output = machines.run(states)
    assert ended["status"] == "SUCCEEDED", ended
    assert output["Error"] == "States.Timeout"
    assert cloud.finish("long")["TrainingJobStatus"] == "Stopped"


def test_an_execution_has_a_time_limit_of_its_own(machines):
    wait = {"Wait": {"Type": "Wait", "Seconds": 60, "End": True}}
    ended, _ = machines.run(wait, TimeoutSeconds=1)
    assert ended["status"] == "TIMED_OUT"
    assert ended["stopDate"] >= ended["startDate"]


def test_sdk_integrations_call_any_operation(cloud, machines):
    cloud.put("in.json", "{}")
    group = {"ModelPackageGroupName": "penguins"}
    put = {"Bucket": cloud.aws.bucket, "Key": "out.json", "Body": {"a.$": "$.n"}}
    read = {"Bucket": cloud.aws.bucket, "Key": "out.json"}
    states = {
        "Group": {
            "Type": "Task",
            "Resource": f"{SDK}:sagemaker:createModelPackageGroup",
            "Parameters": group,
            "ResultPath": None,
            "Next": "Put",
        },
        "Put": {
            "Type": "Task",
            "Resource": f"{SDK}:s3:putObject",
            "Parameters": put,
            "ResultPath": None,
            "Next": "Get",
        },
        "Get": {
            "Type": "Task",
            "Resource": f"{SDK}:s3:getObject",
            "Parameters": read,
            "ResultSelector": {"body.$": "States.StringToJson($.Body)"},
            "ResultPath": "$.object",
            "Next": "Describe",
        },
        "Describe": {
            "Type": "Task",
            "Resource": f"{SDK}:sagemaker:describeModelPackageGroup",
            "Parameters": group,
            "ResultPath": "$.group",
            "End": True,
        },
    }
    ended, output = machines.run(states, {"n": 7})
    assert ended["status"] == "SUCCEEDED", ended
    assert json.loads(cloud.get(f"s3://{cloud.aws.bucket}/out.json")) == {"a": 7}
    assert output["object"]["body"] == {"a": 7}
    assert output["group"]["ModelPackageGroupName"] == "penguins"
    assert output["group"]["CreationTime"].endswith("Z")


@pytest.mark.parametrize(
    ("resource", "parameters", "error", "cause"),
    [
        (
            f"{SDK}:sagemaker:describeModel",
            {"ModelName": "none"},
            "SageMaker.SageMakerException",
            r"Could not find model .* \(Service: SageMaker, Status Code: 400, Request ID: .+\)",
        ),
        (
            f"{SDK}:sagemaker:describeTrainingJob",
            {"TrainingJobName": "none"},
            "SageMaker.SageMakerException",
            "Requested resource not found",
        ),
        (
            "arn:aws:states:::sagemaker:createEndpoint",
            {"EndpointName": "e", "EndpointConfigName": "none"},
            "SageMaker.AmazonSageMakerException",
            r"\(Service: AmazonSageMaker; Status Code: 400; Error Code: ValidationException; ",
        ),
        (
            f"{SDK}:s3:getObject",
            {"Bucket": "no-such-bucket-anywhere", "Key": "k"},
            "S3.NoSuchBucketException",
            "does not exist",
        ),
        (
            "arn:aws:states:::sns:publish",
            {"TopicArn": "arn:aws:sns:us-east-1:123456789012:none", "Message": "m"},
            "SNS.NotFoundException",
            "does not exist",
        ),
        (
            "arn:aws:states:::sagemaker:createModel",
            {"ModelName": "m", "Modell": 1},
            "States.Runtime",
            "Modell",
        ),
    ],
)
def test_what_a_failed_call_is_called(machines, resource, parameters, error, cause):
    states = {"Call": {"Type": "Task", "Resource": resource, "Parameters": parameters, "End": True}}
    ended, _ = machines.run(states)
    assert ended["status"] == "FAILED"
    assert ended["error"] == error
    assert re.search(cause, ended["cause"])


def test_a_job_of_the_same_name_is_an_error_of_its_own(cloud, toy, machines):
    request = cloud.request(toy, name="once")
    task = {"Type": "Task", "Resource": TRAIN, "Parameters": request, "End": True}
    twice = [{"ErrorEquals": ["SageMaker.ResourceInUseException"], "Next": "Twice"}]
    twice = {"Train": task | {"Catch": twice}, "Twice": {"Type": "Pass", "End": True}}
    first, _ = machines.run(twice)
    _, second = machines.run(twice)
    assert json.loads(first["output"])["TrainingJobStatus"] == "Completed"
    assert second["Error"] == "SageMaker.ResourceInUseException"


def test_states_all_leaves_out_what_aws_leaves_out(machines):
    states = {
        "Call": {
            "Type": "Task",
            "Resource": "arn:aws:states:::sagemaker:createModel",
            "Parameters": {"ModelName": "m", "Modell": 1},
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}],
            "End": True,
        },
        "Caught": {"Type": "Pass", "End": True},
    }
    ended, _ = machines.run(states)
    assert (ended["status"], ended["error"]) == ("FAILED", "States.Runtime")


def test_retries_branches_and_maps(cloud, machines):
    states = {
        "Both": {
            "Type": "Parallel",
            "Branches": [
                {
                    "StartAt": "Retry",
                    "States": {
                        "Retry": {
                            "Type": "Task",
                            "Resource": f"{SDK}:sagemaker:describeModel",
                            "Parameters": {"ModelName": "none"},
                            "Retry": [
                                {
                                    "ErrorEquals": ["States.ALL"],
                                    "IntervalSeconds": 1,
                                    "MaxAttempts": 1,
                                }
                            ],
                            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}],
                            "End": True,
                        },
                        "Caught": {
                            "Type": "Pass",
                            "Parameters": {"retries.$": "$$.State.EnteredTime"},
                            "End": True,
                        },
                    },
                },
                {
                    "StartAt": "Each",
                    "States": {
                        "Each": {
                            "Type": "Map",
                            "ItemsPath": "$.names",
                            "ItemProcessor": {
                                "StartAt": "Group",
                                "States": {
                                    "Group": {
                                        "Type": "Task",
                                        "Resource": f"{SDK}:sagemaker:createModelPackageGroup",
                                        "Parameters": {"ModelPackageGroupName.$": "$"},
                                        "End": True,
                                    }
                                },
                            },
                            "End": True,
                        }
                    },
                },
            ],
            "End": True,
        }
    }
    execution = machines.start(machines.create(states), {"names": ["a", "b", "c"]})
    ended = machines.finish(execution)
    assert ended["status"] == "SUCCEEDED", ended
    _, groups = json.loads(ended["output"])
    assert [g["ModelPackageGroupArn"].rpartition("/")[2] for g in groups] == ["a", "b", "c"]
    failed = [e for e in machines.history(execution) if e["type"] == "TaskFailed"]
    assert len(failed) == 2
    assert failed[0]["taskFailedEventDetails"]["resourceType"] == "aws-sdk:sagemaker"


def test_the_history_comes_in_pages(machines):
    execution = machines.start(machines.create({"Pass": {"Type": "Pass", "End": True}}))
    machines.finish(execution)
    kinds = ["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"]
    pages = machines.client.get_paginator("get_execution_history").paginate(
        executionArn=execution, PaginationConfig={"PageSize": 3}
    )
    assert [[e["type"] for e in page["events"]] for page in pages] == [kinds[:3], kinds[3:]]
    back = machines.client.get_execution_history(
        executionArn=execution, reverseOrder=True, includeExecutionData=False
    )["events"]
    assert [e["type"] for e in back] == kinds[::-1]
    assert back[-1]["executionStartedEventDetails"] == {"roleArn": machines.role}


def test_a_name_is_given_once(machines):
    arn = machines.create({"Wait": {"Type": "Wait", "Seconds": 60, "End": True}})
    first = machines.start(arn, {"n": 1}, name="one")
    assert machines.start(arn, {"n": 1}, name="one") == first  # it runs, with the same input
    with pytest.raises(ClientError) as caught:
        machines.start(arn, {"n": 2}, name="one")
    assert caught.value.response["Error"]["Code"] == "ExecutionAlreadyExists"
    machines.client.stop_execution(executionArn=first)
    with pytest.raises(ClientError, match="Already Exists"):
        machines.start(arn, {"n": 1}, name="one")
    rows = machines.client.list_executions(stateMachineArn=arn)["executions"]
    assert [(row["name"], row["status"]) for row in rows] == [("one", "ABORTED")]


def test_a_machine_is_created_changed_and_deleted(machines):
    states = {"Pass": {"Type": "Pass", "Result": 1, "End": True}}
    arn = machines.create(states)
    assert machines.create(states) == arn
    states["Pass"]["Result"] = 2
    with pytest.raises(ClientError) as caught:
        machines.create(states)
    assert caught.value.response["Error"]["Code"] == "StateMachineAlreadyExists"
    text = json.dumps({"StartAt": "Pass", "States": states})
    machines.client.update_state_machine(stateMachineArn=arn, definition=text)
    assert machines.client.describe_state_machine(stateMachineArn=arn)["definition"] == text
    ended = machines.finish(machines.start(arn))
    assert ended["output"] == "2"
    machines.client.delete_state_machine(stateMachineArn=arn)
    assert machines.client.list_state_machines()["stateMachines"] == []
    with pytest.raises(ClientError) as caught:
        machines.start(arn)
    assert caught.value.response["Error"]["Code"] == "StateMachineDoesNotExist"


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ({"Type": "Pass", "Next": "None"}, "InvalidDefinition", "MISSING_TRANSITION_TARGET"),
        ({"Type": "Task", "End": True}, "InvalidDefinition", "Resource"),
        ({"Type": "Nothing", "End": True}, "InvalidDefinition", "Nothing"),
        ({"Type": "Pass", "QueryLanguage": "JSONata", "End": True}, None, "JSONata"),
        *(
            ({"Type": "Task", "Resource": resource, "End": True}, None, "a Task state's resource")
            for resource in (
                "arn:aws:lambda:us-east-1:123456789012:function:f",
                "arn:aws:states:us-east-1:123456789012:activity:a",
                "arn:aws:states:::lambda:invoke",
                "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
                "arn:aws:states:::sagemaker:createModel.sync",
                "arn:aws:states:::sagemaker:describeModel",
                "arn:aws:states:::aws-sdk:sagemaker:createSomething",
                "arn:aws:states:::aws-sdk:nothing:createModel",
            )
        ),
    ],
)
def test_a_definition_that_can_not_run_is_refused(machines, state, code, said):
    with pytest.raises(ClientError, match=said) as caught:
        machines.create({"S": state})
    assert caught.value.response["Error"]["Code"] == (code or "NotImplementedException")
    assert machines.client.list_state_machines()["stateMachines"] == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"type": "EXPRESS"}, "express"),
        ({"loggingConfiguration": {"level": "ALL"}}, "logging"),
        ({"publish": True}, "publish"),
    ],
)
def test_what_machines_do_not_do_here_is_refused(machines, settings, said):
    definition = json.dumps({"StartAt": "S", "States": {"S": {"Type": "Succeed"}}})
    with pytest.raises(ClientError, match=said):
        machines.client.create_state_machine(
            name="m", definition=definition, roleArn=machines.role, **settings
        )


def test_operations_that_would_only_be_records_are_refused(machines):
    with pytest.raises(ClientError, match="CreateActivity"):
        machines.client.create_activity(name="a")


def test_a_role_that_does_not_trust_step_functions_is_refused(cloud, machines):
    machines.role = cloud.role
    with pytest.raises(ClientError, match="Neither the global service principal") as caught:
        machines.create({"S": {"Type": "Succeed"}})
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"


def test_a_task_may_pass_only_the_roles_that_the_machines_role_allows(cloud, toy, machines):
    machines.role = machines.make_role("narrow", "states.amazonaws.com", "sagemaker:*")
    request = cloud.request(toy, name="job")
    states = {"Train": {"Type": "Task", "Resource": TRAIN, "Parameters": request, "End": True}}
    ended, _ = machines.run(states)
    assert ended["status"] == "FAILED"
    assert "is not authorized to perform: iam:PassRole" in ended["cause"]
    assert ":assumed-role/narrow/" in ended["cause"]


@pytest.fixture
def rule(cloud, machines):
    """A rule that starts a state machine."""
    events = cloud.client("events")

    def put(name, arn, pattern, role, **target):
        events.put_rule(Name=name, EventPattern=json.dumps(pattern))
        targets = [{"Id": "machine", "Arn": arn, "RoleArn": role, **target}]
        assert events.put_targets(Rule=name, Targets=targets)["FailedEntryCount"] == 0

    return put


def executions(machines, arn):
    return machines.client.list_executions(stateMachineArn=arn)["executions"]


def test_an_alarm_starts_a_machine_with_the_event(cloud, machines, rule, until):
    arn = machines.create({"Pass": {"Type": "Pass", "End": True}})
    starter = machines.make_role("starter", "events.amazonaws.com", "states:StartExecution")
    pattern = {"source": ["aws.cloudwatch"], "detail": {"state": {"value": ["ALARM"]}}}
    rule("drift", arn, pattern, starter)
    rule("drift-again", arn, pattern, starter)  # the same event is delivered twice
    watch = cloud.client("cloudwatch")
    watch.put_metric_alarm(
        AlarmName="drift",
        Namespace="mine",
        MetricName="drift",
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    watch.set_alarm_state(AlarmName="drift", StateValue="ALARM", StateReason="because")
    until(lambda: len(executions(machines, arn)) == 2)
    first, second = (machines.finish(e["executionArn"]) for e in executions(machines, arn))
    event = json.loads(first["output"])
    assert event == json.loads(second["output"])
    assert event["detail"]["alarmName"] == "drift"
    assert first["name"].startswith(event["id"])
    assert first["name"] != second["name"]


def test_what_is_delivered_twice_is_started_once(own_server, until):
    cloud, _ = own_server()
    machines = Machines(cloud, until)
    arn = machines.create({"Pass": {"Type": "Pass", "End": True}})
    starter = machines.make_role("starter", "events.amazonaws.com", "states:StartExecution")
    cloud.client("events").put_rule(Name="mine", EventPattern='{"source": ["mine"]}')
    target = {"Id": "machine", "Arn": arn, "RoleArn": starter}
    cloud.client("events").put_targets(Rule="mine", Targets=[target])
    held = events_backends[cloud.account][cloud.region].event_buses["default"].rules["mine"]
    event = {"id": "2f1c", "source": "mine", "time": "2026-01-01T00:00:00Z", "detail": {}}
    for _ in range(2):
        events.send_to_targets(held, event)
    (one,) = executions(machines, arn)
    machines.finish(one["executionArn"])
    events.send_to_targets(held, event)
    assert len(executions(machines, arn)) == 1


def test_a_role_that_may_not_start_it_starts_nothing(cloud, machines, rule, until):
    arn = machines.create({"Pass": {"Type": "Pass", "End": True}})
    sqs = cloud.client("sqs")
    queue = sqs.create_queue(QueueName="letters")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    letters = {"DeadLetterConfig": {"Arn": attributes["Attributes"]["QueueArn"]}}
    weak = machines.make_role("weak", "events.amazonaws.com", "sns:Publish")
    rule("mine", arn, {"source": ["mine"]}, weak, **letters)
    entry = {"Source": "mine", "DetailType": "d", "Detail": "{}"}
    cloud.client("events").put_events(Entries=[entry])
    until(lambda: "Messages" in sqs.receive_message(QueueUrl=queue))
    assert executions(machines, arn) == []


def test_a_target_without_a_role_is_refused(cloud, machines):
    arn = machines.create({"Pass": {"Type": "Pass", "End": True}})
    events = cloud.client("events")
    events.put_rule(Name="r", EventPattern='{"source": ["mine"]}')
    with pytest.raises(ClientError, match=f"RoleArn is required for target {arn}"):
        events.put_targets(Rule="r", Targets=[{"Id": "0", "Arn": arn}])


def test_a_schedule_starts_a_machine(cloud, machines, until):
    arn = machines.create({"Pass": {"Type": "Pass", "End": True}})
    role = machines.make_role("starter", "scheduler.amazonaws.com", "states:StartExecution")
    cloud.client("scheduler").create_schedule(
        Name="now",
        ScheduleExpression="rate(1 day)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": arn, "RoleArn": role, "Input": '{"n": 1}'},
    )
    until(lambda: executions(machines, arn))
    (one,) = executions(machines, arn)
    assert machines.finish(one["executionArn"])["input"] == '{"n": 1}'


def test_each_status_of_an_execution_is_an_event(cloud, machines, until):
    sqs = cloud.client("sqs")
    queue = sqs.create_queue(QueueName="events")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    cloud.client("events").put_rule(Name="r", EventPattern='{"source": ["aws.states"]}')
    target = {"Id": "0", "Arn": attributes["Attributes"]["QueueArn"]}
    cloud.client("events").put_targets(Rule="r", Targets=[target])
    machines.run({"Pass": {"Type": "Pass", "Result": 1, "End": True}})
    seen = []

    def read():
        for message in sqs.receive_message(QueueUrl=queue).get("Messages", []):
            seen.append(json.loads(message["Body"]))
        return len(seen) == 2

    until(read)
    assert [e["detail"]["status"] for e in seen] == ["RUNNING", "SUCCEEDED"]
    assert seen[1]["detail-type"] == "Step Functions Execution Status Change"
    assert seen[1]["detail"]["output"] == "1"


def test_what_ran_is_aborted_after_a_restart(tmp_path, own_server, until):
    cloud, server = own_server()
    machines = Machines(cloud, until)
    ended = machines.finish(machines.start(machines.create({"S": {"Type": "Succeed"}})))
    wait = machines.create({"W": {"Type": "Wait", "Seconds": 600, "End": True}}, name="wait")
    running = machines.start(wait)
    file = tmp_path / "kept"
    states.stop(server.platform)
    snapshot.save(file, snapshot.resources(server.platform))
    content = pickle.loads(file.read_bytes())["backends"]
    name = "moto.stepfunctions.parser.models"
    held = content[f"{name}:stepfunctions_parser_backends"][cloud.account]
    vars(sys.modules[name])["stepfunctions_parser_backends"][cloud.account].update(held)
    again = machines.finish(ended["executionArn"])
    assert {**again, "ResponseMetadata": None} == {**ended, "ResponseMetadata": None}
    stopped = machines.finish(running)
    assert stopped["status"] == "ABORTED"
    assert stopped["cause"] == "The local AWS was stopped while the execution ran"
    assert machines.history(running)[-1]["type"] == "ExecutionAborted"


def test_cloudformation_creates_changes_and_deletes_machines_and_rules(cloud, machines):
    template = {
        "Resources": {
            "Machine": {
                "Type": "AWS::StepFunctions::StateMachine",
                "Properties": {
                    "StateMachineName": "from-a-template",
                    "RoleArn": machines.role,
                    "Definition": {
                        "StartAt": "S",
                        "States": {"S": {"Type": "Pass", "Result": "${Text}", "End": True}},
                    },
                    "DefinitionSubstitutions": {"Text": "hello"},
                    "Tags": [{"Key": "project", "Value": "p"}],
                },
            },
            "Rule": {
                "Type": "AWS::Events::Rule",
                "Properties": {
                    "EventPattern": {"source": ["mine"]},
                    "Targets": [{"Id": "m", "Arn": {"Ref": "Machine"}, "RoleArn": machines.role}],
                },
            },
        },
        "Outputs": {"Arn": {"Value": {"Ref": "Machine"}}},
    }
    formation = cloud.client("cloudformation")
    formation.create_stack(StackName="s", TemplateBody=json.dumps(template))
    (stack,) = formation.describe_stacks(StackName="s")["Stacks"]
    arn = stack["Outputs"][0]["OutputValue"]
    assert machines.finish(machines.start(arn))["output"] == '"hello"'
    (tag,) = machines.client.list_tags_for_resource(resourceArn=arn)["tags"]
    assert tag == {"key": "project", "value": "p"}
    targets = cloud.client("events").list_rule_names_by_target(TargetArn=arn)["RuleNames"]
    assert len(targets) == 1
    template["Resources"]["Machine"]["Properties"]["DefinitionSubstitutions"]["Text"] = "bye"
    formation.update_stack(StackName="s", TemplateBody=json.dumps(template))
    assert machines.finish(machines.start(arn))["output"] == '"bye"'
    formation.delete_stack(StackName="s")
    assert machines.client.list_state_machines()["stateMachines"] == []
