"""Processing jobs: the image's own program, from /opt/ml/processing to /opt/ml/processing.

Source: Developer Guide, build-your-own-processing-container; API CreateProcessingJob.
"""

import time
from pathlib import Path
from typing import Any

from byoc.check.clause import Broken, Kind, Level, Unknown, clause
from byoc.check.subject import Run, Subject
from byoc.optml import OptML

GROUP = "Processing"
PAGE = "Developer Guide, build-your-own-processing-container"
INPUT = "/opt/ml/processing/input"
RUN = "docker run IMAGE"
CANNOT_START = (125, 126, 127)
MESSAGE_LENGTH = 1024  # bytes that become the ExitMessage
LONG_ENOUGH = 3.0  # seconds: a shorter run is over before it can be stopped


def _job(subject: Subject) -> dict[str, Any]:
    """What processingjobconfig.json says: CreateProcessingJob's request and the job's ARN."""
    arn = "arn:aws:sagemaker:us-east-1:123456789012:processing-job/byoc-check"
    bucket = "s3://amzn-s3-demo-bucket"
    given = {
        "LocalPath": INPUT,
        "S3Uri": f"{bucket}/input/",
        "S3DataType": "S3Prefix",
        "S3InputMode": "File",
        "S3DataDistributionType": "FullyReplicated",
        "S3CompressionType": "None",
    }
    return {
        "ProcessingJobArn": arn,
        "ProcessingJobName": "byoc-check",
        "AppSpecification": {
            "ImageUri": subject.image.tag,
            "ContainerEntrypoint": None,
            "ContainerArguments": list(subject.settings.arguments) or None,
        },
        "Environment": dict(subject.settings.environment),
        "ProcessingInputs": [{"InputName": "input", "S3Input": given}],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": name,
                    "S3Output": {
                        "LocalPath": f"/opt/ml/processing/{name}",
                        "S3Uri": f"{bucket}/{name}/",
                        "S3UploadMode": "EndOfJob",
                    },
                }
                for name in subject.settings.processing_outputs
            ],
            "KmsKeyId": None,
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1,
                "InstanceType": "ml.m5.large",
                "VolumeSizeInGB": 10,
                "VolumeKmsKeyId": None,
            }
        },
        "RoleArn": "arn:aws:iam::123456789012:role/byoc-check",
        "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
    }


def _opt_ml(subject: Subject, *, empty: bool = False) -> OptML:
    given = subject.settings.processing_input
    inputs = {} if empty or given is None else {"input": given}
    return subject.keep(OptML.create_processing(_job(subject), inputs))


def _run(subject: Subject) -> Run:
    """The plain run, with the owner's input."""
    return subject.once("process", lambda: _start(subject, _opt_ml(subject)))


def _start(subject: Subject, ml: OptML) -> Run:
    return subject.run(subject.settings.arguments, ml)


def _failed(subject: Subject) -> Run:
    """A run with an empty input; raises Unknown where that changes nothing that can be known."""
    if subject.settings.processing_input is None:
        raise Unknown("give --processing-input, so that a run without it can fail")
    return subject.once("process-empty", lambda: _start(subject, _opt_ml(subject, empty=True)))


def _left(run: Run) -> list[Path]:
    """The files and links that a run left outside its input, relative to /opt/ml."""
    found = (p for p in run.ml.path.rglob("*") if p.is_symlink() or p.is_file())
    left = (path.relative_to(run.ml.path) for path in sorted(found))
    return [path for path in left if not f"{path}".startswith(("config/", "processing/input/"))]


@clause(
    "process-starts",
    Kind.PROCESSING,
    GROUP,
    Level.MUST,
    on_aws="The job fails within a minute, without a line in its log.",
    fix='Give the image an ENTRYPOINT in exec form: ENTRYPOINT ["python", "/opt/program/run.py"].',
    source=PAGE,
)
def starts(subject: Subject) -> None:
    """`docker run IMAGE`, without the words train and serve, starts a program: the image's
    ENTRYPOINT or CMD."""
    run = _run(subject)
    if run.code in CANNOT_START:
        raise Broken(RUN, run.told)


