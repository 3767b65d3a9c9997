"""`/opt/ml`, laid out as the platform lays it, and read back as the platform reads it.

Source of every path and file: SageMaker Developer Guide, your-algorithms-inference-code,
your-algorithms-training-algo-running-container and -output, build-your-own-processing-container.
"""

import atexit
import codecs
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byoc.errors import ByocError
from byoc.studio import scratch

FAILURE_LENGTH = 1024  # characters of output/failure that become the FailureReason
MESSAGE_LENGTH = 1024  # bytes of output/message that become the ExitMessage


@dataclass(frozen=True)
class InstanceGroup:
    """Hosts of one instance type; a job without groups of its own has this one."""

    instance_type: str
    hosts: tuple[str, ...] = ("algo-1",)
    name: str = "homogeneousCluster"


@dataclass(frozen=True)
class OptML:
    """One `/opt/ml`; `path` is where it lies on this machine."""

    path: Path

    @classmethod
    def create(
        cls,
        *,
        hyperparameters: Mapping[str, str] | None = None,
        channels: Mapping[str, str | Path] | None = None,
        model: str | Path | None = None,
        instance_type: str = "ml.m5.large",
        path: str | Path | None = None,
    ) -> "OptML":
        """Lay out the folders and configuration files of a one-host job.

        `channels` maps a channel's name to a file or folder that is copied in; `model` is a folder
        copied to `model` for a serving run; without `path` a temporary folder is made, which goes
        when this process ends.
        """
        ml = cls(_temporary() if path is None else Path(path).absolute())
        for folder in ("input/config", "input/data", "model", "output/data"):
            (ml.path / folder).mkdir(parents=True, exist_ok=True)
        for name, source in (channels or {}).items():
            _copy(Path(source), ml.channel(name))
        if model is not None:
            _copy(Path(model), ml.model)
        ml.write_config(
            hyperparameters=hyperparameters or {},
            channels={name: {} for name in channels or {}},
            groups=[InstanceGroup(instance_type)],
        )
        return ml

    @classmethod
    def create_processing(
        cls,
        job: Mapping[str, Any],
        inputs: Mapping[str, str | Path],
        *,
        hosts: Sequence[str] = ("algo-1",),
        current_host: str = "algo-1",
        path: str | Path | None = None,
    ) -> "OptML":
        """Lay out /opt/ml for a processing job; it has none of a training job's files.

        `job` is what processingjobconfig.json says: the request and its ARN. The LocalPath of each
        input and output becomes a folder; `inputs` maps an InputName to the file or folder that is
        copied into it. Without `path` a temporary folder is made, which goes when this process
        ends. Raises ByocError for a LocalPath that is not below /opt/ml/processing/.
        """
        ml = cls(_temporary() if path is None else Path(path).absolute())
        for name in ("config", "output", "processing"):
            (ml.path / name).mkdir(parents=True, exist_ok=True)
        for one in job["ProcessingInputs"]:
            folder = ml.local(one["S3Input"]["LocalPath"])
            folder.mkdir(parents=True, exist_ok=True)
            if one["InputName"] in inputs:
                _copy(Path(inputs[one["InputName"]]), folder)
        for one in job["ProcessingOutputConfig"]["Outputs"]:
            ml.local(one["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
        files = {
            "processingjobconfig.json": dict(job),
            "resourceconfig.json": {"current_host": current_host, "hosts": sorted(hosts)},
        }
        for name, content in files.items():
            (ml.path / "config" / name).write_text(json.dumps(content))
        return ml

    def local(self, path: str) -> Path:
        """Where a processing job's LocalPath lies on this machine; raises ByocError elsewhere."""
        check_local_path(path)
        return self.path / path.removeprefix("/opt/ml/")

    @property
    def message(self) -> Path:
        """The file whose first kilobyte becomes a processing job's ExitMessage."""
        return self.output / "message"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def output(self) -> Path:
        return self.path / "output"

    def channel(self, name: str) -> Path:
        """The folder of one input channel."""
        return self.path / "input/data" / name

    def write_config(
        self,
        *,
        hyperparameters: Mapping[str, str],
        channels: Mapping[str, Mapping[str, str]],
        groups: Sequence[InstanceGroup],
        current_host: str = "algo-1",
    ) -> None:
        """Write the three files of `input/config` with the keys that AWS writes.

        The values of `hyperparameters` stay strings. `channels` maps names to the keys in which a
        channel differs from File mode, fully replicated. Hosts are sorted as text: `algo-10` comes
        before `algo-2`.
        """
        current = next(group for group in groups if current_host in group.hosts)
        files: dict[str, dict[str, Any]] = {
            "hyperparameters.json": dict(hyperparameters),
            "inputdataconfig.json": {
                name: {
                    "TrainingInputMode": "File",
                    "S3DistributionType": "FullyReplicated",
                    "RecordWrapperType": "None",
                    **settings,
                }
                for name, settings in channels.items()
            },
            "resourceconfig.json": {
                "current_group_name": current.name,
                "current_host": current_host,
                "current_instance_type": current.instance_type,
                "hosts": sorted(host for group in groups for host in group.hosts),
                "instance_groups": [
                    {
                        "instance_group_name": group.name,
                        "instance_type": group.instance_type,
                        "hosts": sorted(group.hosts),
                    }
                    for group in groups
                ],
                "network_interface_name": "eth0",
                "topology": None,
            },
        }
        for name, content in files.items():
            (self.path / "input/config" / name).write_text(json.dumps(content))

    def owns(self, path: Path) -> bool:
        """Whether a path below this one leads there, and not by a container's link elsewhere."""
        wanted = Path(os.path.realpath(self.path)) / path.relative_to(self.path)
        return os.path.realpath(path) == f"{wanted}"

    def failure(self) -> str | None:
        """What the container wrote to `output/failure`, as far as the platform reads it."""
        file = self.output / "failure"
        if not self.owns(file) or not file.is_file():
            return None
        with file.open("rb") as content:
            start = content.read(4 * FAILURE_LENGTH)  # a character has at most four bytes
        return start.decode("utf-8", "replace")[:FAILURE_LENGTH]

    def exit_message(self) -> str:
        """What a processing job's program wrote to `output/message`, as far as it is read.

        Raises UnicodeDecodeError for what is not UTF-8; a character that is cut off is left out.
        """
        if not self.owns(self.message) or not self.message.is_file():
            return ""
        with self.message.open("rb") as content:
            start = content.read(MESSAGE_LENGTH)
        decoder = codecs.getincrementaldecoder("utf-8")()
        return decoder.decode(start, final=len(start) < MESSAGE_LENGTH)

    def tree(self) -> str:
        """The folders and files as a drawing, with sizes in bytes."""
        return "\n".join(["/opt/ml", *_branches(self.path, "")])


def check_local_path(path: str) -> None:
    """Raise ByocError for a LocalPath that a processing job can't have."""
    if not path.startswith("/opt/ml/processing/") or ".." in Path(path).parts:
        raise ByocError(f"The LocalPath {path} must begin with /opt/ml/processing/.")


def _temporary() -> Path:
    """A folder that goes when this process ends."""
    path = tempfile.mkdtemp(prefix="byoc-", dir=scratch())
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path).absolute()


def _copy(source: Path, folder: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore_dangling_symlinks=True)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder)


def _branches(folder: Path, indent: str) -> list[str]:
    lines = []
    entries = sorted(folder.iterdir())
    for entry in entries:
        last = entry == entries[-1]
        size = f"  {entry.stat().st_size:,} bytes" if entry.is_file() else ""
        slash = "/" if entry.is_dir() else ""
        lines.append(f"{indent}{'└── ' if last else '├── '}{entry.name}{slash}{size}")
        if entry.is_dir():
            lines += _branches(entry, indent + ("    " if last else "│   "))
    return lines
