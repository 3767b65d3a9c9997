"""The local ECR as a registry for `docker login`, `push` and `pull`: the Registry HTTP API V2.

ECR's own state, moto's, decides who may do what and which images there are: manifests and tags
are answered from there. Layers are Distribution's, and only pass through here. Source: Docker
Registry HTTP API V2 (Debian: /usr/share/doc/docker-registry/spec/api.md.gz), ECR User Guide.
"""

import contextlib
import functools
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import urllib3
from moto.ecr.exceptions import ImageAlreadyExistsException
from moto.ecr.models import ECRBackend, Image, Repository, ecr_backends
from moto.utilities.utils import get_partition
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Request, Response

from byoc.local import policies, storage, tokens
from byoc.local.call import Call
from byoc.local.distribution import PIECE, Distribution, Unavailable
from byoc.local.errors import AWSError
from byoc.local.registry import ImageTagAlreadyExistsException
from byoc.local.service import Platform

log = logging.getLogger(__name__)

OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?")  # others before localhost are buckets
NAME = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<name>.+)"
)
TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
MANIFEST = 4 * 1024 * 1024  # bytes of a manifest at most, as Distribution has it
TAGS = 1000  # tags of one answer
SENT = ("Accept", "Content-Range", "Content-Type", "Range")
HOP_BY_HOP = ("connection", "date", "keep-alive", "server", "transfer-encoding")
VERSION = ("Docker-Distribution-Api-Version", "registry/2.0")


class Unreadable(Exception):
    """The client's own body broke off, or is not HTTP."""


@dataclass(frozen=True)
class Place:
    """A repository that the holder of a password may use, and its names."""

    backend: ECRBackend
    repository: Repository
    name: str  # with the registry's, as the client writes it

    @functools.cached_property
    def inner(self) -> str:
        """Distribution's name: a repository that is deleted and made again is another one."""
        identity = f"{self.repository.arn} {self.repository.created_at.isoformat()}"
        return hashlib.sha256(identity.encode()).hexdigest()[:32]

    def image(self, reference: str) -> Image:
        """The image by tag or digest; raises AWSError as ECR answers."""
        for image in list(self.repository.images):
            if reference == image.get_image_digest() or reference in list(image.image_tags):
                return image
        raise AWSError("MANIFEST_UNKNOWN", "Requested image not found", 404)


