"""What acts by itself, and whom it tells: rules, schedules, machines, alarms, topics, queues."""

import re
import time
from collections.abc import Callable
from typing import Any

from byoc.cleanup.kinds import Clients, Item, Kind, rows
from byoc.connect import Connection

# An alarm in the rule of a composite alarm, by its name or its ARN.
NAMED = re.compile(r"""\(\s*"?(?:arn:[^"()]*:alarm:)?([^"()]+?)"?\s*\)""")


def _list_rules(aws: Connection, clients: Clients) -> list[Item]:
    """EventBridge's rules, as BUS/RULE."""
    events = clients("events")
    found = [
        rule
        for bus in rows(events.list_event_buses, "EventBuses")
        for rule in rows(events.list_rules, "Rules", EventBusName=bus["Name"])
        if _is_own(events, rule["Arn"], aws)
    ]
    return [Item("events", "Rule", f"{rule['EventBusName']}/{rule['Name']}") for rule in found]


def _delete_rule(item: Item, clients: Clients) -> None:
    """A rule with targets can't be deleted."""
    events = clients("events")
    bus, _, rule = item.name.rpartition("/")
    wanted = {"Rule": rule, "EventBusName": bus}
    while targets := events.list_targets_by_rule(**wanted)["Targets"]:
        events.remove_targets(**wanted, Ids=[target["Id"] for target in targets])
    events.delete_rule(Name=rule, EventBusName=bus)


def _list_buses(aws: Connection, clients: Clients) -> list[Item]:
    events = clients("events")
    buses = rows(events.list_event_buses, "EventBuses")
    own = [bus for bus in buses if _is_own(events, bus["Arn"], aws)]
    return [Item("events", "EventBus", bus["Name"]) for bus in own]


def _delete_bus(item: Item, clients: Clients) -> None:
    clients("events").delete_event_bus(Name=item.name)


def _list_schedule_groups(aws: Connection, clients: Clients) -> list[Item]:
    """Groups with the tag: schedules themselves can't be given any, and go with their group."""
    scheduler = clients("scheduler")
    pages = scheduler.get_paginator("list_schedule_groups").paginate()
    own = [
        group["Name"]
        for page in pages
        for group in page["ScheduleGroups"]
        if aws.tags[0] in scheduler.list_tags_for_resource(ResourceArn=group["Arn"])["Tags"]
    ]
    return [Item("scheduler", "ScheduleGroup", name) for name in own]


def _delete_schedule_group(item: Item, clients: Clients) -> None:
    """It is gone when its schedules are."""
    scheduler = clients("scheduler")
    gone = scheduler.exceptions.ResourceNotFoundException
    try:
        if scheduler.get_schedule_group(Name=item.name)["State"] != "DELETING":
            scheduler.delete_schedule_group(Name=item.name)
        while scheduler.get_schedule_group(Name=item.name):
            time.sleep(1)
    except gone:
        pass


def _list_state_machines(aws: Connection, clients: Clients) -> list[Item]:
    """State machines by their ARNs; Step Functions writes a tag's members in lower case."""
    states = clients("stepfunctions")
    tag = {name.lower(): value for name, value in aws.tags[0].items()}
    pages = states.get_paginator("list_state_machines").paginate()
    arns = [machine["stateMachineArn"] for page in pages for machine in page["stateMachines"]]
    own = [a for a in arns if tag in states.list_tags_for_resource(resourceArn=a)["tags"]]
    return [Item("states", "StateMachine", arn) for arn in own]


def _delete_state_machine(item: Item, clients: Clients) -> None:
    """Its executions first: AWS keeps a deleted machine until the last one has ended."""
    states = clients("stepfunctions")
    pages = states.get_paginator("list_executions").paginate(
        stateMachineArn=item.name, statusFilter="RUNNING"
    )
    for execution in [e for page in pages for e in page["executions"]]:
        states.stop_execution(executionArn=execution["executionArn"])
    states.delete_state_machine(stateMachineArn=item.name)
    gone = states.exceptions.StateMachineDoesNotExist
    try:
        while states.describe_state_machine(stateMachineArn=item.name):
            time.sleep(0.5)
    except gone:
        pass


