"""`train`: how it starts, what it reads, what it leaves, how it ends.

Source: Developer Guide, your-algorithms-training-algo-dockerfile, -running-container and -output.
"""

import contextlib
import json
import random
import re
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from byoc.check.clause import Broken, Kind, Level, Unknown, clause
from byoc.check.subject import JOB, Run, Subject
from byoc.optml import FAILURE_LENGTH, InstanceGroup, OptML

START = "Training: the start"
HYPERPARAMETERS = "Training: hyperparameters"
CONFIGURATION = "Training: configuration files"
DATA = "Training: channels"
MODEL = "Training: the model"
FAILURE = "Training: the failure file"
STOP = "Training: SIGTERM"
LOG = "Training: the log"

DOCKERFILE = "Developer Guide, your-algorithms-training-algo-dockerfile"
RUNNING = "Developer Guide, your-algorithms-training-algo-running-container"
OUTPUT = "Developer Guide, your-algorithms-training-algo-output"
EXIT_CODE = "Developer Guide, your-algorithms-training-signal-success-failure"

PLAIN = "docker run IMAGE train"
CANNOT_START = (125, 126, 127)
NOT_FOUND = re.compile(
    r"executable file not found|exec: \S+ stat |: (train|serve): not found", re.I
)
NOT_EXECUTABLE = re.compile(r"permission denied", re.I)
# What env, a shell and the kernel say of a first line such as #!/usr/bin/env python\r
NO_INTERPRETER = re.compile(
    r"\\r['\u2019]|\r['\u2019:]|\^M|bad interpreter"
    r"|exec \S+: no such file|exec user process caused.*no such file",
    re.I,
)
SHORT = 2.0  # seconds; a run that is over sooner says nothing about signals or buffers
COMPARED = 2**30  # bytes of a model or a channel that are read to compare them


def _check_start(subject: Subject, words: re.Pattern[str]) -> None:
    """Raise Broken when the program did not start and the log says why in these words."""
    run = subject.train()
    said = [line for line in run.log[-5:] if words.search(line)]
    started = run.code == 0 or (run.code not in CANNOT_START and len(run.log) > 3)
    if said and not started:
        shown = said[-1][-300:].replace("\r", "\\r")
        raise Broken(PLAIN, f"exit code {run.code}: {shown}")


@clause(
    "train-found",
    Kind.TRAINING,
    START,
    Level.MUST,
    on_aws='The job fails within a minute: `exec: "train": executable file not found in $PATH`.',
    fix="Put an executable `train` into a folder on PATH (ENV PATH=/opt/program:$PATH), or take "
    "the word in your ENTRYPOINT.",
    source=f"{DOCKERFILE}; aws/amazon-sagemaker-examples#744, #3650",
)
def found(subject: Subject) -> None:
    """The word `train` leads to a program: an executable on PATH, or what ENTRYPOINT makes of
    it."""
    _check_start(subject, NOT_FOUND)


@clause(
    "train-executable",
    Kind.TRAINING,
    START,
    Level.MUST,
    on_aws="The job fails within a minute: `exec train failed: Permission denied`.",
    fix="RUN chmod +x /opt/program/train in the Dockerfile: git on Windows drops the bit.",
    source=f"{DOCKERFILE}; aws/sagemaker-python-sdk#4678",
)
def executable(subject: Subject) -> None:
    """What the word `train` leads to may be executed."""
    run = subject.train()
    if run.code == 126 or run.code in CANNOT_START:
        _check_start(subject, NOT_EXECUTABLE)


@clause(
    "train-interpreter",
    Kind.TRAINING,
    START,
    Level.MUST,
    on_aws="The job fails: `/usr/bin/env: 'python\\r': No such file or directory`, exit code 127.",
    fix="Save `train` with LF line ends (.gitattributes: `* text eol=lf`, or dos2unix), and name "
    "in its first line an interpreter that the image has.",
    source="aws/amazon-sagemaker-examples#571, #969, #1589",
)
def interpreter(subject: Subject) -> None:
    """The first line of `train` names an interpreter of the image and ends with LF, not CR LF."""
    _check_start(subject, NO_INTERPRETER)


@clause(
    "train-starts",
    Kind.TRAINING,
    START,
    Level.MUST,
    on_aws="The job fails within a minute, with the engine's words as the only log.",
    fix="Try `docker run IMAGE train` on an x86-64 machine and mend what it says.",
    source=DOCKERFILE,
    needs=["train-found", "train-executable", "train-interpreter"],
)
def starts(subject: Subject) -> None:
    """`docker run IMAGE train` starts a program."""
    run = subject.train()
    if run.code in CANNOT_START or (run.code and "exec format error" in " ".join(run.log[-3:])):
        raise Broken(PLAIN, run.told)


