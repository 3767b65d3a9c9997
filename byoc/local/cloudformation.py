"""What CloudFormation makes and moto leaves out, saying that it succeeded: alarms of one metric and
the policies of topics.

moto finds these classes by their base. Source: CloudFormation Template Reference,
AWS::CloudWatch::Alarm and AWS::SNS::TopicPolicy.
"""

import json
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.sns.models import sns_backends

from byoc.local.errors import not_implemented

NUMBERS = ("EvaluationPeriods", "DatapointsToAlarm", "Period", "Threshold")  # may come as texts
ALARM = {  # property -> parameter of moto
    "AlarmActions": "alarm_actions",
    "AlarmDescription": "description",
    "ComparisonOperator": "comparison_operator",
    "DatapointsToAlarm": "datapoints_to_alarm",
    "Dimensions": "dimensions",
    "EvaluationPeriods": "evaluation_periods",
    "InsufficientDataActions": "insufficient_data_actions",
    "MetricName": "metric_name",
    "Namespace": "namespace",
    "OKActions": "ok_actions",
    "Period": "period",
    "Statistic": "statistic",
    "Tags": "tags",
    "Threshold": "threshold",
    "TreatMissingData": "treat_missing_data",
    "Unit": "unit",
}
LISTS = ("AlarmActions", "Dimensions", "InsufficientDataActions", "OKActions")


class MadeAlarm(CloudFormationModel):
    """An alarm made by a stack."""

    def __init__(self, name: str, arn: str) -> None:
        self.physical_resource_id, self.arn = name, arn

    @staticmethod
    def cloudformation_name_type() -> str:
        return "AlarmName"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::CloudWatch::Alarm"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "Arn"

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return self.arn

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> "MadeAlarm":
        given = dict(cloudformation_json["Properties"])
        name = given.pop("AlarmName", resource_name)
        enabled = f"{given.pop('ActionsEnabled', True)}".lower() == "true"
        if unknown := sorted(given.keys() - ALARM.keys()):
            raise not_implemented(f"AWS::CloudWatch::Alarm with {', '.join(unknown)}")
        numbers = {key: float(given[key]) for key in NUMBERS if key in given}
        whole = {key: int(value) for key, value in numbers.items() if key != "Threshold"}
        members: dict[str, Any] = {**dict.fromkeys(ALARM), **{key: [] for key in LISTS}}
        members |= given | numbers | whole
        alarm = cloudwatch_backends[account_id][region_name].put_metric_alarm(
            name=name,
            actions_enabled=enabled,
            **{ALARM[key]: value for key, value in members.items()},
        )
        return cls(name, alarm.alarm_arn)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> "MadeAlarm":
        name = original_resource.physical_resource_id
        cls.delete_from_cloudformation_json(name, cloudformation_json, account_id, region_name)
        return cls.create_from_cloudformation_json(
            new_resource_name, cloudformation_json, account_id, region_name
        )

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        cloudwatch_backends[account_id][region_name].delete_alarms([resource_name])


class MadeTopicPolicy(CloudFormationModel):
    """The policy that a stack gives to topics. It goes with them."""

    def __init__(self, name: str) -> None:
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SNS::TopicPolicy"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> "MadeTopicPolicy":
        given = cloudformation_json["Properties"]
        policy = json.dumps(given["PolicyDocument"], default=str)
        for topic in given["Topics"]:
            backend = sns_backends[account_id][region_name]
            backend.set_topic_attribute(topic, "Policy", policy)
        return cls(resource_name)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> "MadeTopicPolicy":
        return cls.create_from_cloudformation_json(
            new_resource_name, cloudformation_json, account_id, region_name
        )

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        """Nothing: a topic's policy can't be deleted, and the stack's topics are going too."""
