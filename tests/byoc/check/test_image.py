"""The clauses of the image, each caught on a container with the fault that it names."""

import json

import pytest

from byoc import engines
from byoc.check import Kind, Settings, Status, check
from byoc.check.runner import select

from .conftest import GOOD, Mutant, not_kept, outcome

LABEL = "LABEL com.amazonaws.sagemaker.capabilities."
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
OCI = "application/vnd.oci.image.manifest.v1+json"


def dockerfile(line: str) -> dict[str, dict[str, str]]:
    """The good Dockerfile with one more line."""
    return {"Dockerfile": {"WORKDIR /opt/program": f"WORKDIR /opt/program\n{line}"}}


MUTANTS = [
    (
        Mutant(
            "arm64",
            "image-architecture",
            {"Dockerfile": {"FROM ": "FROM --platform=linux/arm64 "}},
        ),
        "arm64: `exec format error`",
    ),
    (
        Mutant("label-misspelled", "image-labels", dockerfile(f"{LABEL}multi-model=true")),
        "multi-model=true is none of",
    ),
    (
        Mutant("label-python", "image-labels", dockerfile(f"{LABEL}multi-models=True")),
        "multi-models=True: neither true nor false",
    ),
    (
        Mutant(
            "label-elsewhere",
            "image-labels",
            dockerfile("LABEL com.amazon.sagemaker.capability.multi-models=true"),
        ),
        "for com.amazonaws.sagemaker.capabilities.multi-models",
    ),
    (Mutant("tini", "image-init", dockerfile('ENTRYPOINT ["tini", "--"]')), "tini"),
    (
        Mutant("shell-form", "image-exec-form", dockerfile("ENTRYPOINT python /opt/program/train")),
        "the word train is the shell's $0",
    ),
    (
        Mutant(
            "one-entrypoint",
            "image-entrypoint",
            dockerfile('ENTRYPOINT ["python", "/opt/program/train"]'),
        ),
        "it trained: exit code 0",
    ),
    (Mutant("user", "image-root", dockerfile("USER nobody:nogroup")), "USER nobody"),
    (
        Mutant(
            "programs-in-opt-ml", "image-opt-ml", {"Dockerfile": {"/opt/program": "/opt/ml/code"}}
        ),
        "the image points to /opt/ml/code",
    ),
    (
        Mutant(
            "file-in-opt-ml",
            "image-opt-ml",
            {
                "Dockerfile": {"COPY train": "COPY train /opt/ml/code/settings\nCOPY train"},
                "train": {"def fit():": "def fit():\n    open('/opt/ml/code/settings').close()"},
            },
        ),
        "the log names /opt/ml/code/settings",
    ),
    (
        Mutant(
            "entrypoint-in-opt-ml",
            "image-opt-ml",
            dockerfile('ENTRYPOINT ["python", "/opt/ml/code/main.py"]'),
        ),
        "it starts /opt/ml/code/main.py",
    ),
    (
        Mutant("key", "image-secrets", dockerfile(f"ENV AWS_SECRET_ACCESS_KEY={SECRET}")),
        "AWS_SECRET_ACCESS_KEY",
    ),
]


@pytest.mark.parametrize(("mutant", "says"), MUTANTS, ids=lambda one: getattr(one, "name", ""))
def test_a_mutant_is_caught_by_its_clause(mutant, says, checked, tmp_path):
    report = checked(mutant.write(tmp_path / mutant.name), mutant.breaks, **mutant.settings)
    found = outcome(report, mutant.breaks)
    assert found.status is Status.BROKEN, found
    assert says in found.back
    assert SECRET not in f"{found}"
    assert report.exit_code == (1 if found.clause.level == "must" else 0)


def test_the_good_container_keeps_every_clause(checked):
    report = checked(GOOD, "image")
    assert not not_kept(report)
    assert report.count(Status.KEPT) == len(report.outcomes)


