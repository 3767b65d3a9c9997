"""ECR as AWS documents it, where moto alone answers otherwise."""

import base64
import datetime as dt
import hashlib
import json

import pytest
from botocore.exceptions import ClientError

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"


def manifest(number):
    """An image's manifest, different for each number."""
    layer = {"mediaType": "layer", "size": 1000 + number, "digest": f"sha256:{number:064x}"}
    config = {"mediaType": CONFIG, "size": 7, "digest": f"sha256:{number + 1:064x}"}
    content = {"schemaVersion": 2, "mediaType": DOCKER, "config": config, "layers": [layer]}
    return json.dumps(content)


def digest(number):
    return f"sha256:{hashlib.sha256(manifest(number).encode()).hexdigest()}"


def refusal(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


@pytest.fixture
def ecr(cloud):
    return cloud.client("ecr")


@pytest.fixture
def put(ecr):
    """A repository, and how to put an image into it."""
    ecr.create_repository(repositoryName="repo")

    def put_image(number, tag=None, **members):
        tagged = {"imageTag": tag} if tag else {}
        answer = ecr.put_image(
            repositoryName="repo", imageManifest=manifest(number), **tagged, **members
        )
        return answer["image"]["imageId"]

    return put_image


def test_an_image_is_described_in_full(cloud, ecr, put):
    assert put(1, "a") == {"imageDigest": digest(1), "imageTag": "a"}
    put(1, "b")
    (image,) = ecr.describe_images(repositoryName="repo")["imageDetails"]
    age = dt.datetime.now(dt.UTC) - image.pop("imagePushedAt")
    assert age < dt.timedelta(minutes=10)
    assert image == {
        "registryId": cloud.account,
        "repositoryName": "repo",
        "imageDigest": digest(1),
        "imageTags": ["a", "b"],
        "imageSizeInBytes": 1001,
        "imageManifestMediaType": DOCKER,
        "artifactMediaType": CONFIG,
    }
    asked = [{"imageTag": "b"}, {"imageDigest": digest(1)}]  # one image by two names
    found = ecr.describe_images(repositoryName="repo", imageIds=asked)["imageDetails"]
    assert [row["imageDigest"] for row in found] == [digest(1)]


def test_a_tag_that_moves_leaves_its_image_untagged(ecr, put):
    put(1, "latest")
    put(2, "latest")
    rows = ecr.list_images(repositoryName="repo")["imageIds"]
    assert rows == [
        {"imageDigest": digest(1)},
        {"imageDigest": digest(2), "imageTag": "latest"},
    ]

    def digests(status):
        found = ecr.describe_images(repositoryName="repo", filter={"tagStatus": status})
        return [image["imageDigest"] for image in found["imageDetails"]]

    assert digests("UNTAGGED") == [digest(1)]
    assert digests("TAGGED") == [digest(2)]
    assert digests("ANY") == [digest(1), digest(2)]


def test_images_and_repositories_come_in_pages(ecr, put):
    for number in range(5):
        put(number, f"v{number}")
        ecr.create_repository(repositoryName=f"other-{number}")
    for operation, member, name in (
        ("describe_images", "imageDetails", "imageDigest"),
        ("list_images", "imageIds", "imageDigest"),
        ("describe_repositories", "repositories", "repositoryName"),
    ):
        arguments = {} if operation == "describe_repositories" else {"repositoryName": "repo"}
        pages = list(
            ecr.get_paginator(operation).paginate(**arguments, PaginationConfig={"PageSize": 2})
        )
        assert [len(page[member]) for page in pages][:2] == [2, 2]
        names = [row[name] for page in pages for row in page[member]]
        assert len(names) == len(set(names)) == (6 if not arguments else 5)


def test_what_is_not_there(cloud, ecr, put):
    put(1, "a")
    registry = f"in the registry with id '{cloud.account}'"
    missing = f"The repository with name 'absent' does not exist {registry}"
    for call, arguments in (
        (ecr.put_image, {"imageManifest": manifest(1), "imageTag": "a"}),
        (ecr.describe_images, {}),
        (ecr.list_images, {}),
        (ecr.batch_get_image, {"imageIds": [{"imageTag": "a"}]}),
        (ecr.batch_delete_image, {"imageIds": [{"imageTag": "a"}]}),
        (ecr.delete_repository, {}),
    ):
        assert refusal(call, repositoryName="absent", **arguments) == (
            "RepositoryNotFoundException",
            missing,
        )
    code, message = refusal(
        ecr.describe_images, repositoryName="repo", imageIds=[{"imageTag": "absent"}]
    )
    assert code == "ImageNotFoundException"
    assert message == (
        "The image with imageId {imageDigest:'null', imageTag:'absent'} does not exist within the "
        f"repository with name 'repo' {registry}"
    )


def test_batch_get_image_answers_as_asked(ecr, put):
    put(1, "a")
    put(1, "b")
    answer = ecr.batch_get_image(
        repositoryName="repo",
        imageIds=[{"imageTag": "a"}, {"imageDigest": digest(1)}, {"imageTag": "absent"}],
    )
    assert [image["imageId"] for image in answer["images"]] == [
        {"imageDigest": digest(1), "imageTag": "a"},
        {"imageDigest": digest(1)},
    ]
    assert {image["imageManifest"] for image in answer["images"]} == {manifest(1)}
    assert answer["failures"] == [
        {
            "imageId": {"imageTag": "absent"},
            "failureCode": "ImageNotFound",
            "failureReason": "Requested image not found",
        }
    ]


def test_images_that_are_there_or_wrong_are_refused(cloud, ecr, put):
    put(1, "a")
    with pytest.raises(ClientError, match="already exists") as caught:
        put(1, "a")
    assert caught.value.response["Error"]["Code"] == "ImageAlreadyExistsException"
    for text in ("{", "[]", '{"layers": [1]}', '{"manifests": [{}]}', '{"config": 5}'):
        code, message = refusal(
            ecr.put_image,
            repositoryName="repo",
            imageManifest=text,
            imageManifestMediaType=DOCKER,
        )
        assert (code, "Invalid JSON syntax" in message) == ("InvalidParameterException", True)
    code, _ = refusal(
        ecr.put_image, repositoryName="repo", imageManifest=manifest(2), imageDigest=digest(3)
    )
    assert code == "ImageDigestDoesNotMatchException"
    assert len(ecr.describe_images(repositoryName="repo")["imageDetails"]) == 1


@pytest.mark.parametrize(
    ("mutability", "filters", "moving", "fixed"),
    [
        ("MUTABLE", [], ["latest", "v1"], []),
        ("IMMUTABLE", [], [], ["latest", "v1"]),
        ("IMMUTABLE_WITH_EXCLUSION", ["late*", "dev-*"], ["latest", "dev-1"], ["v1", "a-latest"]),
        ("MUTABLE_WITH_EXCLUSION", ["v*"], ["latest", "dev-v"], ["v1"]),
    ],
)
def test_immutable_tags_and_their_exclusions(ecr, put, mutability, filters, moving, fixed):
    exclusions = [{"filterType": "WILDCARD", "filter": text} for text in filters]
    members = {"imageTagMutabilityExclusionFilters": exclusions} if exclusions else {}
    answer = ecr.put_image_tag_mutability(
        repositoryName="repo", imageTagMutability=mutability, **members
    )
    assert answer["imageTagMutability"] == mutability
    assert answer.get("imageTagMutabilityExclusionFilters", []) == exclusions
    for number, tag in enumerate([*moving, *fixed]):
        put(number, tag)
    for tag in moving:
        put(100 + len(tag), tag)
    for tag in fixed:
        code, message = refusal(
            ecr.put_image, repositoryName="repo", imageManifest=manifest(200), imageTag=tag
        )
        assert code == "ImageTagAlreadyExistsException"
        assert message == (
            f"The image tag '{tag}' already exists in the 'repo' repository and cannot be "
            "overwritten because the tag is immutable."
        )


def test_exclusions_belong_to_a_mutability_that_has_them(ecr, put):
    code, _ = refusal(
        ecr.put_image_tag_mutability,
        repositoryName="repo",
        imageTagMutability="IMMUTABLE",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "x*"}],
    )
    assert code == "InvalidParameterException"


