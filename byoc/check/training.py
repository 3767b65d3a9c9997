"""`train`: how it starts, and what it reads of hyperparameters and configuration.

Source: Developer Guide, your-algorithms-training-algo-dockerfile, -running-container and -output.
"""

import contextlib
import json
import re
import time

from byoc.check.clause import Broken, Kind, Level, Unknown, clause
from byoc.check.runs import (
    ADDED,
    DOCKERFILE,
    EXIT_CODE,
    NEW_KEYS,
    OTHER_HOST,
    OUTPUT,
    PLAIN,
    RUNNING,
    add_keys,
    expect_model,
    expect_success,
    rename_host,
    same_file,
    sizes,
    spoiled,
    survives_all,
)
from byoc.check.subject import JOB, Run, Subject
from byoc.optml import InstanceGroup

START = "Training: the start"
HYPERPARAMETERS = "Training: hyperparameters"
CONFIGURATION = "Training: configuration files"

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
    "the word in your ENTRYPOINT. An image that only serves is checked with --as serving.",
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
        left = ", ".join(sizes(run.ml.model)) or "no model"
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
    if survives_all(subject):
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
    if run.code is None or (run.code != 0 and not (run.ml.failure() or "").strip()):
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
    if (wrong := spoiled(subject)) is None:
        raise Unknown("give --hyperparameters with a number, so that a wrong one can be tried")
    run = subject.train(hyperparameters=wrong)
    if not run.code:
        raise Broken(f"hyperparameters.json: {json.dumps(wrong)}", run.told)


# --- configuration files


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
    if survives_all(subject):
        return
    ml = subject.opt_ml()
    add_keys(ml)
    expect_success(subject.train_on(ml), f"configuration files with {json.dumps(NEW_KEYS)}")


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
    expect_success(subject.train_on(ml), f"resourceconfig.json: {json.dumps(resources)}")


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
    if survives_all(subject):
        return
    ml = subject.opt_ml()
    rename_host(ml)
    run, sent = subject.train_on(ml), f"resourceconfig.json: current_host {OTHER_HOST}"
    expect_success(run, sent)
    expect_model(run, sent)


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
        expect_success(run, f"{PLAIN} on two hosts; this is {host}")


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
    for name in sorted(sizes(one.ml.model).keys() & sizes(two.ml.model).keys()):
        if not same_file(one.ml.model / name, two.ml.model / name):
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