def _listed_alarms(kind: str) -> Callable[[Connection, Clients], list[Item]]:
    """Alarms of a kind; a composite alarm comes before those that its rule names."""

    def list_items(aws: Connection, clients: Clients) -> list[Item]:
        cloudwatch = clients("cloudwatch")
        pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmTypes=[kind])
        alarms = [alarm for page in pages for alarm in page[f"{kind}s"]]
        found = [alarm for alarm in alarms if _is_own(cloudwatch, alarm["AlarmArn"], aws)]
        ordered: list[dict[str, Any]] = []
        while found:
            named = {name for alarm in found for name in NAMED.findall(alarm.get("AlarmRule", ""))}
            free = [alarm for alarm in found if alarm["AlarmName"] not in named] or found
            ordered += free
            found = [alarm for alarm in found if alarm not in free]
        return [Item("cloudwatch", kind, alarm["AlarmName"]) for alarm in ordered]

    return list_items


def _delete_alarm(item: Item, clients: Clients) -> None:
    clients("cloudwatch").delete_alarms(AlarmNames=[item.name])


def _list_topics(aws: Connection, clients: Clients) -> list[Item]:
    sns = clients("sns")
    pages = sns.get_paginator("list_topics").paginate()
    arns = [topic["TopicArn"] for page in pages for topic in page["Topics"]]
    own = [a for a in arns if aws.tags[0] in sns.list_tags_for_resource(ResourceArn=a)["Tags"]]
    return [Item("sns", "Topic", arn) for arn in own]


def _delete_topic(item: Item, clients: Clients) -> None:
    """Its subscriptions first: SNS would keep them for three days more.

    Source: SNS Developer Guide, sns-delete-subscription-topic.
    """
    sns = clients("sns")
    pages = sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=item.name)
    for subscription in [s for page in pages for s in page["Subscriptions"]]:
        if subscription["SubscriptionArn"].startswith("arn:"):  # else it was never confirmed
            sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    sns.delete_topic(TopicArn=item.name)


def _list_queues(aws: Connection, clients: Clients) -> list[Item]:
    sqs, tag = clients("sqs"), aws.tags[0]
    pages = sqs.get_paginator("list_queues").paginate()
    urls = [url for page in pages for url in page.get("QueueUrls", [])]
    tags = {url: sqs.list_queue_tags(QueueUrl=url).get("Tags", {}) for url in urls}
    own = [url for url in urls if tags[url].get(tag["Key"]) == tag["Value"]]
    return [Item("sqs", "Queue", url.rpartition("/")[2]) for url in own]


def _delete_queue(item: Item, clients: Clients) -> None:
    sqs = clients("sqs")
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=item.name)["QueueUrl"])


def _is_own(client: Any, arn: str, aws: Connection) -> bool:
    return aws.tags[0] in client.list_tags_for_resource(ResourceARN=arn)["Tags"]


RULES = Kind("Rule", _list_rules, _delete_rule)
BUSES = Kind("EventBus", _list_buses, _delete_bus)
SCHEDULE_GROUPS = Kind("ScheduleGroup", _list_schedule_groups, _delete_schedule_group)
STATE_MACHINES = Kind("StateMachine", _list_state_machines, _delete_state_machine)
COMPOSITE_ALARMS = Kind("CompositeAlarm", _listed_alarms("CompositeAlarm"), _delete_alarm)
METRIC_ALARMS = Kind("MetricAlarm", _listed_alarms("MetricAlarm"), _delete_alarm)
TOPICS = Kind("Topic", _list_topics, _delete_topic)
QUEUES = Kind("Queue", _list_queues, _delete_queue)
