"""The roles of infra/roles.yaml allow what the notebooks call, each statement is needed, and more
is not allowed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from byoc import policies
from byoc.connect import local_variables
from byoc.local import daemon, service_reference
from byoc.local import policies as engine
from byoc.local.options import Options

ROOT = Path(__file__).parents[2]
CALLS = policies.load()
WHERE = policies.variables("000012345678", "eu-west-1", "birds")
DOCUMENTS = policies.filled(policies.policies(CALLS), WHERE)
ACCOUNT = "arn:aws:{}:eu-west-1:000012345678:"
STATEMENTS = [
    (role, number) for role, found in DOCUMENTS.items() for number in range(len(found["Statement"]))
]


def named(pair):
    role, number = pair
    return f"{role}-{DOCUMENTS[role]['Statement'][number]['Sid']}"


def refused(role, document):
    """The calls of the role, with real names, that the policy does not allow."""
    return [
        call
        for call in CALLS
        if call.of(role)
        and decision(
            document,
            call.action,
            policies.filled(call.resource, WHERE),
            dict(policies.filled(list(call.conditions), WHERE)),
        )
        != engine.ALLOWED
    ]


def decision(document, action, resource="*", values=None):
    return engine.decide([document], action, resource, values or {})


@pytest.mark.parametrize("role", policies.ROLES)
def test_all_that_the_notebooks_call_is_allowed(role):
    assert any(call.of(role) for call in CALLS)
    assert refused(role, DOCUMENTS[role]) == []


@pytest.mark.parametrize("pair", STATEMENTS, ids=named)
def test_without_any_one_statement_a_notebook_fails(pair):
    role, number = pair
    statements = DOCUMENTS[role]["Statement"]
    rest = {"Statement": statements[:number] + statements[number + 1 :]}
    stopped = {call.notebook for call in refused(role, rest)}
    assert stopped
    assert all((ROOT / f"notebooks/{name}.ipynb").is_file() for name in stopped)


@pytest.mark.parametrize("pair", STATEMENTS, ids=named)
def test_without_any_one_action_or_resource_a_notebook_fails(pair):
    role, number = pair
    statements = DOCUMENTS[role]["Statement"]
    statement = statements[number]
    for element in ("Action", "Resource"):
        for one in statement[element]:
            left = [other for other in statement[element] if other != one]
            less = [{**statement, element: left}] if left else []
            document = {"Statement": statements[:number] + less + statements[number + 1 :]}
            assert refused(role, document), one


@pytest.mark.parametrize(
    ("role", "action", "resource", "values"),
    [
        ("builder", "sagemaker:CreateEndpoint", ACCOUNT.format("sagemaker") + "endpoint/birds", {}),
        ("builder", "iam:CreateUser", "*", {}),
        ("builder", "iam:PassRole", "arn:aws:iam::000012345678:role/admin", {}),
        ("builder", "ecr:PutImage", ACCOUNT.format("ecr") + "repository/other", {}),
        (
            "builder",
            "sagemaker:CreateTrainingJob",
            ACCOUNT.format("sagemaker") + "training-job/birds-x",
            {"aws:RequestTag/project": "other"},
        ),
        (
            "builder",
            "iam:PassRole",
            "arn:aws:iam::000012345678:role/birds-execution-eu-west-1",
            {"iam:PassedToService": "lambda.amazonaws.com"},
        ),
        ("deployer", "ecr:PutImage", ACCOUNT.format("ecr") + "repository/birds", {}),
        ("deployer", "cloudformation:CreateStack", "*", {}),
        ("deployer", "sagemaker:DeleteEndpoint", ACCOUNT.format("sagemaker") + "endpoint/b", {}),
        ("reader", "s3:GetObject", "arn:aws:s3:::sagemaker-birds-000012345678-eu-west-1/x/y", {}),
        ("reader", "sagemaker:InvokeEndpoint", ACCOUNT.format("sagemaker") + "endpoint/birds", {}),
        ("narrow-execution", "s3:PutObject", "arn:aws:s3:::other/jobs/x", {}),
        ("narrow-execution", "sagemaker:CreateTrainingJob", "*", {}),
        ("narrow-execution", "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "Mine"}),
    ],
)
def test_more_is_not_allowed(role, action, resource, values):
    assert decision(DOCUMENTS[role], action, resource, values) == engine.IMPLICIT_DENY


def test_the_reader_changes_nothing():
    for statement in DOCUMENTS["reader"]["Statement"]:
        for action in statement["Action"]:
            assert service_reference.level(action) in ("List", "Read"), action


def test_the_execution_role_of_the_book_allows_at_least_what_the_narrow_one_does(own_stack):
    assert refused("narrow-execution", own_stack) == []


@pytest.fixture(scope="module")
def own_stack():
    """The policy of infra/template.yaml's role, with values for its variables."""
    yaml = pytest.importorskip("yaml")

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, tag, node: node.value)
    content = yaml.load((ROOT / "infra/template.yaml").read_text(), Loader)
    (inline,) = content["Resources"]["ExecutionRole"]["Properties"]["Policies"]
    return policies.filled(json.loads(json.dumps(inline["PolicyDocument"], default=str)), WHERE)


