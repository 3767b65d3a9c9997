"""The tables of the local SageMaker, and what List operations make of them."""

import datetime as dt

import pytest

from byoc.local.errors import AWSError
from byoc.local.state import Resource, State, page, tags_of

DAY = dt.timedelta(days=1)
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def rows():
    """Five things, one a day; every second one is Done."""
    return [
        Resource(
            name,
            f"arn:{name}",
            {
                "ThingName": name,
                "ThingStatus": "Done" if n % 2 else "Doing",
                "CreationTime": START + n * DAY,
                "LastModifiedTime": START + (n + 10) * DAY,
            },
        )
        for n, name in enumerate(["delta", "Alpha", "echo", "bravo", "charlie"])
    ]


@pytest.fixture
def names(rows):
    def ask(**request):
        answer = page(
            request, rows, "Things", lambda r: r.data, name="ThingName", status="ThingStatus"
        )
        return [row["ThingName"] for row in answer["Things"]]

    return ask


@pytest.mark.parametrize(
    ("request_members", "expected"),
    [
        ({}, "charlie bravo echo Alpha delta"),
        ({"SortOrder": "Ascending"}, "delta Alpha echo bravo charlie"),
        ({"SortBy": "CreationTime", "SortOrder": "Ascending"}, "delta Alpha echo bravo charlie"),
        ({"SortBy": "Name", "SortOrder": "Ascending"}, "Alpha bravo charlie delta echo"),
        ({"SortBy": "Status", "SortOrder": "Ascending"}, "delta echo charlie Alpha bravo"),
        ({"OrderKey": "Ascending"}, "delta Alpha echo bravo charlie"),  # ListEndpointConfigs
        ({"NameContains": "ha"}, "charlie Alpha"),
        ({"NameContains": "ALPHA"}, "Alpha"),
        ({"StatusEquals": "Done"}, "bravo Alpha"),
        ({"CreationTimeAfter": START + 3 * DAY}, "charlie"),
        ({"CreationTimeBefore": START + DAY}, "delta"),
        ({"LastModifiedTimeAfter": START + 13 * DAY}, "charlie"),
        ({"LastModifiedTimeBefore": START + 11 * DAY}, "delta"),
        ({"NameContains": "nobody"}, ""),
        ({"MaxResults": 2}, "charlie bravo"),
    ],
)
def test_filters_and_orders(names, request_members, expected):
    assert names(**request_members) == expected.split()


def test_pages_hold_everything_once(rows):
    seen, request = [], {"MaxResults": 2}
    while True:
        answer = page(request, rows, "Things", lambda r: r.data, name="ThingName")
        seen += [row["ThingName"] for row in answer["Things"]]
        if "NextToken" not in answer:
            break
        request["NextToken"] = answer["NextToken"]
    assert sorted(seen) == sorted(r.name for r in rows)


@pytest.mark.parametrize("token", ["", "-1", "x", "1.5", "²"])
def test_a_token_that_was_never_given_out(rows, token):
    with pytest.raises(AWSError, match="NextToken"):
        page({"NextToken": token}, rows, "Things", lambda r: r.data, name="ThingName")


def test_tables_are_apart_by_account_region_and_kind():
    state = State()
    keys = [(a, r, k) for a in ("1", "2") for r in ("x", "y") for k in ("model", "endpoint")]
    for key in keys:
        state.table(*key)["same"] = Resource("same", "arn:" + ":".join(key), {})
    assert all(len(state.table(*key)) == 1 for key in keys)
    assert len(state.everything()) == 8
    assert state.by_arn("arn:2:x:model") is state.table("2", "x", "model")["same"]
    assert state.by_arn("arn:3:x:model") is None


def test_tags_of_a_request():
    assert tags_of({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]}) == {
        "a": "1",
        "b": "",
    }
    assert tags_of({}) == {}
