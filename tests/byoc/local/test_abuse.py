"""Requests that mean harm: the local AWS stays, and nobody reads, writes or runs what is not his.

Archives, keys and manifests that lead outside are in test_model_data.py, test_storage.py and
test_channels.py; what is merely wrong is in test_fuzzing.py.
"""

import json
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
import urllib3
from botocore.exceptions import ClientError

from byoc.local import daemon

MANY = 2_000  # connections at a time


@pytest.fixture(autouse=True)
def unharmed(cloud):
    """The same server answers after each test, with the memory that it had."""
    before = daemon.status()
    process = psutil.Process(before.pid)
    held = process.memory_info().rss
    yield
    assert daemon.status() == before
    assert cloud.sagemaker.list_models()["Models"] == []
    assert process.memory_info().rss < 1.5 * held + 2**26


def scope(cloud, service):
    return (
        f"AWS4-HMAC-SHA256 Credential={cloud.account}/20261123/{cloud.region}/{service}"
        "/aws4_request, SignedHeaders=host, Signature=0"
    )


def ask(cloud, method, path, body=None, service="s3", **headers):
    """Status, headers and content of the answer to a request that no SDK would send."""
    given = {"Authorization": scope(cloud, service)}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    answer = urllib3.request(
        method, cloud.url + path, body=body, headers=given, retries=False, redirect=False
    )
    return answer.status, answer.headers, answer.data


def test_nobody_else_can_reach_it(cloud):
    """Also not by another address of this machine."""
    sockets = psutil.Process(daemon.status().pid).net_connections()
    listening = [s.laddr for s in sockets if s.status == psutil.CONN_LISTEN]
    assert {place.ip for place in listening} == {"127.0.0.1"}
    others = [a for rows in psutil.net_if_addrs().values() for a in rows]
    for other in (a.address for a in others if a.family == socket.AF_INET):
        if not other.startswith("127."):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((other, listening[0].port), timeout=2)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/moto-api/reset"),
        ("POST", "/%6doto-api/reset"),
        ("GET", "/moto-api/data.json"),
        ("POST", "/moto-api/recorder/start-recording"),
        ("POST", "/moto-api/recorder/upload-recording"),
        ("POST", "/moto-api/config"),
    ],
)
@pytest.mark.parametrize("signed", [True, False])
def test_motos_own_pages_are_closed(cloud, method, path, signed):
    """They forget all accounts, and write files into the server's folder."""
    uri = cloud.put("x", "1")
    headers = {} if signed else {"Authorization": ""}
    assert ask(cloud, method, path, b"x", **headers)[0] == 501
    assert cloud.get(uri) == b"1"
    assert not Path("/moto_recording").exists()


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
        b"Content-Length: 0, 5\r\n\r\n",
        b"Content-Length: +0\r\n\r\n",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 0x0\r\n\r\n",
        b"Content-Length : 0\r\n\r\n",
        b"X: a\r\n Content-Length: 5\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
        b"X: a\rContent-Length: 0\r\n\r\n",
        b"X: a\x00b\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=range(14),
)
def test_no_request_hides_in_another_ones_body(cloud, head):
    bucket = f"smuggled-{cloud.account}"
    inner = b"PUT /%s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: %s\r\nContent-Length: 0\r\n\r\n"
    inner = inner % (bucket.encode(), scope(cloud, "s3").encode())
    begin = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: %s\r\n"
    host, port = cloud.url.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        try:
            raw.sendall(begin % scope(cloud, "s3").encode() + head + inner)
            raw.settimeout(1)
            while part := raw.recv(65536):
                answer += part
        except OSError:
            pass
    names = [row["Name"] for row in cloud.client("s3").list_buckets()["Buckets"]]
    assert bucket not in names, answer


ENTITIES = b"".join(b'<!ENTITY %c "%s">' % (98 + n, (b"&%c;" % (97 + n)) * 10) for n in range(9))
BOMB = b'<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">%s]>' % ENTITIES
OUTSIDE = b'<!DOCTYPE l [<!ENTITY j SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("document", [BOMB, OUTSIDE], ids=["a bomb", "a file"])
@pytest.mark.parametrize(
    ("method", "query", "xml"),
    [
        (
            "PUT",
            "?tagging",
            b"<Tagging><TagSet><Tag><Key>k</Key><Value>&j;</Value></Tag></TagSet></Tagging>",
        ),
        ("POST", "?delete", b"<Delete><Object><Key>&j;</Key></Object></Delete>"),
        (
            "PUT",
            "",
            b"<CreateBucketConfiguration><LocationConstraint>&j;</LocationConstraint></CreateBucketConfiguration>",
        ),
    ],
)
def test_xml_does_not_swell_and_reads_no_file(cloud, document, method, query, xml):
    bucket = cloud.put("x", "1").split("/")[2]
    place = f"/{bucket}{query}" if query else f"/xml-{cloud.account}"
    started = time.monotonic()
    status, _, answer = ask(cloud, method, place, document + xml, Content_Type="text/xml")
    assert time.monotonic() - started < 10
    assert status >= 400 or b"root:" not in answer
    assert b"root:" not in ask(cloud, "GET", f"/{bucket}?tagging")[2]


