"""`train`: how it starts, what it reads, what it leaves, how it ends.

Source: Developer Guide, your-algorithms-training-algo-dockerfile, -running-container and -output.
"""

from byoc.check.clause import Broken, Kind, Level, clause
from byoc.check.subject import Subject

START = "Training: the start"
CANNOT_START = (125, 126, 127)


@clause(
    "train-starts",
    Kind.TRAINING,
    START,
    Level.MUST,
    on_aws='The job fails within a minute: `exec: "train": executable file not found in $PATH`.',
    fix="Put an executable `train` into a folder on PATH, or take the word in your ENTRYPOINT.",
    source="Developer Guide, your-algorithms-training-algo-dockerfile",
)
def starts(subject: Subject) -> None:
    """`docker run IMAGE train` starts a program."""
    run = subject.train()
    if run.code in CANNOT_START:
        raise Broken("docker run IMAGE train", run.told)


@clause(
    "train-succeeds",
    Kind.TRAINING,
    START,
    Level.MUST,
    on_aws="The job ends as Failed.",
    fix="Exit with 0 after a training that worked; read data from /opt/ml/input/data/CHANNEL.",
    source="Developer Guide, your-algorithms-training-signal-success-failure",
    needs=["train-starts"],
)
def succeeds(subject: Subject) -> None:
    """With the given data and hyperparameters, `train` ends with exit code 0."""
    if subject.settings.channels and (run := subject.train()).code != 0:
        raise Broken("docker run IMAGE train, with the training data", run.told)
    _ = subject.trained
