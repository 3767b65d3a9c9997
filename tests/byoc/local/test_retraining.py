"""infra/retraining.yaml: from the drift alarm to a new model in service, without anybody's hand."""

import json
import random
from importlib import resources
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[3] / "infra/retraining.yaml"
ENDED = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")
GENTOO = "50.0,15.2,218,5700"


def birds(seed=None):
    """The penguins as CSV; with a seed their species are mixed up."""
    with (resources.files("palmerpenguins") / "data/penguins.csv").open() as file:
        rows = [line.strip().split(",") for line in file if "NA" not in line]
    header, rows = rows[0], rows[1:]
    places = [header.index(name) for name in header if name.endswith(("_mm", "_g"))]
    species = [row[header.index("species")] for row in rows]
    if seed is not None:
        random.Random(seed).shuffle(species)
    lines = [[header[i] for i in places] + ["species"]]
    lines += [[row[i] for i in places] + [kind] for row, kind in zip(rows, species, strict=True)]
    return "\n".join(",".join(line) for line in lines)


class Chain:
    """The deployed template, an approved model with an accuracy, and the topic's messages."""

    def __init__(self, cloud, image, until):
        self.cloud, self.image, self._until = cloud, image, until
        self.project, self.sagemaker = cloud.aws.project, cloud.sagemaker
        self.states, self._sqs = cloud.client("stepfunctions"), cloud.client("sqs")
        for channel in ("training", "validation"):
            cloud.put(f"penguins/{channel}/data.csv", birds())
        assert cloud.role
        self.outputs = self._deploy()
        self.arn = self.outputs["MachineArn"]
        self._queue = self._subscribe()
        tags = cloud.aws.tags
        self.sagemaker.create_model_package_group(ModelPackageGroupName=self.project, Tags=tags)
        cloud.client("cloudwatch").put_metric_alarm(
            AlarmName=f"{self.project}-drift",
            Namespace="mine",
            MetricName="drift",
            Statistic="Maximum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanThreshold",
        )

    def _deploy(self):
        formation = self.cloud.client("cloudformation")
        values = {"Project": self.project, "Image": self.image, "PollSeconds": "1"}
        values |= {"BakeSeconds": "60"}
        formation.create_stack(
            StackName=f"{self.project}-retraining",
            TemplateBody=TEMPLATE.read_text(),
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in values.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Tags=self.cloud.aws.tags,
        )
        (stack,) = formation.describe_stacks(StackName=f"{self.project}-retraining")["Stacks"]
        return {row["OutputKey"]: row["OutputValue"] for row in stack["Outputs"]}

    def _subscribe(self):
        queue = self._sqs.create_queue(QueueName="news")["QueueUrl"]
        found = self._sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        arn = found["Attributes"]["QueueArn"]
        topic = self.outputs["TopicArn"]
        self.cloud.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        return queue

    def approve(self, accuracy):
        """A version in the registry that is approved."""
        model = self.cloud.put("old/model.tar.gz", b"")
        types = {"SupportedContentTypes": ["text/csv"], "SupportedResponseMIMETypes": ["text/csv"]}
        container = {"Image": self.image, "ModelDataUrl": model}
        return self.sagemaker.create_model_package(
            ModelPackageGroupName=self.project,
            ModelApprovalStatus="Approved",
            InferenceSpecification={"Containers": [container], **types},
            CustomerMetadataProperties={"validation:accuracy": f"{accuracy}"},
        )["ModelPackageArn"]

    def ring(self):
        """The drift alarm."""
        self.cloud.client("cloudwatch").set_alarm_state(
            AlarmName=f"{self.project}-drift", StateValue="ALARM", StateReason="PSI is 0.4"
        )

    def executions(self):
        return self.states.list_executions(stateMachineArn=self.arn)["executions"]

    def finish(self, meanwhile=lambda: None, number=1):
        """The descriptions of the executions, once so many have come to an end."""

        def ended():
            meanwhile()
            rows = self.executions()
            return rows if [r["status"] in ENDED for r in rows] == [True] * number else None

        rows = self._until(ended, "the executions end")
        return [self.states.describe_execution(executionArn=r["executionArn"]) for r in rows]

    def news(self):
        """The one message that the topic sends."""
        found = self._until(
            lambda: self._sqs.receive_message(QueueUrl=self._queue).get("Messages"), "news"
        )
        (message,) = found
        self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        assert "Messages" not in self._sqs.receive_message(QueueUrl=self._queue)
        return json.loads(message["Body"])["Message"]

    def versions(self):
        """The approval of each version, the newest one first."""
        listed = self.sagemaker.list_model_packages(ModelPackageGroupName=self.project)
        rows = listed["ModelPackageSummaryList"]
        found = [(row["ModelPackageVersion"], row["ModelApprovalStatus"]) for row in rows]
        return sorted(found, reverse=True)

    def made(self):
        """The names of models and configurations that the chain has left."""
        models = [row["ModelName"] for row in self.sagemaker.list_models()["Models"]]
        configs = self.sagemaker.list_endpoint_configs()["EndpointConfigs"]
        names = [*models, *(row["EndpointConfigName"] for row in configs)]
        return [name for name in names if name.startswith(f"{self.project}-")]

    def jobs(self):
        listed = self.sagemaker.list_training_jobs()["TrainingJobSummaries"]
        return [row["TrainingJobName"] for row in listed]


