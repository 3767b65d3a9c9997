"""How `serve` ends, and containers that end late or too soon."""

import pytest

from byoc.check import stop

from .conftest import Mutant, assert_caught

SLOW = {
    '        print(f"invocation': "        time.sleep(2.1 * (len(rows) > 3))\n"
    '        print(f"invocation'
}
MUTANTS = [
    (
        Mutant(
            "deaf-to-sigterm",
            "serve-stops",
            {"serve": {"signal.SIGTERM, stop": "signal.SIGTERM, signal.SIG_IGN"}},
        ),
        "was killed",
    ),
    (
        Mutant(
            "drops-everything",
            "serve-finishes",
            {"serve": {**SLOW, "threading.Thread(target=server.shutdown).start()": "os._exit(0)"}},
        ),
        "RemoteDisconnected",
    ),
]


@pytest.fixture(autouse=True)
def short_grace(monkeypatch):
    """Not 30 seconds for one that does not end."""
    monkeypatch.setattr(stop, "GRACE", 4.0)


@pytest.mark.parametrize(("mutant", "words"), MUTANTS, ids=[mutant.name for mutant, _ in MUTANTS])
def test_a_mutant_is_caught_by_its_clause(mutant, words, checked, tmp_path):
    assert_caught(mutant, words, checked, tmp_path)
