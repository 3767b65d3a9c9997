"""What holds bytes: images, secrets, objects and logs; and the stacks with the bucket."""

from collections.abc import Callable
from typing import Any

from botocore import xform_name
from botocore.exceptions import ClientError

from byoc.cleanup.kinds import Clients, Item, Kind
from byoc.cleanup.sagemaker import is_own
from byoc.connect import Connection

ENDPOINT_LOGS = "/aws/sagemaker/Endpoints/"


def _list_repositories(aws: Connection, clients: Clients) -> list[Item]:
    ecr = clients("ecr")
    pages = ecr.get_paginator("describe_repositories").paginate()
    found = [repository for page in pages for repository in page["repositories"]]
    own = [
        repository["repositoryName"]
        for repository in found
        if aws.tags[0]
        in ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]
    ]
    return [Item("ecr", "Repository", name) for name in own]


def _delete_repository(item: Item, clients: Clients) -> None:
    clients("ecr").delete_repository(repositoryName=item.name, force=True)


def _list_secrets(aws: Connection, clients: Clients) -> list[Item]:
    """Secrets, those in their recovery window too; each is asked for, since lists lag behind."""
    manager = clients("secretsmanager")
    pages = manager.get_paginator("list_secrets").paginate(IncludePlannedDeletion=True)
    listed = [secret for page in pages for secret in page["SecretList"]]
    own = [secret["Name"] for secret in listed if aws.tags[0] in secret.get("Tags", [])]
    return [Item("secretsmanager", "Secret", name) for name in own if _is_there(name, clients)]


def _is_there(secret: str, clients: Clients) -> bool:
    manager = clients("secretsmanager")
    try:
        return bool(manager.describe_secret(SecretId=secret))
    except manager.exceptions.ResourceNotFoundException:
        return False


def _delete_secret(item: Item, clients: Clients) -> None:
    clients("secretsmanager").delete_secret(SecretId=item.name, ForceDeleteWithoutRecovery=True)


def _list_objects(aws: Connection, clients: Clients) -> list[Item]:
    """The bucket counts as one item of its objects while it holds any."""
    s3 = clients("s3")
    try:
        listed = s3.list_object_versions(Bucket=aws.bucket, MaxKeys=1)
    except s3.exceptions.NoSuchBucket:
        return []
    held = listed.get("Versions") or listed.get("DeleteMarkers")
    return [Item("s3", "Objects", aws.bucket)] if held else []


def _empty_bucket(item: Item, clients: Clients) -> None:
    s3 = clients("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=item.name):
        held = page.get("Versions", []) + page.get("DeleteMarkers", [])
        names = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in held]
        if names:
            answer = s3.delete_objects(Bucket=item.name, Delete={"Objects": names, "Quiet": True})
            if kept := answer.get("Errors"):
                raise ClientError({"Error": kept[0]}, "DeleteObjects")


def _list_stacks(aws: Connection, clients: Clients) -> list[Item]:
    pages = clients("cloudformation").get_paginator("describe_stacks").paginate()
    stacks = [stack for page in pages for stack in page["Stacks"]]
    return [
        Item("cloudformation", "Stack", stack["StackName"])
        for stack in stacks
        if aws.tags[0] in stack.get("Tags", []) and stack["StackStatus"] != "DELETE_COMPLETE"
    ]


def _delete_stack(item: Item, clients: Clients) -> None:
    cloudformation = clients("cloudformation")
    cloudformation.delete_stack(StackName=item.name)
    waiter = cloudformation.get_waiter("stack_delete_complete")
    waiter.wait(StackName=item.name, WaiterConfig={"Delay": 1, "MaxAttempts": 600})


def _list_log_groups(aws: Connection, clients: Clients) -> list[Item]:
    """Log groups of the project's endpoints, known by their names: they carry no tag."""
    pages = clients("logs").get_paginator("describe_log_groups")
    prefix = f"{ENDPOINT_LOGS}{aws.project}"
    found = [
        group["logGroupName"].removeprefix(ENDPOINT_LOGS)
        for page in pages.paginate(logGroupNamePrefix=prefix)
        for group in page["logGroups"]
    ]
    own = [n for n in found if n == aws.project or n.startswith(f"{aws.project}-")]
    own = [name for name in own if not _is_of_another("Endpoint", name, aws, clients)]
    return [Item("logs", "LogGroup", f"{ENDPOINT_LOGS}{name}") for name in own]


def _delete_log_group(item: Item, clients: Clients) -> None:
    clients("logs").delete_log_group(logGroupName=item.name)


def _log_streams(kind: str) -> Kind:
    """Streams of the project's jobs of a kind in the group that all jobs of the account share."""
    group = f"/aws/sagemaker/{kind}s"

    def list_items(aws: Connection, clients: Clients) -> list[Item]:
        logs = clients("logs")
        pages = logs.get_paginator("describe_log_streams")
        wanted = {"logGroupName": group, "logStreamNamePrefix": f"{aws.project}-"}
        try:
            found = [s["logStreamName"] for p in pages.paginate(**wanted) for s in p["logStreams"]]
        except logs.exceptions.ResourceNotFoundException:
            return []
        jobs = {name.partition("/")[0] for name in found}
        others = {job for job in jobs if _is_of_another(kind, job, aws, clients)}
        own = [name for name in found if name.partition("/")[0] not in others]
        return [Item("logs", "LogStream", name) for name in own]

    def delete(item: Item, clients: Clients) -> Any:
        return clients("logs").delete_log_stream(logGroupName=group, logStreamName=item.name)

    return Kind("LogStream", list_items, delete)


def _is_of_another(kind: str, name: str, aws: Connection, clients: Clients) -> bool:
    """Whether the log's owner exists and is another project's: `a-b` begins like `a`."""
    describe: Callable[..., Any] = getattr(clients("sagemaker"), f"describe_{xform_name(kind)}")
    try:
        arn = describe(**{f"{kind}Name": name})[f"{kind}Arn"]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ValidationException", "ResourceNotFound"):
            return False  # it is gone
        raise
    return not is_own(arn, aws, clients)


REPOSITORIES = Kind("Repository", _list_repositories, _delete_repository)
SECRETS = Kind("Secret", _list_secrets, _delete_secret)
OBJECTS = Kind("Objects", _list_objects, _empty_bucket)
STACKS = Kind("Stack", _list_stacks, _delete_stack)
LOG_GROUPS = Kind("LogGroup", _list_log_groups, _delete_log_group)
TRAINING_LOGS = _log_streams("TrainingJob")
PROCESSING_LOGS = _log_streams("ProcessingJob")
TRANSFORM_LOGS = _log_streams("TransformJob")
