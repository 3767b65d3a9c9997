"""Training runs that several clauses look at, and what is looked for in what they left."""

import json
import random
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from byoc.check.clause import Broken
from byoc.check.subject import JOB, Run, Subject
from byoc.optml import OptML

DOCKERFILE = "Developer Guide, your-algorithms-training-algo-dockerfile"
RUNNING = "Developer Guide, your-algorithms-training-algo-running-container"
OUTPUT = "Developer Guide, your-algorithms-training-algo-output"
EXIT_CODE = "Developer Guide, your-algorithms-training-signal-success-failure"

PLAIN = "docker run IMAGE train"
COMPARED = 2**30  # bytes of a model or a channel that are read to compare them

# Where the platform or AWS's libraries look after the run; all else is lost. Source: the table of
# Developer Guide, model-train-storage-env-var-summary, and aws/sagemaker-training-toolkit.
KEPT = (
    "input/",
    "model/",
    "checkpoints/",
    "code/",
    "sagemaker/",
    "output/data/",
    "output/failure",
    "output/metrics/",
    "output/tensors/",
    "output/profiler/",
    "output/intermediate/",
    "success",
)


def expect_success(run: Run, sent: str) -> None:
    """Raise Broken unless the run ended with exit code 0."""
    if run.code != 0:
        raise Broken(sent, run.told)


def expect_model(run: Run, sent: str) -> None:
    """Raise Broken unless /opt/ml/model holds a file that is not empty."""
    if not any(sizes(run.ml.model).values()):
        elsewhere = strays(run.ml)
        where = f"; there is {', '.join(elsewhere[:5])}" if elsewhere else ""
        raise Broken(sent, f"no file with content in /opt/ml/model{where}; {run.told}")


def sizes(folder: Path) -> dict[str, int]:
    """Relative name -> bytes of the regular files in a folder; links are not followed."""
    found: dict[str, int] = {}
    if folder.is_symlink():  # a container may have put one there, to anywhere
        return found
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            found[f"{path.relative_to(folder)}"] = status.st_size
    return found


def strays(ml: OptML) -> list[str]:
    """The files below /opt/ml that nobody keeps."""
    names = [name for name in sizes(ml.path) if not name.startswith(KEPT)]
    return [f"/opt/ml/{name}" for name in names]


def same_file(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes."""
    with one.open("rb") as first, other.open("rb") as second:
        while (block := first.read(2**20)) == second.read(2**20):
            if not block:
                return True
    return False


def spoiled(subject: Subject) -> dict[str, str] | None:
    """The hyperparameters with a text for the first number; None where there is no number."""
    for name, value in subject.settings.hyperparameters.items():
        if re.fullmatch(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", value):
            return {**subject.settings.hyperparameters, name: "not-a-number"}
    return None


def empty_run(subject: Subject) -> Run | None:
    """A run whose channels are empty; None where no channels are known."""
    if not (channels := subject.settings.channels):
        return None
    empty = subject.once("an empty folder", lambda: subject.opt_ml(channels={}).model)
    return subject.train(channels=dict.fromkeys(channels, empty))


def garbage_run(subject: Subject) -> Run | None:
    """A run on random bytes; None where no channels are known."""
    if not subject.settings.channels:
        return None
    return subject.train(channels=subject.once("garbage", lambda: _garbage(subject)))


def _garbage(subject: Subject) -> dict[str, Path]:
    """The channels with random bytes, 64 KiB at most, for the content of each file."""
    randomness, folders = random.Random(0), {}
    for name, source in subject.settings.channels.items():
        folders[name] = subject.opt_ml(channels={}).channel(name)
        files = [source] if source.is_file() else [p for p in source.rglob("*") if p.is_file()]
        for file in sorted(files)[:1000]:
            relative = file.relative_to(source) if source.is_dir() else Path(file.name)
            target = folders[name] / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(randomness.randbytes(min(file.stat().st_size, 2**16) or 1))
    return folders


# sagemaker_program is left out: a container on AWS's training toolkit does what it says.
ADDED = {
    "_tuning_objective_metric": "validation:accuracy",
    "sagemaker_region": "us-east-1",
    "sagemaker_job_name": JOB["TRAINING_JOB_NAME"],
    "sagemaker_container_log_level": "20",
}
NEW_KEYS = {"new_key": {"of": ["next", "year"]}, "newer": None}
OTHER_HOST = "algo-1-x7k2q"
INPUT = "/opt/ml/input"


def survives_all(subject: Subject) -> bool:
    """Whether `train` succeeds with all of these at once: then it does with each alone, and the
    clauses need no run of their own."""
    return subject.once("all oddities", lambda: _with_all(subject))


def _with_all(subject: Subject) -> bool:
    ml = subject.opt_ml(hyperparameters={**subject.settings.hyperparameters, **ADDED})
    add_keys(ml)
    rename_host(ml)
    isolated = subject.engine.has_networks()
    run = subject.train_on(ml, isolated=isolated, read_only=[INPUT])
    return run.code == 0 and any(sizes(run.ml.model).values())


def _edited(ml: OptML, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    file = ml.path / "input/config" / name
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def add_keys(ml: OptML) -> None:
    """Write keys that no page knows into both configuration files."""
    _edited(ml, "resourceconfig.json", lambda content: content.update(NEW_KEYS))
    _edited(
        ml,
        "inputdataconfig.json",
        lambda content: [channel.update(NEW_KEYS) for channel in content.values()],
    )


def rename_host(ml: OptML) -> None:
    """Call the one host otherwise than the platform does."""

    def rename(content: dict[str, Any]) -> None:
        groups = [{**group, "hosts": [OTHER_HOST]} for group in content["instance_groups"]]
        content.update(current_host=OTHER_HOST, hosts=[OTHER_HOST], instance_groups=groups)

    _edited(ml, "resourceconfig.json", rename)