@clause(
    "process-config",
    Kind.PROCESSING,
    GROUP,
    Level.MUST,
    on_aws="The job fails: there is no /opt/ml/input/config in it.",
    fix="Read /opt/ml/config/processingjobconfig.json and resourceconfig.json, and take settings "
    "from arguments and the environment.",
    source=PAGE,
    needs=["process-starts"],
)
def config(subject: Subject) -> None:
    """It needs none of a training job's files: the configuration of a processing job is
    /opt/ml/config/processingjobconfig.json and resourceconfig.json."""
    run = _run(subject)
    if run.code == 0:
        return
    ml = _opt_ml(subject)
    training = subject.opt_ml()
    training.path.joinpath("input").rename(ml.path / "input")
    if _start(subject, ml).code == 0:
        raise Broken(RUN, f"it succeeds only if /opt/ml/input is there; without it: {run.told}")
    raise Unknown("the run did not succeed, with a training job's files neither")


@clause(
    "process-succeeds",
    Kind.PROCESSING,
    GROUP,
    Level.MUST,
    on_aws="The job ends as Failed.",
    fix=f"Read the input from {INPUT}, write to the outputs' folders, and end with 0.",
    source=PAGE,
    needs=["process-starts"],
)
def succeeds(subject: Subject) -> None:
    """With the given input and arguments it ends with exit code 0."""
    run = _run(subject)
    if run.code == 0:
        return
    if subject.settings.processing_input is None:
        raise Unknown("give --processing-input (and --argument), so that a run can succeed")
    raise Broken(" ".join([RUN, *subject.settings.arguments]), run.told)


@clause(
    "process-in-place",
    Kind.PROCESSING,
    GROUP,
    Level.SHOULD,
    on_aws="The job is Completed and the files are lost: only the outputs' folders are uploaded.",
    fix="Write below /opt/ml/processing/ only, scratch files to /tmp.",
    source=PAGE,
    needs=["process-succeeds"],
)
def in_place(subject: Subject) -> None:
    """What it leaves in /opt/ml lies below /opt/ml/processing/, but for output/message and
    output/metrics."""
    allowed = ("processing/", "output/message", "output/metrics/")
    lost = [path for path in _left(_run(subject)) if not f"{path}".startswith(allowed)]
    if lost:
        raise Broken(RUN, "it left " + ", ".join(f"/opt/ml/{path}" for path in lost[:5]))


@clause(
    "process-no-links",
    Kind.PROCESSING,
    GROUP,
    Level.SHOULD,
    on_aws="The linked files are missing in S3: links are not followed.",
    fix="Copy files into the output folder instead of linking them.",
    source=PAGE,
    needs=["process-succeeds"],
)
def no_links(subject: Subject) -> None:
    """It leaves no symbolic links below /opt/ml/processing/."""
    run = _run(subject)
    links = [path for path in _left(run) if (run.ml.path / path).is_symlink()]
    if links:
        raise Broken(RUN, "it left the links " + ", ".join(f"/opt/ml/{p}" for p in links[:5]))


@clause(
    "process-fails-loudly",
    Kind.PROCESSING,
    GROUP,
    Level.SHOULD,
    on_aws="The job is Completed, and what comes after it works on nothing.",
    fix="End with another code than 0 when there is nothing to work on.",
    source=PAGE,
    needs=["process-succeeds"],
)
def fails_loudly(subject: Subject) -> None:
    """A run that finds its input empty and so leaves no output does not end with exit code 0."""
    outputs = [p for p in _left(_run(subject)) if f"{p}".startswith("processing/")]
    run = _failed(subject)
    left = [p for p in _left(run) if f"{p}".startswith("processing/")]
    if run.code == 0 and outputs and not left:
        raise Broken(f"{RUN} with an empty {INPUT}", f"no output; {run.told}")


