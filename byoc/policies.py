"""Least privilege from what was really called: `python -m byoc.policies CALLS` writes infra/.

CALLS is the file `local-aws.calls` that `byoc up --option iam=record` keeps. What the notebooks ask
for goes, without the names of one account, into infra/calls.jsonl; the policies that allow this
and no more go into infra/roles.yaml.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

INFRA = Path(__file__).parents[1] / "infra"
BUCKET = "sagemaker-${Project}-${AWS::AccountId}-${AWS::Region}"
PERSON, EXECUTION = "person", "execution"
# Who runs which chapters. The administrator makes the stacks and cleans up.
# Chapters 6 and 8 have not been recorded; 8 makes a stack, which is the administrator's.
CHAPTERS = {"builder": ("01", "02", "03"), "deployer": ("04", "05", "07")}
ROLES = {
    "builder": "builds, pushes and trains: chapters 1 to 3",
    "deployer": "deploys, tunes and releases: chapters 4, 5 and 7",
    "reader": "looks, and changes nothing",
    "narrow-execution": "what SageMaker does for the notebooks' jobs and endpoints",
}
LOOKS = re.compile(r"(?!s3:)[a-z0-9-]+:(Describe|List)\w+")
KEPT = ("aws:RequestTag/project", "iam:PassedToService", "s3:prefix", "cloudwatch:namespace")
NUMBERS = re.compile(r"\d{3,}(-[0-9a-f]{8}$)?")  # times and numbers in names; a trial's suffix


@dataclass(frozen=True, order=True)
class Call:
    """One thing that a notebook asked for, itself or through its execution role.

    The resource has CloudFormation's variables for partition, region, account and project.
    """

    notebook: str
    by: str
    action: str
    resource: str
    conditions: tuple[tuple[str, str], ...] = ()

    def of(self, role: str) -> bool:
        """Whether the role is to allow this."""
        if role == "narrow-execution":
            return self.by == EXECUTION
        if role == "reader":
            return self.by == PERSON and LOOKS.fullmatch(self.action) is not None
        return self.by == PERSON and self.notebook[:2] in CHAPTERS[role]


def read(lines: Iterable[str], account: str, region: str, project: str) -> list[Call]:
    """The calls of the chapters in the lines of `local-aws.calls`, each once, without the names of
    this account and the times in names."""
    names = [(account, "${AWS::AccountId}"), (region, "${AWS::Region}"), (project, "${Project}")]

    def general(text: str) -> str:
        for value, variable in names:
            text = text.replace(value, variable)
        text = re.sub("^arn:aws[a-z-]*:", "arn:${AWS::Partition}:", text)
        return NUMBERS.sub(lambda match: re.sub("[0-9a-f]", "0", match[0]), text)

    found = set()
    for line in lines:
        row = json.loads(line)
        if not any(row["application"][:2] in chapters for chapters in CHAPTERS.values()):
            continue
        by = EXECUTION if ":role/" in row["principal"] else PERSON
        kept = [(key, row["conditions"][key]) for key in KEPT if key in row["conditions"]]
        told = tuple((key, general(str(value))) for key, value in kept)
        found.add(Call(row["application"], by, row["action"], general(row["resource"]), told))
    return sorted(found)


def load(file: Path = INFRA / "calls.jsonl") -> list[Call]:
    """The calls that are kept in the repository."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [Call(**{**row, "conditions": tuple(map(tuple, row["conditions"]))}) for row in rows]


def policy(calls: Iterable[Call]) -> dict[str, Any]:
    """A policy that allows the calls, and others of the project that differ by a number or the
    rest of a name; actions on the same resources share a statement."""
    by_action: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_action[call.action].append(call)
    together: dict[str, list[str]] = defaultdict(list)
    for action, found in sorted(by_action.items()):
        rest: dict[str, Any] = {"Resource": sorted({_pattern(call.resource) for call in found})}
        if condition := _condition(action, found):
            rest["Condition"] = condition
        together[json.dumps(rest)].append(action)
    statements = []
    taken: set[str] = set()
    for text, actions in sorted(together.items(), key=lambda item: item[1]):
        rest = json.loads(text)
        sid = _sid(actions, rest, taken)
        statements.append({"Sid": sid, "Effect": "Allow", "Action": actions, **rest})
    return {"Version": "2012-10-17", "Statement": statements}


def policies(calls: Iterable[Call]) -> dict[str, dict[str, Any]]:
    """The policy of each role."""
    known = list(calls)
    return {role: policy(call for call in known if call.of(role)) for role in ROLES}


def filled(value: Any, variables: Mapping[str, str]) -> Any:
    """A policy, or a part of one, with values for CloudFormation's variables."""
    text = json.dumps(value)
    for name, one in variables.items():
        text = text.replace(f"${{{name}}}", one)
    return json.loads(text)


def variables(account: str, region: str, project: str, partition: str = "aws") -> dict[str, str]:
    """What CloudFormation fills in."""
    return {
        "AWS::AccountId": account,
        "AWS::Region": region,
        "AWS::Partition": partition,
        "Project": project,
    }


