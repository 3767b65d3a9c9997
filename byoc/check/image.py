"""The image itself: what its configuration says, and what that does to a run."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from byoc.check import ecr
from byoc.check.clause import Broken, Kind, Level, Unknown, clause
from byoc.check.subject import Subject

GROUP = "The image"
DOCKERFILE = "Developer Guide, your-algorithms-training-algo-dockerfile"
SERVING = "Developer Guide, your-algorithms-inference-code"
READ = "the image's configuration was read"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INITS = ("tini", "tini-static", "dumb-init", "docker-init", "catatonit", "s6-svscan")
LABELS = "com.amazonaws.sagemaker.capabilities."
CAPABILITIES = ("accept-bind-to-port", "multi-models", "bidirectional-streaming")
# What the platform lays into /opt/ml; anything else there is the image's own.
PLATFORM_FOLDERS = "input|output|model|models|checkpoints|processing|config|sagemaker"
OWN_FOLDER = re.compile(rf"/opt/ml/(?!(?:{PLATFORM_FOLDERS})\b)[\w.-]+[\w./-]*")
SECRET_NAME = re.compile(
    r"^AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN)$"
    r"|(PASSWORD|PASSWD|SECRET|SECRET_KEY|API_?KEY|PRIVATE_KEY|(^|_)TOKEN)$"
)
SECRET_VALUE = re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY")


def _configuration(subject: Subject) -> dict[str, Any]:
    return subject.once("configuration", lambda: subject.engine.configuration(subject.image))


def _variables(subject: Subject) -> dict[str, str]:
    lines = _configuration(subject).get("Env") or []
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


@clause(
    "image-architecture",
    Kind.IMAGE,
    GROUP,
    Level.MUST,
    on_aws="The container ends at once: `exec format error`.",
    fix="Build with --platform linux/amd64, on Apple silicon too.",
    source="API TrainingInstanceType, TransformInstanceType; "
    "aws-samples/amazon-sagemaker-custom-container#3",
)
def architecture(subject: Subject) -> None:
    """The image is for amd64: training, processing and batch transform have x86-64 instances
    only."""
    found = _configuration(subject).get("Architecture")
    if not found:
        raise Unknown("the engine does not say which architecture the image is for")
    if found == "amd64":
        return
    if found == "arm64" and subject.settings.kinds <= {Kind.IMAGE, Kind.SERVING, Kind.MULTI_MODEL}:
        raise Unknown("an arm64 image serves on Graviton instances (ml.c7g, ml.m6g, …) only")
    raise Broken(READ, f"Architecture {found}: `exec format error` on x86-64")


@clause(
    "image-manifest",
    Kind.IMAGE,
    GROUP,
    Level.MUST,
    on_aws="CreateModel refuses it: `Unsupported manifest media type "
    "application/vnd.oci.image.index.v1+json`. A training job may have worked before.",
    fix="docker buildx build --platform linux/amd64 --provenance=false --sbom=false "
    "--output type=docker (podman: push --format v2s2), then push again.",
    source="aws/amazon-sagemaker-feedback#180; mlflow/mlflow#13834",
)
def manifest(subject: Subject) -> None:
    """The image's manifest is Docker's (version 2, schema 2), not OCI's."""
    pushed = ecr.manifest(subject.image.tag)
    found = pushed.media_type if pushed else _configuration(subject).get("MediaType")
    if not found:
        raise Unknown("the type is known once it is pushed: give the image's ECR URI as TARGET")
    if "oci" in found:
        where = "ECR BatchGetImage" if pushed else READ
        raise Broken(where, f"{found}, not {DOCKER_MANIFEST}")
    if found != DOCKER_MANIFEST:
        raise Unknown(f"whether AWS takes {found} is not documented: push {DOCKER_MANIFEST}")


@clause(
    "image-size",
    Kind.IMAGE,
    GROUP,
    Level.SHOULD,
    on_aws="A serverless endpoint refuses the image; elsewhere each start waits for the pull.",
    fix="Leave build tools, tests and caches out: a multi-stage build.",
    source="Developer Guide, serverless-endpoints",
)
def size(subject: Subject) -> str:
    """The image is smaller than 10 GB, the most that serverless inference takes."""
    if subject.image.size > 10 * 10**9:
        raise Broken("the image's size was read", f"{subject.image.size:,} bytes")
    return f"{subject.image.size:,} bytes"