@clause(
    "train-ends",
    Kind.TRAINING,
    START,
    Level.MUST,
    on_aws="The job runs on and is paid for until MaxRuntimeInSeconds (a day by default).",
    fix="Let `train` exit when the work is done: end its threads and servers. Is the training "
    "itself this long? Give --training-time, or less data.",
    source=f"API StoppingCondition; {EXIT_CODE}",
    needs=["train-starts"],
)
def ends(subject: Subject) -> None:
    """`train` ends by itself when its work is done."""
    run = subject.train()
    if run.code is None:
        left = ", ".join(_sizes(run.ml.model)) or "no model"
        raise Broken(f"{PLAIN}, then waited for its end", f"{run.told}; by then there is {left}")


@clause(
    "train-no-sm-variables",
    Kind.TRAINING,
    START,
    Level.MUST,
    on_aws="The job fails at once: `KeyError: 'SM_CHANNEL_TRAINING'` (or SM_MODEL_DIR).",
    fix="Use the fixed paths /opt/ml/input/data/CHANNEL and /opt/ml/model: SM_* variables are set "
    "by AWS's training toolkit, not by the platform.",
    source=f"{RUNNING}; aws/sagemaker-python-sdk#2521, aws/amazon-sagemaker-examples#522",
    needs=["train-ends"],
)
def no_sm_variables(subject: Subject) -> None:
    """`train` needs no SM_* variable: the platform sets TRAINING_JOB_NAME, TRAINING_JOB_ARN and
    what the request's Environment holds."""
    run = subject.train()
    if run.code == 0:
        return
    names = sorted(set(re.findall(r"\bSM_[A-Z0-9_]+", " ".join(run.log))))
    if not names and not subject.settings.channels:
        return
    if names or subject.train(environment=_toolkit_variables(subject)).code == 0:
        what = ", ".join(names) or "SM_MODEL_DIR, SM_CHANNEL_… and the like"
        raise Broken(
            f"{PLAIN}, in the environment only {' and '.join(JOB)}",
            f"it fails for want of {what}: {run.told}",
        )


def _toolkit_variables(subject: Subject) -> dict[str, str]:
    """What AWS's training toolkit would set. Source: its ENVIRONMENT_VARIABLES.md."""
    given = subject.settings.hyperparameters
    channels = {name: f"/opt/ml/input/data/{name}" for name in subject.settings.channels}
    return {
        "SM_MODEL_DIR": "/opt/ml/model",
        "SM_INPUT_DIR": "/opt/ml/input",
        "SM_INPUT_CONFIG_DIR": "/opt/ml/input/config",
        "SM_OUTPUT_DIR": "/opt/ml/output",
        "SM_OUTPUT_DATA_DIR": "/opt/ml/output/data",
        "SM_CHANNELS": json.dumps(sorted(channels)),
        **{f"SM_CHANNEL_{name.upper()}": path for name, path in channels.items()},
        "SM_HPS": json.dumps(dict(given)),
        **{f"SM_HP_{name.upper()}": value for name, value in given.items()},
        "SM_CURRENT_HOST": "algo-1",
        "SM_HOSTS": '["algo-1"]',
        "SM_NUM_GPUS": "0",
        "SM_NUM_CPUS": "2",
    }


@clause(
    "train-succeeds",
    Kind.TRAINING,
    START,
    Level.MUST,
    on_aws="The job ends as Failed.",
    fix="Exit with 0 after a training that worked; read data from /opt/ml/input/data/CHANNEL.",
    source=EXIT_CODE,
    needs=["train-no-sm-variables"],
)
def succeeds(subject: Subject) -> str:
    """With the given data and hyperparameters, `train` ends with exit code 0."""
    if subject.settings.channels and (run := subject.train()).code != 0:
        raise Broken(f"{PLAIN}, with the training data", run.told)
    return f"after {subject.trained.seconds:.1f} s"


# --- oddities that are no fault

# sagemaker_program is left out: a container on AWS's training toolkit does what it says.
ADDED = {
    "_tuning_objective_metric": "validation:accuracy",
    "sagemaker_region": "us-east-1",
    "sagemaker_job_name": JOB["TRAINING_JOB_NAME"],
    "sagemaker_container_log_level": "20",
}
NEW_KEYS = {"new_key": {"of": ["next", "year"]}, "newer": None}
OTHER_HOST = "algo-1-x7k2q"
INPUT = "/opt/ml/input"


def _survives_all(subject: Subject) -> bool:
    """Whether `train` succeeds with all of these at once: then it does with each alone, and the
    clauses need no run of their own."""
    return subject.once("all oddities", lambda: _with_all(subject))


def _with_all(subject: Subject) -> bool:
    ml = subject.opt_ml(hyperparameters={**subject.settings.hyperparameters, **ADDED})
    _add_keys(ml)
    _rename_host(ml)
    isolated = subject.engine.has_networks()
    run = subject.train_on(ml, isolated=isolated, read_only=[INPUT])
    return run.code == 0 and any(_sizes(run.ml.model).values())