def template(calls: Iterable[Call]) -> str:
    """infra/roles.yaml."""
    resources = {
        "".join(word.capitalize() for word in role.split("-")): _role(role, document)
        for role, document in policies(calls).items()
    }
    content = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Roles that allow what the notebooks call, and no more.",
        "Parameters": {
            "Project": {
                "Type": "String",
                "AllowedPattern": "[a-z][a-z0-9]*(-[a-z0-9]+)*",
                "MaxLength": 24,
                "Description": "The name that everything carries.",
            }
        },
        "Resources": resources,
    }
    first = (
        "# Written by `python -m byoc.policies` from infra/calls.jsonl: don't edit it by hand.\n"
    )
    return first + "\n".join(_yaml(content)) + "\n"


def _role(name: str, document: dict[str, Any]) -> dict[str, Any]:
    if name == "narrow-execution":
        principal = {"Service": "sagemaker.amazonaws.com"}
    else:
        principal = {"AWS": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}
    trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": f"${{Project}}-{name}-${{AWS::Region}}",
            "Description": ROLES[name],
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
            "Policies": [{"PolicyName": "what-the-notebooks-call", "PolicyDocument": document}],
            "Tags": [{"Key": "project", "Value": "${Project}"}],
        },
    }


def _pattern(resource: str) -> str:
    """The resource with a star for what varies from run to run."""
    if resource == "*":
        return resource
    *place, name = resource.replace("AWS::", "AWS\0").split(":", 5)
    if place[2] == "s3":
        bucket, slash, key = name.partition("/")
        name = f"{bucket}{slash}" + (f"{key.partition('/')[0]}/*" if "/" in key else key)
    elif place[2] == "logs":
        group, _, stream = name.partition(":log-stream:")
        group = re.sub(r"(\$\{Project\})-.*", r"\1-*", group)
        jobs = group.endswith("Jobs") and stream  # of all projects in one group
        name = f"{group}:" + ("log-stream:${Project}-*" if jobs else "*")
    elif place[2] != "iam":
        name = re.sub(r"(\$\{Project\})([-/]).*", r"\1\2*", name)
    return ":".join([*place, name]).replace("AWS\0", "AWS::")


def _condition(action: str, calls: list[Call]) -> dict[str, Any]:
    """What all calls of the action have in common."""
    rows = [dict(call.conditions) for call in calls]

    def values(key: str) -> list[str]:
        found = {row.get(key, "") for row in rows}
        return [] if "" in found else sorted(found)

    tag = values("aws:RequestTag/project")
    if tag == ["${Project}"]:
        return {"StringEquals": {"aws:RequestTag/project": tag}}
    for key in ("iam:PassedToService", "cloudwatch:namespace"):
        if found := values(key):
            return {"StringEquals": {key: found}}
    if action == "s3:ListBucket" and (found := values("s3:prefix")):
        return {"StringLike": {"s3:prefix": sorted({f"{p.partition('/')[0]}/*" for p in found})}}
    return {}


def _sid(actions: list[str], rest: dict[str, Any], taken: set[str]) -> str:
    """A name for a statement: its action, or if there are several what they are about."""
    service, first = actions[0].split(":")
    name = rest["Resource"][0].replace("AWS::", "").split(":", 5)[-1]
    kind = {"s3": "object", "logs": "log"}.get(service) or re.split("[/:]", name)[0]
    kind = "any" if kind == "*" else kind
    new = "New" if "RequestTag" in json.dumps(rest) else ""
    words = [first] if len(actions) == 1 else [new, service, *kind.split("-")]
    base = "".join(word[:1].upper() + word[1:] for word in words)
    sid, number = base, 1
    while sid in taken:
        number += 1
        sid = f"{base}{number}"
    taken.add(sid)
    return sid


def _yaml(value: Any, indent: str = "") -> list[str]:
    """YAML of mappings, lists and texts; a text with a variable in it is a !Sub."""
    lines = []
    for key, member in value.items() if isinstance(value, dict) else enumerate(value):
        mark = f"{indent}{key}:" if isinstance(value, dict) else f"{indent}-"
        if not isinstance(member, dict | list):
            lines.append(f"{mark} {_scalar(member)}")
        elif isinstance(value, dict):
            lines += [mark, *_yaml(member, f"{indent}  ")]
        else:
            first, *others = _yaml(member, f"{indent}  ")
            lines += [f"{mark} {first.lstrip()}", *others]
    return lines


def _scalar(value: Any) -> str:
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w:/.*-]*(?<!:)", value)
    text = value if plain else json.dumps(value)
    return f"!Sub {text}" if "${" in text else text


def main(file: Path, account: str, region: str, project: str) -> None:
    """Write infra/calls.jsonl and infra/roles.yaml."""
    calls = read(file.read_text().splitlines(), account, region, project)
    rows = "".join(json.dumps(asdict(call)) + "\n" for call in calls)
    (INFRA / "calls.jsonl").write_text(rows)
    (INFRA / "roles.yaml").write_text(template(calls))


if __name__ == "__main__":
    main(Path(sys.argv[1]), "123456789012", "us-east-1", "byoc-penguins")
