"""The CloudFormation templates, by the tools that others use on theirs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cloudsplaining.scan.policy_document import PolicyDocument

from byoc import policies

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "infra").glob("*.yaml"))
WHERE = policies.variables("123456789012", "us-east-1", "byoc-penguins")
DOCUMENTS = policies.filled(policies.policies(policies.load()), WHERE)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_cfn_lint_finds_nothing(path):
    command = [Path(sys.executable).with_name("cfn-lint"), path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("role", DOCUMENTS)
def test_cloudsplaining_finds_nothing_that_is_not_bound(role):
    found = PolicyDocument(DOCUMENTS[role])
    assert found.allows_privilege_escalation == []
    assert found.permissions_management_without_constraints == []
    assert found.write_actions_without_constraints == []
    assert found.allows_data_exfiltration_actions == []
    assert found.credentials_exposure in ([], ["ecr:GetAuthorizationToken"])
    assert found.infrastructure_modification in ([], ["cloudwatch:PutMetricData"])


def test_cloudsplaining_would_find_what_is_too_wide():
    wide = {"Effect": "Allow", "Action": ["iam:PassRole", "s3:GetObject"], "Resource": "*"}
    found = PolicyDocument({"Version": "2012-10-17", "Statement": [wide]})
    assert found.allows_data_exfiltration_actions
    assert found.permissions_management_without_constraints


@pytest.mark.parametrize("role", DOCUMENTS)
def test_a_policy_is_within_iams_limit(role):
    """10,240 characters for a role's inline policies, without white space. Source: IAM quotas."""
    assert len(re.sub(r"\s", "", f"{DOCUMENTS[role]}")) < 10_240
