"""A small container that keeps the contract, its mutants, and the check on them."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from byoc import engines
from byoc.check import Kind, Level, Outcome, Payload, Report, Settings, Status, check
from byoc.check.runner import select

GOOD = Path(__file__).with_name("good")
ROWS = "a,label\n1,2\n3,4\n"


@dataclass(frozen=True)
class Mutant:
    """The good container with one fault of the real world, and the clause that names it.

    `edits` maps a file to texts and what stands for them; a text that is not there is an error.
    `settings` are those of the check; `of` is another good container.
    """

    name: str
    breaks: str
    edits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    chmod: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    of: Path = GOOD

    def write(self, folder: Path) -> Path:
        """The mutant's folder."""
        shutil.copytree(self.of, folder, dirs_exist_ok=True)
        for name, replacements in self.edits.items():
            text = (folder / name).read_bytes().decode()
            for old, new in replacements.items():
                assert old in text, f"{name} has no {old!r}"
                text = text.replace(old, new)
            (folder / name).write_bytes(text.encode())
        for name, mode in self.chmod.items():
            (folder / name).chmod(mode)
        return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A channel with two rows."""
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "data.csv").write_text(ROWS)
    return folder


@pytest.fixture
def checked(rows: Path) -> Callable[..., Report]:
    """Check a folder's container; `only` patterns as on the command line."""

    def run(folder: Path, *only: str, engine: str = "process", **settings: object) -> Report:
        given = {
            "kinds": frozenset(Kind) - {Kind.MULTI_MODEL, Kind.PROCESSING},
            "training_data": rows,
            "payloads": (Payload(b"1\n2\n", "text/csv"),),
            "training_time": 60.0,
            "startup_time": 20.0,
            **settings,
        }
        used = engines.engine(engine)
        image = used.build(folder, f"{folder.name.lower()}:check")
        wanted = Settings(**given)  # type: ignore[arg-type]
        return check(used, image, wanted, select(wanted, only))

    return run


def outcome(report: Report, id: str) -> Outcome:
    """What came of one clause."""
    return next(o for o in report.outcomes if o.clause.id == id)


def not_kept(report: Report) -> dict[str, str]:
    """The clauses that were broken or failed to be tried, and why."""
    return {
        o.clause.id: f"{o.status}: {o.sent} -> {o.back}"
        for o in report.outcomes
        if o.status in (Status.BROKEN, Status.ERROR)
    }


def assert_caught(mutant: Mutant, words: str, checked: Callable[..., Report], path: Path) -> None:
    """Its clause, and no crash of the check, finds the mutant, and says `words` of it."""
    report = checked(mutant.write(path / mutant.name), mutant.breaks, **mutant.settings)
    found = outcome(report, mutant.breaks)
    assert found.status is Status.BROKEN, found
    assert found.sent
    assert words in found.back, found
    assert report.exit_code == (1 if found.clause.level is Level.MUST else 0)