@clause(
    "image-labels",
    Kind.IMAGE,
    GROUP,
    Level.SHOULD,
    on_aws="The label is passed over: several models or containers on one endpoint are refused.",
    fix=f"LABEL {LABELS}multi-models=true, and likewise {' and '.join(CAPABILITIES[::2])}; the "
    "values are true and false, in lower case.",
    source="Developer Guide, build-multi-model-build-container, inference-pipeline-real-time, "
    "your-algorithms-inference-code",
)
def labels(subject: Subject) -> None:
    """Labels of SageMaker's capabilities are spelled as AWS spells them, with the value true or
    false."""
    for name, value in subject.image.labels.items():
        said = f"{name}={value}"
        plain = name.lower().replace("_", "-")
        meant = [one for one in CAPABILITIES if plain.endswith(one) or plain.endswith(one[:-1])]
        if name.startswith(LABELS) and name.removeprefix(LABELS) not in CAPABILITIES:
            raise Broken(READ, f"{said} is none of {', '.join(CAPABILITIES)}")
        if meant and "sagemaker" in plain and name != LABELS + meant[0]:
            raise Broken(READ, f"{said}, for {LABELS}{meant[0]}")
        if name.startswith(LABELS) and value not in ("true", "false"):
            raise Broken(READ, f"{said}: neither true nor false")


@clause(
    "image-init",
    Kind.IMAGE,
    GROUP,
    Level.SHOULD,
    on_aws="The container ends at once: `[FATAL tini (7)] exec train failed`.",
    fix="Leave the init out, and handle SIGTERM in the program itself.",
    source=f"{DOCKERFILE}; aws/sagemaker-python-sdk#4678, #4113",
)
def init(subject: Subject) -> None:
    """ENTRYPOINT is no init such as tini: it would take the words train and serve for programs."""
    words = _configuration(subject).get("Entrypoint") or []
    if words and PurePosixPath(words[0]).name in INITS:
        raise Broken(READ, f"ENTRYPOINT {words}")


@clause(
    "image-exec-form",
    Kind.IMAGE,
    GROUP,
    Level.SHOULD,
    on_aws="The words train and serve go to the shell and not to the program; SIGTERM does not "
    "reach it, so that a stop takes 120 s and ends in SIGKILL.",
    fix='Write ENTRYPOINT ["program", "argument"], with brackets and quotes.',
    source=DOCKERFILE,
)
def exec_form(subject: Subject) -> None:
    """ENTRYPOINT has the exec form: in the shell form a shell is PID 1 and takes the argument."""
    words = _configuration(subject).get("Entrypoint") or []
    shell = len(words) == 3 and PurePosixPath(words[0]).name in ("sh", "bash") and words[1] == "-c"
    if shell and not re.search(r"\$[0@*1]", words[2]):
        raise Broken(READ, f"ENTRYPOINT {words}: the word train is the shell's $0")


@clause(
    "image-entrypoint",
    Kind.IMAGE,
    GROUP,
    Level.MUST,
    on_aws='The endpoint stays Creating, and fails: "did not pass the ping health check"; its log '
    "is that of a training.",
    fix="No ENTRYPOINT and both programs on PATH, or an ENTRYPOINT that looks at its first "
    "argument.",
    source=f"{DOCKERFILE}; aws/sagemaker-training-toolkit#65",
)
def entrypoint(subject: Subject) -> None:
    """With an ENTRYPOINT, the word serve starts the server and not the training once more."""
    words = _configuration(subject).get("Entrypoint") or []
    if not words:
        return
    if not subject.settings.kinds >= {Kind.TRAINING, Kind.SERVING}:
        raise Unknown("the image is for training or for serving, not for both")
    usual = subject.trained
    patience = max(10.0, 3 * usual.seconds)
    ml = subject.opt_ml(model=usual.ml.model)
    before = _moments(ml.model)
    with subject.start(["serve"], ml) as container:
        container.ready(patience)
        code = container.poll()
    if code is not None and _moments(ml.model) != before:
        raise Broken(
            f"docker run IMAGE serve, with ENTRYPOINT {words}",
            f"it trained: exit code {code}, and a new model in /opt/ml/model; its last words: "
            f"{' ⏎ '.join(container.log[-3:])[-300:] or 'none'}",
        )


