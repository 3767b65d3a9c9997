"""The clauses of training, each caught on a container with the fault that it names."""

import socket
from dataclasses import replace

import pytest

from byoc.check import Status

from .conftest import GOOD, Mutant, not_kept, outcome

SCALE = {"hyperparameters": {"scale": "2"}}
FAILURE = '(ml / "output/failure").write_text(str(error)[:1024])'
SAVE = '(ml / "model/model.json").write_text(json.dumps(model))'
SAY = 'print(f"{len(rows)} rows")'


def train(**edits: str) -> dict[str, dict[str, str]]:
    """The good `train` with other words for some of its own, which TEXTS calls by name."""
    return {"train": {TEXTS[name]: new for name, new in edits.items()}}


TEXTS = {
    "program": "#!/usr/bin/env python",
    "data": 'ml / "input/data/training"',
    "begin": "    folder = ml /",
    "decode": "return json.loads(decoded) if isinstance(decoded, str) else decoded",
    "refuse": "raise ValueError(f\"The hyperparameter scale={given['scale']!r} must",
    "rows": "    rows = [",
    "say": SAY,
    "none": 'raise ValueError("The channel',
    "number": 'float(row.split(",")[-1])',
    "failure": FAILURE,
    "save": SAVE,
    "handler": "signal.signal(signal.SIGTERM, stop)",
    "stopped": "    sys.exit(0)\n",
}
RESOURCES = 'resources = json.loads((ml / "input/config/resourceconfig.json").read_text())'


def first(line: str) -> str:
    """A line of code before the rest of `fit`."""
    return f"    {line}\n{TEXTS['begin']}"


def last(line: str) -> str:
    """A line of code after the model was saved."""
    return f"{SAVE}\n{line}"


START = [
    (
        Mutant("no-exec-bit", "train-found", {"Dockerfile": {"RUN chmod": "#"}}, {"train": 0o644}),
        "executable file not found",
    ),
    (
        Mutant("not-on-path", "train-found", {"Dockerfile": {"PATH=/opt/program:$PATH": ""}}),
        "executable file not found",
    ),
    (
        Mutant(
            "entrypoint-no-exec-bit",
            "train-executable",
            {
                "Dockerfile": {
                    "RUN chmod": "#",
                    "WORKDIR /opt/program": 'ENTRYPOINT ["/opt/program/train"]',
                }
            },
            {"train": 0o644},
        ),
        "permission denied",
    ),
    (Mutant("crlf", "train-interpreter", {"train": {"\n": "\r\n"}}), "python\\r"),
    (
        Mutant("crlf-shell", "train-interpreter", train(program="#!/bin/bash\r")),
        "exec /opt/program/train: no such file or directory",
    ),
    (
        Mutant("interpreter", "train-interpreter", train(program="#!/opt/conda/bin/python")),
        "exec /opt/program/train: no such file or directory",
    ),
    (
        Mutant("starts-nothing", "train-starts", train(program="#!/bin/sh\nexit 127")),
        "exit code 127",
    ),
    (
        Mutant(
            "thread-left",
            "train-ends",
            train(
                save=last(
                    "import threading; threading.Thread(target=threading.Event().wait).start()"
                )
            ),
            settings={"training_time": 3.0},
        ),
        "model.json",
    ),
    (
        Mutant(
            "sm-variable",
            "train-no-sm-variables",
            train(data='Path(os.environ["SM_CHANNEL_TRAINING"])'),
        ),
        "for want of SM_CHANNEL_TRAINING",
    ),
    (
        Mutant(
            "sm-variable-silent",
            "train-no-sm-variables",
            train(data='Path(os.environ.get("SM_CHANNEL_TRAINING", "data"))'),
        ),
        "for want of SM_MODEL_DIR, SM_CHANNEL_",
    ),
    (
        Mutant("channel-name", "train-succeeds", train(data='ml / "input/data/train"')),
        "holds no rows",
    ),
]

