"""Find everything that carries the project's tag, delete it in the right order, prove it."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
from botocore import xform_name
from botocore.exceptions import ClientError, WaiterError

from byoc.connect import Connection
from byoc.find import tagged

ENDPOINT_LOGS = "/aws/sagemaker/Endpoints/"
# An alarm in the rule of a composite alarm, by its name or its ARN.
NAMED = re.compile(r"""\(\s*"?(?:arn:[^"()]*:alarm:)?([^"()]+?)"?\s*\)""")
IN_PROGRESS = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


@dataclass(frozen=True)
class Item:
    """One thing that exists: the service and kind as AWS names them, and its name."""

    service: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.service:15} {self.kind:16} {self.name}"


def inventory(aws: Connection) -> list[Item]:
    """Everything of the project in this account and region, in the order of deletion."""
    return [item for list_items, _ in _KINDS for item in list_items(aws)]


def delete_all(aws: Connection) -> Iterator[Item]:
    """Delete everything of the project, and yield each item when it is gone.

    May be interrupted and repeated at any point: what is gone is not in the inventory any more.
    """
    for list_items, delete in _KINDS:
        for item in list_items(aws):
            delete(item)
            yield item


def _sagemaker(operation: str, kind: str, member: str = "") -> Callable[[Connection], list[Item]]:
    def list_items(aws: Connection) -> list[Item]:
        pages = boto3.client("sagemaker").get_paginator(operation).paginate()
        found = [row for page in pages for row in page[member or f"{kind}s"]]
        own = [row for row in found if tagged(row[f"{kind}Arn"], aws)]
        return [Item("sagemaker", kind, row[f"{kind}Name"]) for row in own]

    return list_items


def _delete_endpoint(item: Item) -> None:
    delete_endpoint(boto3.client("sagemaker"), item.name)


def delete_endpoint(sagemaker: Any, name: str) -> None:
    """Delete an endpoint and wait until it is gone; one in progress first comes to its end."""
    wanted = {"EndpointName": name}
    try:
        while sagemaker.describe_endpoint(**wanted)["EndpointStatus"] in IN_PROGRESS:
            time.sleep(0.5)
        sagemaker.delete_endpoint(**wanted)
    except ClientError as error:
        if "Could not find" not in str(error):
            raise
    waiter = sagemaker.get_waiter("endpoint_deleted")
    waiter.wait(**wanted, WaiterConfig={"Delay": 1, "MaxAttempts": 600})


def _delete_endpoint_config(item: Item) -> None:
    boto3.client("sagemaker").delete_endpoint_config(EndpointConfigName=item.name)


def _packages(aws: Connection) -> list[Item]:
    """The versions in the project's groups, which carry no tags of their own."""
    sagemaker = boto3.client("sagemaker")
    found = []
    for group in _groups(aws):
        pages = sagemaker.get_paginator("list_model_packages")
        for page in pages.paginate(ModelPackageGroupName=group.name):
            rows = page["ModelPackageSummaryList"]
            found += [Item("sagemaker", "ModelPackage", row["ModelPackageArn"]) for row in rows]
    return found


def _delete_package(item: Item) -> None:
    boto3.client("sagemaker").delete_model_package(ModelPackageName=item.name)


def _delete_group(item: Item) -> None:
    boto3.client("sagemaker").delete_model_package_group(ModelPackageGroupName=item.name)


def _delete_model(item: Item) -> None:
    boto3.client("sagemaker").delete_model(ModelName=item.name)


def _delete_job(item: Item) -> None:
    sagemaker, kind = boto3.client("sagemaker"), xform_name(item.kind)
    wanted = {f"{item.kind}Name": item.name}
    try:
        getattr(sagemaker, f"stop_{kind}")(**wanted)
    except ClientError:
        pass  # it has ended
    waiter = sagemaker.get_waiter(f"{kind}_completed_or_stopped")
    try:
        waiter.wait(**wanted, WaiterConfig={"Delay": 1, "MaxAttempts": 600})
    except WaiterError:
        pass  # it has failed, which is an end too
    getattr(sagemaker, f"delete_{kind}")(**wanted)


def _delete_tuning_job(item: Item) -> None:
    """Stop it, wait for its end, delete it; boto3 has no waiter for tuning jobs."""
    sagemaker, wanted = boto3.client("sagemaker"), {"HyperParameterTuningJobName": item.name}
    try:
        sagemaker.stop_hyper_parameter_tuning_job(**wanted)
    except ClientError:
        pass  # it has ended
    describe = sagemaker.describe_hyper_parameter_tuning_job
    while describe(**wanted)["HyperParameterTuningJobStatus"] in ("InProgress", "Stopping"):
        time.sleep(0.5)
    sagemaker.delete_hyper_parameter_tuning_job(**wanted)


_groups = _sagemaker(
    "list_model_package_groups", "ModelPackageGroup", "ModelPackageGroupSummaryList"
)


def _repositories(aws: Connection) -> list[Item]:
    ecr = boto3.client("ecr")
    found = [
        r
        for page in ecr.get_paginator("describe_repositories").paginate()
        for r in page["repositories"]
    ]
    own = []
    for repository in found:
        tags = ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]
        if aws.tags[0] in tags:
            own.append(Item("ecr", "Repository", repository["repositoryName"]))
    return own


