"""The registry of the local ECR: the protocol as any client speaks it, and Docker itself."""

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import urllib3

from byoc.local import tokens

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def error(answer):
    """The status, code and message of a refusal."""
    first, *_ = json.loads(answer.data)["errors"]
    return answer.status, first["code"], first["message"]


@pytest.fixture
def ecr(cloud):
    return cloud.client("ecr")


@pytest.fixture
def registry(cloud, registry_client):
    return registry_client(cloud)


@pytest.fixture
def repo(registry, ecr):
    """The full name of a repository that is there."""
    ecr.create_repository(repositoryName="team/repo")
    return f"{registry.host}/team/repo"


@pytest.fixture
def foreign(open_cloud, registry_client, other_account):
    """Another account's repository, its client, and a function that opens it."""
    other = open_cloud(other_account)
    client, ecr = registry_client(other), other.client("ecr")
    ecr.create_repository(repositoryName="theirs")

    def allow(principal, *actions):
        statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": list(actions)}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        ecr.set_repository_policy(repositoryName="theirs", policyText=policy)

    return f"{client.host}/theirs", client, allow


def test_only_the_password_that_ecr_gave_opens_it(registry):
    answer = registry.ask("GET", "")
    assert (answer.status, answer.data) == (200, b"{}")
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic \x7f="}):
        refused = urllib3.request("GET", f"{registry.url}/v2/", headers=headers)
        assert error(refused) == (401, "UNAUTHORIZED", "Not Authorized")
        realm = f'Basic realm="{registry.url}/",service="ecr.amazonaws.com"'
        assert refused.headers["WWW-Authenticate"] == realm
    good = registry.password
    for user, password in (("AWS", "x"), ("aws", good), ("AWS", good[:-1]), ("AWS", f"x{good}")):
        registry.user, registry.password = user, password
        assert registry.ask("GET", "").status == 400


def test_a_password_expires(impatient, registry_client):
    client = registry_client(impatient)
    client.password = tokens.issue(impatient.account, "us-east-1", ("arn:aws:iam::1:root",), -1)
    assert error(client.ask("GET", "")) == (
        403,
        "DENIED",
        "Your authorization token has expired. Reauthenticate and try again.",
    )


def test_a_password_is_for_one_region(cloud, open_cloud, registry, registry_client):
    other = open_cloud(cloud.account, "eu-west-1")
    other.client("ecr").create_repository(repositoryName="repo")
    name = f"{cloud.account}.dkr.ecr.eu-west-1.amazonaws.com/repo"
    status, code, message = error(registry.ask("GET", f"{name}/tags/list"))
    assert (status, code) == (400, "DENIED")
    assert "us-east-1, not eu-west-1" in message
    assert registry_client(other).ask("GET", f"{name}/tags/list").status == 200


def test_what_is_pushed_is_what_ecr_shows(cloud, ecr, registry, repo):
    layers = os.urandom(70_000), os.urandom(30_000)
    manifest = registry.manifest(repo, *layers)
    put = registry.put(repo, "1", manifest)
    digest = digest_of(manifest)
    assert put.status == 201
    assert put.headers["Docker-Content-Digest"] == digest
    assert put.headers["Location"] == f"/v2/{repo}/manifests/{digest}"
    (image,) = ecr.describe_images(repositoryName="team/repo")["imageDetails"]
    assert abs(image.pop("imagePushedAt").timestamp() - time.time()) < 600
    assert image == {
        "registryId": cloud.account,
        "repositoryName": "team/repo",
        "imageDigest": digest,
        "imageTags": ["1"],
        "imageSizeInBytes": 100_000,
        "imageManifestMediaType": registry.manifest_type,
        "artifactMediaType": registry.config_type,
    }
    for asked in ({"imageTag": "1"}, {"imageDigest": digest}):
        (found,) = ecr.batch_get_image(repositoryName="team/repo", imageIds=[asked])["images"]
        assert found["imageManifest"].encode() == manifest
    for reference in ("1", digest):
        pulled = registry.ask("GET", f"{repo}/manifests/{reference}")
        assert (pulled.status, pulled.data) == (200, manifest)
        assert pulled.headers["Content-Type"] == registry.manifest_type
        assert pulled.headers["Docker-Content-Digest"] == digest
        seen = registry.ask("HEAD", f"{repo}/manifests/{reference}")
        assert (seen.status, seen.headers["Content-Length"]) == (200, f"{len(manifest)}")
    assert registry.put(repo, "1", manifest).status == 201  # again
    assert registry.put(repo, "2", manifest).status == 201
    (image,) = ecr.describe_images(repositoryName="team/repo")["imageDetails"]
    assert image["imageTags"] == ["1", "2"]