INPUT = [
    (
        Mutant(
            "quoted", "train-hyperparameters-quoted", train(decode="return decoded"), settings=SCALE
        ),
        "must be a number",
    ),
    (
        Mutant(
            "spelled",
            "train-hyperparameters-spelled",
            train(begin=first('{"true": 1}[given["shuffle"]]')),
            settings={"hyperparameters": {"shuffle": "true"}},
        ),
        "'True'",
    ),
    (
        Mutant(
            "tuner",
            "train-hyperparameters-unknown",
            train(
                begin=first('if given.keys() - {"scale"}: raise ValueError(f"unknown: {given}")')
            ),
        ),
        "_tuning_objective_metric",
    ),
    (
        Mutant(
            "no-defaults",
            "train-hyperparameters-none",
            train(begin=first('given["scale"]'), failure="pass"),
            settings=SCALE,
        ),
        "no failure file",
    ),
    (
        Mutant(
            "guess", "train-hyperparameters-wrong", train(refuse='scale = 1  # ("'), settings=SCALE
        ),
        "exit code 0",
    ),
    (
        Mutant(
            "strict-configuration",
            "train-configuration-new-keys",
            train(begin=first(f'{RESOURCES}; assert len(resources) == 7, "unknown keys"')),
        ),
        "unknown keys",
    ),
    (
        Mutant(
            "instance-groups",
            "train-configuration-minimum",
            train(begin=first(f'{RESOURCES}; resources["instance_groups"][0]')),
        ),
        "instance_groups",
    ),
    (
        Mutant(
            "algo-1-saves",
            "train-host-name",
            train(
                begin=first(RESOURCES),
                save=f"{RESOURCES}\nif resources['current_host'] == 'algo-1':\n    {SAVE}",
            ),
        ),
        "no file with content in /opt/ml/model",
    ),
    (
        Mutant(
            "one-host",
            "train-two-hosts",
            train(begin=first(f'{RESOURCES}; assert len(resources["hosts"]) == 1, "too many"')),
        ),
        "too many",
    ),
    (
        Mutant(
            "both-save",
            "train-one-writer",
            train(save=f"{RESOURCES}\nmodel['host'] = resources['current_host']\n{SAVE}"),
        ),
        "both wrote model.json",
    ),
    (
        Mutant(
            "waits-for-data",
            "train-channel-missing",
            train(begin=first('while not (ml / "input/data/training").is_dir(): time.sleep(0.1)')),
            settings={"training_time": 3.0},
        ),
        "it did not end",
    ),
    (
        Mutant("silent-success", "train-channel-empty", train(none='sys.exit(0)  # ("')),
        "no file with content in /opt/ml/model",
    ),
    (
        Mutant(
            "takes-anything",
            "train-data-garbage",
            train(rows="    rows = [f'{len(file.read_bytes())}' for file in files] or ["),
        ),
        "exit code 0",
    ),
    (
        Mutant(
            "cache-in-channel",
            "train-input-untouched",
            train(say=f'(folder / "cache").write_text("x"); {SAY}'),
        ),
        "not the same: cache",
    ),
    (
        Mutant(
            "lock-in-channel",
            "train-input-read-only",
            train(say='(folder / "lock").touch(); (folder / "lock").unlink()'),
        ),
        "Read-only file system",
    ),
]

