"""The clauses of batch transform, each caught on a container with the fault that it names."""

import pytest

from byoc.check import Kind, Level, Payload, Status

from .conftest import GOOD, Mutant, not_kept, outcome

NOT_FOUND = 'self.answer(404, "nothing here")\n\n    def do_POST'


VALUES = '{"MaxConcurrentTransforms": %d, "BatchStrategy": "%s", "MaxPayloadInMB": %d}'


def parameters(text):
    """The edit that lets /execution-parameters (and any other path) answer `text`."""
    return {"serve": {NOT_FOUND: f"self.answer(200, {text!r})\n\n    def do_POST"}}


MUTANTS = [
    (
        Mutant(
            "no-batch-please",
            "batch-in-service",
            {
                "serve": {
                    "def stop(": 'if os.environ.get("SAGEMAKER_BATCH"): sys.exit("no")\ndef stop('
                }
            },
        ),
        "exit code 1",
    ),
    (Mutant("empty-200-for-every-path", "batch-parameters-answer", parameters("")), "0 bytes"),
    (
        Mutant(
            "parameters-as-the-api-spells-them",
            "batch-parameters-values",
            parameters(VALUES % (4, "MultiRecord", 6)),
        ),
        "MultiRecord",
    ),
    (
        Mutant(
            "parameters-over-100-MB",
            "batch-parameters-values",
            parameters(VALUES % (8, "MULTI_RECORD", 50)),
        ),
        "8 payloads at a time of 50 MB",
    ),
    (
        Mutant(
            "parameters-as-text",
            "batch-parameters-values",
            parameters('{"MaxConcurrentTransforms": "4", "BatchStrategy": null}'),
        ),
        "'4', not a whole number",
    ),
    (
        Mutant(
            "first-row-taken-for-a-header",
            "batch-line-for-line",
            {"serve": {"body.decode().splitlines()]": "body.decode().splitlines()[1:]]"}},
        ),
        "4 lines",
    ),
    (
        Mutant(
            "all-predictions-on-one-line",
            "batch-line-for-line",
            {"serve": {'"".join(f"{model}\\n"': '",".join(f"{model}"'}},
        ),
        "1 lines",
    ),
    (
        Mutant(
            "bad-records-skipped",
            "batch-bad-record",
            {"serve": {"splitlines()]": "splitlines() if line.replace('.', '').isdigit()]"}},
        ),
        "3 lines instead of 4",
    ),
    (
        Mutant(
            "one-at-a-time-or-503",
            "batch-concurrent",
            {
                "serve": {
                    'print(f"invocation': "if not FREE.acquire(blocking=False):\n"
                    '            return self.answer(503, "busy")\n'
                    "        time.sleep(1)\n        FREE.release()\n"
                    '        print(f"invocation',
                    "MOST =": "import threading, time\nFREE = threading.Lock()\nMOST =",
                }
            },
        ),
        "busy",
    ),
    (Mutant("nginx-of-the-sample", "batch-payload-size", {"serve": {"25 * 2": "5 * 2"}}), "413"),
    (
        Mutant(
            "ends-well-without-a-model",
            "batch-load-failure",
            {"serve": {'print(f"The model can\'t be loaded: {error}")': "sys.exit(0)"}},
        ),
        "exit code 0",
    ),
]


@pytest.mark.parametrize(("mutant", "words"), MUTANTS, ids=[mutant.name for mutant, _ in MUTANTS])
def test_a_mutant_is_caught_by_its_clause(mutant, words, checked, tmp_path):
    report = checked(mutant.write(tmp_path / mutant.name), mutant.breaks, **mutant.settings)
    found = outcome(report, mutant.breaks)
    assert found.status is Status.BROKEN, found
    assert found.sent
    assert words in found.back
    assert report.exit_code == (1 if found.clause.level is Level.MUST else 0)


def test_the_good_container_keeps_every_clause(checked):
    report = checked(GOOD, "batch")
    assert not not_kept(report)
    assert report.exit_code == 0


def test_a_container_of_single_records_need_not_answer_line_for_line(checked, tmp_path):
    text = VALUES % (1, "SINGLE_RECORD", 1)
    mutant = Mutant(
        "single",
        "",
        {"serve": {**parameters(text)["serve"], "if not rows:": "if len(rows) != 1:"}},
    )
    report = checked(
        mutant.write(tmp_path / "single"), "batch", payloads=(Payload(b"1\n", "text/csv"),)
    )
    assert not not_kept(report)
    assert outcome(report, "batch-line-for-line").status is Status.UNKNOWN
    assert outcome(report, "batch-parameters-values").status is Status.KEPT


def test_without_a_model_or_a_payload_the_report_says_what_would_help(checked):
    report = checked(GOOD, kinds=frozenset({Kind.BATCH}), training_data=None, payloads=())
    assert {o.status for o in report.outcomes} == {Status.UNKNOWN}
    assert report.exit_code == 2