def test_a_layer_comes_in_pieces_and_goes_whole_or_in_part(registry, repo):
    content = os.urandom(300_000)
    started = registry.ask("POST", f"{repo}/blobs/uploads/")
    assert started.status == 202
    place = started.headers["Location"]
    assert place.startswith(f"/v2/{repo}/blobs/uploads/")
    for part in (content[:100_000], content[100_000:]):
        pieces = (part[i : i + 9_999] for i in range(0, len(part), 9_999))  # sent chunked
        sent = registry.ask("PATCH", place.removeprefix("/v2/"), pieces)
        assert sent.status == 202
        place = sent.headers["Location"]
    progress = registry.ask("GET", place.removeprefix("/v2/"))
    assert (progress.status, progress.headers["Range"]) == (204, "0-299999")
    wrong = registry.ask("PUT", f"{place.removeprefix('/v2/')}&digest={digest_of(b'else')}")
    assert error(wrong)[:2] == (400, "DIGEST_INVALID")
    path = f"{repo}/blobs/{registry.send(repo, content)}"
    seen = registry.ask("HEAD", path)
    assert (seen.status, seen.headers["Content-Length"]) == (200, "300000")
    assert registry.ask("GET", path).data == content
    part = registry.ask("GET", path, Range="bytes=1000-1999")
    assert (part.status, part.data) == (206, content[1000:2000])
    cancelled = registry.ask("POST", f"{repo}/blobs/uploads/").headers["Location"]
    assert registry.ask("DELETE", cancelled.removeprefix("/v2/")).status == 204
    assert registry.ask("GET", cancelled.removeprefix("/v2/")).status == 404


def test_layers_are_available_once_they_have_come(ecr, registry, repo):
    digest, missing = registry.send(repo, b"layer"), digest_of(b"missing")
    answer = ecr.batch_check_layer_availability(
        repositoryName="team/repo", layerDigests=[digest, missing]
    )
    (layer,) = answer["layers"]
    assert (layer["layerAvailability"], layer["layerSize"]) == ("AVAILABLE", 5)
    (failure,) = answer["failures"]
    assert (failure["layerDigest"], failure["failureCode"]) == (missing, "MissingLayerDigest")


def test_layers_by_the_api_are_refused_not_pretended(ecr, repo):
    upload = {"repositoryName": "team/repo", "uploadId": "00000000-0000-4000-8000-000000000000"}
    for call, arguments in (
        (ecr.initiate_layer_upload, {"repositoryName": "team/repo"}),
        (
            ecr.upload_layer_part,
            {**upload, "partFirstByte": 0, "partLastByte": 0, "layerPartBlob": b"x"},
        ),
        (ecr.complete_layer_upload, {**upload, "layerDigests": [digest_of(b"x")]}),
        (
            ecr.get_download_url_for_layer,
            {"repositoryName": "team/repo", "layerDigest": digest_of(b"x")},
        ),
    ):
        with pytest.raises(ecr.exceptions.ClientError, match="does not implement"):
            call(**arguments)


def test_a_manifest_by_the_api_can_be_pulled(ecr, registry, repo):
    manifest = registry.manifest(repo, b"layer").decode()
    ecr.put_image(repositoryName="team/repo", imageManifest=manifest, imageTag="api")
    assert registry.ask("GET", f"{repo}/manifests/api").data.decode() == manifest