OUTPUT = [
    (
        Mutant("saved-elsewhere", "train-model", train(save=SAVE.replace("model/", "output/"))),
        "no file with content in /opt/ml/model; there is /opt/ml/output/model.json",
    ),
    (Mutant("saved-nothing", "train-model", train(save="")), "no file with content"),
    (
        Mutant("empty-model", "train-model", train(save=SAVE.replace("json.dumps(model)", '""'))),
        "no file with content",
    ),
    (
        Mutant(
            "link",
            "train-model-files",
            train(save=last('(ml / "model/best").symlink_to("model.json")')),
        ),
        "/opt/ml/model/best is a link to model.json",
    ),
    (
        Mutant(
            "data-in-model",
            "train-model-no-data",
            train(
                save=last(
                    'import shutil; shutil.copytree(ml / "input/data/training", ml / "model/data")'
                )
            ),
        ),
        "all 1 files of the channel training",
    ),
    (
        Mutant(
            "report-lost",
            "train-output-kept",
            train(save=last('(ml / "output/report.json").write_text("{}")')),
        ),
        "/opt/ml/output/report.json",
    ),
    (
        Mutant(
            "time-in-model",
            "train-reproducible",
            train(save=f"model['made'] = time.time()\n{SAVE}"),
        ),
        "/opt/ml/model/model.json is not the same",
    ),
    (
        Mutant("no-failure-file", "train-failure-file", train(failure="pass")),
        "no /opt/ml/output/failure; exit code 1",
    ),
    (
        Mutant(
            "failure-utf-16",
            "train-failure-text",
            train(failure=FAILURE.replace("[:1024])", '[:1024], encoding="utf-16")')),
        ),
        "can't decode byte 0xff",
    ),
    (
        Mutant(
            "failure-traceback",
            "train-failure-says",
            train(failure=FAILURE.replace("str(error)", '__import__("traceback").format_exc()')),
        ),
        "Traceback (most recent call last)",
    ),
    (
        Mutant("failure-empty", "train-failure-says", train(failure=FAILURE.replace("1024", "0"))),
        "failure: ''",
    ),
    (
        Mutant(
            "failure-long",
            "train-failure-length",
            train(failure=FAILURE.replace("[:1024]", " * 99")),
        ),
        "characters",
    ),
    (
        Mutant(
            "no-handler",
            "train-stops",
            train(handler="pass"),
            settings={"hyperparameters": {"seconds": "2.2"}},
        ),
        "it had no handler",
    ),
    (
        Mutant(
            "sigterm-ignored",
            "train-stops",
            train(stopped="    pass\n"),
            settings={"hyperparameters": {"seconds": "1.5"}, "stop_time": 0.3},
        ),
        "SIGKILL",
    ),
    (Mutant("silent", "train-logs", train(say="pass")), "not a line"),
    (
        Mutant(
            "buffered",
            "train-unbuffered",
            {
                "Dockerfile": {" PYTHONUNBUFFERED=1": ""},
                "train": {SAY: "; ".join([SAY] * 3)},
            },
            settings={"hyperparameters": {"seconds": "2.2"}},
        ),
        "all 3 lines came at the end",
    ),
    (
        Mutant("progress-bar", "train-log-lines", train(say="print('1%\\r2%\\r3%')")),
        "2 carriage returns in one line",
    ),
]


@pytest.mark.parametrize(
    ("mutant", "says"), START + INPUT + OUTPUT, ids=lambda one: getattr(one, "name", "")
)
def test_a_mutant_is_caught_by_its_clause(mutant, says, checked, tmp_path):
    report = checked(mutant.write(tmp_path / mutant.name), mutant.breaks, **mutant.settings)
    found = outcome(report, mutant.breaks)
    assert found.status is Status.BROKEN, found
    assert says in found.back
    assert found.sent
    assert report.exit_code == (1 if found.clause.level == "must" else 0)


@pytest.mark.parametrize("name", ["crlf", "sm-variable", "saved-elsewhere"])
def test_a_fault_is_named_by_one_clause_that_must_hold(name, checked, tmp_path):
    mutant = next(one for one, _ in START + INPUT + OUTPUT if one.name == name)
    report = checked(mutant.write(tmp_path / name), "training")
    broken = [o for o in report.outcomes if o.status is Status.BROKEN]
    assert [o.clause.id for o in broken if o.clause.level == "must"] == [mutant.breaks]
    assert not report.count(Status.ERROR)
    assert report.exit_code == 1


