"""Deleting all of a project, and nothing of another."""

import json
import re
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from byoc import cleanup, connect

# What stands before a name in an ARN.
PLACE = re.compile(r"arn:aws:(sagemaker|sns|states):\S+:(model-package/|stateMachine:)?")
TEMPLATE = Path(__file__).parents[2] / "infra/template.yaml"
PROGRAM = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print('ready'); time.sleep(600)"
SCRIPT = "trap 'exit 0' TERM; echo ready; sleep 600 & wait"


def fill(cloud, aws, image, until):
    """Everything that the notebooks of a project leave, and a job that still runs."""
    cloud.client("cloudformation").create_stack(
        StackName=aws.project,
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": "Project", "ParameterValue": aws.project}],
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Tags=aws.tags,
    )
    cloud.client("cloudformation").get_waiter("stack_create_complete").wait(
        StackName=aws.project, WaiterConfig=cloud.waiter
    )
    cloud.client("s3").put_object(Bucket=aws.bucket, Key="data/x", Body=b"x")
    cloud.client("ecr").create_repository(repositoryName=aws.project, tags=aws.tags)
    job = f"{aws.project}-job"
    cloud.start(image, PROGRAM, name=job, Tags=aws.tags)
    until(lambda: "ready" in _log_or_nothing(cloud, job))
    cloud.sagemaker.create_processing_job(
        ProcessingJobName=job,
        AppSpecification={"ImageUri": image, "ContainerEntrypoint": ["/bin/sh", "-c", SCRIPT]},
        ProcessingResources={"ClusterConfig": {"InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
        RoleArn=aws.role,
        Tags=aws.tags,
    )
    until(lambda: "ready" in _log_or_nothing(cloud, job, "ProcessingJobs"))
    name = f"{aws.project}-1"
    cloud.sagemaker.create_model(
        ModelName=name, PrimaryContainer={"Image": image}, ExecutionRoleArn=aws.role, Tags=aws.tags
    )
    group = {"ModelPackageGroupName": aws.project}
    cloud.sagemaker.create_model_package_group(**group, Tags=aws.tags)
    cloud.sagemaker.create_model_package(**group)
    variant = {"VariantName": "v", "ModelName": name, "InstanceType": "ml.m5.large"}
    cloud.sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[{**variant, "InitialInstanceCount": 1}],
        Tags=aws.tags,
    )
    cloud.sagemaker.create_endpoint(
        EndpointName=aws.project, EndpointConfigName=name, Tags=aws.tags
    )
    cloud.deployed(aws.project)
    secrets = cloud.client("secretsmanager")
    secrets.create_secret(Name=name, SecretString="x", Tags=aws.tags)
    automate(cloud, aws)


def automate(cloud, aws):
    """A rule, a schedule, alarms that depend on each other, a machine that runs, and the told."""
    events, scheduler = cloud.client("events"), cloud.client("scheduler")
    sqs, cloudwatch, name = cloud.client("sqs"), cloud.client("cloudwatch"), aws.project
    tags = {tag["Key"]: tag["Value"] for tag in aws.tags}
    url = sqs.create_queue(QueueName=name, tags=tags)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    queue = attributes["Attributes"]["QueueArn"]
    bus = f"{name}-bus"
    events.create_event_bus(Name=bus, Tags=aws.tags)
    for wanted in ({"Name": name}, {"Name": f"{name}-on-bus", "EventBusName": bus}):
        events.put_rule(**wanted, EventPattern='{"source": ["mine"]}', Tags=aws.tags)
    events.put_targets(Rule=name, Targets=[{"Id": "0", "Arn": queue}])
    scheduler.create_schedule_group(Name=name, Tags=aws.tags)
    scheduler.create_schedule(
        Name="yearly",
        GroupName=name,
        ScheduleExpression="rate(365 days)",
        StartDate="2100-01-01T00:00:00Z",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": queue, "RoleArn": aws.role},
    )
    cloudwatch.put_metric_alarm(
        AlarmName=f"{name}-metric",
        Namespace="Mine",
        MetricName="m",
        Period=60,
        EvaluationPeriods=1,
        Threshold=5.0,
        Statistic="Sum",
        ComparisonOperator="GreaterThanThreshold",
        Tags=aws.tags,
    )
    topic = cloud.client("sns").create_topic(Name=name, Tags=aws.tags)["TopicArn"]
    cloud.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    states = cloud.client("stepfunctions")
    waiting = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 600, "End": True}}}
    machine = states.create_state_machine(
        name=name,
        definition=json.dumps(waiting),
        roleArn=_role_of_states(cloud),
        tags=[{"key": tag["Key"], "value": tag["Value"]} for tag in aws.tags],
    )
    states.start_execution(stateMachineArn=machine["stateMachineArn"])
    for above, below in ((f"{name}-a", f"{name}-metric"), (f"{name}-b", f"{name}-a")):
        rule = f"ALARM({below})"
        cloudwatch.put_composite_alarm(AlarmName=above, AlarmRule=rule, Tags=aws.tags)