def test_a_manifest_needs_its_layers(ecr, registry, repo):
    there = json.loads(registry.manifest(repo, b"layer"))
    there["layers"][0]["digest"] = digest_of(b"missing")
    refused = registry.put(repo, "1", json.dumps(there).encode())
    assert error(refused)[:2] == (400, "MANIFEST_BLOB_UNKNOWN")
    assert ecr.list_images(repositoryName="team/repo")["imageIds"] == []


def test_a_repository_must_be_there(cloud, registry):
    name = f"{registry.host}/absent"
    for method, path in (("POST", "blobs/uploads/"), ("GET", "manifests/1"), ("GET", "tags/list")):
        assert error(registry.ask(method, f"{name}/{path}")) == (
            404,
            "NAME_UNKNOWN",
            "The repository with name 'absent' does not exist in the registry with id "
            f"'{cloud.account}'",
        )
    status, code, message = error(registry.ask("GET", "absent/tags/list"))
    assert (status, code) == (404, "NAME_UNKNOWN")
    assert "names begin with ACCOUNT.dkr.ecr" in message


@pytest.mark.parametrize(
    ("mutability", "filters", "tag", "moves"),
    [
        ("MUTABLE", [], "1", True),
        ("IMMUTABLE", [], "1", False),
        ("IMMUTABLE_WITH_EXCLUSION", ["dev-*"], "dev-1", True),
        ("IMMUTABLE_WITH_EXCLUSION", ["dev-*"], "1", False),
    ],
)
def test_immutable_tags(ecr, registry, repo, mutability, filters, tag, moves):
    exclusions = [{"filterType": "WILDCARD", "filter": text} for text in filters]
    members = {"imageTagMutabilityExclusionFilters": exclusions} if exclusions else {}
    ecr.put_image_tag_mutability(
        repositoryName="team/repo", imageTagMutability=mutability, **members
    )
    old, new = registry.manifest(repo, b"old"), registry.manifest(repo, b"new")
    assert registry.put(repo, tag, old).status == 201
    answer = registry.put(repo, tag, new)
    if moves:
        assert answer.status == 201
        assert registry.ask("GET", f"{repo}/manifests/{tag}").data == new
        assert registry.ask("GET", f"{repo}/manifests/{digest_of(old)}").data == old
    else:
        assert error(answer) == (
            400,
            "TAG_INVALID",
            f"The image tag '{tag}' already exists in the 'team/repo' repository and cannot be "
            "overwritten because the tag is immutable.",
        )
        assert registry.ask("GET", f"{repo}/manifests/{tag}").data == old


def test_one_of_two_pushes_of_an_immutable_tag_wins(ecr, registry, repo):
    ecr.put_image_tag_mutability(repositoryName="team/repo", imageTagMutability="IMMUTABLE")
    manifests = [registry.manifest(repo, f"{number}".encode()) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda m: registry.put(repo, "1", m).status, manifests))
    assert sorted(statuses) == [201] + [400] * 7


def test_what_is_deleted_is_unknown(ecr, registry, repo):
    manifests = [registry.manifest(repo, f"{number}".encode()) for number in range(3)]
    for number, manifest in enumerate(manifests):
        registry.put(repo, f"{number}", manifest)
    ecr.batch_delete_image(repositoryName="team/repo", imageIds=[{"imageTag": "0"}])
    assert registry.ask("DELETE", f"{repo}/manifests/{digest_of(manifests[1])}").status == 202
    for number in (0, 1):
        for reference in (f"{number}", digest_of(manifests[number])):
            assert error(registry.ask("GET", f"{repo}/manifests/{reference}")) == (
                404,
                "MANIFEST_UNKNOWN",
                "Requested image not found",
            )
    assert [i["imageTag"] for i in ecr.list_images(repositoryName="team/repo")["imageIds"]] == ["2"]


def test_a_repository_made_again_is_empty(ecr, registry, repo):
    digest = registry.send(repo, b"layer")
    registry.put(repo, "1", registry.manifest(repo, b"layer"))
    ecr.delete_repository(repositoryName="team/repo", force=True)
    ecr.create_repository(repositoryName="team/repo")
    assert registry.ask("GET", f"{repo}/manifests/1").status == 404
    assert registry.ask("HEAD", f"{repo}/blobs/{digest}").status == 404
    assert json.loads(registry.ask("GET", f"{repo}/tags/list").data)["tags"] == []


