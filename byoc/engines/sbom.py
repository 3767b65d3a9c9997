"""A software bill of materials of an image, in CycloneDX: its Python packages and its base."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from byoc.errors import ByocError


def write(folder: Path, base: str, target: Path, python: str = "") -> Path:
    """Write the SBOM of the image that `folder` is built into on `base` to the file `target`.

    The packages are those of requirements.txt for Linux and the version `python`; by default that
    of the base's tag (python:3.12-slim), or this Python's. Same input, same bytes: neither a time
    nor a random number is in it. Raises ByocError for a requirements.txt
    that can't be read.
    """
    requirements = folder / "requirements.txt"
    listed = requirements.read_text() if requirements.is_file() else ""
    tagged = re.search(r"(?:^|/)python:(\d+\.\d+(?:\.\d+)?)", base)
    version = python or (tagged[1] if tagged else ".".join(map(str, sys.version_info[:3])))
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible"]
    command += ["--no-validate", "--output-file", "-", "-"]
    done = subprocess.run(
        command, input=_installed(listed, version), capture_output=True, text=True
    )
    if done.returncode:
        reason = " ".join(done.stderr.split())
        raise ByocError(f"No SBOM of {requirements}: {reason}; mend that file.")
    content = json.loads(done.stdout)
    content.setdefault("components", []).append(_base(base))
    content.setdefault("dependencies", []).append({"ref": "base"})
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content, indent=2) + "\n")
    return target


def _installed(requirements: str, version: str) -> str:
    """The entries of a requirements.txt whose markers hold on Linux for that Python."""
    environment = {
        "python_version": ".".join(version.split(".")[:2]),
        "python_full_version": version if version.count(".") > 1 else f"{version}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
    }
    entries = []
    for entry in re.split(r"\n(?=\S)", requirements.replace("\\\n", " ").strip()):
        line = re.split(r"\s--|\s#|^#|^-", entry, maxsplit=1)[0].strip()
        try:
            marker = Requirement(line).marker if line else None
        except InvalidRequirement:  # such as an address; the markers are what matters here
            marker = None
        if line and (marker is None or marker.evaluate(environment)):
            entries.append(" ".join(entry.split()))
    return "".join(f"{entry}\n" for entry in entries)


def _base(base: str) -> dict[str, Any]:
    """The base image as a component; NAME[:TAG][@sha256:DIGEST]."""
    name, _, digest = base.partition("@sha256:")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:  # the colon of a registry's port
        repository, tag = name, ""
    component: dict[str, Any] = {"type": "container", "bom-ref": "base", "name": repository}
    if tag:
        component["version"] = tag
    if digest:
        component["hashes"] = [{"alg": "SHA-256", "content": digest}]
    return component