def _role_of_states(cloud):
    principal = {"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}}
    trust = {"Version": "2012-10-17", "Statement": [principal | {"Action": "sts:AssumeRole"}]}
    iam = cloud.client("iam")
    try:
        made = iam.create_role(RoleName="states", AssumeRolePolicyDocument=json.dumps(trust))
    except iam.exceptions.EntityAlreadyExistsException:
        made = iam.get_role(RoleName="states")
    return made["Role"]["Arn"]


def tune(cloud, aws, image):
    """A tuning job with a training job that still runs."""
    job = cloud.request(image, PROGRAM)
    algorithm = {"MetricDefinitions": [{"Name": "score", "Regex": "score=(.*)"}]}
    members = ("RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition")
    between = {"Name": "x", "MinValue": "0", "MaxValue": "1"}
    cloud.sagemaker.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=f"{aws.project}-tuning",
        HyperParameterTuningJobConfig={
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "score"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1},
            "ParameterRanges": {"ContinuousParameterRanges": [between]},
        },
        TrainingJobDefinition={
            **{key: job[key] for key in members},
            "AlgorithmSpecification": job["AlgorithmSpecification"] | algorithm,
            "StaticHyperParameters": job["HyperParameters"],
        },
        Tags=aws.tags,
    )


def _log_or_nothing(cloud, job, kind="TrainingJobs"):
    try:
        return cloud.log(f"/aws/sagemaker/{kind}", job)
    except (ClientError, ValueError):
        return []


@pytest.fixture
def projects(cloud, toy, until):
    """Two projects in one account; the name of one begins like the other's."""
    mine, other = (connect("local", cloud.account, project=p) for p in ("fish", "fish-2"))
    for aws in (mine, other):
        fill(cloud, aws, toy, until)
    return mine, other


def expected(project, bucket):
    return [
        f"events Rule default/{project}",
        f"events Rule {project}-bus/{project}-on-bus",
        f"events EventBus {project}-bus",
        f"scheduler ScheduleGroup {project}",
        f"states StateMachine {project}",
        f"sagemaker Endpoint {project}",
        f"sagemaker EndpointConfig {project}-1",
        f"sagemaker Model {project}-1",
        f"sagemaker ModelPackage {project}/1",
        f"sagemaker ModelPackageGroup {project}",
        f"sagemaker TrainingJob {project}-job",
        f"sagemaker ProcessingJob {project}-job",
        f"ecr Repository {project}",
        f"secretsmanager Secret {project}-1",
        f"s3 Objects {bucket}",
        f"cloudwatch CompositeAlarm {project}-b",
        f"cloudwatch CompositeAlarm {project}-a",
        f"cloudformation Stack {project}",
        f"cloudwatch MetricAlarm {project}-metric",
        f"sns Topic {project}",
        f"sqs Queue {project}",
        f"logs LogGroup /aws/sagemaker/Endpoints/{project}",
    ]