@pytest.fixture
def chain(hasty, penguins_tag, until):
    return Chain(hasty, hasty.push(penguins_tag), until)


def test_a_better_model_is_deployed_once_though_the_event_comes_twice(chain, toy_tag, until):
    cloud, project = chain.cloud, chain.project
    chain.approve(0.5)
    cloud.create_endpoint(cloud.push(toy_tag), project)
    events = cloud.client("events")
    (target,) = events.list_targets_by_rule(Rule=f"{project}-drift")["Targets"]
    pattern = events.describe_rule(Name=f"{project}-drift")["EventPattern"]
    events.put_rule(Name="again", EventPattern=pattern)
    events.put_targets(Rule="again", Targets=[target])
    assert cloud.deployed(project)["EndpointStatus"] == "InService"
    chain.ring()
    ended = chain.finish(number=2)
    assert [row["status"] for row in ended] == ["SUCCEEDED"] * 2, ended
    (job,) = chain.jobs()
    assert job.startswith(f"{project}-")
    endpoint = cloud.deployed(project)
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", job)
    assert chain.made() == [job, job]
    assert chain.versions() == [(2, "Approved"), (1, "Approved")]
    answer = cloud.invoke(GENTOO, project, ContentType="text/csv")["Body"].read()
    assert answer.decode().startswith("Gentoo")
    news = chain.news()
    assert "is in service" in news
    assert "PSI is 0.4" in news
    package = f"arn:aws:sagemaker:{cloud.region}:{cloud.account}:model-package/{project}/2"
    found = cloud.sagemaker.describe_model_package(ModelPackageName=package)
    accuracy = float(found["CustomerMetadataProperties"]["validation:accuracy"])
    assert accuracy > 0.9
    written = json.loads(cloud.get(found["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]))
    assert written == {"validation:accuracy": accuracy, "approved": 0.5, "why": "PSI is 0.4"}
    _allowed(chain)


def _allowed(chain):
    """Everything that the machine has called, its role's policy allows: nothing more was needed."""
    cloud = chain.cloud
    trail, iam = cloud.client("cloudtrail"), cloud.client("iam")
    role = f"arn:aws:iam::{cloud.account}:role/{chain.project}-retrain-{cloud.region}"
    calls = {
        (event["EventSource"].partition(".")[0], event["EventName"])
        for page in trail.get_paginator("lookup_events").paginate()
        for event in page["Events"]
        if f"{chain.project}-retrain-"
        in json.loads(event["CloudTrailEvent"])["userIdentity"]["arn"]
    }
    assert ("sagemaker", "UpdateEndpoint") in calls
    policy = iam.get_role_policy(RoleName=role.partition("/")[2], PolicyName="retrain-and-deploy")
    allowed = {
        action
        for statement in policy["PolicyDocument"]["Statement"]
        for action in (
            statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        )
    }
    assert {f"{service}:{name}" for service, name in calls} <= allowed


def test_a_worse_model_is_registered_as_rejected_and_nothing_else(chain):
    chain.approve(0.999)
    chain.ring()
    (ended,) = chain.finish()
    assert ended["status"] == "SUCCEEDED", ended
    assert chain.versions() == [(2, "Rejected"), (1, "Approved")]
    assert chain.made() == []
    assert "nothing was deployed" in chain.news()


def test_without_an_approved_model_the_least_accuracy_decides(chain):
    chain.cloud.put("penguins/training/data.csv", birds(seed=1))
    chain.ring()
    (ended,) = chain.finish()
    assert ended["status"] == "SUCCEEDED", ended
    assert chain.versions() == [(1, "Rejected")]
    assert "nothing was deployed" in chain.news()


def test_a_training_that_fails_leaves_nothing_and_is_told(chain):
    chain.approve(0.5)
    chain.cloud.put("penguins/training/data.csv", "no,penguins\n1,2\n")
    chain.ring()
    (ended,) = chain.finish()
    assert (ended["status"], ended["error"]) == ("FAILED", "RetrainingFailed"), ended
    assert chain.versions() == [(1, "Approved")]
    assert chain.made() == []
    news = chain.news()
    assert "is FAILED: RetrainingFailed States.TaskFailed: " in news
    assert "AlgorithmError" in news


def test_a_deployment_that_the_alarm_calls_back_is_taken_back_whole(chain, toy_tag):
    cloud, project = chain.cloud, chain.project
    chain.approve(0.5)
    cloud.create_endpoint(cloud.push(toy_tag), project)
    assert cloud.deployed(project)["EndpointStatus"] == "InService"

    def errors():
        cloud.client("cloudwatch").set_alarm_state(
            AlarmName=f"{project}-errors", StateValue="ALARM", StateReason="it fails"
        )

    chain.ring()
    (ended,) = chain.finish(meanwhile=errors)
    assert (ended["status"], ended["error"]) == ("FAILED", "RetrainingFailed"), ended
    endpoint = cloud.deployed(project)
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", project)
    assert chain.made() == []
    assert chain.versions() == [(2, "Rejected"), (1, "Approved")]
    assert f"DeploymentRolledBack: The endpoint went back to {project}." in chain.news()