def test_deleting_images(ecr, put):
    for number, tag in ((1, "a"), (1, "b"), (2, "c"), (3, None), (4, "d"), (4, "e")):
        put(number, tag)
    answer = ecr.batch_delete_image(
        repositoryName="repo",
        imageIds=[
            {"imageTag": "a"},
            {"imageTag": "c"},
            {"imageDigest": digest(3)},
            {"imageDigest": digest(4)},
            {"imageTag": "absent"},
            {"imageDigest": "sha256:no"},
        ],
    )
    assert answer["imageIds"] == [
        {"imageDigest": digest(1), "imageTag": "a"},
        {"imageDigest": digest(2), "imageTag": "c"},
        {"imageDigest": digest(3)},
        {"imageDigest": digest(4), "imageTag": "d"},
        {"imageDigest": digest(4), "imageTag": "e"},
    ]
    codes = [failure["failureCode"] for failure in answer["failures"]]
    assert codes == ["ImageNotFound", "InvalidImageDigest"]
    assert ecr.list_images(repositoryName="repo")["imageIds"] == [
        {"imageDigest": digest(1), "imageTag": "b"}
    ]


def test_a_repository_with_images_is_deleted_by_force_alone(cloud, ecr, put):
    put(1, "a")
    assert refusal(ecr.delete_repository, repositoryName="repo") == (
        "RepositoryNotEmptyException",
        f"The repository with name 'repo' in registry with id '{cloud.account}' cannot be deleted "
        "because it still contains images",
    )
    deleted = ecr.delete_repository(repositoryName="repo", force=True)["repository"]
    assert deleted["repositoryName"] == "repo"
    assert ecr.describe_repositories()["repositories"] == []


