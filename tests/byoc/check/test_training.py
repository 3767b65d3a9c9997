"""The clauses of training, each caught on a container with the fault that it names."""

import pytest

from byoc.check import Status

from .conftest import GOOD, Mutant, not_kept, outcome

MUTANTS = [
    Mutant(
        "no-exec-bit",
        "train-starts",
        {"Dockerfile": {"RUN chmod": "# RUN chmod"}},
        {"train": 0o644},
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught_by_its_clause(mutant, checked, tmp_path):
    report = checked(mutant.write(tmp_path / mutant.name), mutant.breaks, **mutant.settings)
    found = outcome(report, mutant.breaks)
    assert found.status is Status.BROKEN, found
    assert found.sent
    assert found.back
    assert report.exit_code == 1


def test_the_good_container_keeps_every_clause(checked):
    report = checked(GOOD, "training")
    assert not not_kept(report)
    assert report.exit_code == 0
