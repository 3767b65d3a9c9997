"""moto's ECR corrected, where it answers otherwise than AWS.

Source: API Reference (ECR) of each operation; ECR User Guide, image-tag-mutability.
"""

import base64
import copy
import datetime as dt
import functools
import hashlib
import json
import threading
from collections.abc import Callable
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ecr.exceptions import (
    ImageAlreadyExistsException,
    InvalidParameterException,
)
from moto.ecr.models import ECRBackend, Image, Repository
from moto.ecr.responses import ECRResponse

from byoc.local import tokens
from byoc.local.iam import Identity
from byoc.local.policies import like
from byoc.local.state import POSITION

PAGE = 100  # entries of an answer when maxResults is absent
_IMAGES = threading.Lock()  # two pushes of one tag must see each other


class ImageTagAlreadyExistsException(ServiceException):
    code = "ImageTagAlreadyExistsException"


class ImageDigestDoesNotMatchException(ServiceException):
    code = "ImageDigestDoesNotMatchException"


def _put_image(
    self: ECRBackend,
    repository_name: str,
    image_manifest: str,
    image_tag: str | None,
    image_manifest_mediatype: str | None = None,
    digest: str | None = None,
) -> Image:
    """Put a manifest; a tag that moves leaves its old image untagged (moto: deletes that image)."""
    repository = self._get_repository(repository_name)
    media_type = _media_type(image_manifest, image_manifest_mediatype)
    found = f"sha256:{hashlib.sha256(image_manifest.encode()).hexdigest()}"
    if digest not in (None, found):
        raise ImageDigestDoesNotMatchException(
            f"The provided digest '{digest}' does not match the digest '{found}' of the manifest."
        )
    same = next((i for i in repository.images if i.get_image_digest() == found), None)
    if same is not None and (image_tag is None or image_tag in same.image_tags):
        raise ImageAlreadyExistsException(
            repository_name, repository.registry_id, found, image_tag or "null"
        )
    tagged = [i for i in repository.images if image_tag is not None and image_tag in i.image_tags]
    if tagged and not _may_move(repository, image_tag or ""):
        raise ImageTagAlreadyExistsException(
            f"The image tag '{image_tag}' already exists in the '{repository_name}' repository "
            "and cannot be overwritten because the tag is immutable."
        )
    for other in tagged:
        other.remove_tag(image_tag or "")
    if same is None:
        same = Image(
            self.account_id, image_tag or "", image_manifest, repository_name, media_type, found
        )
        same.image_tags = []
        repository.images.append(same)
    if image_tag is not None:
        same.update_tag(image_tag)
    return _with_tag(same, image_tag)


def _media_type(manifest: str, given: str | None) -> str:
    try:
        found = json.loads(manifest)
    except (ValueError, RecursionError):
        found = None
    if not _well_formed(found):
        raise InvalidParameterException(
            "Invalid parameter at 'ImageManifest' failed to satisfy constraint: "
            "'Invalid JSON syntax'"
        )
    kind = given or found.get("mediaType")
    if not isinstance(kind, str):
        raise InvalidParameterException(
            "image manifest mediatype not provided in manifest or parameter"
        )
    return kind


def _well_formed(manifest: Any) -> bool:
    """Whether what is read of a manifest here has its form."""
    if not isinstance(manifest, dict):
        return False
    config = manifest.get("config") or {}
    layers, children = manifest.get("layers") or [], manifest.get("manifests") or []
    return (
        isinstance(config, dict)
        and isinstance(config.get("mediaType", ""), str)
        and isinstance(layers, list)
        and isinstance(children, list)
        and all(isinstance(one, dict) and isinstance(one.get("size"), int) for one in layers)
        and all(isinstance(one, dict) and isinstance(one.get("digest"), str) for one in children)
    )


def _may_move(repository: Repository, tag: str) -> bool:
    """Whether the tag can be given to another image. The exclusions turn the rule round."""
    filters = repository.image_tag_mutability_exclusion_filters or []
    excluded = any(like(wanted["filter"], tag) for wanted in filters)
    return repository.is_tag_immutable() == excluded


def _with_tag(image: Image, tag: str | None) -> Image:
    """The image as an answer about one of its tags, or about none."""
    shown = copy.copy(image)
    shown.image_tag = tag  # type: ignore[assignment]
    return shown


def _batch_get_image(
    self: ECRBackend,
    repository_name: str,
    registry_id: str | None = None,
    image_ids: list[dict[str, str]] | None = None,
) -> dict[str, Any]:
    """Each image under the tag that was asked for (moto: under its last one)."""
    repository = self._get_repository(repository_name, registry_id)
    images, failures = [], []
    for wanted in image_ids or []:
        image, failure = _look_up(repository, wanted)
        if image is None:
            failures.append(failure)
        else:
            images.append(_with_tag(image, wanted.get("imageTag")))
    return {"images": images, "failures": failures}