@pytest.mark.parametrize(("kind", "child"), [(DOCKER_LIST, None), (OCI_INDEX, OCI_MANIFEST)])
def test_a_list_of_images(ecr, registry, repo, kind, child):
    members = {"mediaType": child} if child else {}
    manifests = [registry.manifest(repo, b"x" * size, **members) for size in (10, 20)]
    entries = [
        {
            "mediaType": child or registry.manifest_type,
            "size": len(manifest),
            "digest": digest_of(manifest),
            "platform": {"architecture": architecture, "os": "linux"},
        }
        for manifest, architecture in zip(manifests, ("amd64", "arm64"), strict=True)
    ]
    content = {"schemaVersion": 2, "mediaType": kind, "manifests": entries}
    index = json.dumps(content).encode()
    assert error(registry.put(repo, "all", index))[:2] == (400, "MANIFEST_BLOB_UNKNOWN")
    for manifest in manifests:
        assert registry.put(repo, digest_of(manifest), manifest).status == 201
    assert registry.put(repo, "all", index).status == 201
    found = ecr.describe_images(repositoryName="team/repo", imageIds=[{"imageTag": "all"}])
    (image,) = found["imageDetails"]
    assert (image["imageManifestMediaType"], image["imageSizeInBytes"]) == (kind, 20)
    untagged = ecr.describe_images(repositoryName="team/repo", filter={"tagStatus": "UNTAGGED"})[
        "imageDetails"
    ]
    assert {image["imageSizeInBytes"] for image in untagged} == {10, 20}
    (failure,) = ecr.batch_delete_image(
        repositoryName="team/repo", imageIds=[{"imageDigest": digest_of(manifests[0])}]
    )["failures"]
    assert failure["failureCode"] == "ImageReferencedByManifestList"
    refused = registry.ask("DELETE", f"{repo}/manifests/{digest_of(manifests[0])}")
    assert error(refused)[:2] == (400, "DENIED")
    ids = [{"imageTag": "all"}, *({"imageDigest": digest_of(m)} for m in manifests)]
    assert ecr.batch_delete_image(repositoryName="team/repo", imageIds=ids)["failures"] == []
    assert error(registry.put(repo, "all", index))[:2] == (400, "MANIFEST_BLOB_UNKNOWN")


def test_another_account_needs_a_policy(cloud, registry, foreign):
    name, theirs, allow = foreign
    manifest = theirs.manifest(name, b"layer")
    theirs.put(name, "1", manifest)
    account = name[:12]
    refused = registry.ask("GET", f"{name}/manifests/1")
    assert error(refused) == (
        403,
        "DENIED",
        f"User: arn:aws:iam::{cloud.account}:root is not authorized to perform: ecr:BatchGetImage "
        f"on resource: arn:aws:ecr:us-east-1:{account}:repository/theirs because no "
        "resource-based policy allows the ecr:BatchGetImage action",
    )
    absent = registry.ask("GET", f"{theirs.host}/absent/manifests/1")
    assert error(absent)[:2] == (403, "DENIED")  # nor is it said which repositories there are
    allow(f"arn:aws:iam::{cloud.account}:root", "ecr:BatchGetImage")
    assert registry.ask("GET", f"{name}/manifests/1").data == manifest
    for method, path in (("POST", "blobs/uploads/"), ("GET", f"blobs/{digest_of(b'layer')}")):
        assert registry.ask(method, f"{name}/{path}").status == 403


def test_a_role_is_known_by_its_name_in_a_policy(cloud, open_cloud, registry, foreign, clients):
    name, theirs, allow = foreign
    theirs.put(name, "1", theirs.manifest(name, b"layer"))
    allow(cloud.role, "ecr:BatchGetImage")
    assert registry.ask("HEAD", f"{name}/manifests/1").status == 403
    session = cloud.client("sts").assume_role(RoleArn=cloud.role, RoleSessionName="me")
    given = session["Credentials"]
    ecr = clients.client(
        "ecr",
        region_name=cloud.region,
        endpoint_url=cloud.url,
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )
    as_role = type(registry)(type("Session", (), {**vars(cloud), "client": lambda *_: ecr})())
    assert as_role.ask("HEAD", f"{name}/manifests/1").status == 200


