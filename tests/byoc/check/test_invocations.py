"""The clauses of good requests, each caught on a container with the fault that it names."""

import pytest

from byoc.check import Payload, Status, invocations

from .conftest import GOOD, Mutant, assert_caught, outcome

LINE = b"a line that is long enough to be recognised,1\n"
ANSWER = '        self.answer(200, "".join'
NAME = "X-Amzn-SageMaker-Custom-Attributes"


def before_the_answer(line):
    """The edit that lets each good request do one thing more."""
    return {"serve": {ANSWER: f"        {line}\n{ANSWER}"}}


MUTANTS = [
    (
        Mutant(
            "json-only",
            "invoke-payload",
            {"serve": {'"text/csv", "application/json"': '"application/json",'}},
        ),
        "HTTP 415",
    ),
    (
        Mutant(
            "no-type",
            "invoke-answer",
            {"serve": {'self.send_header("Content-Type", kind)': "pass"}},
        ),
        "no Content-Type",
    ),
    (
        Mutant("nothing", "invoke-answer", {"serve": {'f"{model}\\n" for': '"" for'}}),
        "0 bytes: empty",
    ),
    (
        Mutant(
            "no-length",
            "invoke-length",
            {
                "serve": {
                    'self.send_header("Content-Length", str(len(body)))': (
                        "self.close_connection = True"
                    )
                }
            },
        ),
        "headers: server, date, content-type",
    ),
    (
        Mutant(
            "dice", "invoke-same-answer", {"serve": {'f"{model}\\n"': 'f"{time.time_ns()}\\n"'}}
        ),
        "first HTTP 200",
    ),
    (
        Mutant(
            "accepts-by-equality",
            "invoke-headers",
            before_the_answer(
                'if self.headers.get("Accept", "text/csv") != "text/csv":\n'
                '            return self.answer(406, "csv only")'
            ),
        ),
        "HTTP 406",
    ),
    (
        Mutant(
            "attributes-without-end",
            "invoke-attributes",
            {
                "serve": {
                    "        self.end_headers()": "        sent = self.headers\n"
                    f'        self.send_header("{NAME}", "rows=1;%s" % sent["{NAME}"])\n'
                    "        self.end_headers()"
                }
            },
        ),
        "1031 characters",
    ),
    (
        Mutant(
            "accept-by-look-up",
            "invoke-accept",
            before_the_answer(
                'if "x-byoc" in (self.headers.get("Accept") or ""):\n'
                '            return self.answer(500, "KeyError")'
            ),
        ),
        "HTTP 500",
    ),
    (
        Mutant(
            "logs-the-body",
            "invoke-private",
            before_the_answer("print(body.decode(), flush=True)"),
            settings={"payloads": (Payload(LINE, "text/csv"),)},
        ),
        "a line that is long enough",
    ),
]


@pytest.mark.parametrize(("mutant", "words"), MUTANTS, ids=[mutant.name for mutant, _ in MUTANTS])
def test_a_mutant_is_caught_by_its_clause(mutant, words, checked, tmp_path):
    assert_caught(mutant, words, checked, tmp_path)


def test_an_answer_after_the_limit_is_too_late(checked, tmp_path, monkeypatch):
    monkeypatch.setattr(invocations, "LIMIT", 0.3)
    mutant = Mutant("slow", "invoke-in-time", before_the_answer("time.sleep(0.5)"))
    assert_caught(mutant, "an answer after 0.", checked, tmp_path)


def test_every_payload_of_the_owner_is_sent(checked):
    payloads = (
        Payload(b"1\n", "text/csv"),
        Payload(b"[1]", "application/json"),
        Payload(b"<a/>", "text/xml"),
    )
    found = outcome(checked(GOOD, "invoke-payload", payloads=payloads), "invoke-payload")
    assert found.status is Status.BROKEN
    assert "text/xml" in found.sent


def test_without_a_payload_the_report_asks_for_one(checked):
    report = checked(GOOD, "invoke-payload", payloads=())
    assert report.outcomes[0].status is Status.UNKNOWN
    assert "--payload" in report.outcomes[0].back