def _batch_delete_image(
    self: ECRBackend,
    repository_name: str,
    registry_id: str | None = None,
    image_ids: list[dict[str, str]] | None = None,
) -> dict[str, Any]:
    """A digest deletes the image with all tags, a tag the tag, and the last tag the image."""
    repository = self._get_repository(repository_name, registry_id)
    deleted: list[dict[str, str]] = []
    failures = []
    for wanted in image_ids or []:
        image, failure = _look_up(repository, wanted)
        if image is None:
            failures.append(failure)
            continue
        digest, tag = image.get_image_digest(), wanted.get("imageTag")
        lists = _lists_of(repository, digest)
        if lists and (tag is None or len(image.image_tags) == 1):  # the image itself would go
            reason = f"The image is named by a manifest list, to be deleted first: {lists[0]}"
            failures.append(_failure(wanted, "ImageReferencedByManifestList", reason))
            continue
        for gone in [tag] if tag else list(image.image_tags):
            image.remove_tag(gone)
            deleted.append({"imageDigest": digest, "imageTag": gone})
        if not image.image_tags:
            repository.images.remove(image)
            if not deleted or deleted[-1]["imageDigest"] != digest:
                deleted.append({"imageDigest": digest})
    return {"imageIds": deleted, "failures": failures}


def _lists_of(repository: Repository, digest: str) -> list[str]:
    """The manifest lists (OCI: indexes) of the repository that name the image."""
    return [i.get_image_digest() for i in repository.images if digest in _children(i)]


def _children(image: Image) -> list[str]:
    """The digests of the images that a manifest list names; none of an image."""
    return [child["digest"] for child in json.loads(image.image_manifest).get("manifests") or []]


def _config(image: Image) -> dict[str, Any]:
    """What the manifest says of the configuration; nothing where it has none."""
    return json.loads(image.image_manifest).get("config") or {}


def _look_up(repository: Repository, wanted: dict[str, str]) -> tuple[Image | None, dict[str, Any]]:
    """The image, or the failure that a batch operation answers."""
    tag, digest = wanted.get("imageTag"), wanted.get("imageDigest")
    if tag is None and digest is None:
        reason = "Invalid request parameters: both tag and digest cannot be null"
        return None, _failure(wanted, "MissingDigestAndTag", reason)
    for image in repository.images:
        if digest in (None, image.get_image_digest()) and (tag is None or tag in image.image_tags):
            return image, {}
    if digest is not None and not like("sha256:" + "?" * 64, digest):
        reason = (
            "Invalid request parameters: image digest should satisfy the regex "
            "'[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"
        )
        return None, _failure(wanted, "InvalidImageDigest", reason)
    return None, _failure(wanted, "ImageNotFound", "Requested image not found")


def _failure(wanted: dict[str, str], code: str, reason: str) -> dict[str, Any]:
    return {"imageId": wanted, "failureCode": code, "failureReason": reason}


def _put_image_tag_mutability(
    self: ECRBackend,
    registry_id: str,
    repository_name: str,
    image_tag_mutability: str,
    image_tag_mutability_exclusion_filters: Any = None,
) -> dict[str, Any]:
    """Checked as in CreateRepository, and its answer names the exclusions (moto: neither)."""
    filters = image_tag_mutability_exclusion_filters
    self.validate_image_tag_mutability_params_compatibility(image_tag_mutability, filters)
    answer: dict[str, Any] = _moto_put_image_tag_mutability(
        self, registry_id, repository_name, image_tag_mutability, filters
    )
    if filters:
        answer["imageTagMutabilityExclusionFilters"] = filters
    return answer


_moto_put_image_tag_mutability = ECRBackend.put_image_tag_mutability


def _digest(self: Image) -> None:
    """An image's digest is that of its manifest's bytes (moto: of its layers' names)."""
    self._image_digest = "sha256:" + hashlib.sha256(self.image_manifest.encode()).hexdigest()


def _size(self: Image) -> int | None:
    """An image's size is that of its layers (moto: of its configuration)."""
    layers = json.loads(self.image_manifest).get("layers") or []
    return sum(layer["size"] for layer in layers) or None


def _size_in(repository: Repository, image: Image) -> int | None:
    """The size of an image, or of the largest in a list. Source: API Reference, ImageDetail."""
    children = _children(image)
    if not children:
        return image.get_image_size_in_bytes()
    known = {i.get_image_digest(): i for i in list(repository.images)}
    sizes = [_size_in(repository, known[child]) for child in children if child in known]
    return max((size for size in sizes if size is not None), default=None)