@clause(
    "process-message",
    Kind.PROCESSING,
    GROUP,
    Level.SHOULD,
    on_aws="ExitMessage is empty or cut; the reason must be looked for in the log.",
    fix="Write the reason to /opt/ml/output/message when a run fails, the important words first.",
    source=PAGE,
    needs=["process-succeeds"],
)
def message(subject: Subject) -> None:
    """A run that fails leaves its reason in /opt/ml/output/message, in at most 1 KB."""
    run = _failed(subject)
    if run.code == 0:
        raise Unknown("it does not fail with an empty input")
    sent = f"{RUN} with an empty {INPUT}"
    file = run.ml.message
    text = file.read_bytes() if run.ml.owns(file) and file.is_file() else b""
    if not text.strip():
        raise Broken(sent, f"no /opt/ml/output/message; {run.told}")
    if len(text) > MESSAGE_LENGTH:
        raise Broken(sent, f"/opt/ml/output/message has {len(text):,} bytes; 1 KB is kept")


@clause(
    "process-message-utf8",
    Kind.PROCESSING,
    GROUP,
    Level.MUST,
    on_aws="The job fails with a ClientError, even if the program ended with 0.",
    fix="Write /opt/ml/output/message in UTF-8.",
    source=PAGE,
    needs=["process-starts"],
)
def message_utf8(subject: Subject) -> None:
    """If it writes /opt/ml/output/message, then in UTF-8."""
    runs = [_run(subject)]
    if subject.settings.processing_input is not None:
        runs.append(_failed(subject))
    for run in runs:
        file = run.ml.message
        try:
            _ = file.read_bytes().decode() if run.ml.owns(file) and file.is_file() else ""
        except UnicodeDecodeError as error:
            raise Broken(RUN, f"/opt/ml/output/message is not UTF-8: {error}") from None


@clause(
    "process-exec-form",
    Kind.PROCESSING,
    GROUP,
    Level.SHOULD,
    on_aws="StopProcessingJob may not reach the program; it is killed in the end.",
    fix='Write ENTRYPOINT ["program", "argument"], or begin the shell\'s line with `exec`.',
    source=PAGE,
)
def exec_form(subject: Subject) -> None:
    """The ENTRYPOINT, or the CMD where there is none, is in exec form: the program itself, not a
    shell, gets the signals."""
    found = subject.engine.configuration(subject.image)
    words = found.get("Entrypoint") or found.get("Cmd") or []
    if len(words) > 2 and words[:2] == ["/bin/sh", "-c"] and not words[2].startswith("exec "):
        raise Broken("the image's ENTRYPOINT and CMD were read", f"/bin/sh -c {words[2]!r}")


@clause(
    "process-stops",
    Kind.PROCESSING,
    GROUP,
    Level.SHOULD,
    on_aws="StopProcessingJob takes minutes, and what the program holds in memory is lost.",
    fix="Handle SIGTERM: as the container's first process your program has no default for it.",
    source=f"{PAGE}; API StopProcessingJob",
    needs=["process-succeeds"],
)
def stops(subject: Subject) -> None:
    """It ends within 30 seconds after SIGTERM."""
    usual = _run(subject).seconds
    if usual < LONG_ENOUGH:
        raise Unknown(f"a run takes {usual:.1f} s only: give an input that takes longer")
    grace = min(30.0, subject.settings.training_time / 10)
    with subject.start(subject.settings.arguments, _opt_ml(subject)) as container:
        time.sleep(usual / 2)
        began = time.monotonic()
        code = container.stop(grace)
    if code == 137 and time.monotonic() - began >= grace:
        raise Broken(f"SIGTERM {usual / 2:.0f} s after the start", f"killed after {grace:.0f} s")