def _edited(ml: OptML, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    file = ml.path / "input/config" / name
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def _add_keys(ml: OptML) -> None:
    _edited(ml, "resourceconfig.json", lambda content: content.update(NEW_KEYS))
    _edited(
        ml,
        "inputdataconfig.json",
        lambda content: [channel.update(NEW_KEYS) for channel in content.values()],
    )


def _rename_host(ml: OptML) -> None:
    def rename(content: dict[str, Any]) -> None:
        groups = [{**group, "hosts": [OTHER_HOST]} for group in content["instance_groups"]]
        content.update(current_host=OTHER_HOST, hosts=[OTHER_HOST], instance_groups=groups)

    _edited(ml, "resourceconfig.json", rename)


# --- hyperparameters


def _given(subject: Subject) -> dict[str, str]:
    given = dict(subject.settings.hyperparameters)
    if not given:
        raise Unknown("give --hyperparameters, so that they can be spelled in other ways")
    return given


def _respelled(subject: Subject, hyperparameters: dict[str, str]) -> None:
    run = subject.train(hyperparameters=hyperparameters)
    if run.code != 0:
        sent = json.dumps(hyperparameters)
        raise Broken(f"hyperparameters.json: {sent}", run.told)


@clause(
    "train-hyperparameters-quoted",
    Kind.TRAINING,
    HYPERPARAMETERS,
    Level.SHOULD,
    on_aws="Jobs that SDK v2 starts with source_dir fail: `'\"adam\"' is not a valid value`, or "
    "`invalid literal for int() with base 10: '\"5\"'`.",
    fix="Decode each value: json.loads, and the text itself where that fails.",
    source="aws/sagemaker-python-sdk#3487, #5317, #613",
    needs=["train-succeeds"],
)
def quoted(subject: Subject) -> None:
    """Hyperparameters in JSON's quotes ("5" as "\\"5\\"") are read as without them."""
    given = _given(subject)
    _respelled(subject, {k: v if v[:1] == '"' else json.dumps(v) for k, v in given.items()})


@clause(
    "train-hyperparameters-spelled",
    Kind.TRAINING,
    HYPERPARAMETERS,
    Level.SHOULD,
    on_aws="A job fails, or takes False for True, when another client starts it: SDK v2 sends "
    "True and None, SDK v3 true and null.",
    fix="Compare in lower case: true is True, null is None.",
    source="aws/sagemaker-python-sdk: estimator.py, set_hyperparameters; safe_serialize",
    needs=["train-succeeds"],
)
def spelled(subject: Subject) -> None:
    """True, False and None are read in Python's spelling and in JSON's (true, false, null)."""
    python = {"true": "True", "false": "False", "null": "None"}
    other = {**python, **{p: j for j, p in python.items()}}
    given = _given(subject)
    if not any(value in other for value in given.values()):
        raise Unknown("none of the given --hyperparameters is true, false or null")
    _respelled(subject, {name: other.get(value, value) for name, value in given.items()})


@clause(
    "train-hyperparameters-unknown",
    Kind.TRAINING,
    HYPERPARAMETERS,
    Level.SHOULD,
    on_aws="Every job of a tuner fails: the platform adds _tuning_objective_metric; the SDK adds "
    "sagemaker_region and others.",
    fix="Ignore the keys that begin with sagemaker_ or with an underscore.",
    source="Developer Guide, automatic-model-tuning-define-metrics-variables; "
    "aws/sagemaker-training-toolkit params.py",
    needs=["train-succeeds"],
)
def unknown_hyperparameters(subject: Subject) -> None:
    """Keys that the platform and the SDKs add (_tuning_objective_metric, sagemaker_region, …) are
    ignored."""
    if _survives_all(subject):
        return
    _respelled(subject, {**subject.settings.hyperparameters, **ADDED})


@clause(
    "train-hyperparameters-none",
    Kind.TRAINING,
    HYPERPARAMETERS,
    Level.SHOULD,
    on_aws="A job without HyperParameters never ends, or fails without a reason.",
    fix="Have a default for each value, or say in the failure file which one is missing.",
    source=RUNNING,
    needs=["train-succeeds"],
)
def no_hyperparameters(subject: Subject) -> str:
    """With an empty hyperparameters.json (`{}`), `train` works with defaults or says in the
    failure file what it misses."""
    run = subject.train(hyperparameters={})
    if run.code is None or (run.code != 0 and not _failure(run).strip()):
        raise Broken("hyperparameters.json: {}", f"{run.told}; no failure file")
    return "it has defaults" if run.code == 0 else "it says what it misses"


@clause(
    "train-hyperparameters-wrong",
    Kind.TRAINING,
    HYPERPARAMETERS,
    Level.SHOULD,
    on_aws="The job is Completed, with another setting than the one that was asked for.",
    fix="Refuse a value that can't be read: a sentence in /opt/ml/output/failure, exit code 1.",
    source=EXIT_CODE,
    needs=["train-succeeds"],
)
def wrong_hyperparameter(subject: Subject) -> None:
    """A text where a hyperparameter is a number makes `train` fail, not guess."""
    if (spoiled := _spoiled(subject)) is None:
        raise Unknown("give --hyperparameters with a number, so that a wrong one can be tried")
    run = subject.train(hyperparameters=spoiled)
    if not run.code:
        raise Broken(f"hyperparameters.json: {json.dumps(spoiled)}", run.told)


def _spoiled(subject: Subject) -> dict[str, str] | None:
    """The hyperparameters with a text for the first number; None where there is no number."""
    for name, value in subject.settings.hyperparameters.items():
        if re.fullmatch(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", value):
            return {**subject.settings.hyperparameters, name: "not-a-number"}
    return None


# --- configuration files


def _expect_success(run: Run, sent: str) -> None:
    if run.code != 0:
        raise Broken(sent, run.told)


@clause(
    "train-configuration-new-keys",
    Kind.TRAINING,
    CONFIGURATION,
    Level.SHOULD,
    on_aws="Jobs fail on the day on which AWS adds a key, as it did with topology and "
    "instance_groups.",
    fix="Read the keys that you need, ignore the others.",
    source=f"{RUNNING}; aws/sagemaker-training-toolkit environment.py",
    needs=["train-succeeds"],
)
def new_keys(subject: Subject) -> None:
    """Keys that are not documented, in resourceconfig.json and inputdataconfig.json, are
    ignored."""
    if _survives_all(subject):
        return
    ml = subject.opt_ml()
    _add_keys(ml)
    _expect_success(subject.train_on(ml), f"configuration files with {json.dumps(NEW_KEYS)}")


@clause(
    "train-configuration-minimum",
    Kind.TRAINING,
    CONFIGURATION,
    Level.SHOULD,
    on_aws="The container works on the platform and fails in the SDK's local mode, or the other "
    "way round.",
    fix="Rely on current_host and hosts only; have defaults for the rest.",
    source=f"{RUNNING}; aws/sagemaker-python-sdk local/image.py",
    needs=["train-succeeds"],
)
def minimum(subject: Subject) -> None:
    """resourceconfig.json with the three documented keys, and inputdataconfig.json with
    TrainingInputMode alone, are enough."""
    ml = subject.opt_ml()
    config = ml.path / "input/config"
    resources = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth1"}
    channels = {name: {"TrainingInputMode": "File"} for name in subject.settings.channels}
    (config / "resourceconfig.json").write_text(json.dumps(resources))
    (config / "inputdataconfig.json").write_text(json.dumps(channels))
    _expect_success(subject.train_on(ml), f"resourceconfig.json: {json.dumps(resources)}")


@clause(
    "train-host-name",
    Kind.TRAINING,
    CONFIGURATION,
    Level.SHOULD,
    on_aws="Local mode, whose hosts are called algo-1-x7k2q, fails or leaves no model.",
    fix="Take the rank from current_host's place in hosts, never from the name.",
    source=f"{RUNNING}; aws/sagemaker-python-sdk local/image.py",
    needs=["train-model"],
)
def host_name(subject: Subject) -> None:
    """A host that is not called algo-1 trains and leaves a model all the same."""
    if _survives_all(subject):
        return
    ml = subject.opt_ml()
    _rename_host(ml)
    run, sent = subject.train_on(ml), f"resourceconfig.json: current_host {OTHER_HOST}"
    _expect_success(run, sent)
    _expect_model(run, sent)


@clause(
    "train-two-hosts",
    Kind.TRAINING,
    CONFIGURATION,
    Level.SHOULD,
    on_aws="A job with InstanceCount 2 hangs or fails.",
    fix="Read current_host and hosts; wait for other hosts with an end, or work without them.",
    source=RUNNING,
    needs=["train-succeeds"],
)
def two_hosts(subject: Subject) -> None:
    """Of two hosts, algo-1 and algo-2, both end with exit code 0."""
    for host, run in subject.once("two hosts", lambda: _two_hosts(subject)).items():
        _expect_success(run, f"{PLAIN} on two hosts; this is {host}")


@clause(
    "train-one-writer",
    Kind.TRAINING,
    CONFIGURATION,
    Level.SHOULD,
    on_aws="The hosts' files are merged into one model.tar.gz: which host's file it holds is not "
    "defined.",
    fix="Write the model on the first of `hosts` only, or give files the host's name.",
    source=OUTPUT,
    needs=["train-two-hosts"],
)
def one_writer(subject: Subject) -> None:
    """Of two hosts, no two write different content to the same file of the model."""
    one, two = subject.once("two hosts", lambda: _two_hosts(subject)).values()
    for name in sorted(_sizes(one.ml.model).keys() & _sizes(two.ml.model).keys()):
        if not _same_file(one.ml.model / name, two.ml.model / name):
            raise Broken(f"{PLAIN} on two hosts", f"both wrote {name}, not the same bytes")


def _two_hosts(subject: Subject) -> dict[str, Run]:
    """Both hosts' runs, at the same time and in one network."""
    hosts = ("algo-1", "algo-2")
    if not subject.engine.has_networks():
        raise Unknown("two hosts need a network, which this machine can't make")
    runs = {}
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(subject.engine.network(hosts))
        began, containers = time.monotonic(), {}
        for host in hosts:
            ml = subject.opt_ml()
            ml.write_config(
                hyperparameters=subject.settings.hyperparameters,
                channels={name: {} for name in subject.settings.channels},
                groups=[InstanceGroup("ml.m5.large", hosts)],
                current_host=host,
            )
            started = subject.start(["train"], ml, environment=JOB, network=network, host=host)
            containers[host] = stack.enter_context(started), ml
        for host, (container, ml) in containers.items():
            runs[host] = subject.follow(container, ml, began)
    return runs


# --- channels


def _without_data(subject: Subject, run: Run, sent: str) -> str:
    """Without data the end is a failure, or a success that leaves a model."""
    if run.code is None:
        raise Broken(sent, run.told)
    if run.code == 0:
        _expect_model(run, sent)
    return "it needs no data" if run.code == 0 else "it fails"


@clause(
    "train-channel-missing",
    Kind.TRAINING,
    DATA,
    Level.SHOULD,
    on_aws="The job waits for data that will not come, or is Completed without a model.",
    fix="Look whether /opt/ml/input/data/CHANNEL is there; if not, name the channel in the failure "
    "file and exit with 1.",
    source="aws/amazon-sagemaker-examples#995, #1237",
    needs=["train-starts"],
)
def missing_channel(subject: Subject) -> str:
    """Without any channel, `train` ends: with a failure, or with a model if it needs no data."""
    return _without_data(subject, subject.train(channels={}), f"{PLAIN} without channels")


@clause(
    "train-channel-empty",
    Kind.TRAINING,
    DATA,
    Level.SHOULD,
    on_aws="With ShardedByS3Key and more hosts than objects a host's channel is empty: the job "
    "hangs, or is Completed without a model.",
    fix="Count what was read; for nothing, say so in the failure file and exit with 1.",
    source="API S3DataSource, S3DataDistributionType",
    needs=["train-starts"],
)
def empty_channel(subject: Subject) -> str:
    """With empty channels, `train` ends: with a failure, or with a model if it needs no data."""
    run = _empty_run(subject)
    if run is None:
        raise Unknown("give --training-data, so that the channels are known")
    return _without_data(subject, run, f"{PLAIN} with empty channels")


def _empty_run(subject: Subject) -> Run | None:
    if not (channels := subject.settings.channels):
        return None
    empty = subject.once("an empty folder", lambda: subject.opt_ml(channels={}).model)
    return subject.train(channels=dict.fromkeys(channels, empty))


@clause(
    "train-data-garbage",
    Kind.TRAINING,
    DATA,
    Level.SHOULD,
    on_aws="The job is Completed, and its model is worthless.",
    fix="Check what was read; refuse it with a sentence in the failure file and exit code 1.",
    source=EXIT_CODE,
    needs=["train-succeeds"],
)
def garbage(subject: Subject) -> None:
    """Files of random bytes in place of the data make `train` fail, not succeed or hang."""
    run = _garbage_run(subject)
    if run is None:
        raise Unknown("give --training-data, so that garbage can stand for it")
    if not run.code:
        raise Broken(f"{PLAIN}, each file of the channels random bytes", run.told)


def _garbage_run(subject: Subject) -> Run | None:
    if not subject.settings.channels:
        return None
    return subject.train(channels=subject.once("garbage", lambda: _garbage(subject)))


def _garbage(subject: Subject) -> dict[str, Path]:
    """The channels with random bytes, 64 KiB at most, for the content of each file."""
    randomness, folders = random.Random(0), {}
    for name, source in subject.settings.channels.items():
        folders[name] = subject.opt_ml(channels={}).channel(name)
        files = [source] if source.is_file() else [p for p in source.rglob("*") if p.is_file()]
        for file in sorted(files)[:1000]:
            relative = file.relative_to(source) if source.is_dir() else Path(file.name)
            target = folders[name] / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(randomness.randbytes(min(file.stat().st_size, 2**16) or 1))
    return folders


@clause(
    "train-input-untouched",
    Kind.TRAINING,
    DATA,
    Level.SHOULD,
    on_aws="FastFile channels are read-only: the job fails with `Read-only file system`.",
    fix="Write to /tmp what is only needed during the run.",
    source=RUNNING,
    needs=["train-succeeds"],
)
def input_untouched(subject: Subject) -> None:
    """`train` writes nothing to its channels, and changes and deletes nothing there."""
    run = subject.trained
    for name, source in subject.settings.channels.items():
        place = run.ml.channel(name)
        before = _sizes(source) if source.is_dir() else {source.name: source.stat().st_size}
        after = _sizes(place)
        changed = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
        if changed:
            files = ", ".join(changed[:5])
            raise Broken(f"{PLAIN}; the channel {name} before and after", f"not the same: {files}")


@clause(
    "train-input-read-only",
    Kind.TRAINING,
    DATA,
    Level.SHOULD,
    on_aws="With FastFile, whose channels are mounted read-only, the job fails.",
    fix="Open data for reading only; caches, lock and index files go to /tmp.",
    source=RUNNING,
    needs=["train-succeeds"],
)
def read_only_input(subject: Subject) -> None:
    """With /opt/ml/input read-only, `train` succeeds as it does otherwise."""
    if subject.engine.name == "process" and not subject.engine.has_networks():
        raise Unknown("the process engine can make folders read-only on Linux alone")
    if not _survives_all(subject):
        run = subject.train_on(subject.opt_ml(), read_only=[INPUT])
        _expect_success(run, f"{PLAIN} with {INPUT} read-only")


# --- the model


def _sizes(folder: Path) -> dict[str, int]:
    """Relative name -> bytes of the regular files in a folder; links are not followed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            found[f"{path.relative_to(folder)}"] = status.st_size
    return found


def _same_file(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while (block := first.read(2**20)) == second.read(2**20):
            if not block:
                return True
    return False


def _expect_model(run: Run, sent: str) -> None:
    if not any(_sizes(run.ml.model).values()):
        elsewhere = _strays(run.ml)
        where = f"; there is {', '.join(elsewhere[:5])}" if elsewhere else ""
        raise Broken(sent, f"no file with content in /opt/ml/model{where}; {run.told}")


@clause(
    "train-model",
    Kind.TRAINING,
    MODEL,
    Level.MUST,
    on_aws="The job is Completed with an empty model.tar.gz; the endpoint that is made of it "
    "fails.",
    fix="Write the model to /opt/ml/model, and fail when there is none.",
    source=f"{OUTPUT}; aws/amazon-sagemaker-examples#1237",
    needs=["train-succeeds"],
)
def model(subject: Subject) -> str:
    """After a success there is a model in /opt/ml/model."""
    _expect_model(subject.trained, PLAIN)
    sizes = _sizes(subject.trained.ml.model)
    return f"{len(sizes)} files, {sum(sizes.values()):,} bytes"


@clause(
    "train-model-files",
    Kind.TRAINING,
    MODEL,
    Level.MUST,
    on_aws='The endpoint fails: "Failed to extract model data archive".',
    fix="Copy the files that links lead to.",
    source="AWS re:Post, SageMaker model data archive; "
    "mantiumai/aws-sagemaker-gptj-deepspeed-blog#5",
    needs=["train-model"],
)
def model_files(subject: Subject) -> None:
    """/opt/ml/model holds files and folders only: no links, sockets or pipes."""
    folder = subject.trained.ml.model
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            kind = f"a link to {path.readlink()}" if path.is_symlink() else "a socket or pipe"
            raise Broken(PLAIN, f"/opt/ml/model/{path.relative_to(folder)} is {kind}")


@clause(
    "train-model-no-data",
    Kind.TRAINING,
    MODEL,
    Level.MAY,
    on_aws="The training data is in model.tar.gz: each start takes longer, and who may read the "
    "model may read the data.",
    fix="Save what predictions need, and nothing else.",
    source=OUTPUT,
    needs=["train-model"],
)
def model_no_data(subject: Subject) -> None:
    """The model does not hold a whole channel as it was given."""
    run = subject.trained
    saved = [run.ml.model / name for name, size in _sizes(run.ml.model).items() if size]
    for channel in subject.settings.channels:
        data = {n: s for n, s in _sizes(run.ml.channel(channel)).items() if s}
        if not data or sum(data.values()) > COMPARED:
            continue
        files = [run.ml.channel(channel) / name for name in data]
        if all(any(_copy_of(file, one) for one in saved) for file in files):
            raise Broken(PLAIN, f"all {len(files)} files of the channel {channel} are in the model")


def _copy_of(file: Path, other: Path) -> bool:
    return file.stat().st_size == other.stat().st_size and _same_file(file, other)


# Where the platform or AWS's libraries look after the run; all else is lost. Source: the table of
# Developer Guide, model-train-storage-env-var-summary, and aws/sagemaker-training-toolkit.
KEPT = (
    "input/",
    "model/",
    "checkpoints/",
    "code/",
    "sagemaker/",
    "output/data/",
    "output/failure",
    "output/metrics/",
    "output/tensors/",
    "output/profiler/",
    "output/intermediate/",
    "success",
)


def _strays(ml: OptML) -> list[str]:
    names = [name for name in _sizes(ml.path) if not name.startswith(KEPT)]
    return [f"/opt/ml/{name}" for name in names]


@clause(
    "train-output-kept",
    Kind.TRAINING,
    MODEL,
    Level.SHOULD,
    on_aws="The files are gone when the job ends.",
    fix="Write the model to /opt/ml/model, everything else worth keeping to /opt/ml/output/data.",
    source=f"{OUTPUT}; Developer Guide, model-train-storage-env-var-summary",
    needs=["train-succeeds"],
)
def output_kept(subject: Subject) -> None:
    """What `train` writes below /opt/ml lies where the platform keeps it: model, output/data,
    checkpoints."""
    if strays := _strays(subject.trained.ml):
        raise Broken(PLAIN, f"it also wrote {', '.join(strays[:5])}")


@clause(
    "train-isolated",
    Kind.TRAINING,
    MODEL,
    Level.SHOULD,
    on_aws="With EnableNetworkIsolation, or in a VPC without a way out, the job fails or waits.",
    fix="Install and download at build time; take data from channels.",
    source="API CreateTrainingJob, EnableNetworkIsolation",
    needs=["train-succeeds"],
)
def isolated(subject: Subject) -> None:
    """Without a network, `train` succeeds as it does with one."""
    if not subject.engine.has_networks():
        raise Unknown("this machine can't take a container's network away")
    if not _survives_all(subject):
        _expect_success(subject.train(isolated=True), f"{PLAIN}, without a network")


@clause(
    "train-reproducible",
    Kind.TRAINING,
    MODEL,
    Level.MAY,
    on_aws="Nobody can show which data and settings a model came from.",
    fix="Take the seed from a hyperparameter with a default; save no times and no names of hosts.",
    source="Developer Guide, lineage-tracking-entities",
    needs=["train-model"],
)
def reproducible(subject: Subject) -> None:
    """The same data and settings give the same model, byte for byte."""
    first = subject.trained.ml.model
    if sum(_sizes(first).values()) > COMPARED:
        raise Unknown("the model is over 1 GiB: it is not compared")
    run = subject.train_on(subject.opt_ml())
    _expect_success(run, f"{PLAIN}, a second time")
    names = _sizes(first).keys() | _sizes(run.ml.model).keys()
    for name in sorted(names):
        one, other = first / name, run.ml.model / name
        if not (one.is_file() and other.is_file() and _same_file(one, other)):
            raise Broken(f"{PLAIN}, twice", f"/opt/ml/model/{name} is not the same")


# --- failures


def _failure(run: Run) -> str:
    """The failure file as the platform reads it; "" where there is none."""
    return run.ml.failure() or ""


def _failures(subject: Subject) -> dict[str, Run]:
    """The runs that failed, by what was wrong with them. Raises Unknown when none did."""
    spoiled = _spoiled(subject)
    tried = {
        "no channels": lambda: subject.train(channels={}),
        "empty channels": lambda: _empty_run(subject),
        "data of random bytes": lambda: _garbage_run(subject),
        "a text for a number": lambda: spoiled and subject.train(hyperparameters=spoiled),
    }
    runs = {name: run for name, make in tried.items() if (run := make())}
    failed = {name: run for name, run in runs.items() if run.code}
    if not failed:
        raise Unknown(f"no run failed, neither with {' nor with '.join(runs)}")
    return failed


@clause(
    "train-failure-file",
    Kind.TRAINING,
    FAILURE,
    Level.SHOULD,
    on_aws="FailureReason is `AlgorithmError: , exit code: 1`, and says nothing.",
    fix="Catch every exception in `train`, write its message to /opt/ml/output/failure, exit with "
    "1.",
    source=f"{OUTPUT}; aws/amazon-sagemaker-examples#1234, #842",
    needs=["train-starts"],
)
def failure_file(subject: Subject) -> None:
    """After a failure there is a file /opt/ml/output/failure."""
    for fault, run in _failures(subject).items():
        if run.ml.failure() is None:
            raise Broken(f"{PLAIN} with {fault}", f"no /opt/ml/output/failure; {run.told}")


def _failure_bytes(subject: Subject) -> dict[str, bytes]:
    """What each failed run wrote, as far as it is read here (a mebibyte)."""
    written = {}
    for fault, run in _failures(subject).items():
        if run.ml.failure() is not None:
            with (run.ml.output / "failure").open("rb") as file:
                written[fault] = file.read(2**20)
    return written


@clause(
    "train-failure-text",
    Kind.TRAINING,
    FAILURE,
    Level.SHOULD,
    on_aws="FailureReason shows replacement characters, or nothing.",
    fix='Open the file with encoding="utf-8"; never write pickled or compressed bytes.',
    source=f"API FailureReason; {OUTPUT}",
    needs=["train-failure-file"],
)
def failure_text(subject: Subject) -> None:
    """The failure file is text in UTF-8."""
    for fault, content in _failure_bytes(subject).items():
        try:
            content.decode()
        except UnicodeDecodeError as error:
            raise Broken(f"{PLAIN} with {fault}", f"{error}; it begins {content[:60]!r}") from None


@clause(
    "train-failure-says",
    Kind.TRAINING,
    FAILURE,
    Level.SHOULD,
    on_aws="FailureReason holds the first 1,024 characters: a header, and the reason is cut off.",
    fix="Begin with the sentence that says what is wrong and what to do; a traceback belongs into "
    "the log.",
    source=f"{OUTPUT}; API FailureReason",
    needs=["train-failure-file"],
)
def failure_says(subject: Subject) -> None:
    """The failure file begins with what is wrong: it is not empty, a bare number or a traceback."""
    for fault, content in _failure_bytes(subject).items():
        text = content.decode("utf-8", "replace").strip()
        if text.startswith("Traceback (most recent") or sum(map(str.isalpha, text)) < 8:
            raise Broken(f"{PLAIN} with {fault}", f"/opt/ml/output/failure: {text[:200]!r}")


@clause(
    "train-failure-length",
    Kind.TRAINING,
    FAILURE,
    Level.MAY,
    on_aws="FailureReason ends in the middle of a word after 1,024 characters.",
    fix="Cut the text at 1,024 characters; the rest belongs into the log.",
    source=f"API FailureReason; {OUTPUT}",
    needs=["train-failure-file"],
)
def failure_length(subject: Subject) -> None:
    """The failure file holds at most 1,024 characters."""
    for fault, content in _failure_bytes(subject).items():
        length = len(content.decode("utf-8", "replace"))
        if length > FAILURE_LENGTH:
            raise Broken(f"{PLAIN} with {fault}", f"{length:,} characters")


# --- SIGTERM


@clause(
    "train-stops",
    Kind.TRAINING,
    STOP,
    Level.SHOULD,
    on_aws="A job that is stopped, or whose time is over, runs on for 120 s that are paid for, and "
    "is then killed: what was not yet saved is lost.",
    fix="Handle SIGTERM (as PID 1 a program without a handler does not get it): save, and exit. "
    "Start with exec, so that no shell is PID 1.",
    source=f"{DOCKERFILE}; API StopTrainingJob",
    needs=["train-succeeds"],
)
def stops(subject: Subject) -> str:
    """As PID 1, `train` ends within 120 seconds of SIGTERM."""
    usual, most = subject.trained.seconds, subject.settings.stop_time
    began = time.monotonic()
    with subject.start(["train"], subject.opt_ml(), environment=JOB) as container:
        handles: bool | None = False
        while container.poll() is None and not handles:
            time.sleep(0.02)
            handles = container.handles(signal.SIGTERM)
            if handles is None and time.monotonic() - began > 0.4 * usual:
                break
        lasted = time.monotonic() - began
        if container.poll() is not None:
            _judge_unhandled(lasted, handles)
        sent = time.monotonic()
        code = container.stop(most)
        took = time.monotonic() - sent
    if took >= most:
        raise Broken(f"SIGTERM after {lasted:.1f} s", f"it still ran {took:.0f} s later: SIGKILL")
    if handles is None and code == 0 and lasted + took > 0.7 * usual:
        raise Unknown(
            "the run was over before it could be seen to be stopped: give data or "
            "--hyperparameters that make it longer"
        )
    return f"{took:.1f} s after SIGTERM, exit code {code}"


def _judge_unhandled(seconds: float, handles: bool | None) -> None:
    """For a run that was over before SIGTERM was sent."""
    if handles is False and seconds >= SHORT:
        raise Broken(
            f"{PLAIN}, waiting for it to be ready for SIGTERM",
            f"in {seconds:.1f} s, until its end, it had no handler for it: as PID 1 it gets none",
        )
    raise Unknown(
        f"the run is over after {seconds:.1f} s: give data or --hyperparameters that make it longer"
    )


# --- the log


@clause(
    "train-logs",
    Kind.TRAINING,
    LOG,
    Level.MAY,
    on_aws="The log group /aws/sagemaker/TrainingJobs has no stream for the job.",
    fix="Print what is read, what is done and what came of it.",
    source=RUNNING,
    needs=["train-succeeds"],
)
def logs(subject: Subject) -> str:
    """`train` says on standard output or standard error what it does."""
    lines = [line for line in subject.trained.log if line.strip()]
    if not lines:
        raise Broken(PLAIN, "not a line on standard output or standard error")
    return f"{len(lines)} lines"


@clause(
    "train-unbuffered",
    Kind.TRAINING,
    LOG,
    Level.SHOULD,
    on_aws="The log stays empty until the job ends; what was printed before a SIGKILL is lost.",
    fix="ENV PYTHONUNBUFFERED=1, or flush after each line.",
    source="Developer Guide, adapt-inference-container",
    needs=["train-logs"],
)
def unbuffered(subject: Subject) -> str:
    """A line that `train` prints is in the log at once, not when the program ends."""
    run = subject.trained
    before_end = run.seconds - run.times[0]
    if before_end > 0.5:
        return f"the first line came {before_end:.1f} s before the end"
    if run.seconds < SHORT or len(run.log) < 3:
        raise Unknown(
            "the run is too short, or has too few lines, to tell: give data or --hyperparameters "
            "that make it longer"
        )
    raise Broken(
        PLAIN,
        f"all {len(run.log)} lines came at the end, {run.times[0]:.1f} s after the start; the "
        f"first: {run.log[0][:80]!r}",
    )


@clause(
    "train-log-lines",
    Kind.TRAINING,
    LOG,
    Level.SHOULD,
    on_aws="CloudWatch shows one endless event, and MetricDefinitions find no value: a tuner ends "
    "without an objective metric.",
    fix="Print a metric on a line of its own; switch progress bars off when the output is no "
    "terminal.",
    source="Developer Guide, automatic-model-tuning-define-metrics-variables",
    needs=["train-logs"],
)
def log_lines(subject: Subject) -> None:
    """The log has lines, and no progress bar that a carriage return draws over."""
    for line in subject.trained.log:
        if "\r" in line.strip():
            count = line.count("\r")
            raise Broken(PLAIN, f"{count} carriage returns in one line: {line[:80]!r}")
