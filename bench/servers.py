"""The servers of one run: built, given the model, started together, and proved right."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import model
from containers import HTTP, Containers, Running
from rivals import CONSTANT, OURS, Ask, Rival

from byoc.errors import ByocError

WORKERS = 2


@dataclass
class Servers:
    """Images that are built and a model that is trained; `failed` says why a rival is out."""

    containers: Containers
    model: Path
    rivals: list[Rival]
    failed: dict[str, str]

    @contextmanager
    def serving(self, rival: Rival, workers: int = WORKERS, **other: Path) -> Iterator[Running]:
        """A fresh container of the rival; `model=FOLDER` has it serve another one."""
        environment = rival.environment(workers)
        folder = other.get("model", self.model)
        with self.containers.serving(
            rival.image, rival.command, folder, environment, rival.ping
        ) as running:
            yield running

    @contextmanager
    def all(self) -> Iterator[dict[str, Running]]:
        """Every rival at once; one that does not start or is wrong joins those that failed."""
        with ExitStack() as stack:
            started: dict[str, Running] = {}
            for rival in self.rivals:
                try:
                    started[rival.name] = stack.enter_context(self.serving(rival))
                    if rival is not CONSTANT:
                        for ask in filter(None, (rival.csv, rival.json)):
                            prove(started[rival.name], ask)
                except ByocError as error:
                    started.pop(rival.name, None)
                    self.failed[rival.name] = str(error)
                    print(f"{rival.name} is out: {error}", file=sys.stderr)
            yield started


def prove(running: Running, ask: Ask) -> None:
    """Raise ByocError unless the server's answers are the model's, for one row and for many."""
    rows = model.penguins()[0]
    expected = list(model.fit().predict(rows))
    for part in (slice(1), slice(len(rows))):
        answer = HTTP.request(
            "POST",
            running.address + ask.path,
            ask.body(rows[part]),
            headers={"Content-Type": ask.content_type},
            timeout=30,
        )
        if answer.status != 200:
            raise ByocError(f"{ask.path} answers {answer.status}: {answer.data[:300]!r}")
        model.check(answer.data, expected[part])


@contextmanager
def prepared(base: str, rivals: Sequence[Rival]) -> Iterator[Servers]:
    """Build all images, and let ours train the model."""
    containers, failed = Containers(base), dict[str, str]()
    folders = {OURS.folder: OURS.image} | {rival.folder: rival.image for rival in rivals}
    for folder, tag in folders.items():
        try:
            containers.build(folder, tag)
        except ByocError as error:
            if folder == OURS.folder:
                raise
            failed |= {rival.name: str(error) for rival in rivals if rival.folder == folder}
            print(f"{tag} is out: {error}", file=sys.stderr)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder_name:

        def run(ml: Path) -> str:
            return containers.run(OURS.image, "train", volumes={"/opt/ml": ml})

        trained = model.train(run, Path(folder_name) / "ml")
        left = [rival for rival in rivals if rival.name not in failed]
        yield Servers(containers, trained, left, failed)
