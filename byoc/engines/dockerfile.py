"""What a Dockerfile says about the image, as far as it can be known without running it."""

import fnmatch
import json
import posixpath
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from docker.utils.build import exclude_paths
from dockerfile_parse import DockerfileParser

from byoc.errors import ByocError

BASE_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"  # python images' PATH

# Instructions of the last stage that change nothing for a run without an engine.
SILENT = {"FROM", "ARG", "ENV", "LABEL", "EXPOSE", "STOPSIGNAL", "MAINTAINER", "COMMENT"}


@dataclass
class Dockerfile:
    """The last stage of a Dockerfile; `copies` maps a place in the image to a file."""

    base: str
    environment: dict[str, str]
    labels: dict[str, str]
    entrypoint: list[str] | None = None
    command: list[str] | None = None
    workdir: str = "/"
    user: str = ""
    architecture: str = "amd64"
    copies: dict[str, Path] = field(default_factory=dict)
    not_executed: list[str] = field(default_factory=list)


def locate(folder: Path) -> Path:
    """The folder's Dockerfile; raises ByocError if there is none."""
    path = folder / "Dockerfile"
    if not path.is_file():
        raise ByocError(f"There is no Dockerfile in {folder}: name the folder that holds one.")
    return path


def read(folder: Path) -> Dockerfile:
    """Read `folder/Dockerfile`; raises ByocError for one that is missing or can't be followed."""
    path = locate(folder)
    with path.open("rb") as file:
        parser = DockerfileParser(fileobj=file, parent_env={"PATH": BASE_PATH})
        stages = [i for i, step in enumerate(parser.structure) if step["instruction"] == "FROM"]
        if not stages:
            raise ByocError(f"{path.name} has no FROM line: begin it with the base image.")
        steps = parser.structure[stages[-1] :]
        result = Dockerfile(parser.baseimage, dict(parser.envs), dict(parser.labels))
    for step in steps:
        instruction, value = step["instruction"], step["value"]
        if instruction == "USER":
            result.user = _expand(value, result.environment)
        elif instruction == "FROM" and (match := re.search(r"--platform=\w+/(\w+)", value)):
            result.architecture = match[1]
        if instruction in ("WORKDIR", "COPY", "ADD"):
            value = _expand(value, result.environment)
        if instruction == "WORKDIR":
            result.workdir = posixpath.join(result.workdir, value)
        elif instruction == "ENTRYPOINT":
            result.entrypoint, result.command = _words(value), None
        elif instruction == "CMD":
            result.command = _words(value)
        elif instruction in ("COPY", "ADD") and "--from=" not in value:
            _copy(result, value, folder, f"{path.name}, line {step['startline'] + 1}")
        elif instruction not in SILENT:
            result.not_executed.append(f"{instruction} {value}")
    return result


def _expand(value: str, environment: dict[str, str]) -> str:
    """`$NAME` and `${NAME}` as Docker replaces them in WORKDIR and COPY."""
    pattern = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
    return pattern.sub(lambda match: environment.get(match[1] or match[2], ""), value)


def _words(value: str) -> list[str]:
    """The exec form as it stands, the shell form as Docker runs it."""
    try:
        words = json.loads(value)
        if isinstance(words, list):
            return [str(word) for word in words]
    except json.JSONDecodeError:
        pass
    return ["/bin/sh", "-c", value]


def _copy(result: Dockerfile, value: str, folder: Path, where: str) -> None:
    words = json.loads(value) if value.startswith("[") else shlex.split(value)
    *sources, destination = [word for word in words if not word.startswith("--")]
    into_folder = len(sources) > 1 or destination.endswith(("/", "."))
    target = posixpath.normpath(posixpath.join(result.workdir, destination))
    folders = (result.workdir, *(posixpath.dirname(place) for place in result.copies))
    into_folder |= any(place == target or place.startswith(f"{target}/") for place in folders)
    ignore = folder / ".dockerignore"
    patterns = ignore.read_text().split("\n") if ignore.is_file() else []
    patterns = [line.strip() for line in patterns if line.strip() and not line.startswith("#")]
    context = sorted(p for p in exclude_paths(str(folder), patterns) if (folder / p).is_file())
    for source in sources:
        pattern = posixpath.normpath(source.lstrip("/"))
        found = False
        for name in context:
            inside = "" if pattern == "." else _below(name, pattern)
            if inside is None:
                continue
            found = True
            if pattern == ".":
                place = posixpath.join(target, name)
            elif inside:  # a folder's contents go where the folder is copied to
                place = posixpath.join(target, inside)
            else:
                place = posixpath.join(target, posixpath.basename(name)) if into_folder else target
            result.copies[place] = folder / name
        if not found:
            raise ByocError(
                f'{where}: "{source}" is not in the folder (or .dockerignore leaves it out): '
                "mend the COPY line or add the file."
            )


def _below(name: str, pattern: str) -> str | None:
    """'' when `name` matches the pattern, the rest when it lies below it, None otherwise."""
    parts, wanted = name.split("/"), pattern.split("/")
    if len(parts) < len(wanted) or not all(map(fnmatch.fnmatchcase, parts, wanted)):
        return None
    return "/".join(parts[len(wanted) :])
