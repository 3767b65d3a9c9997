"""The clauses of how `serve` starts, each caught on a container with the fault that it names."""

import socketserver
import threading

import pytest

from byoc.check import Status
from byoc.engines import sandbox

from .conftest import GOOD, Mutant, assert_caught, not_kept, outcome

TOLD = 'int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))'
SOON = {"startup_time": 3.0}


def at_start(line):
    """The edit that lets `serve` do one thing more when it starts."""
    return {"serve": {"under_way = set()\n": f"under_way = set()\n{line}\n"}}


MUTANTS = [
    (
        Mutant(
            "crlf",
            "serve-in-service",
            {"serve": {"#!/usr/bin/env python\n": "#!/usr/bin/env python\r\n"}},
        ),
        "exit code 127",
    ),
    (
        Mutant(
            "no-exec-bit",
            "serve-in-service",
            {"Dockerfile": {"RUN chmod": "# RUN"}},
            {"serve": 0o644},
        ),
        'exec: "serve": executable file not found in $PATH',
    ),
    (
        Mutant("another-port", "serve-in-service", {"serve": {TOLD: "0"}}, settings=SOON),
        "it still runs and listens on 0.0.0.0:",
    ),
    (
        Mutant(
            "health-not-ping",
            "serve-in-service",
            {"serve": {'"/ping"': '"/health"'}},
            settings=SOON,
        ),
        "the last /ping: HTTP 404",
    ),
    (
        Mutant("missing-library", "serve-in-service", at_start("import a_library_that_is_missing")),
        "No module named 'a_library_that_is_missing'",
    ),
    (
        Mutant(
            "entrypoint-that-trains",
            "serve-not-training",
            {"Dockerfile": {"WORKDIR": 'ENTRYPOINT ["python", "/opt/program/train"]\nWORKDIR'}},
        ),
        "it trained, left model.json in /opt/ml/model and ended with exit code 0: 2 rows",
    ),
    (
        Mutant("sm-variables", "serve-no-sm-variables", at_start('os.environ["SM_MODEL_DIR"]')),
        "KeyError: 'SM_MODEL_DIR'",
    ),
    (
        Mutant("loopback-only", "serve-all-addresses", {"serve": {'"0.0.0.0"': '"127.0.0.1"'}}),
        "listens on 127.0.0.1:",
    ),
    (
        Mutant("deaf-to-the-port", "serve-told-port", {"serve": {TOLD: "0"}}, settings=SOON),
        "it listens on 0.0.0.0:",
    ),
]
PRIVATE = pytest.mark.skipif(
    not sandbox.available(),
    reason="without private mounts the process engine has nothing read-only",
)


@pytest.mark.parametrize(("mutant", "words"), MUTANTS, ids=[mutant.name for mutant, _ in MUTANTS])
def test_a_mutant_is_caught_by_its_clause(mutant, words, checked, tmp_path):
    assert_caught(mutant, words, checked, tmp_path)


@PRIVATE
@pytest.mark.parametrize(
    "edits",
    [
        at_start('(ml / "model/cache").write_text("")'),
        {
            "serve": {
                'print(f"invocation': '(ml / "model/cache").write_text("")\n'
                '        print(f"invocation'
            }
        },
    ],
    ids=["at-the-start", "at-a-request"],
)
def test_one_that_writes_beside_the_model_is_caught(edits, checked, tmp_path):
    mutant = Mutant("writes-beside-the-model", "serve-model-read-only", edits)
    assert_caught(mutant, "Read-only file system", checked, tmp_path)


@PRIVATE
def test_one_that_needs_the_network_to_start_is_caught(checked, tmp_path):
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as outside:
        threading.Thread(target=outside.serve_forever, daemon=True).start()
        call = f"import socket; socket.create_connection({outside.server_address!r})"
        mutant = Mutant("downloads-at-the-start", "serve-isolated", at_start(call))
        assert_caught(mutant, "Connection refused", checked, tmp_path)
        outside.shutdown()


def test_one_that_is_broken_otherwise_is_not_blamed_for_what_it_does_not_do(checked, tmp_path):
    broken = Mutant("exits", "", at_start('sys.exit("no licence")')).write(tmp_path / "exits")
    report = checked(broken, "serve-no*", "serve-model-read-only", "serve-all*", "serve-in-service")
    assert list(not_kept(report)) == ["serve-in-service"]
    assert "no licence" in outcome(report, "serve-in-service").back


def test_a_container_without_a_model_need_not_come_into_service(checked, tmp_path):
    strict = {"serve": {"model = None": 'sys.exit("no model")'}}
    folder = Mutant("strict", "", strict).write(tmp_path / "strict")
    report = checked(folder, "serving", training_data=None)
    assert {o.status for o in report.outcomes} == {Status.UNKNOWN}


def test_how_long_the_start_took_is_in_the_report(checked):
    note = outcome(checked(GOOD, "serve-ready-in-time"), "serve-ready-in-time").note
    assert note.endswith("s of 480 s")
