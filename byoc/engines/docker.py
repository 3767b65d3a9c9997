"""The engine that drives docker, podman or finch by its command line.

What builds, pulls, pushes and logs in is printed before it runs; what starts and stops containers
is too when `show` is set. In Studio the commands keep to what its proxy allows.
"""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byoc.engines import bases, dockerfile, hints, registries
from byoc.engines.base import Container, Image, Network, check_tag, no_image
from byoc.engines.bases import PLATFORM
from byoc.engines.commands import (
    NO_NETWORK,
    CommandLine,
    last_line,
    pull_refusal,
)
from byoc.engines.docker_container import DockerContainer
from byoc.engines.docker_network import FOLDER_LABEL, DockerNetwork
from byoc.errors import ByocError
from byoc.optml import OptML
from byoc.studio import NETWORK as STUDIO_NETWORK
from byoc.studio import in_studio

TAIL = 20  # lines of a failed build that are shown

# Prints the packages' sizes as JSON; bytecode counts, also what no installer lists.
PACKAGES = """\
import importlib.metadata, json, pathlib
sizes = {}
for found in importlib.metadata.distributions():
    files = [pathlib.Path(found.locate_file(file)) for file in found.files or []]
    files = [file for file in files if file.suffix != ".pyc"]
    for file in list(files):
        if file.suffix == ".py":
            files += file.parent.glob(f"__pycache__/{file.stem}.*.pyc")
    sizes[found.metadata["Name"]] = sum(file.stat().st_size for file in files if file.is_file())
print(json.dumps(sizes))
"""


@dataclass(frozen=True)
class Layer:
    """The instruction that made a layer of an image, and the layer's size in bytes."""

    instruction: str
    size: int


