"""The local ECR as a registry for `docker login`, `push` and `pull`: the Registry HTTP API V2.

ECR's own state, moto's, decides who may do what and which images there are: manifests and tags
are answered from there. Layers are Distribution's, and only pass through here. Source: Docker
Registry HTTP API V2 (Debian: /usr/share/doc/docker-registry/spec/api.md.gz), ECR User Guide.
"""

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import urllib3
from moto.ecr.exceptions import (
    ImageAlreadyExistsException,
    InvalidParameterException,
    RepositoryNotFoundException,
)
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Request, Response

from byoc.local import storage
from byoc.local.call import Call
from byoc.local.distribution import PIECE, Distribution, Unavailable
from byoc.local.errors import AWSError
from byoc.local.registry import ImageTagAlreadyExistsException
from byoc.local.registry_access import Place, holder_of, place_of
from byoc.local.service import Context, Platform

log = logging.getLogger(__name__)

OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?")  # others before localhost are buckets
DIGEST = re.compile("sha256:[0-9a-f]{64}")
UPLOAD = re.compile("[0-9a-f-]{36}")
TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
MANIFEST = 4 * 1024 * 1024  # bytes of a manifest at most, as Distribution has it
TAGS = 1000  # tags of one answer
SENT = ("Accept", "Content-Range", "Content-Type", "Range")
HOP_BY_HOP = ("connection", "date", "keep-alive", "server", "transfer-encoding")
VERSION = ("Docker-Distribution-Api-Version", "registry/2.0")


class Unreadable(Exception):
    """The client's own body broke off, or is not HTTP."""


class Registry:
    """The registry of one local AWS."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.distribution = Distribution(platform.work)

    @staticmethod
    def serves(call: Call) -> bool:
        """Whether the request is for the registry: not signed, and not for a bucket or a service
        whose paths begin alike."""
        path = call.environ["PATH_INFO"]
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
        holder = holder_of(request)
        self.distribution.check()
        if request.path in ("/v2", "/v2/"):
            return Response("{}", content_type="application/json")
        for pattern, methods in ROUTES:
            if match := pattern.fullmatch(request.path):
                if request.method not in methods:
                    raise AWSError("UNSUPPORTED", "The operation is unsupported.", 405)
                action, handler = methods[request.method]
                place = place_of(holder, match[1], action)
                self._check(place, action)
                return handler(self, request, place, match[2])
        raise AWSError("UNSUPPORTED", f"The local ECR has nothing at {request.path}.", 404)

    def _check(self, place: Place, action: str) -> None:
        """Raise AWSError unless the holder's own policies allow this."""
        holder = place.holder
        context = Context(self._platform, holder.account, holder.region)
        self._platform.authority.check_registry(
            context, holder.access_key, action, place.repository.arn
        )

    def _get_manifest(self, request: Request, place: Place, reference: str) -> Response:
        image = place.image(reference)
        digest = image.get_image_digest()
        headers = {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
        kind = image.image_manifest_media_type
        return Response(image.image_manifest.encode(), 200, headers, content_type=kind)

    def _put_manifest(self, request: Request, place: Place, reference: str) -> Response:
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
        _register(place, content, tag, request.mimetype)
        location = f"/v2/{place.name}/manifests/{digest}"
        return Response(status=201, headers={"Location": location, "Docker-Content-Digest": digest})

    def _delete_manifest(self, request: Request, place: Place, reference: str) -> Response:
        place.image(reference)
        wanted = {"imageDigest" if ":" in reference else "imageTag": reference}
        answer = place.backend.batch_delete_image(place.repository.name, image_ids=[wanted])
        for failure in answer["failures"]:
            raise AWSError("DENIED", failure["failureReason"])
        return Response(status=202)

    def _list_tags(self, request: Request, place: Place, _: str) -> Response:
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

    def _blob(self, request: Request, place: Place, digest: str) -> Response:
        if not DIGEST.fullmatch(digest):
            raise AWSError("DIGEST_INVALID", f"{digest!r} is not sha256: and 64 digits.")
        return self._pass_on(request, place, f"blobs/{digest}")

    def _start_upload(self, request: Request, place: Place, _: str) -> Response:
        """A new upload, or a layer of another repository that the holder may read from."""
        if not storage.space_left(self._platform.work, self._platform.options.disk):
            raise AWSError("DENIED", storage.NO_SPACE, 403)
        mount = {}
        if "mount" in request.args and "from" in request.args:
            with contextlib.suppress(AWSError):
                source = place_of(place.holder, request.args["from"], "ecr:GetDownloadUrlForLayer")
                self._check(source, "ecr:GetDownloadUrlForLayer")
                mount = {"mount": request.args["mount"], "from": source.inner}
        answer = self._pass_on(request, place, "blobs/uploads/", urlencode(mount))
        return self._noted(place, answer)

    def _upload(self, request: Request, place: Place, upload: str) -> Response:
        if not UPLOAD.fullmatch(upload):
            raise AWSError("BLOB_UPLOAD_UNKNOWN", f"There is no upload {upload!r}.", 404)
        query = request.query_string.decode("latin-1")
        answer = self._pass_on(request, place, f"blobs/uploads/{upload}", query)
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
        chunked, length = request.environ["wsgi.input_terminated"], request.content_length
        if length and not chunked:
            headers["Content-Length"] = f"{length}"
        body = _pieces(request) if length or chunked else None
        target = f"/v2/{place.inner}/{path}" + (f"?{query}" if query else "")
        answer = self.distribution.send(request.method, target, headers, body)
        return _passed_on(request, place, answer)


Handler = Callable[[Registry, Request, Place, str], Response]

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


def _manifest(request: Request) -> bytes:
    """The whole body; raises AWSError where it can't be a manifest."""
    content = b""
    for piece in _pieces(request):
        content += piece
        if len(content) > MANIFEST:
            raise AWSError("MANIFEST_INVALID", f"A manifest has {MANIFEST} bytes at most.")
    try:
        if json.loads(content.decode())["schemaVersion"] == 2:  # else Distribution answers 500
            return content
    except (ValueError, TypeError, LookupError, RecursionError):
        pass
    raise AWSError("MANIFEST_INVALID", "A manifest is a JSON object of schemaVersion 2.")


def _check_children(place: Place, manifest: bytes) -> None:
    """Raise AWSError unless ECR has the images of a list; Distribution has deleted ones too."""
    known = {image.get_image_digest() for image in list(place.repository.images)}
    children = [child["digest"] for child in json.loads(manifest).get("manifests") or []]
    missing = ", ".join(child for child in children if child not in known)
    if missing:
        raise AWSError(
            "MANIFEST_BLOB_UNKNOWN",
            f"The repository {place.repository.name} does not have the images that the list "
            f"names: {missing}.",
        )


def _register(place: Place, manifest: bytes, tag: str | None, media_type: str) -> None:
    """Tell ECR of an image that has come; raises AWSError with its refusal."""
    try:
        place.backend.put_image(
            place.repository.name,
            manifest.decode(),
            tag,  # type: ignore[arg-type]  # moto says str and takes None
            media_type,
        )
    except ImageAlreadyExistsException:
        pass  # the same again
    except ImageTagAlreadyExistsException as error:
        raise AWSError("TAG_INVALID", f"{error.message}") from None
    except InvalidParameterException as error:
        raise AWSError("MANIFEST_INVALID", f"{error.message}") from None
    except RepositoryNotFoundException as error:  # deleted meanwhile
        raise AWSError("NAME_UNKNOWN", f"{error.message}", 404) from None


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
