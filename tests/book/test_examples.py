"""The examples that the pages show are run as they stand."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from byoc.connect import local_variables

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "book/examples"
PROVIDERS = Path("/opt/tf-plugins")  # a mirror, where there is one


def test_the_pytest_example_passes(home):
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", ROOT]
    command += ["-p", "no:cacheprovider", EXAMPLES / "test_my_container.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_example_of_a_block_runs(home):
    command = [sys.executable, EXAMPLES / "with_local_aws.py"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "'repositoryName': 'my-model'" in done.stdout


@pytest.fixture
def terraform(cloud, tmp_path):
    """Run Terraform in a copy of the example; returns the exit code and what it said."""
    program = shutil.which("terraform")
    if program is None:
        pytest.skip("terraform is not on PATH")
    folder = shutil.copytree(EXAMPLES / "terraform", tmp_path / "terraform")
    with tarfile.open(folder / "model.tar.gz", "w:gz") as archive:
        archive.add(EXAMPLES / "terraform/main.tf", "model.txt")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        **local_variables(cloud.url, cloud.account, cloud.region),
    }

    def run(command, *arguments):
        done = subprocess.run(
            [program, command, "-no-color", "-input=false", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done.returncode, done.stdout + done.stderr

    code, said = run("init", *([f"-plugin-dir={PROVIDERS}"] if PROVIDERS.is_dir() else []))
    if code:
        pytest.skip(f"Terraform's provider can't be had here: {said[-300:]}")
    return run


def test_terraform_creates_changes_and_destroys_an_endpoint(terraform, cloud, toy_tag):
    def done(command, *arguments):
        code, said = terraform(command, "-var=name=toy", *arguments)
        assert code == 0, said
        return said

    done("apply", "-auto-approve", "-target=aws_ecr_repository.this")
    cloud.push(toy_tag)
    done("apply", "-auto-approve")
    assert json.loads(cloud.invoke(b"")["Body"].read())["model"].keys() == {"model/model.txt"}
    assert "No changes." in done("plan", "-detailed-exitcode")
    done("apply", "-auto-approve", "-var=instances=2")
    (variant,) = cloud.sagemaker.describe_endpoint(EndpointName="toy")["ProductionVariants"]
    assert variant["CurrentInstanceCount"] == 2
    assert "No changes." in done("plan", "-detailed-exitcode", "-var=instances=2")
    done("destroy", "-auto-approve")
    assert cloud.settled("toy") == ""  # Terraform does not wait until it is gone
    assert cloud.sagemaker.list_models()["Models"] == []
    assert cloud.client("s3").list_buckets()["Buckets"] == []
    assert cloud.client("ecr").describe_repositories()["repositories"] == []