class DockerEngine:
    """Build, push and run images by the commands of `name`: docker, podman or finch."""

    def __init__(self, name: str = "docker", show: bool = False) -> None:
        self.name, self.show = name, show
        self._command = CommandLine(name)

    def build(
        self, folder: str | Path, tag: str, build_args: Mapping[str, str] | None = None
    ) -> Image:
        """Build the folder's Dockerfile for linux/amd64 into an image that SageMaker takes."""
        check_tag(tag)
        file = dockerfile.locate(Path(folder))
        for name in hints.windows_programs(file.parent):
            print(
                f"{self.name} engine: the first line of {name} ends as Windows ends lines (CRLF): "
                "Linux will not find its interpreter; save it with LF"
            )
        arguments = bases.build_arguments(self._command, file, build_args or {})
        options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        if in_studio():
            options += ["--network", STUDIO_NETWORK]
        command = [*self._builder(), "--platform", PLATFORM, *options, "--tag", tag, f"{folder}"]
        code, text = self._command.follow(*command)
        if code:
            sys.stderr.write("".join(text.splitlines(keepends=True)[-TAIL:]))
            raise self._build_refusal(tag, text)
        image = self.image(tag)
        print(f"{self.name} engine: image {tag} {image.id[:19]}, {image.size:,} bytes")
        return image

    def image(self, tag: str) -> Image:
        """The image called `tag`; raises ByocError when there is none."""
        done = self._command.run("image", "inspect", tag)
        if done.returncode == 0:
            return _image(self.name, tag, json.loads(done.stdout)[0])
        if re.search(r"no such image|not found|not known", done.stderr, re.IGNORECASE):
            raise no_image(tag)
        raise self._command.refusal(f"{self.name} image inspect", done.stderr)

    def configuration(self, image: Image) -> dict[str, Any]:
        """What `image inspect` shows; which manifest it will have is known only after a push."""
        found = self._command.run("image", "inspect", image.id)
        if found.returncode:
            raise self._command.refusal(f"{self.name} image inspect", found.stderr)
        (one,) = json.loads(found.stdout)
        return {**(one["Config"] or {}), "Architecture": one["Architecture"]}

    def push(self, tag: str, repository_uri: str, ecr: Any = None) -> str:
        """Push the image into the ECR repository at the URI; returns the image's URI.

        The registry is the one that ECR's token is for. Raises ByocError with the registry's
        reason, or when the manifest is one that SageMaker would not take.
        """
        self.image(tag)
        version, repository = check_tag(tag)[1], repository_uri.partition("/")[2]
        ecr = ecr or registries.ecr_client(repository_uri)
        login, name = registries.authorise(ecr, repository_uri)
        if login.loopback and in_studio():
            raise ByocError(
                "Studio's Docker can't reach the local AWS's registry: set BYOC_ENGINE=process and "
                "build again, or push to your account."
            )
        reference = f"{name}:{version}"
        self._name(tag, reference)
        with registries.logged_in(self._command, login) as options:
            options = [*options, *(["--format", "v2s2"] if self.name == "podman" else [])]
            code, text = self._command.follow("push", *options, reference)
        if login.loopback and reference != tag:
            self._command.run("image", "rm", reference)  # the name, not the image
        if code:
            raise registries.push_refusal(self._command, repository, version, text)
        registries.check_manifest(ecr, repository, version, self.name)
        return f"{repository_uri}:{version}"

    def pull(self, reference: str, username: str, password: str) -> Image:
        """Pull an image from a registry that asks for a name and a password."""
        login = registries.Login(reference.partition("/")[0], username, password)
        with registries.logged_in(self._command, login) as options:
            code, text = self._command.follow("pull", *options, reference)
        if code:
            raise pull_refusal(reference, text) or self._command.refusal(f"{self.name} pull", text)
        return self.image(reference)

    def resolve(self, manifest: str) -> Image | None:
        """The image of a registry's manifest, if the engine has it: its ID is the configuration's
        digest, or the manifest's where the engine keeps images as containerd does."""
        for digest in registries.digests(manifest):
            done = self._command.run("image", "inspect", digest)
            if done.returncode == 0:
                return _image(self.name, digest, json.loads(done.stdout)[0])
        return None

    def packages(self, image: Image) -> dict[str, int]:
        """The installed Python packages of the image and their sizes in bytes, largest first.

        The image's own Python is asked; raises ByocError when it has none.
        """
        network = STUDIO_NETWORK if in_studio() else "none"
        command = [
            "run",
            "--rm",
            "--network",
            network,
            "--entrypoint",
            "python",
            image.id,
            "-c",
            PACKAGES,
        ]
        sizes = json.loads(self._command.ask(*command))
        return dict(sorted(sizes.items(), key=lambda item: -item[1]))

    def layers(self, image: Image) -> list[Layer]:
        """The layers of the image, the first one first, with the instruction that made each."""
        if in_studio():
            raise ByocError("Studio's Docker does not tell an image's layers: look on a laptop.")
        ask = ["history", "--no-trunc", "--human=false", "--format"]
        if self.name == "podman":  # whose templates have rounded sizes only
            told = json.loads(self._command.ask(*ask, "json", image.id))
            rows = [(entry.get("CreatedBy", ""), entry["size"]) for entry in told]
        else:
            lines = self._command.ask(*ask, "{{.Size}} {{.CreatedBy}}", image.id).splitlines()
            rows = [(made, int(size)) for size, _, made in (line.partition(" ") for line in lines)]
        return [Layer(_instruction(made), size) for made, size in reversed(rows)]

    def run(
        self,
        image: Image,
        arguments: Sequence[str],
        *,
        ml: OptML,
        environment: Mapping[str, str] | None = None,
        entrypoint: Sequence[str] | None = None,
        memory: int | None = None,
        network: Network | None = None,
        host: str | None = None,
        read_only: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> Container:
        """Start `docker run [--entrypoint E] IMAGE ARGUMENTS` with `ml` at /opt/ml.

        A program that can't be started ends with 126 or 127 and the engine's words in its log, an
        image for another processor with 1. `options` are more of `docker run`'s. Raises ByocError
        when the engine can't do its part.
        """
        assert network is None or isinstance(network, DockerNetwork)
        program, *rest = [*(entrypoint or []), *arguments] or [""]
        words = [program, *rest] if program else []
        flags = [*options]
        for name, value in (environment or {}).items():
            flags += ["--env", f"{name}={value}"]
        if entrypoint:
            flags, words = [*flags, "--entrypoint", program], rest
        if memory is not None:
            flags += [f"--memory={memory}", f"--memory-swap={memory}"]
        return DockerContainer(
            self._command,
            image,
            flags,
            words,
            ml=ml,
            serving=list(arguments) == ["serve"],
            memory=memory,
            network=network,
            host=host,
            read_only=read_only,
            show=self.show,
        )

    def has_networks(self, serving: bool = False) -> bool:
        """Everywhere but in Studio, where all share one network."""
        return not in_studio()

    def network(self, hosts: Sequence[str], isolated: bool = False) -> DockerNetwork:
        """A network of the engine in which the hosts are known by name."""
        if in_studio():
            raise ByocError("Studio's Docker has no networks: several hosts can't run here.")
        return DockerNetwork(self._command, hosts, isolated)

    def sweep(self, work: Path) -> None:
        """Remove every container and network whose folder lies under `work`."""
        kinds = [(["ps", "--all"], ["inspect"], ["rm", "--force", "--volumes"])]
        if not in_studio():
            kinds += [(["network", "ls"], ["network", "inspect"], ["network", "rm"])]
        for find, inspect, remove in kinds:
            done = self._command.run(*find, "--quiet", "--filter", f"label={FOLDER_LABEL}")
            for name in done.stdout.split():
                seen = self._command.run(*inspect, name)
                if seen.returncode == 0 and _folder(json.loads(seen.stdout)[0]).is_relative_to(
                    work
                ):
                    self._command.run(*remove, name)

    def _builder(self) -> list[str]:
        if self.name == "podman":
            return ["build", "--format", "docker"]
        if self.name == "finch":
            return ["build", "--provenance=false", "--sbom=false"]
        if in_studio() or self._command.run("buildx", "version").returncode:
            # this builder makes Docker manifests, and no provenance
            return ["build", "--force-rm"]
        plain = ["--provenance=false", "--sbom=false", "--output", "type=docker"]
        return ["buildx", "build", *plain]

    def _name(self, tag: str, reference: str) -> None:
        """Give the image the name under which it is pushed, unless it has it."""
        if reference == tag:
            return
        if in_studio():
            raise ByocError(
                f"Studio's Docker can't rename {tag}: build it under its final name, "
                f"`byoc build FOLDER --tag {reference}`, and push that."
            )
        self._command.show("tag", tag, reference)
        self._command.ask("tag", tag, reference)

    def _build_refusal(self, tag: str, text: str) -> ByocError:
        what, last = f"{self.name} build", last_line(text)
        if re.search(r"exec /\S+: exec format error|exec user process caused: exec format", text):
            return ByocError(
                f"{tag} can't be built: exec format error, its base image is for another processor "
                f"than {PLATFORM}: name one that has {PLATFORM}, with --build-arg BASE=IMAGE."
            )
        failed_step = re.search(r"returned a non-zero code|did not complete successfully", text)
        if not failed_step and (refusal := pull_refusal(f"The base image of {tag}", text)):
            return refusal
        if failed_step and NO_NETWORK.search(text):
            return ByocError(
                f"{tag} can't be built: a step of the Dockerfile could not reach the network "
                f"({last}): check the connection, or name a proxy with "
                "--build-arg HTTPS_PROXY=URL."
            )
        return self._command.refusal(what, text)


def _image(engine: str, tag: str, inspected: dict[str, Any]) -> Image:
    config = inspected.get("Config") or {}
    digest = "sha256:" + inspected["Id"].removeprefix("sha256:")
    labels, architecture = config.get("Labels") or {}, inspected["Architecture"]
    return Image(tag, digest, inspected["Size"], labels, engine, architecture)


def _instruction(made: str) -> str:
    """The Dockerfile's line behind what the classic builder or BuildKit wrote into the history."""
    text = " ".join(made.removesuffix("# buildkit").split())
    text = re.sub(r"^(/bin/sh -c )?#\(nop\) ?", "", text)
    return re.sub(r"^(RUN )?(\|\d+ .*)?/bin/sh -c ", "RUN ", text)


def _folder(inspected: dict[str, Any]) -> Path:
    """The folder that a container's or a network's label names."""
    holder = inspected.get("Config", inspected)
    labels = holder.get("Labels") or holder.get("labels") or {}
    return Path(labels.get(FOLDER_LABEL, os.devnull))
