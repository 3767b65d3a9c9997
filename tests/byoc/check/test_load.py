"""The clauses of load, each caught on a container with the fault that it names."""

import pytest

from byoc.check import Payload, Status, load

from .conftest import GOOD, Mutant, assert_caught, not_kept, outcome

LONG = (Payload(b"0." + b"1" * 90 + b",2\n", "text/csv"),)
READ = '        kind = (self.headers.get("Content-Type")'
ANSWER = '        print(f"invocation'


def before_the_answer(line):
    """The edit of `serve` that lets each good request do one thing more."""
    return {ANSWER: f"        {line}\n{ANSWER}"}


MUTANTS = [
    (
        Mutant(
            "nginx-of-the-sample",
            "invoke-25-mb",
            {"serve": {"25 * 2**20": "5 * 2**20"}},
            settings={"payloads": LONG},
        ),
        "HTTP 413",
    ),
    (
        Mutant(
            "hangs-up-on-large-ones",
            "invoke-25-mb",
            {
                "serve": {
                    "        body = self": "        if int(self.headers['Content-Length']) > 1e6:\n"
                    "            return self.connection.close()\n"
                    "        body = self"
                }
            },
            settings={"payloads": LONG},
        ),
        "no answer",
    ),
    (
        Mutant(
            "dies-of-large-ones",
            "invoke-too-large",
            {"serve": {"return self.answer(413,": "os._exit(137)  # ("}},
            settings={"payloads": LONG},
        ),
        "no 200",
    ),
    (
        Mutant(
            "sheds-load",
            "serve-64-connections",
            {
                "serve": {
                    READ: "        time.sleep(0.1)\n"
                    "        if len(under_way) > 8:\n"
                    f"            return self.answer(503, 'busy')\n{READ}"
                }
            },
        ),
        "not answered with 200: HTTP 503",
    ),
    (
        Mutant("http-1.0", "invoke-keep-alive", {"serve": {"HTTP/1.1": "HTTP/1.0"}}),
        "the connection is closed",
    ),
]


@pytest.mark.parametrize(("mutant", "words"), MUTANTS, ids=[mutant.name for mutant, _ in MUTANTS])
def test_a_mutant_is_caught_by_its_clause(mutant, words, checked, tmp_path):
    assert_caught(mutant, words, checked, tmp_path)


def test_one_that_answers_one_at_a_time_is_caught_while_it_is_busy(checked, tmp_path):
    slow = {
        "ThreadingHTTPServer": "HTTPServer",
        "    timeout = 70\n": "",
        "size = 128": "size = 1",
        **before_the_answer("time.sleep(2.1 * (len(rows) > 3))"),
    }
    folder = Mutant("development-server", "", {"serve": slow}).write(tmp_path / "slow")
    report = checked(folder, "ping-while-busy", "serve-accepts")
    assert "3 times in a row not within 2 s" in not_kept(report)["ping-while-busy"]
    assert "connected after" in not_kept(report)["serve-accepts"]
    assert report.exit_code == 1


def test_one_that_keeps_every_request_is_caught_by_its_memory(checked, tmp_path, monkeypatch):
    monkeypatch.setattr(load, "REQUESTS", 800)
    keep = {
        **before_the_answer('KEPT.append(b"x" * 100_000)'),
        "MOST =": "KEPT = []\nMOST =",
    }
    mutant = Mutant("keeps-every-request", "serve-memory", {"serve": keep})
    assert_caught(mutant, "MiB in use: ", checked, tmp_path)


def test_a_slow_model_is_not_blamed_for_25_mb(checked, tmp_path):
    slow = before_the_answer("time.sleep(0.005 * len(rows))")
    folder = Mutant("slow", "", {"serve": slow}).write(tmp_path / "slow")
    report = checked(folder, "invoke-25-mb", "invoke-too-large")
    assert {o.status for o in report.outcomes} == {Status.UNKNOWN}
    assert "too long to try" in report.outcomes[0].back


def test_a_payload_of_an_unknown_kind_is_not_enlarged(checked, tmp_path):
    image = {
        "(ValueError, TypeError, RecursionError)": "KeyError",
        '("text/csv", "application/json")': '("image/png",)',
        "rows = rows_of(body, kind)": "rows = [1]",
    }
    folder = Mutant("image", "", {"serve": image}).write(tmp_path / "image")
    report = checked(folder, "invoke-25-mb", payloads=(Payload(b"\x89PNG", "image/png"),))
    assert report.outcomes[0].status is Status.UNKNOWN
    assert "image/png" in report.outcomes[0].back


def test_the_good_container_keeps_every_clause_of_serving(checked, monkeypatch):
    monkeypatch.setattr(load, "REQUESTS", 500)
    monkeypatch.setattr(load, "BUSY_FOR", 1.5)
    report = checked(GOOD, "serving", payloads=LONG)
    assert not not_kept(report)
    assert report.exit_code == 0
    assert " requests, " in outcome(report, "serve-memory").note
