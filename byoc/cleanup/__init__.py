"""Find everything that carries the project's tag, delete it in the right order, prove it."""

import functools
from collections.abc import Iterator

import boto3

from byoc.cleanup import automation, sagemaker, storage
from byoc.cleanup.kinds import Clients, Item, Kind
from byoc.cleanup.sagemaker import delete_endpoint
from byoc.connect import Connection

__all__ = ["Item", "delete_all", "delete_endpoint", "inventory"]

# In the order of deletion.
KINDS: tuple[Kind, ...] = (
    automation.RULES,  # what starts others comes first, so that nothing is started any more
    automation.BUSES,
    automation.SCHEDULE_GROUPS,
    automation.STATE_MACHINES,
    sagemaker.ENDPOINTS,
    sagemaker.ENDPOINT_CONFIGS,
    sagemaker.MODELS,
    sagemaker.TUNING_JOBS,
    sagemaker.PACKAGES,
    sagemaker.GROUPS,
    sagemaker.TRAINING_JOBS,
    sagemaker.PROCESSING_JOBS,
    storage.REPOSITORIES,
    storage.SECRETS,
    storage.OBJECTS,
    automation.COMPOSITE_ALARMS,  # else a stack could not delete its alarms
    storage.STACKS,
    automation.METRIC_ALARMS,
    automation.TOPICS,
    automation.QUEUES,
    storage.LOG_GROUPS,
    storage.TRAINING_LOGS,
    storage.PROCESSING_LOGS,
    storage.TRANSFORM_LOGS,
)


def inventory(aws: Connection, *kinds: str) -> list[Item]:
    """Everything of the project in this account and region, in the order of deletion.

    With `kinds`, such as "Endpoint", only what is of these; each must be an Item's kind.
    """
    clients: Clients = functools.cache(boto3.client)
    if unknown := set(kinds) - {kind.name for kind in KINDS}:
        raise ValueError(f"no kind of the inventory: {', '.join(sorted(unknown))}")
    wanted = [kind for kind in KINDS if not kinds or kind.name in kinds]
    return [item for kind in wanted for item in kind.list_items(aws, clients)]


def delete_all(aws: Connection) -> Iterator[Item]:
    """Delete everything of the project, and yield each item when it is gone.

    May be interrupted and repeated at any point: what is gone is not in the inventory any more.
    """
    clients: Clients = functools.cache(boto3.client)
    for kind in KINDS:
        for item in kind.list_items(aws, clients):
            kind.delete(item, clients)
            yield item