def _delete_repository(item: Item) -> None:
    boto3.client("ecr").delete_repository(repositoryName=item.name, force=True)


def _secrets(aws: Connection) -> list[Item]:
    """Secrets, those in their recovery window too; each is asked for, since lists lag behind."""
    manager = boto3.client("secretsmanager")
    pages = manager.get_paginator("list_secrets").paginate(IncludePlannedDeletion=True)
    found = [
        s["Name"] for page in pages for s in page["SecretList"] if aws.tags[0] in s.get("Tags", [])
    ]
    return [Item("secretsmanager", "Secret", name) for name in found if _is_there(name)]


def _is_there(secret: str) -> bool:
    manager = boto3.client("secretsmanager")
    try:
        return bool(manager.describe_secret(SecretId=secret))
    except manager.exceptions.ResourceNotFoundException:
        return False


def _delete_secret(item: Item) -> None:
    manager = boto3.client("secretsmanager")
    manager.delete_secret(SecretId=item.name, ForceDeleteWithoutRecovery=True)


def _objects(aws: Connection) -> list[Item]:
    """The bucket counts as one item of its objects while it holds any."""
    s3 = boto3.client("s3")
    try:
        listed = s3.list_object_versions(Bucket=aws.bucket, MaxKeys=1)
    except s3.exceptions.NoSuchBucket:
        return []
    held = listed.get("Versions") or listed.get("DeleteMarkers")
    return [Item("s3", "Objects", aws.bucket)] if held else []


def _empty_bucket(item: Item) -> None:
    boto3.resource("s3").Bucket(item.name).object_versions.delete()


def _stacks(aws: Connection) -> list[Item]:
    cloudformation = boto3.client("cloudformation")
    pages = cloudformation.get_paginator("describe_stacks").paginate()
    stacks = [stack for page in pages for stack in page["Stacks"]]
    return [
        Item("cloudformation", "Stack", stack["StackName"])
        for stack in stacks
        if aws.tags[0] in stack.get("Tags", []) and stack["StackStatus"] != "DELETE_COMPLETE"
    ]


def _delete_stack(item: Item) -> None:
    cloudformation = boto3.client("cloudformation")
    cloudformation.delete_stack(StackName=item.name)
    waiter = cloudformation.get_waiter("stack_delete_complete")
    waiter.wait(StackName=item.name, WaiterConfig={"Delay": 1, "MaxAttempts": 600})


def _rules(aws: Connection) -> list[Item]:
    """EventBridge's rules, as BUS/RULE."""
    events = boto3.client("events")
    buses = _all(events.list_event_buses, "EventBuses")
    found = [
        rule
        for bus in buses
        for rule in _all(events.list_rules, "Rules", EventBusName=bus["Name"])
        if aws.tags[0] in events.list_tags_for_resource(ResourceARN=rule["Arn"])["Tags"]
    ]
    return [Item("events", "Rule", f"{rule['EventBusName']}/{rule['Name']}") for rule in found]


def _delete_rule(item: Item) -> None:
    """A rule with targets can't be deleted."""
    events = boto3.client("events")
    bus, _, rule = item.name.rpartition("/")
    wanted = {"Rule": rule, "EventBusName": bus}
    while targets := events.list_targets_by_rule(**wanted)["Targets"]:
        events.remove_targets(**wanted, Ids=[target["Id"] for target in targets])
    events.delete_rule(Name=rule, EventBusName=bus)


def _all(operation: Callable[..., Any], member: str, **request: Any) -> Iterator[dict[str, Any]]:
    """The rows of each page of an operation for which boto3 may have no paginator."""
    page = operation(**request)
    yield from page[member]
    while page.get("NextToken"):
        page = operation(**request, NextToken=page["NextToken"])
        yield from page[member]


def _schedule_groups(aws: Connection) -> list[Item]:
    """Groups with the tag: schedules themselves can't be given any, and go with their group."""
    scheduler = boto3.client("scheduler")
    pages = scheduler.get_paginator("list_schedule_groups").paginate()
    own = [
        group["Name"]
        for page in pages
        for group in page["ScheduleGroups"]
        if aws.tags[0] in scheduler.list_tags_for_resource(ResourceArn=group["Arn"])["Tags"]
    ]
    return [Item("scheduler", "ScheduleGroup", name) for name in own]


def _delete_schedule_group(item: Item) -> None:
    """It is gone when its schedules are."""
    scheduler = boto3.client("scheduler")
    gone = scheduler.exceptions.ResourceNotFoundException
    try:
        if scheduler.get_schedule_group(Name=item.name)["State"] != "DELETING":
            scheduler.delete_schedule_group(Name=item.name)
        while scheduler.get_schedule_group(Name=item.name):
            time.sleep(1)
    except gone:
        pass


