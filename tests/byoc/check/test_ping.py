"""The clauses of /ping, each caught on a container with the fault that it names."""

import pytest

from .conftest import Mutant, assert_caught

GET = "    def do_GET(self):\n"


def tenth(line):
    """The edit that lets every tenth GET do something else."""
    count = "        under_way.number = getattr(under_way, 'number', 0) + 1\n"
    count += f"        if not under_way.number % 10:\n            {line}\n"
    return {
        "serve": {
            GET: GET + count,
            "under_way = set()": "class Count(set):\n    pass\n\n\nunder_way = Count()",
        }
    }


MUTANTS = [
    (
        Mutant("slow-at-times", "ping-fast", tenth("time.sleep(2.5)")),
        "no answer after 2.0 s: timed out",
    ),
    (
        Mutant("ill-at-times", "ping-steady", tenth('return self.answer(500, "out of luck")')),
        "HTTP 500",
    ),
    (
        Mutant("access-log", "ping-quiet", {"serve": {"def log_message": "def no_message"}}),
        "20 lines, such as: 127.0.0.1 - - [",
    ),
    (
        Mutant("chatty", "ping-small", {"serve": {'503, "")': '503, "x" * 100_000)'}}),
        "100,000 bytes",
    ),
    (
        Mutant(
            "get-only",
            "ping-post",
            {"serve": {"return self.do_GET()": 'return self.answer(405, "GET only")'}},
        ),
        "HTTP 405",
    ),
]


@pytest.mark.parametrize(("mutant", "words"), MUTANTS, ids=[mutant.name for mutant, _ in MUTANTS])
def test_a_mutant_is_caught_by_its_clause(mutant, words, checked, tmp_path):
    assert_caught(mutant, words, checked, tmp_path)
