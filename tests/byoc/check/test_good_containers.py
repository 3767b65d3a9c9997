"""Containers that are right, in several styles: no `must` is broken, and no alarm is false.

`wrong` are the clauses below `must` that a container, such as one of AWS's toolkits, does break;
no other may be.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from byoc import engines
from byoc.check import Kind, Payload, Settings, Status, check
from byoc.check.runner import select

from .conftest import GOOD, ROWS, not_kept

ROOT = Path(__file__).parents[3]
FOREIGN = ROOT / "tests/foreign"
LINE = "0,1\n1,3\n2,5\n4,9\n"  # y = 1 + 2·x
SLOW = ("serve-memory", "serve-accepts")  # tried by tests of their own


@dataclass(frozen=True)
class Container:
    """Folders that are laid over each other, and what their owner would tell the check."""

    name: str
    folders: tuple[Path, ...]
    kinds: frozenset[Kind] = Settings().kinds
    rows: str = LINE
    payload: bytes = b"10\n-3\n"
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    wrong: frozenset[str] = frozenset()

    def settings(self, work: Path) -> Settings:
        """Those of the check; the data lie in `work`."""
        data = work / "data"
        data.mkdir()
        (data / "rows.csv").write_text(self.rows)
        return Settings(
            kinds=self.kinds,
            training_data=data,
            hyperparameters=self.hyperparameters,
            payloads=(Payload(self.payload, "text/csv"),),
            training_time=120.0,
            startup_time=60.0,
        )


OURS = Container(
    "ours",
    (ROOT / "container",),
    rows="a,b,kind\n" + "1,2,yes\n3,1,no\n" * 40,
    payload=b"1,2\n3,1\n",
    hyperparameters={"max_depth": "3"},
)
CONTAINERS = [
    OURS,
    Container("dispatches", (GOOD, GOOD.with_name("dispatch")), rows=ROWS, payload=b"1\n2\n"),
    Container(
        "without-python",
        (FOREIGN / "perl",),
        hyperparameters={"decimals": "1"},
        wrong=frozenset({"invoke-keep-alive"}),  # a process for each request, and a connection
    ),
    Container(
        "training-toolkit",
        (FOREIGN / "training_toolkit",),
        frozenset({Kind.IMAGE, Kind.TRAINING}),
        hyperparameters={"decimals": "1", "sagemaker_submit_directory": '"/opt/line"'},
        wrong=frozenset({"train-output-kept"}),  # the toolkit's own /opt/ml/output/success
    ),
]


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: container.name)
def test_a_right_container_gives_no_false_alarm(container, tmp_path):
    assert_right(engines.engine("process"), container, tmp_path)


def test_ours_is_right_as_an_image(docker_engine, tmp_path):
    assert_right(docker_engine, OURS, tmp_path)


def assert_right(engine, container, tmp_path):
    folder = tmp_path / "container"
    for part in container.folders:
        shutil.copytree(part, folder, dirs_exist_ok=True)
    settings = container.settings(tmp_path)
    image = engine.build(folder, f"byoc-test-{container.name}:1")
    report = check(engine, image, settings, select(settings, skip=SLOW))
    assert {id: why for id, why in not_kept(report).items() if id not in container.wrong} == {}
    assert report.exit_code == 0
    assert report.count(Status.KEPT) > len(report.outcomes) / 2
