"""The registry's own process: started when it is needed, and never left behind."""

import json
import os
import signal

import psutil
import pytest
import urllib3

from byoc.local import LocalAWS, daemon, distribution
from byoc.local.options import Options

PATIENCE = 60.0  # seconds


@pytest.fixture
def own_home(tmp_path, monkeypatch, environment):
    """A user on whose machine no local AWS runs; what the test starts is stopped."""
    monkeypatch.setenv("BYOC_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    daemon.down()


def processes(work):
    """The registries that work in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if "serve" in words and any(str(work) in word for word in words):
                found.append(process)
        except psutil.Error:
            continue
    return found


class Account:
    """What a registry client needs to know of a `LocalAWS`."""

    def __init__(self, aws):
        self.url, self.account, self.region = aws.url, aws.account_id, aws.region
        self.client = aws.client


def test_it_starts_when_it_is_asked_and_ends_with_the_local_aws(registry_client):
    with LocalAWS() as aws:
        client, work = registry_client(Account(aws)), aws.work
        aws.client("ecr").create_repository(repositoryName="repo")
        client.password, good = "wrong", client.password
        assert client.ask("GET", "").status == 400
        assert not (work / "registry").exists()
        client.password = good
        assert client.ask("GET", "").status == 200
        (process,) = processes(work)
        listening = {c.laddr.ip for c in process.net_connections() if c.status == "LISTEN"}
        assert listening == {"127.0.0.1"}
    assert not process.is_running()
    assert not work.exists()


def test_one_that_dies_is_started_again(registry_client, until):
    with LocalAWS() as aws:
        client = registry_client(Account(aws))
        aws.client("ecr").create_repository(repositoryName="repo")
        name = f"{client.host}/repo"
        digest = client.send(name, b"layer")
        (process,) = processes(aws.work)
        process.kill()
        until(lambda: client.ask("GET", f"{name}/blobs/{digest}").data == b"layer")
        assert len(processes(aws.work)) == 1


def test_it_does_not_outlive_a_killed_local_aws(registry_client):
    with LocalAWS() as aws:
        client, work = registry_client(Account(aws)), aws.work
        assert client.ask("GET", "").status == 200
        os.kill(aws.pid, signal.SIGKILL)
    assert processes(work) == []


def test_after_a_kill_the_next_up_ends_it(own_home, registry_client, open_cloud, account):
    client = registry_client(open_cloud(account))
    assert client.ask("GET", "").status == 200
    (left,) = processes(own_home)
    first = psutil.Process(daemon.status().pid)
    first.kill()
    psutil.wait_procs([first], PATIENCE)
    assert left.is_running()
    daemon.up()
    assert not left.is_running()


def test_what_was_pushed_is_kept(own_home, registry_client, open_cloud, account):
    cloud = open_cloud(account)
    client = registry_client(cloud)
    cloud.client("ecr").create_repository(repositoryName="repo")
    name = f"{client.host}/repo"
    manifest = client.manifest(name, b"layer")
    layer = json.loads(manifest)["layers"][0]["digest"]
    client.put(name, "1", manifest)
    for _ in range(2):
        assert daemon.down(keep=True)
        again = registry_client(open_cloud(account))
        assert again.ask("GET", f"{name}/manifests/1").data == manifest
        assert again.ask("GET", f"{name}/blobs/{layer}").data == b"layer"
    killed = psutil.Process(daemon.status().pid)
    killed.kill()  # what was kept is there all the same
    psutil.wait_procs([killed], PATIENCE)
    again = registry_client(open_cloud(account))
    assert again.ask("GET", f"{name}/blobs/{layer}").data == b"layer"
    assert daemon.down()
    assert [file.name for file in own_home.iterdir() if "aws." in file.name] == [
        "local-aws.lock",
        "local-aws.log",
    ]


def test_a_limit_to_the_disk_is_kept(registry_client):
    with LocalAWS(options=Options(disk=0.001)) as aws:
        client = registry_client(Account(aws))
        aws.client("ecr").create_repository(repositoryName="repo")
        name = f"{client.host}/repo"
        client.send(name, os.urandom(2**21))
        refused = client.ask("POST", f"{name}/blobs/uploads/")
        assert refused.status == 403
        assert b"Insufficient disk space" in refused.data


def without(tmp_path, monkeypatch, program=None):
    """A PATH on which there is nothing, or a program that is taken for the registry."""
    folder = tmp_path / "bin"
    folder.mkdir()
    if program is not None:
        (folder / "docker-registry").write_text(program)
        (folder / "docker-registry").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}")


@pytest.mark.parametrize("program", [None, "#!/bin/sh\necho it can not >&2\n"])
def test_without_one_the_answer_says_what_to_do(
    own_home, open_cloud, account, tmp_path, monkeypatch, registry_class, program
):
    without(tmp_path, monkeypatch, program)
    cloud = open_cloud(account)
    client = registry_class(cloud)
    said = distribution.MISSING if program is None else "The registry did not start: it can not"
    for path in ("", f"{client.host}/repo/tags/list"):
        answer = client.ask("GET", path)
        assert (answer.status, said in answer.reason) == (503, True), answer.reason
        assert said in json.loads(answer.data)["errors"][0]["message"]
    assert urllib3.request("GET", f"{cloud.url}/v2/").status == 401
    cloud.client("ecr").create_repository(repositoryName="repo")
    manifest = json.dumps({"schemaVersion": 2, "mediaType": client.manifest_type})
    cloud.client("ecr").put_image(repositoryName="repo", imageManifest=manifest, imageTag="1")