def _alarms(kind: str) -> Callable[[Connection], list[Item]]:
    """Alarms of a kind; a composite alarm comes before those that its rule names."""

    def is_own(alarm: dict[str, Any], aws: Connection) -> bool:
        arn = alarm["AlarmArn"]
        found = boto3.client("cloudwatch").list_tags_for_resource(ResourceARN=arn)
        return aws.tags[0] in found["Tags"]

    def list_items(aws: Connection) -> list[Item]:
        cloudwatch = boto3.client("cloudwatch")
        pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmTypes=[kind])
        found = [a for page in pages for a in page[f"{kind}s"] if is_own(a, aws)]
        ordered: list[dict[str, Any]] = []
        while found:
            named = {name for alarm in found for name in NAMED.findall(alarm.get("AlarmRule", ""))}
            free = [alarm for alarm in found if alarm["AlarmName"] not in named] or found
            ordered += free
            found = [alarm for alarm in found if alarm not in free]
        return [Item("cloudwatch", kind, alarm["AlarmName"]) for alarm in ordered]

    return list_items


def _delete_alarm(item: Item) -> None:
    boto3.client("cloudwatch").delete_alarms(AlarmNames=[item.name])


def _log_groups(aws: Connection) -> list[Item]:
    """Log groups of the project's endpoints, known by their names: they carry no tag."""
    pages = boto3.client("logs").get_paginator("describe_log_groups")
    prefix = f"{ENDPOINT_LOGS}{aws.project}"
    found = [
        group["logGroupName"].removeprefix(ENDPOINT_LOGS)
        for page in pages.paginate(logGroupNamePrefix=prefix)
        for group in page["logGroups"]
    ]
    own = [n for n in found if n == aws.project or n.startswith(f"{aws.project}-")]
    own = [name for name in own if not _is_of_another("Endpoint", name, aws)]
    return [Item("logs", "LogGroup", f"{ENDPOINT_LOGS}{name}") for name in own]


def _is_of_another(kind: str, name: str, aws: Connection) -> bool:
    """Whether the log's owner exists and is another project's: `a-b` begins like `a`."""
    sagemaker = boto3.client("sagemaker")
    try:
        describe = getattr(sagemaker, f"describe_{xform_name(kind)}")
        arn = describe(**{f"{kind}Name": name})[f"{kind}Arn"]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ValidationException", "ResourceNotFound"):
            return False  # it is gone
        raise
    return not tagged(arn, aws)


def _delete_log_group(item: Item) -> None:
    boto3.client("logs").delete_log_group(logGroupName=item.name)


def _log_streams(kind: str) -> Callable[[Connection], list[Item]]:
    """Streams of the project's jobs in the group that all jobs of the account share."""

    def list_items(aws: Connection) -> list[Item]:
        logs = boto3.client("logs")
        pages = logs.get_paginator("describe_log_streams")
        wanted = {"logGroupName": _log_group(kind), "logStreamNamePrefix": f"{aws.project}-"}
        try:
            found = [s["logStreamName"] for p in pages.paginate(**wanted) for s in p["logStreams"]]
        except logs.exceptions.ResourceNotFoundException:
            return []
        own = [n for n in found if not _is_of_another(kind, n.partition("/")[0], aws)]
        return [Item("logs", "LogStream", name) for name in own]

    return list_items


def _delete_log_stream(kind: str) -> Callable[[Item], Any]:
    def delete(item: Item) -> None:
        group = _log_group(kind)
        boto3.client("logs").delete_log_stream(logGroupName=group, logStreamName=item.name)

    return delete


def _log_group(kind: str) -> str:
    """The one group for all jobs of this kind."""
    return f"/aws/sagemaker/{kind}s"


Lister = Callable[[Connection], list[Item]]
_KINDS: list[tuple[Lister, Callable[[Item], Any]]] = [
    (_rules, _delete_rule),  # these come first, so that nothing is started any more
    (_schedule_groups, _delete_schedule_group),
    (_sagemaker("list_endpoints", "Endpoint"), _delete_endpoint),
    (_sagemaker("list_endpoint_configs", "EndpointConfig"), _delete_endpoint_config),
    (_sagemaker("list_models", "Model"), _delete_model),
    (
        _sagemaker(
            "list_hyper_parameter_tuning_jobs",
            "HyperParameterTuningJob",
            "HyperParameterTuningJobSummaries",
        ),
        _delete_tuning_job,
    ),
    (_packages, _delete_package),
    (_groups, _delete_group),
    (_sagemaker("list_training_jobs", "TrainingJob", "TrainingJobSummaries"), _delete_job),
    (
        _sagemaker("list_processing_jobs", "ProcessingJob", "ProcessingJobSummaries"),
        _delete_job,
    ),
    (_repositories, _delete_repository),
    (_secrets, _delete_secret),
    (_objects, _empty_bucket),
    (_alarms("CompositeAlarm"), _delete_alarm),  # else a stack could not delete its alarms
    (_stacks, _delete_stack),
    (_alarms("MetricAlarm"), _delete_alarm),
    (_log_groups, _delete_log_group),
    (_log_streams("TrainingJob"), _delete_log_stream("TrainingJob")),
    (_log_streams("ProcessingJob"), _delete_log_stream("ProcessingJob")),
]
