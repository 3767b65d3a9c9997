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
        ({"CreationTimeAfter": START + 3 * DAY}, "charlie bravo"),
        ({"CreationTimeBefore": START + DAY}, "delta"),
        ({"LastModifiedTimeAfter": START + 13 * DAY}, "charlie"),
        ({"LastModifiedTimeBefore": START + 11 * DAY}, "delta"),
        ({"NameContains": "nobody"}, ""),
        ({"MaxResults": 2}, "charlie bravo"),
        ({"MaxResults": 2, "StatusEquals": "Done"}, "bravo"),  # cut first, then filtered
        ({"MaxResults": 1, "NameContains": "bravo"}, ""),
    ],
)
def test_filters_and_orders(names, request_members, expected):
    assert names(**request_members) == expected.split()


@pytest.mark.parametrize("by", ["Name", "Status", "CreationTime"])
@pytest.mark.parametrize("order", ["Ascending", "Descending"])
@pytest.mark.parametrize("deleting", [False, True])
def test_pages_hold_everything_once(rows, by, order, deleting):
    request = {"MaxResults": 2, "SortBy": by, "SortOrder": order}
    expected, seen = sorted(r.name for r in rows), []
    while True:
        answer = page(
            request, rows, "Things", lambda r: r.data, name="ThingName", status="ThingStatus"
        )
        found = [row["ThingName"] for row in answer["Things"]]
        seen += found
        if deleting:
            rows = [row for row in rows if row.name not in found]
        if "NextToken" not in answer:
            break
        request["NextToken"] = answer["NextToken"]
    assert sorted(seen) == expected


def test_ten_are_a_page_when_nothing_is_said(rows):
    many = [Resource(f"{n}", "", {"ThingName": f"{n}", "CreationTime": START}) for n in range(11)]
    answer = page({}, many, "Things", lambda r: r.data, name="ThingName")
    assert len(answer["Things"]) == 10
    assert "NextToken" in answer


def test_jobs_created_at_that_moment_are_not_after_it(rows):
    request = {"CreationTimeAfter": START + 3 * DAY}
    found = page(
        request, rows, "Jobs", lambda r: r.data, name="ThingName", created_after_includes=False
    )
    assert [row["ThingName"] for row in found["Jobs"]] == ["charlie"]


@pytest.mark.parametrize("token", ["", "-1", "x", "1", "9" * 5000, "²", "bnVsbA==", "W1tdLFtdXQ=="])
def test_a_token_that_was_never_given_out(rows, token):
    with pytest.raises(AWSError, match="NextToken"):
        page({"NextToken": token}, rows, "Things", lambda r: r.data, name="ThingName")


def test_a_token_of_another_operation_or_order(rows):
    token = page({"MaxResults": 1}, rows, "Things", lambda r: r.data, name="ThingName")["NextToken"]
    for member, more in (("Others", {}), ("Things", {"SortOrder": "Ascending"})):
        with pytest.raises(AWSError, match="NextToken"):
            page({"NextToken": token, **more}, rows, member, lambda r: r.data, name="ThingName")


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
