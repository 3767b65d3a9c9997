"""A container's output delivered to CloudWatch Logs."""

import pytest

from byoc.local.logs import LogStream


def test_lines_arrive_whole_and_in_order(cloud):
    lines = ["first", "", "é" * 10, "x" * 300_000, *map(str, range(700)), "last"]
    heard = []
    LogStream(cloud.client("logs"), "/group", "a/stream").follow(lines, heard.append)
    found = cloud.log("/group")
    assert heard == lines
    assert found[:3] == ["first", " ", "é" * 10]  # CloudWatch takes no empty message
    assert found[3] == "x" * 200_000
    assert found[4:] == lines[4:]


def test_a_stream_exists_even_when_nothing_is_printed(cloud):
    logs = cloud.client("logs")
    for name in ("one", "two"):  # the group is there already for the second
        LogStream(logs, "/group", name).follow([])
    streams = logs.describe_log_streams(logGroupName="/group")["logStreams"]
    assert [s["logStreamName"] for s in streams] == ["one", "two"]


def test_lines_are_delivered_before_the_next_is_written(cloud, until):
    def lines():
        yield "first"
        until(lambda: cloud.log("/group") == ["first"])
        yield "second"

    LogStream(cloud.client("logs"), "/group", "s").follow(lines())
    assert cloud.log("/group") == ["first", "second"]


@pytest.mark.filterwarnings("error")
def test_a_log_group_that_is_deleted_meanwhile_does_no_harm(cloud):
    logs = cloud.client("logs")
    stream = LogStream(logs, "/group", "s")
    logs.delete_log_group(logGroupName="/group")
    stream.follow(["lost"])
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        cloud.log("/group")