@pytest.mark.parametrize(
    "name", ["response-content-disposition", "response-content-type", "response-cache-control"]
)
@pytest.mark.parametrize("end", ["%0d%0a", "%0a", "%0d", "%00"])
def test_no_header_comes_in_by_a_query(cloud, name, end):
    bucket = cloud.put("x", "1").split("/")[2]
    _, headers, _ = ask(cloud, "GET", f"/{bucket}/x?{name}=a{end}Set-Cookie:%20s=1{end}X:%20y")
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize(
    "value", ["$(touch MARK)", "; touch MARK", "`touch MARK`", "' & touch MARK"]
)
def test_what_a_job_is_given_is_never_a_command(cloud, toy, tmp_path, value):
    mark = tmp_path / "mark"
    value = value.replace("MARK", str(mark))
    program = "print(json.load(open(ml + '/input/config/hyperparameters.json'))['evil'] == WANT)"
    program = f"import json; ml = os.environ.get('SAGEMAKER_BASE_DIR', '/opt/ml'); {program}"
    job = cloud.train(
        toy,
        program.replace("WANT", repr(value)),
        hyperparameters={"evil": value},
        Environment={"EVIL": value},
    )
    assert job["TrainingJobStatus"] == "Completed", job
    assert cloud.log("/aws/sagemaker/TrainingJobs", job["TrainingJobName"]) == ["True"]
    assert not mark.exists()


@pytest.mark.parametrize(
    "uri", ["file:///etc", "http://127.0.0.1/x", "/etc/passwd", "s3://../etc/"]
)
def test_data_come_from_s3_alone(cloud, toy, uri):
    channel = cloud.channel("training", uri)
    with suppress(ClientError):  # as with any URI that is none of S3's
        failed = cloud.train(toy, "pass", InputDataConfig=[channel])
        assert failed["TrainingJobStatus"] == "Failed"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://127.0.0.1:1/x", "s3://b/k"])
def test_a_template_comes_from_s3_alone(cloud, url):
    with pytest.raises(ClientError) as caught:
        cloud.client("cloudformation").create_stack(StackName="s", TemplateURL=url)
    assert "root:" not in str(caught.value)


@pytest.mark.parametrize(
    "path",
    ["/v2/../../etc/passwd", "/v2/%2e%2e/%2e%2e/blobs/sha256:0", "/v2/..%2f..%2fx/tags/list"],
)
def test_the_registry_has_no_files(cloud, path):
    for method in ("GET", "PUT", "DELETE"):
        status, _, answer = ask(cloud, method, path, Authorization="Basic QVdTOng=")
        assert (status >= 400, b"root:" in answer) == (True, False)


@pytest.mark.parametrize(
    "body",
    [
        "[" * 500_000,
        '{"a":' * 200_000,
        json.dumps({"TrainingJobName": "x" * 5_000_000}),
        '{"MaxResults": ' + "9" * 500_000 + "}",
        json.dumps({f"k{n}": n for n in range(200_000)}),
        "\x00" * 1_000_000,
    ],
    ids=range(6),
)
def test_json_that_swells_is_answered_soon(cloud, body):
    started = time.monotonic()
    status, _, _ = ask(
        cloud,
        "POST",
        "/",
        body.encode(),
        "sagemaker",
        X_Amz_Target="SageMaker.ListTrainingJobs",
        Content_Type="application/x-amz-json-1.1",
    )
    assert status in (200, 400)
    assert time.monotonic() - started < 20


def test_thousands_of_connections(cloud):
    host, port = cloud.url.removeprefix("http://").split(":")
    with ExitStack() as opened:
        for _ in range(MANY):
            one = socket.create_connection((host, int(port)), timeout=60)
            opened.enter_context(one)
        assert cloud.sagemaker.list_models()["Models"] == []