def test_a_layer_of_another_repository_is_mounted(ecr, registry, repo, foreign, cloud):
    ecr.create_repository(repositoryName="second")
    name, theirs, allow = foreign
    mine, other = registry.send(repo, b"mine"), theirs.send(name, b"theirs")
    second = f"{registry.host}/second"

    def mount(digest, source):
        answer = registry.ask("POST", f"{second}/blobs/uploads/?mount={digest}&from={source}")
        return answer.status, registry.ask("HEAD", f"{second}/blobs/{digest}").status

    assert mount(mine, repo) == (201, 200)
    checked = ecr.batch_check_layer_availability(repositoryName="second", layerDigests=[mine])
    assert checked["layers"][0]["layerSize"] == 4
    assert mount(other, f"{registry.host}/absent") == (202, 404)  # begin an upload instead
    assert mount(other, name) == (202, 404)
    allow(f"arn:aws:iam::{cloud.account}:root", "ecr:GetDownloadUrlForLayer")
    assert mount(other, name) == (201, 200)


def test_tags_come_in_pages(registry, repo):
    manifest = registry.manifest(repo, b"layer")
    for tag in ("c", "a", "b"):
        registry.put(repo, tag, manifest)
    first = registry.ask("GET", f"{repo}/tags/list?n=2")
    assert json.loads(first.data) == {"name": repo, "tags": ["a", "b"]}
    following = first.headers["Link"].partition(">")[0].removeprefix("</v2/")
    last = registry.ask("GET", following)
    assert json.loads(last.data)["tags"] == ["c"]
    assert "Link" not in last.headers


def test_a_snapshot_of_the_process_engine_has_no_layers_to_pull(cloud, registry, toy_tag):
    uri = cloud.push(toy_tag)
    name, _, tag = uri.rpartition(":")
    manifest = json.loads(registry.ask("GET", f"{name}/manifests/{tag}").data)
    for blob in (manifest["config"], *manifest["layers"]):
        assert error(registry.ask("GET", f"{name}/blobs/{blob['digest']}"))[:2] == (
            404,
            "BLOB_UNKNOWN",
        )