def test_lifecycle_and_scan_settings_are_kept(cloud, ecr, put):
    rule = {
        "rulePriority": 1,
        "selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 3},
        "action": {"type": "expire"},
    }
    missing = (
        "Lifecycle policy does not exist for the repository with name 'repo' in the registry with "
        f"id '{cloud.account}'"
    )
    get = ecr.get_lifecycle_policy
    assert refusal(get, repositoryName="repo") == ("LifecyclePolicyNotFoundException", missing)
    text = json.dumps({"rules": [rule]})
    ecr.put_lifecycle_policy(repositoryName="repo", lifecyclePolicyText=text)
    assert get(repositoryName="repo")["lifecyclePolicyText"] == text
    ecr.delete_lifecycle_policy(repositoryName="repo")
    assert refusal(get, repositoryName="repo")[0] == "LifecyclePolicyNotFoundException"
    ecr.put_image_scanning_configuration(
        repositoryName="repo", imageScanningConfiguration={"scanOnPush": True}
    )
    (repository,) = ecr.describe_repositories(repositoryNames=["repo"])["repositories"]
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}


def test_no_scan_is_pretended(ecr, put):
    put(1, "a")
    image = {"repositoryName": "repo", "imageId": {"imageTag": "a"}}
    assert refusal(ecr.start_image_scan, **image)[0] == "NotImplementedException"
    assert refusal(ecr.describe_image_scan_findings, **image)[0] == "ScanNotFoundException"


def test_a_token_is_good_for_twelve_hours(cloud, ecr):
    (entry,) = ecr.get_authorization_token()["authorizationData"]
    left = entry["expiresAt"] - dt.datetime.now(dt.UTC)
    assert dt.timedelta(hours=11, minutes=50) < left <= dt.timedelta(hours=12)
    assert entry["proxyEndpoint"] == cloud.url
    user, _, password = base64.b64decode(entry["authorizationToken"]).decode().partition(":")
    assert (user, len(password) > 100) == ("AWS", True)
    (other,) = ecr.get_authorization_token()["authorizationData"]
    assert other["authorizationToken"] != entry["authorizationToken"]