def test_the_file_is_what_the_calls_make():
    assert (ROOT / "infra/roles.yaml").read_text() == policies.template(CALLS)


def test_names_and_times_are_left_out():
    line = {
        "application": "03-training",
        "principal": "arn:aws:iam::123456789012:root",
        "action": "sagemaker:DescribeTrainingJob",
        "resource": "arn:aws:sagemaker:us-east-1:123456789012:training-job/p-x-20261123101500",
        "conditions": {"aws:RequestTag/project": "p", "aws:TagKeys": ["project"]},
        "allowed": True,
    }
    other = {**line, "application": "12-cleanup"}
    lines = [json.dumps(one) for one in (line, line, other)]
    (call,) = policies.read(lines, "123456789012", "us-east-1", "p")
    assert call.resource == (
        "arn:${AWS::Partition}:sagemaker:${AWS::Region}:${AWS::AccountId}:"
        "training-job/${Project}-x-00000000000000"
    )
    assert call.conditions == (("aws:RequestTag/project", "${Project}"),)
    (statement,) = policies.policy([call])["Statement"]
    assert statement["Sid"] == "DescribeTrainingJob"
    assert statement["Resource"][0].endswith(":training-job/${Project}-*")


@pytest.mark.timeout(1800)
def test_the_notebooks_pass_with_these_roles_and_fail_without(tmp_path, monkeypatch, own_stack):
    """Under iam=enforce, in the roles' own sessions; a chapter in a wrong role is refused. The
    execution role has the narrow policy, and what the SDK asks a role for though nobody uses it."""
    home = {"BYOC_HOME": str(tmp_path / "home"), "BYOC_ENGINE": "process"}
    for name, value in home.items():
        monkeypatch.setenv(name, value)
    url = daemon.up(options=Options(iam="enforce")).url
    try:
        root = {**os.environ, **local_variables(url, "123456789012", "us-east-1")}
        root.pop("AWS_SESSION_TOKEN", None)
        mine = {"endpoint_url": url, "region_name": "us-east-1"}
        mine |= {"aws_access_key_id": "123456789012", "aws_secret_access_key": "local"}
        for name, stack in (("template", "byoc-penguins"), ("roles", "byoc-penguins-roles")):
            boto3.client("cloudformation", **mine).create_stack(
                StackName=stack,
                TemplateBody=(ROOT / f"infra/{name}.yaml").read_text(),
                Parameters=[{"ParameterKey": "Project", "ParameterValue": "byoc-penguins"}],
                Capabilities=["CAPABILITY_NAMED_IAM"],
                Tags=[{"Key": "project", "Value": "byoc-penguins"}],
            )
        here = policies.variables("123456789012", "us-east-1", "byoc-penguins")
        narrow = policies.filled(policies.policies(CALLS)["narrow-execution"], here)
        of_sdk = ("AttachToAVpc", "WriteMetrics")  # it asks without conditions
        narrow["Statement"] += [s for s in own_stack["Statement"] if s["Sid"] in of_sdk]
        boto3.client("iam", **mine).put_role_policy(
            RoleName="byoc-penguins-execution-us-east-1",
            PolicyName="run-the-container",
            PolicyDocument=json.dumps(narrow),
        )
        assert "AccessDenied" in run("reader", root, tmp_path, "02", fails=True)
        run("builder", root, tmp_path, "01", "02", "03")
        assert "AccessDenied" in run("builder", root, tmp_path, "04", fails=True)
        run("deployer", root, tmp_path, "04", "05", "07")
    finally:
        daemon.down()


def run(role, environment, folder, *chapters, fails=False):
    """`byoc run` of the chapters in a shell that has taken on the role; what it says."""
    found = [path for c in chapters for path in (ROOT / "notebooks").glob(f"{c}-*.ipynb")]
    byoc = f"{sys.executable} -m byoc.cli"
    command = f'eval "$({byoc} env --role byoc-penguins-{role}-us-east-1)" && {byoc} run --output '
    command += f"{folder}/{role} {' '.join(map(str, found))}"
    done = subprocess.run(
        ["sh", "-c", command], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode != 0) == fails, done.stderr[-3000:]
    return done.stderr