def test_many_layers_at_a_time(registry, repo):
    layers = [os.urandom(500_000) for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        digests = list(pool.map(lambda layer: registry.send(repo, layer), layers))
        came = list(pool.map(lambda d: registry.ask("GET", f"{repo}/blobs/{d}").data, digests))
    assert came == layers


GARBAGE = [
    ("GET", "%2e%2e/%2e%2e/etc/passwd", None, {}),
    ("GET", "{repo}/../../x/manifests/1", None, {}),
    ("GET", "{repo}%2F..%2F..%2Fx/blobs/sha256:1", None, {}),
    ("GET", "{repo}/manifests/%2e%2e", None, {}),
    ("GET", "{repo}/manifests/a b", None, {}),
    ("GET", "{repo}/blobs/sha256:zz", None, {}),
    ("GET", "{repo}/blobs/..%2f..", None, {}),
    ("GET", "{repo}/blobs/%00", None, {}),
    ("GET", "{repo}/tags/list?n=x", None, {}),
    ("GET", "{repo}/what", None, {}),
    ("BREW", "{repo}/manifests/1", None, {}),
    ("DELETE", "{repo}/blobs/sha256:zz", None, {}),
    ("PATCH", "{repo}/blobs/uploads/no-such", b"x", {}),
    ("PATCH", "{repo}/blobs/uploads/..%2f..", b"x", {}),
    ("PUT", "{repo}/blobs/uploads/no-such?digest=x", None, {}),
    ("PATCH", "{place}?_state=zzz", b"x", {}),
    ("PATCH", "{place}", b"x", {}),
    ("PUT", "{upload}&digest=sha256:zz", None, {}),
    ("PUT", "{upload}&digest=%00", None, {}),
    ("PUT", "{repo}/manifests/1", b"{", {"Content_Type": DOCKER_LIST}),
    ("PUT", "{repo}/manifests/1", b"[]", {"Content_Type": OCI_INDEX}),
    ("PUT", "{repo}/manifests/1", b"null", {"Content_Type": OCI_MANIFEST}),
    *(
        ("PUT", "{repo}/manifests/1", text, {"Content_Type": kind})
        for kind in (DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX)
        for text in (b"{}", b'{"schemaVersion": 2, "config": 5, "layers": [[]]}', b"[" * 9999)
    ),
    ("PUT", "{repo}/manifests/1", b"{}", {"Content_Type": "text/html"}),
    ("PUT", "{repo}/manifests/1", b"{}", {}),
    ("PUT", "{repo}/manifests/1", b'{"mediaType":"\xff"}', {"Content_Type": OCI_MANIFEST}),
    ("PUT", "{repo}/manifests/1", b" " * (2**22 + 1), {"Content_Type": OCI_MANIFEST}),
    ("PUT", "{repo}/manifests/-no-tag", b"{}", {"Content_Type": OCI_MANIFEST}),
    ("PUT", "{repo}/manifests/sha256:zz", b"{}", {"Content_Type": OCI_MANIFEST}),
    ("GET", "000000000000.dkr.ecr.nowhere-9.amazonaws.com/x/tags/list", None, {}),
]


def test_garbage_is_refused(registry, repo, ecr):
    for method, path, body, headers in GARBAGE:
        upload = registry.ask("POST", f"{repo}/blobs/uploads/").headers["Location"]
        upload = upload.removeprefix("/v2/")
        asked = path.format(repo=repo, upload=upload, place=upload.partition("?")[0])
        answer = registry.ask(method, asked, body, **headers)
        assert 400 <= answer.status < 500, (method, path, body, answer.data)
        assert error(answer)[2]
    assert ecr.list_images(repositoryName="team/repo")["imageIds"] == []
    assert registry.ask("GET", "").status == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_connection_goes_on_after_a_refusal(registry, chunked):
    connection = http.client.HTTPConnection(registry.url.removeprefix("http://"), timeout=120)
    body = iter([b"x" * 100_000] * 5) if chunked else b"x" * 500_000
    connection.request("PATCH", "/v2/a/blobs/uploads/b", body, encode_chunked=chunked)
    refused = connection.getresponse()
    assert (refused.status, bool(refused.read())) == (401, True)
    sock = connection.sock
    headers = urllib3.make_headers(basic_auth=f"AWS:{registry.password}")
    connection.request("GET", "/v2/", headers=headers | {"Expect": "100-continue"})
    assert connection.getresponse().read() == b"{}"
    assert connection.sock is sock
    connection.close()


@pytest.mark.parametrize(
    "head",
    [
        "Transfer-Encoding: chunked\r\n\r\nno number\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh",
        "Content-Length: -5\r\n\r\nabc",
        "Content-Length: ten\r\n\r\nabc",
        f"X-Long: {'x' * 200_000}\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["chunk size", "chunk end", "negative length", "no length", "long header"],
)
def test_what_is_not_http_does_not_hang_it(registry, repo, head):
    place = registry.ask("POST", f"{repo}/blobs/uploads/").headers["Location"]
    connection = http.client.HTTPConnection(registry.url.removeprefix("http://"), timeout=120)
    connection.connect()
    basic = urllib3.make_headers(basic_auth=f"AWS:{registry.password}")["authorization"]
    asked = f"PATCH {place} HTTP/1.1\r\nHost: {connection.host}:{connection.port}\r\n"
    connection.sock.sendall(f"{asked}Authorization: {basic}\r\n{head}".encode())
    connection.sock.shutdown(1)  # no more is sent
    answer = connection.sock.makefile("rb").readline()
    assert b" 500 " not in answer
    connection.close()
    assert registry.ask("GET", "").status == 200


def test_signed_requests_and_buckets_are_not_the_registrys(cloud):
    cloud.put("v2/a/manifests/1", b"an object")
    cloud.client("s3").put_object_acl(
        Bucket=cloud.aws.bucket, Key="v2/a/manifests/1", ACL="public-read"
    )
    host = f"{cloud.aws.bucket}.localhost:{cloud.url.rpartition(':')[2]}"
    answer = urllib3.request("GET", f"{cloud.url}/v2/a/manifests/1", headers={"Host": host})
    assert answer.data == b"an object"
    assert cloud.client("apigatewayv2").get_apis()["Items"] == []  # its path is /v2/apis


@pytest.fixture
def docker(tmp_path, distribution):
    """The Docker command line with a configuration of its own."""
    if (
        subprocess.run(["docker", "info"], capture_output=True).returncode
        if shutil.which("docker")
        else True
    ):
        pytest.skip("no Docker engine answers")
    environment = {**os.environ, "DOCKER_CONFIG": str(tmp_path / "docker")}
    images = []

    def run(*words, text=None):
        if words[0] == "tag":
            images.append(words[1])
        done = subprocess.run(
            ["docker", *words], input=text, capture_output=True, text=True, env=environment
        )
        return done.returncode, done.stdout + done.stderr

    yield run
    run("rmi", "--force", *images)


@pytest.fixture
def build(docker, tmp_path):
    """Build an image of a few bytes; returns its id."""

    def make(text):
        (tmp_path / "file").write_text(text)
        (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY file /file\n")
        code, said = docker("build", "--quiet", str(tmp_path))
        assert code == 0, said
        return next(line for line in said.splitlines() if line.startswith("sha256:"))

    return make


def test_docker_logs_in_pushes_and_pulls(cloud, ecr, registry, repo, docker, build):
    host = cloud.url.removeprefix("http://")
    image, name = build(cloud.account), f"{host}/{repo}"
    docker("tag", image, f"{name}:1")
    code, said = docker("push", f"{name}:1")
    assert (code, "no basic auth credentials" in said) == (1, True), said
    (entry,) = ecr.get_authorization_token()["authorizationData"]
    login = "login", "--username", "AWS", "--password-stdin", entry["proxyEndpoint"]
    assert docker(*login, text="wrong")[0] == 1
    code, said = docker(*login, text=registry.password)
    assert (code, "Login Succeeded" in said) == (0, True), said
    code, said = docker("push", f"{name}:1")
    assert code == 0, said
    (shown,) = ecr.describe_images(repositoryName="team/repo")["imageDetails"]
    assert f"1: digest: {shown['imageDigest']}" in said
    assert shown["imageManifestMediaType"] == registry.manifest_type
    docker("rmi", "--force", image)
    code, said = docker("pull", f"{name}:1")
    assert (code, shown["imageDigest"] in said) == (0, True), said
    assert docker("inspect", "--format", "{{.Id}}", f"{name}:1") == (0, f"{image}\n")


def test_docker_shows_why(cloud, ecr, registry, repo, docker, build, toy_tag):
    host = cloud.url.removeprefix("http://")
    docker("login", "--username", "AWS", "--password-stdin", cloud.url, text=registry.password)
    ecr.put_image_tag_mutability(repositoryName="team/repo", imageTagMutability="IMMUTABLE")

    def push(text, name):
        docker("tag", build(f"{text} {cloud.account}"), f"{host}/{name}")
        return docker("push", f"{host}/{name}")[1]

    push("first", f"{repo}:1")
    assert "the tag is immutable" in push("second", f"{repo}:1")
    said = push("first", f"{registry.host}/absent:1")
    assert "name unknown: The repository with name 'absent' does not exist in the registry" in said
    ecr.batch_delete_image(repositoryName="team/repo", imageIds=[{"imageTag": "1"}])
    code, said = docker("pull", f"{host}/{repo}:1")
    assert (code, "manifest unknown: Requested image not found" in said) == (1, True), said
    code, said = docker("pull", f"{host}/{cloud.push(toy_tag)}")
    assert (code, "unknown" in said) == (1, True), said
