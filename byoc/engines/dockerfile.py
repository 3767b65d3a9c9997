"""What a Dockerfile says about the image, as far as it can be known without running it."""

import fnmatch
import json
import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from dockerfile_parse import DockerfileParser
from dockerfile_parse.parser import image_from

from byoc.errors import ByocError

BASE_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"  # python images' PATH

# Instructions of the last stage that change nothing for a run without an engine.
SILENT = {"FROM", "ARG", "ENV", "LABEL", "EXPOSE", "STOPSIGNAL", "MAINTAINER", "COMMENT"}


Files = Mapping[str, Path]  # a path, without the first slash, in a build's context or in a stage


@dataclass
class Dockerfile:
    """The last stage of a Dockerfile; `copies` maps a place in the image to a file.

    What a stage copies from an earlier one is followed to the file that was copied there.
    """

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
        lines = list(zip(parser.structure, parser.context_structure, strict=True))
        first = [i for i, (step, _) in enumerate(lines) if step["instruction"] == "FROM"]
        if not first:
            raise ByocError(f"{path.name} has no FROM line: begin it with the base image.")
        last = Dockerfile(parser.baseimage, dict(parser.envs), dict(parser.labels))
    context = _context(folder)
    stages: dict[str, Files] = {}  # by number and by name
    for number, (begin, end) in enumerate(pairwise([*first, len(lines)])):
        stage = last if end == len(lines) else Dockerfile("", {}, {})
        for step, seen in lines[begin:end]:
            where = f"{path.name}, line {step['startline'] + 1}"
            _follow(stage, step, {**seen.args, **seen.envs}, context, stages, where)
        files = {place.lstrip("/"): file for place, file in stage.copies.items()}
        name = image_from(lines[begin][0]["value"])[1]
        stages |= {str(number): files} | ({name.lower(): files} if name else {})
    return last


def _context(folder: Path) -> Files:
    """What is sent to a builder: the folder's files without those that .dockerignore leaves out."""
    from docker.utils.build import exclude_paths  # slow to import: the local AWS does not need it

    ignore = folder / ".dockerignore"
    patterns = ignore.read_text().split("\n") if ignore.is_file() else []
    patterns = [line.strip() for line in patterns if line.strip() and not line.startswith("#")]
    names = sorted(exclude_paths(str(folder), patterns))
    return {name: folder / name for name in names if (folder / name).is_file()}


def _follow(
    stage: Dockerfile,
    step: Mapping[str, Any],
    variables: Mapping[str, str],
    context: Files,
    stages: Mapping[str, Files],
    where: str,
) -> None:
    """Do to the stage what one instruction does, or note that it isn't done."""
    instruction, value = step["instruction"], step["value"]
    if instruction in ("WORKDIR", "COPY", "ADD"):
        value = _expand(value, variables)
    origin = re.search(r"--from=(\S+)", value)
    if instruction == "USER":
        stage.user = _expand(value, variables)  # told; programs run as who started them
        stage.not_executed.append(f"USER {value}")
    elif instruction == "FROM" and (match := re.search(r"--platform=\w+/(\w+)", value)):
        stage.architecture = match[1]
    elif instruction == "WORKDIR":
        stage.workdir = posixpath.join(stage.workdir, value)
    elif instruction == "ENTRYPOINT":
        stage.entrypoint, stage.command = _words(value), None
    elif instruction == "CMD":
        stage.command = _words(value)
    elif instruction in ("COPY", "ADD") and origin is None:
        for source in _copy(stage, value, context):
            raise ByocError(
                f'{where}: "{source}" is not in the folder (or .dockerignore leaves it out): '
                "mend the COPY line or add the file."
            )
    elif instruction == "COPY" and origin is not None:
        if _copy(stage, value, stages.get(origin[1].lower(), {})):
            stage.not_executed.append(f"COPY {value}")  # it was made there, or is another image's
    elif instruction not in SILENT:
        stage.not_executed.append(f"{instruction} {value}")


def _expand(value: str, environment: Mapping[str, str]) -> str:
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


def _copy(stage: Dockerfile, value: str, files: Files) -> list[str]:
    """Add the files that a COPY line names to the stage; returns the sources that are not there."""
    words = json.loads(value) if value.startswith("[") else shlex.split(value)
    *sources, destination = [word for word in words if not word.startswith("--")]
    into_folder = len(sources) > 1 or destination.endswith(("/", "."))
    target = posixpath.normpath(posixpath.join(stage.workdir, destination))
    folders = (stage.workdir, *(posixpath.dirname(place) for place in stage.copies))
    into_folder |= any(place == target or place.startswith(f"{target}/") for place in folders)
    missing = []
    for source in sources:
        pattern = posixpath.normpath(source.lstrip("/"))
        found = False
        for name, file in files.items():
            inside = name if pattern == "." else _below(name, pattern)
            if inside is None:
                continue
            found = True
            if inside:  # a folder's contents go where the folder is copied to
                place = posixpath.join(target, inside)
            else:
                place = posixpath.join(target, posixpath.basename(name)) if into_folder else target
            stage.copies[place] = file
        if not found:
            missing.append(source)
    return missing


def _below(name: str, pattern: str) -> str | None:
    """'' when `name` matches the pattern, the rest when it lies below it, None otherwise."""
    parts, wanted = name.split("/"), pattern.split("/")
    if len(parts) < len(wanted) or not all(map(fnmatch.fnmatchcase, parts, wanted)):
        return None
    return "/".join(parts[len(wanted) :])