def _moments(folder: Path) -> dict[str, int]:
    """When each file of a folder was last written."""
    return {f"{path}": path.lstat().st_mtime_ns for path in folder.rglob("*")}


@clause(
    "image-root",
    Kind.IMAGE,
    GROUP,
    Level.SHOULD,
    on_aws="`Permission denied` below /opt/ml, on some instances and not on others.",
    fix="No USER line; a server may drop to another user after its start.",
    source=f"{SERVING}; aws/sagemaker-inference-toolkit#72",
)
def root(subject: Subject) -> None:
    """The image runs as root, which AWS expects; it names no other USER."""
    user = str(_configuration(subject).get("User") or "")
    if user.partition(":")[0] not in ("", "0", "root"):
        raise Broken(READ, f"USER {user}")


@clause(
    "image-opt-ml",
    Kind.IMAGE,
    GROUP,
    Level.SHOULD,
    on_aws="`No such file or directory: '/opt/ml/code/…'`: the platform lays its own folders over "
    "the image's.",
    fix="Put programs into /opt/program or another folder outside /opt/ml.",
    source=DOCKERFILE,
)
def opt_ml(subject: Subject) -> None:
    """The program needs nothing that the image holds below /opt/ml: SageMaker keeps that folder
    for itself, and what is there may be hidden."""
    configuration = _configuration(subject)
    words = [*(configuration.get("Entrypoint") or []), *(configuration.get("Cmd") or [])]
    for word in words:
        if match := OWN_FOLDER.search(word):
            raise Broken(READ, f"it starts {match[0]}")
    if Kind.TRAINING not in subject.settings.kinds:
        return
    run = subject.train()
    if not run.code:
        return
    folder = configuration.get("WorkingDir") or "/"
    places = [folder, *_variables(subject).values()]
    named = [match[0] for place in places for match in [OWN_FOLDER.search(place)] if match]
    said = [match[0] for line in run.log for match in [OWN_FOLDER.search(line)] if match]
    if said or (named and run.code in (126, 127)):
        what = f"the log names {said[-1]}" if said else f"the image points to {named[0]}"
        raise Broken(
            "docker run IMAGE train, with an /opt/ml of the platform's", f"{what}; {run.told}"
        )


@clause(
    "image-secrets",
    Kind.IMAGE,
    GROUP,
    Level.SHOULD,
    on_aws="Who may pull the image has the key; and it takes the place of the execution role's, "
    "so that calls fail with AccessDenied.",
    fix="Remove it and make the key invalid; the execution role gives credentials. A secret of the "
    "build comes by RUN --mount=type=secret.",
    source="Developer Guide, sagemaker-roles; boto3 guide, credentials",
)
def secrets(subject: Subject) -> None:
    """The image's environment holds no access keys, passwords or tokens."""
    found = [
        name
        for name, value in _variables(subject).items()
        if value and (SECRET_NAME.search(name.upper()) or SECRET_VALUE.search(value))
    ]
    if found:
        raise Broken(READ, f"ENV {', '.join(found)} (the values are not shown)")


@clause(
    "image-tag",
    Kind.IMAGE,
    GROUP,
    Level.MAY,
    on_aws="Nobody can tell which image an endpoint runs; a new instance may start another one "
    "than its neighbours.",
    fix="Give each build a tag of its own, or name the image by its digest.",
    source="API CreateRepository, imageTagMutability; aws/sagemaker-python-sdk#2469",
)
def tag(subject: Subject) -> None:
    """The image is named by a version, not by the tag latest."""
    name = subject.image.tag
    if name.endswith(":latest") or ":" not in name.rpartition("/")[2]:
        raise Broken("the image's name was read", name)