def test_all_of_the_project_goes_and_nothing_else(cloud, projects):
    mine, other = projects

    def inventory(aws):
        rows = [" ".join(PLACE.sub("", str(item)).split()) for item in cleanup.inventory(aws)]
        streams = [row for row in rows if row.startswith("logs LogStream")]
        assert all(row.startswith(f"logs LogStream {aws.project}-job/") for row in streams)
        return [row for row in rows if row not in streams]

    assert inventory(mine) == expected("fish", mine.bucket)
    (model,) = cleanup.inventory(mine, "Model")
    assert (model.kind, model.name) == ("Model", "fish-1")
    of_the_other = inventory(other)
    assert of_the_other == expected("fish-2", other.bucket)

    deleted = list(cleanup.delete_all(mine))
    assert {item.kind for item in deleted} >= {"TrainingJob", "ProcessingJob", "LogStream"}
    assert cleanup.inventory(mine) == []
    assert list(cleanup.delete_all(mine)) == []
    assert inventory(other) == of_the_other

    buckets = [b["Name"] for b in cloud.client("s3").list_buckets()["Buckets"]]
    assert mine.bucket not in buckets
    assert other.bucket in buckets
    roles = [role["Arn"] for role in cloud.client("iam").list_roles()["Roles"]]
    assert mine.role not in roles
    assert other.role in roles
    jobs = cloud.sagemaker.list_training_jobs()["TrainingJobSummaries"]
    running = [(job["TrainingJobName"], job["TrainingJobStatus"]) for job in jobs]
    assert running == [("fish-2-job", "InProgress")]
    jobs = cloud.sagemaker.list_processing_jobs()["ProcessingJobSummaries"]
    running = [(job["ProcessingJobName"], job["ProcessingJobStatus"]) for job in jobs]
    assert running == [("fish-2-job", "InProgress")]
    assert cloud.invoke("x", "fish-2")["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_it_can_be_interrupted_and_repeated(cloud, toy, until):
    aws = connect("local", cloud.account, project="fish")
    fill(cloud, aws, toy, until)
    work = cleanup.delete_all(aws)
    first = [next(work), next(work)]
    work.close()
    rest = list(cleanup.delete_all(aws))
    assert not set(first) & set(rest)
    assert cleanup.inventory(aws) == []


def test_a_tuning_job_that_runs_goes_with_its_training_jobs(cloud, toy, until):
    aws = connect("local", cloud.account, project="fish")
    tune(cloud, aws, toy)
    until(lambda: "ready" in _log_or_nothing(cloud, f"{aws.project}-tuning-001"))
    kinds = {item.kind for item in cleanup.inventory(aws)}
    assert {"HyperParameterTuningJob", "TrainingJob"} <= kinds
    deleted = [item.kind for item in cleanup.delete_all(aws)]
    assert deleted.index("HyperParameterTuningJob") < deleted.index("TrainingJob")
    assert cleanup.inventory(aws) == []


def test_a_secret_in_its_recovery_window_goes_at_once(cloud):
    secrets, aws = cloud.client("secretsmanager"), cloud.aws
    secrets.create_secret(Name="mine", SecretString="x", Tags=aws.tags)
    secrets.create_secret(Name="of-nobody", SecretString="x")
    secrets.delete_secret(SecretId="mine", RecoveryWindowInDays=7)
    assert [(item.kind, item.name) for item in cleanup.delete_all(aws)] == [("Secret", "mine")]
    left = secrets.list_secrets(IncludePlannedDeletion=True)["SecretList"]
    assert [secret["Name"] for secret in left] == ["of-nobody"]


def test_a_kind_that_the_inventory_does_not_know(cloud):
    with pytest.raises(ValueError, match="no kind of the inventory: Modell"):
        cleanup.inventory(cloud.aws, "Model", "Modell")


def test_an_account_with_nothing_in_it(cloud):
    assert cleanup.inventory(cloud.aws) == []
    assert list(cleanup.delete_all(cloud.aws)) == []