@pytest.mark.parametrize(
    ("clause", "line"),
    [
        ("image-labels", "LABEL org.opencontainers.image.title=multi-models"),
        ("image-labels", f"{LABEL}multi-models=false"),
        ("image-labels", "LABEL com.amazonaws.ml.engines.sagemaker.dlc.framework=true"),
        ("image-exec-form", "ENTRYPOINT exec /opt/program/$0"),
        ("image-exec-form", 'ENTRYPOINT ["python", "-c", "print(1)"]'),
        ("image-root", "USER root"),
        ("image-root", "USER 0:0"),
        ("image-opt-ml", "ENV SM_MODEL_DIR=/opt/ml/model PYTHONPATH=/opt/ml/code"),
        ("image-secrets", "ENV GPG_KEY=7169605F62C751356D054A26A821E680E5FA6305 HF_TOKEN="),
        ("image-secrets", "ENV TOKENIZERS_PARALLELISM=false MAX_TOKENS=5"),
        ("image-entrypoint", 'ENTRYPOINT ["/usr/bin/env"]'),
    ],
)
def test_what_is_right_is_not_refused(clause, line, checked, tmp_path):
    folder = Mutant("right", clause, dockerfile(line)).write(tmp_path / "right")
    assert outcome(checked(folder, clause), clause).status is Status.KEPT


def test_an_arm64_image_that_only_serves_may_be_for_graviton(checked, tmp_path):
    folder = MUTANTS[0][0].write(tmp_path / "arm64")
    report = checked(folder, "image-architecture", kinds=frozenset({Kind.IMAGE, Kind.SERVING}))
    found = outcome(report, "image-architecture")
    assert found.status is Status.UNKNOWN
    assert "Graviton" in found.back


def test_an_image_called_latest():
    engine = engines.engine("process")
    image = engine.build(GOOD, "good:latest")
    settings = Settings()
    report = check(engine, image, settings, select(settings, ["image-tag"]))
    assert outcome(report, "image-tag").back == "good:latest"
    assert report.exit_code == 0


@pytest.fixture
def pushed(cloud):
    """Check image-manifest under the URI of the good image, pushed with a media type."""

    def push(media_type=None):
        engine = engines.engine("process")
        image = engine.build(GOOD, "manifest:1")
        uri = cloud.push("manifest:1")
        if media_type:
            ecr, uri = cloud.client("ecr"), uri.replace(":1", ":oci")
            content = json.loads(
                ecr.batch_get_image(repositoryName="manifest", imageIds=[{"imageTag": "1"}])[
                    "images"
                ][0]["imageManifest"]
            )
            ecr.put_image(
                repositoryName="manifest",
                imageManifest=json.dumps({**content, "mediaType": media_type}),
                imageManifestMediaType=media_type,
                imageTag="oci",
            )
        image = engines.Image(uri, image.id, image.size, image.labels)
        settings = Settings()
        report = check(engine, image, settings, select(settings, ["image-manifest"]))
        return outcome(report, "image-manifest")

    return push


def test_an_oci_manifest_in_ecr(pushed):
    found = pushed(OCI)
    assert (found.status, found.sent) == (Status.BROKEN, "ECR BatchGetImage")
    assert OCI in found.back


def test_a_docker_manifest_in_ecr(pushed):
    assert pushed().status is Status.KEPT


def test_an_image_that_ecr_does_not_have(cloud):
    engine = engines.engine("process")
    built = engine.build(GOOD, "unpushed:1")
    uri = f"{cloud.account}.dkr.ecr.us-east-1.amazonaws.com/unpushed:1"
    image = engines.Image(uri, built.id, built.size, built.labels)
    settings = Settings()
    report = check(engine, image, settings, select(settings, ["image-manifest"]))
    found = outcome(report, "image-manifest")
    assert found.status is Status.UNKNOWN
    assert "ECR does not show" in found.back
