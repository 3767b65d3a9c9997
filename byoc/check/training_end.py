"""`train`: what it says when it fails, how it is stopped, and its log.

Source: Developer Guide, your-algorithms-training-algo-dockerfile, -running-container and -output.
"""

import signal
import time

from byoc.check.clause import Broken, Kind, Level, Unknown, clause
from byoc.check.runs import (
    DOCKERFILE,
    OUTPUT,
    PLAIN,
    RUNNING,
    empty_run,
    garbage_run,
    spoiled,
)
from byoc.check.subject import JOB, Run, Subject
from byoc.optml import FAILURE_LENGTH

FAILURE = "Training: the failure file"
STOP = "Training: SIGTERM"
LOG = "Training: the log"

SHORT = 2.0  # seconds; a run that is over sooner says nothing about signals or buffers


def _failures(subject: Subject) -> dict[str, Run]:
    """The runs that failed, by what was wrong with them. Raises Unknown when none did."""
    wrong = spoiled(subject)
    tried = {
        "no channels": lambda: subject.train(channels={}),
        "empty channels": lambda: empty_run(subject),
        "data of random bytes": lambda: garbage_run(subject),
        "a text for a number": lambda: wrong and subject.train(hyperparameters=wrong),
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
