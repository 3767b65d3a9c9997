"""`train`: what it does with its channels, and the model it leaves.

Source: Developer Guide, your-algorithms-training-algo-dockerfile, -running-container and -output.
"""

import stat
from pathlib import Path

from byoc.check.clause import Broken, Kind, Level, Unknown, clause
from byoc.check.runs import (
    COMPARED,
    EXIT_CODE,
    INPUT,
    OUTPUT,
    PLAIN,
    RUNNING,
    empty_run,
    expect_model,
    expect_success,
    garbage_run,
    same_file,
    sizes,
    strays,
    survives_all,
)
from byoc.check.subject import Run, Subject

DATA = "Training: channels"
MODEL = "Training: the model"


def _without_data(subject: Subject, run: Run, sent: str) -> str:
    """Without data the end is a failure, or a success that leaves a model."""
    if run.code is None:
        raise Broken(sent, run.told)
    if run.code == 0:
        expect_model(run, sent)
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
    run = empty_run(subject)
    if run is None:
        raise Unknown("give --training-data, so that the channels are known")
    return _without_data(subject, run, f"{PLAIN} with empty channels")


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
    run = garbage_run(subject)
    if run is None:
        raise Unknown("give --training-data, so that garbage can stand for it")
    if not run.code:
        raise Broken(f"{PLAIN}, each file of the channels random bytes", run.told)


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
        before = sizes(source) if source.is_dir() else {source.name: source.stat().st_size}
        after = sizes(place)
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
    if not survives_all(subject):
        run = subject.train_on(subject.opt_ml(), read_only=[INPUT])
        expect_success(run, f"{PLAIN} with {INPUT} read-only")


# --- the model


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
    expect_model(subject.trained, PLAIN)
    found = sizes(subject.trained.ml.model)
    return f"{len(found)} files, {sum(found.values()):,} bytes"


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
    for path in [folder, *sorted(folder.rglob("*"))]:
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            kind = f"a link to {path.readlink()}" if path.is_symlink() else "a socket or pipe"
            raise Broken(PLAIN, f"{Path('/opt/ml/model', path.relative_to(folder))} is {kind}")


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
    saved = [run.ml.model / name for name, size in sizes(run.ml.model).items() if size]
    for channel in subject.settings.channels:
        data = {n: s for n, s in sizes(run.ml.channel(channel)).items() if s}
        if not data or sum(data.values()) > COMPARED:
            continue
        files = [run.ml.channel(channel) / name for name in data]
        if all(any(_copy_of(file, one) for one in saved) for file in files):
            raise Broken(PLAIN, f"all {len(files)} files of the channel {channel} are in the model")


def _copy_of(file: Path, other: Path) -> bool:
    return file.stat().st_size == other.stat().st_size and same_file(file, other)


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
    if lost := strays(subject.trained.ml):
        raise Broken(PLAIN, f"it also wrote {', '.join(lost[:5])}")


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
    if not survives_all(subject):
        expect_success(subject.train(isolated=True), f"{PLAIN}, without a network")


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
    if sum(sizes(first).values()) > COMPARED:
        raise Unknown("the model is over 1 GiB: it is not compared")
    run = subject.train_on(subject.opt_ml())
    expect_success(run, f"{PLAIN}, a second time")
    names = sizes(first).keys() | sizes(run.ml.model).keys()
    for name in sorted(names):
        one, other = first / name, run.ml.model / name
        if not (one.is_file() and other.is_file() and same_file(one, other)):
            raise Broken(f"{PLAIN}, twice", f"/opt/ml/model/{name} is not the same")
