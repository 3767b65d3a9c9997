"""Pushes and pulls: who logs in where, under which name, and what a registry's refusal means."""

import base64
import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from byoc.engines.commands import NO_NETWORK, NOT_ALLOWED, CommandLine, last_line
from byoc.errors import ByocError

# The only kind of manifest that CreateModel takes. Source: aws/amazon-sagemaker-feedback#180
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
LOOPBACK = re.compile(r"(127(\.\d+){3}|localhost|\[::1\])(:\d+)?")


def ecr_client(repository_uri: str) -> Any:
    """boto3's ECR in the region that the URI names, else in the environment's."""
    import boto3

    registry = repository_uri.partition("/")[0]
    region = registry.split(".")[3] if registry.count(".") > 3 else None
    return boto3.client("ecr", region_name=region)


def no_repository(name: str) -> ByocError:
    """What to say when the repository does not exist."""
    return ByocError(f"There is no ECR repository {name}: create it first.")


def immutable(tag: str, repository: str) -> ByocError:
    """What to say when a tag can't be moved."""
    return ByocError(
        f"The tag {tag} of {repository} is immutable and holds another image: "
        "build and push under a new tag."
    )


@dataclass(frozen=True)
class Login:
    """A registry's host and the name and password that open it."""

    host: str
    username: str
    password: str

    @property
    def loopback(self) -> bool:
        """Whether it is on this machine: without TLS, and no longer than the local AWS."""
        return LOOPBACK.fullmatch(self.host) is not None


def authorise(ecr: Any, repository_uri: str) -> tuple[Login, str]:
    """The login that ECR's token gives, and the name under which the repository is pushed to.

    A registry on this machine knows the repository by its whole URI. Any other token is good for
    every registry that its owner may use. Source: API Reference (ECR), GetAuthorizationToken.
    """
    (entry,) = ecr.get_authorization_token()["authorizationData"]
    username, _, password = base64.b64decode(entry["authorizationToken"]).decode().partition(":")
    local = Login(urlsplit(entry["proxyEndpoint"]).netloc, username, password)
    if local.loopback:
        return local, f"{local.host}/{repository_uri}"
    return Login(repository_uri.partition("/")[0], username, password), repository_uri


@contextlib.contextmanager
def logged_in(command: CommandLine, login: Login) -> Iterator[list[str]]:
    """Log in, and out again of a registry on this machine; yields options for push and pull.

    A login rewrites the user's configuration whole, so that two at a time would lose one.
    """
    insecure = login.loopback and command.program == "podman"
    options = ["--tls-verify=false"] if insecure else []
    folder = Path(os.environ.get("DOCKER_CONFIG") or "~/.docker").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".byoc-login.lock"):
        arguments = ["login", *options, "--username", login.username, "--password-stdin"]
        command.show(*arguments, login.host)
        done = command.run(*arguments, login.host, given=login.password)
        if done.returncode:
            raise _login_refusal(command, login.host, done.stderr)
        try:
            yield options
        finally:
            if login.loopback:
                command.run("logout", login.host)


def _login_refusal(command: CommandLine, host: str, text: str) -> ByocError:
    if NO_NETWORK.search(text):
        return ByocError(f"The registry {host} can't be reached: {last_line(text)}.")
    # ECR answers 400 to a password that is none
    if NOT_ALLOWED.search(text) or "400 Bad Request" in text:
        return ByocError(
            f"The registry {host} refuses the login ({last_line(text)}): ask for a new token, and "
            "see that the identity may call ecr:GetAuthorizationToken."
        )
    return command.refusal(f"{command.program} login", text)


def push_refusal(command: CommandLine, repository: str, tag: str, text: str) -> ByocError:
    """Why a registry did not take an image."""
    if re.search(r"immutable", text):
        return immutable(tag, repository)
    if re.search(r"name unknown|NAME_UNKNOWN|repository .* does not exist", text, re.IGNORECASE):
        return no_repository(repository)
    if NOT_ALLOWED.search(text):
        return ByocError(
            f"ECR refuses the push to {repository} ({last_line(text)}): see that the identity may "
            "call ecr:InitiateLayerUpload, UploadLayerPart, CompleteLayerUpload and PutImage."
        )
    if NO_NETWORK.search(text):
        return ByocError(f"The registry of {repository} can't be reached: {last_line(text)}.")
    return command.refusal(f"{command.program} push", text)


def check_manifest(ecr: Any, repository: str, tag: str, program: str) -> None:
    """Raise ByocError if what was pushed is an image that SageMaker would not take."""
    (image,) = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])[
        "imageDetails"
    ]
    found = image.get("imageManifestMediaType", MANIFEST_TYPE)
    if found != MANIFEST_TYPE:
        cure = {
            "docker": "`docker buildx build --provenance=false --output type=docker`",
            "podman": "`podman build --format docker` and `podman push --format v2s2`",
        }.get(program, "an engine that writes Docker manifests, version 2 schema 2")
        raise ByocError(
            f"{repository}:{tag} was pushed with a manifest of the type {found}, which SageMaker's "
            f"CreateModel refuses: build with {cure} and push again."
        )


def digests(manifest: str) -> list[str]:
    """What an engine may know an image by: its configuration's digest and its manifest's."""
    config = json.loads(manifest).get("config", {}).get("digest")
    own = "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()
    return [config, own] if config else [own]