def test_the_good_container_keeps_every_clause(checked):
    report = checked(GOOD, "training", hyperparameters={"scale": "2", "shuffle": "true"})
    assert not not_kept(report)
    short = [o.clause.id for o in report.outcomes if o.status is not Status.KEPT]
    assert set(short) <= {"train-stops", "train-unbuffered"}
    assert report.exit_code == 0


def test_a_longer_run_is_stopped_and_tells_what_it_does(checked):
    seconds = {"hyperparameters": {"seconds": "0.8"}}
    report = checked(GOOD, "train-stops", "train-unbuffered", **seconds)
    assert report.count(Status.KEPT) == 2
    assert "exit code 0" in outcome(report, "train-stops").note
    assert "before the end" in outcome(report, "train-unbuffered").note


def test_without_data_little_can_be_told(checked):
    report = checked(GOOD, "training", training_data=None)
    assert not not_kept(report)
    assert outcome(report, "train-succeeds").status is Status.UNKNOWN
    assert "give --training-data" in outcome(report, "train-succeeds").back
    assert outcome(report, "train-failure-file").status is Status.KEPT


def test_a_container_that_needs_no_data(checked, tmp_path):
    folder = tmp_path / "simulation"
    edits = train(none="rows = ['1']  # (", data='Path("/nowhere")')
    report = checked(Mutant("simulation", "", edits).write(folder), "training", training_data=None)
    assert not not_kept(report)
    assert outcome(report, "train-model").status is Status.KEPT


SHELL = """\
#!/bin/sh
# The number of rows: a container in another language, that has no hyperparameters.
trap 'exit 143' TERM
ml=${SAGEMAKER_BASE_DIR:-/opt/ml}
if [ "$(head -n 1 $ml/input/data/training/data.csv 2>&1 | tr -d '\\000')" != "a,label" ]; then
  echo "The channel training holds no table with the columns a and label." > $ml/output/failure
  exit 1
fi
wc -l < $ml/input/data/training/data.csv > $ml/model/rows
echo trained
"""


def test_a_container_without_python(checked, tmp_path):
    folder = Mutant("shell", "").write(tmp_path / "shell")
    (folder / "train").write_text(SHELL)
    report = checked(folder, "training")
    assert not not_kept(report)
    assert outcome(report, "train-failure-says").status is Status.KEPT


def test_an_entrypoint_that_looks_at_its_argument(checked, tmp_path):
    line = 'ENTRYPOINT ["python", "/opt/program/start"]'
    edits = {
        "COPY train": "COPY start train",
        "PATH=/opt/program:$PATH ": "",
        "WORKDIR": f"{line}\nWORKDIR",
    }
    folder = Mutant("dispatch", "", {"Dockerfile": edits}).write(tmp_path / "dispatch")
    program = "'/opt/program/' + sys.argv[1]"
    (folder / "start").write_text(f"import runpy, sys; runpy.run_path({program})\n")
    report = checked(folder, "training", "image")
    assert not not_kept(report)
    assert outcome(report, "image-entrypoint").status is Status.KEPT


def test_without_a_network(checked, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        line = f"__import__('socket').create_connection(('127.0.0.1', {port}))"
        mutant = Mutant("calls-home", "train-isolated", train(begin=first(line)))
        report = checked(mutant.write(tmp_path / mutant.name), mutant.breaks)
    found = outcome(report, mutant.breaks)
    assert found.status is Status.BROKEN
    assert "Connection refused" in found.back


def test_a_run_that_is_short_tells_nothing_of_signals_and_buffers(checked, tmp_path):
    mutant = Mutant("short", "", train(handler="pass", say="pass"))
    mutant = replace(mutant, edits={**mutant.edits, "Dockerfile": {" PYTHONUNBUFFERED=1": ""}})
    report = checked(mutant.write(tmp_path / "short"), "train-stops", "train-unbuffered")
    for one in report.outcomes:
        assert one.status is Status.UNKNOWN
    assert "make it longer" in outcome(report, "train-stops").back