def _describe_repositories(self: ECRResponse) -> ActionResult:
    """In pages (moto: all at once)."""
    found = self.ecr_backend.describe_repositories(
        repository_names=self._get_param("repositoryNames"),
        registry_id=self._get_param("registryId"),
    )
    return ActionResult(_page(self, found, "repositories"))


def _list_images(self: ECRResponse) -> ActionResult:
    """In pages (moto: all at once)."""
    rows: list[dict[str, Any]] = []
    for image in _filtered(self):
        digest = {"imageDigest": image.get_image_digest()}
        rows += [{**digest, "imageTag": tag} for tag in image.image_tags] or [digest]
    return ActionResult(_page(self, rows, "imageIds"))


def _describe_images(self: ECRResponse) -> ActionResult:
    """In pages, filtered, in a fixed order, with the artifact's media type (moto: without)."""
    wanted = self._get_param("imageIds")
    repository = self.ecr_backend._get_repository(
        self._get_param("repositoryName"), self._get_param("registryId")
    )
    if wanted:
        images = [repository._get_image(i.get("imageTag"), i.get("imageDigest")) for i in wanted]
        images = list(dict.fromkeys(images))
    else:
        images = _filtered(self)
    rows = []
    for image in images:
        row: dict[str, Any] = {
            "registryId": image.registry_id,
            "repositoryName": image.repository_name,
            "imageDigest": image.get_image_digest(),
            "imageTags": list(image.image_tags),
            "imageSizeInBytes": _size_in(repository, image),
            "imagePushedAt": dt.datetime.fromtimestamp(image.image_pushed_at, dt.UTC),
            "imageManifestMediaType": image.image_manifest_media_type,
            "artifactMediaType": _config(image).get("mediaType"),
        }
        rows.append({name: value for name, value in row.items() if value not in (None, [])})
    return ActionResult(_page(self, rows, "imageDetails"))


def _filtered(self: ECRResponse) -> list[Image]:
    status = (self._get_param("filter") or {}).get("tagStatus", "ANY")
    return self.ecr_backend.list_images(
        self._get_param("repositoryName"), self._get_param("registryId"), tag_status=status
    )


def _page(self: ECRResponse, rows: list[Any], member: str) -> dict[str, Any]:
    token = self._get_param("nextToken") or "0"
    if not POSITION.fullmatch(token):
        raise InvalidParameterException(
            "Invalid parameter at 'nextToken' failed to satisfy constraint: 'Invalid token'"
        )
    end = int(token) + (self._get_param("maxResults") or PAGE)
    answer: dict[str, Any] = {member: rows[int(token) : end]}
    if end < len(rows):
        answer["nextToken"] = f"{end}"
    return answer


def _get_authorization_token(self: ECRResponse) -> ActionResult:
    """A token for this caller, good for twelve hours at this local AWS (moto: for anybody, until
    2015, at AWS)."""
    caller = Identity(self.current_account, self.region, self.access_key)
    arns = (caller.arn, caller.role.arn) if caller.role is not None else (caller.arn,)
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(hours=tokens.HOURS)
    data = []
    for _ in self._get_param("registryIds") or [self.current_account]:
        password = tokens.issue(caller.account, caller.region, arns, access_key=caller.access_key)
        text = f"{tokens.USER}:{password}".encode()
        entry = {
            "authorizationToken": base64.b64encode(text).decode(),
            "expiresAt": expires,
            "proxyEndpoint": f"http://{self.headers['Host']}",
        }
        data.append(entry)
    return ActionResult({"authorizationData": data})


def _refused(self: ECRResponse) -> ActionResult:
    """No image is scanned here, where moto would invent a finding; layers come by `docker push`
    alone, where moto would keep them to itself."""
    raise NotImplementedError


def _one_at_a_time(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def alone(*given: Any, **named: Any) -> Any:
        with _IMAGES:
            return method(*given, **named)

    return alone


CORRECTIONS: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    (ECRBackend, "put_image", _one_at_a_time(_put_image)),
    (ECRBackend, "batch_get_image", _batch_get_image),
    (ECRBackend, "batch_delete_image", _one_at_a_time(_batch_delete_image)),
    (ECRBackend, "put_image_tag_mutability", _put_image_tag_mutability),
    (Image, "_create_digest", _digest),
    (Image, "get_image_size_in_bytes", _size),
    (ECRResponse, "describe_repositories", _describe_repositories),
    (ECRResponse, "list_images", _list_images),
    (ECRResponse, "describe_images", _describe_images),
    (ECRResponse, "get_authorization_token", _get_authorization_token),
    (ECRResponse, "start_image_scan", _refused),
    (ECRResponse, "initiate_layer_upload", _refused),
    (ECRResponse, "upload_layer_part", _refused),
    (ECRResponse, "complete_layer_upload", _refused),
)