class Registry:
    """The registry of one local AWS."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.distribution = Distribution(platform.work)

    @staticmethod
    def serves(call: Call) -> bool:
        """Whether the request is for the registry: not signed, and not for a bucket or a service
        whose paths begin alike."""
        path = call.request.path
        mine = path == "/v2" or path.startswith("/v2/")
        return mine and call.service is None and bool(OWN_HOST.fullmatch(call.request.host))

    def answer(self, call: Call) -> Response:
        """The answer in the registry API's form, whatever was asked. Its body may be streamed."""
        try:
            answer = self._route(call.request)
        except AWSError as error:
            answer = _refusal(call.request, error)
        except Unavailable as error:  # Docker shows a 503's reason phrase, not its body
            answer = _refusal(call.request, AWSError("UNAVAILABLE", f"{error}", 503))
            answer.status = "503 " + re.sub(r"[^ -~]", "?", f"{error}")
        except Unreadable:
            wrong = AWSError("BLOB_UPLOAD_INVALID", "The request's body can't be read.")
            answer = _refusal(call.request, wrong)
        except Exception:
            log.exception("%s %s", call.request.method, call.request.path)
            fault = AWSError("UNKNOWN", "The local AWS failed; its log says why.", 500)
            answer = _refusal(call.request, fault)
        _drain(call.request)
        answer.headers.set(*VERSION)
        return answer

    def _route(self, request: Request) -> Response:
        holder = _holder(request)
        self.distribution.check()
        if request.path in ("/v2", "/v2/"):
            return Response("{}", content_type="application/json")
        for pattern, methods in ROUTES:
            if match := pattern.fullmatch(request.path):
                if request.method not in methods:
                    raise AWSError("UNSUPPORTED", "The operation is unsupported.", 405)
                action, handler = methods[request.method]
                place = _place(holder, match[1], action)
                return handler(self, request, holder, place, match[2])
        raise AWSError("UNSUPPORTED", f"The local ECR has nothing at {request.path}.", 404)

    def _get_manifest(
        self, request: Request, holder: tokens.Holder, place: Place, reference: str
    ) -> Response:
        image = place.image(reference)
        digest = image.get_image_digest()
        headers = {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
        kind = image.image_manifest_media_type
        return Response(image.image_manifest.encode(), 200, headers, content_type=kind)

    def _put_manifest(
        self, request: Request, holder: tokens.Holder, place: Place, reference: str
    ) -> Response:
        """Checked by Distribution, which has the layers, and kept by ECR, which has the tags."""
        content = _manifest(request)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        tag = None if ":" in reference else reference
        if tag is None and reference != digest:
            raise AWSError("DIGEST_INVALID", f"The manifest's digest is {digest}.")
        if tag is not None and not TAG.fullmatch(tag):
            raise AWSError("TAG_INVALID", f"{tag!r} can't be a tag.")
        kind = {"Content-Type": request.headers.get("Content-Type", "")}
        path = f"/v2/{place.inner}/manifests/{digest}"
        checked = self.distribution.send("PUT", path, kind, content)
        if checked.status != 201:
            return _passed_on(request, place, checked)
        checked.drain_conn()
        _check_children(place, content)
        try:
            place.backend.put_image(
                place.repository.name,
                content.decode(),
                tag,  # type: ignore[arg-type]  # moto says str and takes None
                request.mimetype,
            )
        except ImageAlreadyExistsException:
            pass  # the same again
        except ImageTagAlreadyExistsException as error:
            raise AWSError("TAG_INVALID", f"{error.message}") from None
        location = f"/v2/{place.name}/manifests/{digest}"
        return Response(status=201, headers={"Location": location, "Docker-Content-Digest": digest})

    def _delete_manifest(
        self, request: Request, holder: tokens.Holder, place: Place, reference: str
    ) -> Response:
        place.image(reference)
        wanted = {"imageDigest" if ":" in reference else "imageTag": reference}
        answer = place.backend.batch_delete_image(place.repository.name, image_ids=[wanted])
        for failure in answer["failures"]:
            raise AWSError("DENIED", failure["failureReason"])
        return Response(status=202)

    def _list_tags(self, request: Request, holder: tokens.Holder, place: Place, _: str) -> Response:
        number, last = request.args.get("n", f"{TAGS}"), request.args.get("last", "")
        if not re.fullmatch("[0-9]{1,9}", number):
            raise AWSError("PAGINATION_NUMBER_INVALID", "n must be a number.")
        images = list(place.repository.images)
        tags = sorted(tag for image in images for tag in list(image.image_tags) if tag > last)
        shown = tags[: min(int(number), TAGS)]
        content = json.dumps({"name": place.name, "tags": shown})
        answer = Response(content, content_type="application/json")
        if shown and len(shown) < len(tags):
            following = urlencode({"n": len(shown), "last": shown[-1]})
            answer.headers["Link"] = f'</v2/{place.name}/tags/list?{following}>; rel="next"'
        return answer

    def _blob(self, request: Request, holder: tokens.Holder, place: Place, digest: str) -> Response:
        return self._pass_on(request, place, f"blobs/{quote(digest, ':')}")

    def _start_upload(
        self, request: Request, holder: tokens.Holder, place: Place, _: str
    ) -> Response:
        """A new upload, or a layer of another repository that the holder may read from."""
        if not storage.space_left(self._platform.work, self._platform.options.disk):
            raise AWSError("DENIED", storage.NO_SPACE, 403)
        mount = {}
        if "mount" in request.args and "from" in request.args:
            with contextlib.suppress(AWSError):
                source = _place(holder, request.args["from"], "ecr:GetDownloadUrlForLayer")
                mount = {"mount": request.args["mount"], "from": source.inner}
        answer = self._pass_on(request, place, "blobs/uploads/", urlencode(mount))
        return self._noted(place, answer)

    def _upload(
        self, request: Request, holder: tokens.Holder, place: Place, upload: str
    ) -> Response:
        query = request.query_string.decode("latin-1")
        answer = self._pass_on(request, place, f"blobs/uploads/{quote(upload)}", query)
        return self._noted(place, answer)

    def _noted(self, place: Place, answer: Response) -> Response:
        """ECR is told of a layer that has come, for BatchCheckLayerAvailability."""
        digest = answer.headers.get("Docker-Content-Digest")
        if answer.status_code == 201 and digest is not None:
            layer = self.distribution.send("HEAD", f"/v2/{place.inner}/blobs/{digest}")
            layer.drain_conn()
            place.repository.layers[digest] = int(layer.headers["Content-Length"])
        return answer

    def _pass_on(self, request: Request, place: Place, path: str, query: str = "") -> Response:
        """Distribution's answer to the request, whose body and whose answer's are streamed."""
        headers = {name: request.headers[name] for name in SENT if name in request.headers}
        body = None
        if request.environ["wsgi.input_terminated"] or request.content_length:
            body = _pieces(request)
        if not request.environ["wsgi.input_terminated"] and request.content_length:
            headers["Content-Length"] = f"{request.content_length}"
        target = f"/v2/{place.inner}/{path}" + (f"?{query}" if query else "")
        return _passed_on(
            request, place, self.distribution.send(request.method, target, headers, body)
        )


Handler = Callable[[Registry, Request, tokens.Holder, Place, str], Response]

# What is asked of each kind of path by each method: the permission it takes, and who answers.
ROUTES: tuple[tuple[re.Pattern[str], dict[str, tuple[str, Handler]]], ...] = (
    (
        re.compile("/v2/(.+)/manifests/([^/]+)"),
        {
            "GET": ("ecr:BatchGetImage", Registry._get_manifest),
            "HEAD": ("ecr:BatchGetImage", Registry._get_manifest),
            "PUT": ("ecr:PutImage", Registry._put_manifest),
            "DELETE": ("ecr:BatchDeleteImage", Registry._delete_manifest),
        },
    ),
    (
        re.compile("/v2/(.+)/blobs/uploads/()"),
        {"POST": ("ecr:InitiateLayerUpload", Registry._start_upload)},
    ),
    (
        re.compile("/v2/(.+)/blobs/uploads/([^/]+)"),
        {
            "GET": ("ecr:UploadLayerPart", Registry._upload),
            "PATCH": ("ecr:UploadLayerPart", Registry._upload),
            "PUT": ("ecr:CompleteLayerUpload", Registry._upload),
            "DELETE": ("ecr:UploadLayerPart", Registry._upload),
        },
    ),
    (
        re.compile("/v2/(.+)/blobs/([^/]+)"),
        {
            "GET": ("ecr:GetDownloadUrlForLayer", Registry._blob),
            "HEAD": ("ecr:BatchCheckLayerAvailability", Registry._blob),
        },
    ),
    (re.compile("/v2/(.+)/tags/(list)"), {"GET": ("ecr:ListImages", Registry._list_tags)}),
)


def _holder(request: Request) -> tokens.Holder:
    """Who asks; raises AWSError as ECR answers.

    Source of the statuses and wordings: aws/aws-cli#5317 (400), CircleCI-Public/aws-ecr-orb#265.
    """
    given = request.authorization
    if given is None or given.type != "basic":
        raise AWSError("UNAUTHORIZED", "Not Authorized", 401)
    holder = tokens.holder(given.username or "", given.password or "")
    if holder is None:
        raise AWSError("DENIED", "Your authorization token is not valid. Reauthenticate.")
    if holder.expired:
        raise AWSError(
            "DENIED", "Your authorization token has expired. Reauthenticate and try again.", 403
        )
    return holder


def _place(holder: tokens.Holder, name: str, action: str) -> Place:
    """The repository, if it is there and the holder may do this to it; else raises AWSError."""
    match = NAME.fullmatch(name)
    if match is None:
        raise AWSError(
            "NAME_UNKNOWN",
            f"There is no repository {name}: "
            "names begin with ACCOUNT.dkr.ecr.REGION.amazonaws.com/ here.",
            404,
        )
    account, region, short = match["account"], match["region"], match["name"]
    if region != holder.region:
        raise AWSError("DENIED", f"Your authorization token is for {holder.region}, not {region}.")
    backend = ecr_backends[account][region]
    repository = backend.repositories.get(short)
    if account != holder.account:
        _check_policy(holder, repository, action, account, short)
    if repository is None:
        raise AWSError(
            "NAME_UNKNOWN",
            f"The repository with name '{short}' does not exist in the registry with id "
            f"'{account}'",
            404,
        )
    return Place(backend, repository, name)


def _check_policy(
    holder: tokens.Holder, repository: Repository | None, action: str, account: str, name: str
) -> None:
    """Raise AWSError unless the repository's policy lets the other account do this.

    Source of the wording: aws-actions/amazon-ecr-login#232.
    """
    arn = f"arn:{get_partition(holder.region)}:ecr:{holder.region}:{account}:repository/{name}"
    values: dict[str, str | list[str]] = {
        "aws:PrincipalArn": holder.arns[-1],
        "aws:PrincipalAccount": holder.account,
    }
    names = [n for one in holder.arns for n in policies.principals(holder.account, one)]
    text = repository.policy if repository is not None else None
    if not policies.grants(text, action, arn, values, names):
        raise AWSError(
            "DENIED",
            f"User: {holder.arns[0]} is not authorized to perform: {action} on resource: {arn} "
            f"because no resource-based policy allows the {action} action",
            403,
        )


def _manifest(request: Request) -> bytes:
    """The whole body; raises AWSError where it can't be a manifest."""
    content = b""
    for piece in _pieces(request):
        content += piece
        if len(content) > MANIFEST:
            raise AWSError("MANIFEST_INVALID", f"A manifest has {MANIFEST} bytes at most.")
    try:
        content.decode()
    except UnicodeDecodeError:
        raise AWSError("MANIFEST_INVALID", "A manifest is JSON in UTF-8.") from None
    return content


def _check_children(place: Place, manifest: bytes) -> None:
    """Raise AWSError unless ECR has the images of a list; Distribution has deleted ones too."""
    known = {image.get_image_digest() for image in list(place.repository.images)}
    children = [child["digest"] for child in json.loads(manifest).get("manifests") or []]
    missing = ", ".join(child for child in children if child not in known)
    if missing:
        raise AWSError(
            "MANIFEST_BLOB_UNKNOWN",
            f"Images with digests '[{missing}]' required for pushing image into repository with "
            f"name '{place.repository.name}' in the registry with id "
            f"'{place.repository.registry_id}' do not exist",
        )


def _pieces(request: Request) -> Iterator[bytes]:
    """The body as it comes; raises Unreadable."""
    while True:
        try:
            piece = request.stream.read(PIECE)
        except (OSError, ValueError, BadRequest) as error:
            raise Unreadable(f"{error}") from None
        if not piece:
            return
        yield piece


def _drain(request: Request) -> None:
    """Read what is left of the body, or it would be taken for the connection's next request."""
    with contextlib.suppress(Unreadable):
        for _ in _pieces(request):
            pass


def _passed_on(request: Request, place: Place, answer: urllib3.BaseHTTPResponse) -> Response:
    headers = [(k, v) for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP]
    inner, outer = f"/v2/{place.inner}/", f"/v2/{place.name}/"
    headers = [(k, v.replace(inner, outer, 1) if k == "Location" else v) for k, v in headers]
    body = _content(answer)
    if request.method == "HEAD" or int(answer.headers.get("Content-Length", PIECE)) < PIECE:
        return Response(b"".join(body) or None, answer.status, headers)
    return Response(body, answer.status, headers, direct_passthrough=True)


def _content(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """The answer's body; its connection is closed if it was not read to the end."""
    try:
        yield from answer.stream(PIECE, decode_content=False)
    finally:
        answer.close()


def _refusal(request: Request, error: AWSError) -> Response:
    content = json.dumps({"errors": [{"code": error.code, "message": error.message}]})
    answer = Response(content, error.status, content_type="application/json")
    if error.status == 401:
        realm = f'Basic realm="http://{request.host}/",service="ecr.amazonaws.com"'
        answer.headers["WWW-Authenticate"] = realm
    return answer
