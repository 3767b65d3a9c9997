"""A model that can't be used, and containers that do not notice."""

import pytest

from byoc.check import Status

from .conftest import Mutant, assert_caught, not_kept

FAILED = 'print(f"The model can\'t be loaded: {error}")'
ALWAYS = {"serve": {"200 if model is not None else 503": "200"}}
MUTANTS = [
    (
        Mutant("static-200", "serve-model-missing", ALWAYS),
        "/ping is answered with 200, the request with HTTP 200",
    ),
    (Mutant("static-200-noise", "serve-model-damaged", ALWAYS), "None"),
    (
        Mutant("ends-well", "serve-model-damaged", {"serve": {FAILED: "sys.exit(0)"}}),
        "it ended with exit code 0",
    ),
    (
        Mutant(
            "starts-again-and-again",
            "serve-model-damaged",
            {
                "serve": {
                    FAILED: 'print("retry", flush=True)\n'
                    "    time.sleep(0.2)\n"
                    '    os.execv(__file__, [__file__, "serve"])'
                }
            },
            settings={"startup_time": 3.0},
        ),
        "neither ends nor answers /ping, as if it tried again and again: retry",
    ),
    (
        Mutant(
            "first-file-found",
            "serve-model-more-files",
            {"serve": {'(ml / "model/model.json")': 'min((ml / "model").iterdir())'}},
            settings={"startup_time": 3.0},
        ),
        "the last /ping: HTTP 503",
    ),
]


@pytest.mark.parametrize(("mutant", "words"), MUTANTS, ids=[mutant.name for mutant, _ in MUTANTS])
def test_a_mutant_is_caught_by_its_clause(mutant, words, checked, tmp_path):
    assert_caught(mutant, words, checked, tmp_path)


@pytest.mark.parametrize("end", ["sys.exit(3)", "pass"], ids=["ends", "answers-503"])
def test_who_ends_and_who_answers_503_are_both_right(end, checked, tmp_path):
    folder = Mutant("right", "", {"serve": {FAILED: end}}).write(tmp_path / "right")
    report = checked(folder, "serve-model-*")
    assert not not_kept(report)
    assert "exit code 3" in report.outcomes[1].note or "503" in report.outcomes[1].note


def test_a_container_whose_model_is_elsewhere_is_not_blamed(checked, tmp_path):
    constant = {"serve": {'json.loads((ml / "model/model.json").read_text())["mean"]': "7"}}
    folder = Mutant("constant", "", constant).write(tmp_path / "constant")
    report = checked(folder, "serve-model-damaged", "serve-model-missing")
    assert {o.status for o in report.outcomes} == {Status.UNKNOWN}
