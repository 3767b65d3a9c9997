"""Passwords of the registry: nobody makes one but the local AWS."""

import base64
import json

import pytest

from byoc.local import tokens

ARNS = ("arn:aws:iam::123456789012:root",)


def test_a_password_says_whose_it_is():
    password = tokens.issue("123456789012", "eu-west-1", ARNS)
    holder = tokens.holder("AWS", password)
    assert (holder.account, holder.region, holder.arns) == ("123456789012", "eu-west-1", ARNS)
    assert not holder.expired
    assert tokens.holder("AWS", tokens.issue("123456789012", "eu-west-1", ARNS, -1)).expired
    assert password != tokens.issue("123456789012", "us-east-1", ARNS)


def test_a_password_that_was_changed_is_nobodys():
    password = tokens.issue("123456789012", "eu-west-1", ARNS)
    content, _, seal = password.rpartition(".")
    known = json.loads(base64.urlsafe_b64decode(content))
    other = base64.urlsafe_b64encode(json.dumps({**known, "account": "2"}).encode()).decode()
    for forged in (f"{other}.{seal}", f"{content}.", content, f"{password}0", "é.ö", "", "."):
        assert tokens.holder("AWS", forged) is None


@pytest.mark.parametrize("user", ["", "aws", "root", "AWS "])
def test_the_user_is_always_called_aws(user):
    assert tokens.holder(user, tokens.issue("123456789012", "eu-west-1", ARNS)) is None
