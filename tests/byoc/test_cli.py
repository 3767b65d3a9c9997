"""The `byoc` command as a shell sees it: results, messages, exit codes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from byoc.cli import main

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
BYOC = Path(sys.executable).with_name("byoc")


@pytest.fixture
def byoc(tmp_path):
    """Run the command; returns exit code, standard output and standard error."""

    def run(*words, **variables):
        done = subprocess.run(
            [BYOC, *map(str, words)],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
            env={**os.environ, **variables},
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


def shell(script, **variables):
    """Standard output of a bash script in which `byoc` is on PATH."""
    path = f"{BYOC.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PATH": path, **variables},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_has_help_with_an_example(byoc, command):
    code, out, err = byoc(command, "--help")
    assert (code, err) == (0, "")
    assert f"Example: byoc {command}" in out or f"byoc {command} " in out.partition("Example:")[2]


def test_help_lists_every_command(byoc):
    code, out, _ = byoc("-h")
    assert code == 0
    for command in main.commands:
        assert command in out


def test_status_lists_jobs_and_endpoints(byoc, cloud, toy):
    cloud.train(toy, name="listed-job")
    code, out, _ = byoc("status")
    (row,) = [line for line in out.splitlines() if cloud.account in line]
    assert code == 0
    assert re.fullmatch(
        rf"training-job +listed-job +Completed +\d:\d\d:\d\d +{cloud.account} us-east-1 +"
        r"/aws/sagemaker/TrainingJobs",
        row,
    )


def test_interrupt_says_why_it_cannot(byoc, cloud, toy, tmp_path):
    account = ("--account-id", cloud.account)
    assert byoc("interrupt", "nobody", *account)[2] == "byoc: Requested resource not found.\n"
    cloud.train(toy, name="steady-job")
    code, _, err = byoc("interrupt", "steady-job", *account)
    assert (code, err) == (
        2,
        "byoc: The training job steady-job does not run on Spot instances.\n",
    )
    code, _, err = byoc("interrupt", "nobody", BYOC_HOME=str(tmp_path / "home"))
    assert (code, err) == (2, "byoc: The local AWS does not run: start it with `byoc up`.\n")


def test_up_status_down(byoc, tmp_path):
    own = {"BYOC_HOME": str(tmp_path / "home")}
    assert byoc("status", **own)[:2] == (1, "not running\n")
    code, out, _ = byoc("status", "--json", **own)
    assert (code, json.loads(out)) == (1, {"running": False})
    code, out, _ = byoc("up", "--json", **own)
    started = json.loads(out)
    try:
        assert code == 0
        assert byoc("up", **own)[:2] == (0, started["url"] + "\n")
        code, out, _ = byoc("status", "--json", **own)
        assert code == 0
        assert json.loads(out).items() >= {"running": True, **started}.items()
        assert Path(json.loads(out)["log"]).exists()
        assert started["url"] in byoc("status", **own)[1]
    finally:
        code, out, _ = byoc("down", **own)
    assert (code, out) == (0, "")
    code, out, err = byoc("down", **own)
    assert (code, out) == (0, "")
    assert "no local AWS was running" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["env", "--account-id", "123"], "must be a string of twelve digits"),
        (["env", "--region", "mars-1"], "region is 'mars-1'"),
        (["cleanup", "--target", "azure"], "target is 'azure'"),
        (["cleanup", "--project", "Not_Good"], "project is 'Not_Good'"),
        (["build", ".", "--tag", "x:1"], "There is no Dockerfile"),
        (["build", ".", "--tag", "x"], "is not NAME:TAG"),
        (["push", "absent:1"], "There is no image absent:1"),
        (["run", "--account-id", "1"], "notebooks"),
        (["build", "no-such-folder", "--tag", "x:1"], "no-such-folder"),
        (["fly"], "fly"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_2(byoc, cloud, words, said):
    code, out, err = byoc(*words)
    assert (code, out) == (2, "")
    assert said in err.strip().splitlines()[-1]


def test_eval_of_env_leads_a_shell_to_the_local_aws(cloud, account):
    code = (
        "import boto3; print(boto3.client('sts').get_caller_identity()['Account'], "
        "boto3.client('sagemaker').meta.region_name)"
    )
    script = f'eval "$(byoc env --account-id {account} --region eu-west-1)"\n'
    out = shell(
        f'{script}"{sys.executable}" -c "{code}"; echo "${{AWS_PROFILE-unset}}"',
        AWS_PROFILE="no-such-profile",
        AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE",
    )
    assert out.splitlines() == [f"{account} eu-west-1", "unset"]


def test_env_prints_nothing_but_shell_lines(byoc, cloud):
    code, out, err = byoc("env")
    assert (code, err) == (0, "")
    assert all(re.match(r"(export \w+=\S+|unset [A-Z0-9_ ]+)$", line) for line in out.splitlines())


def test_env_takes_on_a_role(byoc, cloud, clients):
    name = cloud.role.rpartition("/")[2]
    code, out, err = byoc("env", "--account-id", cloud.account, "--role", name)
    assert (code, err) == (0, "")
    keys = dict(line.removeprefix("export ").split("=", 1) for line in out.splitlines()[1:])
    sts = clients.client(
        "sts",
        endpoint_url=keys["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=keys["AWS_SESSION_TOKEN"],
    )
    arn = f"arn:aws:sts::{cloud.account}:assumed-role/{name}/byoc"
    assert sts.get_caller_identity()["Arn"] == arn


def test_build_and_push(byoc, cloud, toy_folder):
    code, out, err = byoc("build", toy_folder, "--tag", "from-cli:1")
    assert code == 0
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", out)
    assert "process engine: snapshot from-cli:1" in err
    kept = re.search(r"the SBOM is (\S+)", err)[1]
    sbom = toy_folder / "sbom.json"
    code, again, _ = byoc("build", toy_folder, "--tag", "from-cli:1", "--json", "--sbom", sbom)
    built = json.loads(again)
    assert built["sbom"] == str(sbom)
    assert json.loads(sbom.read_text())["bomFormat"] == "CycloneDX"
    assert sbom.read_text() == Path(kept).read_text()
    assert built["tag"] == "from-cli:1"
    assert built["id"] == out.strip()
    assert built["labels"]["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"

    code, out, err = byoc("push", "from-cli:1")
    assert (code, out) == (2, "")
    assert "There is no ECR repository from-cli: create it, or push with --create" in err
    code, out, err = byoc("push", "from-cli:1", "--create")
    uri = f"{cloud.account}.dkr.ecr.us-east-1.amazonaws.com/from-cli:1"
    assert (code, out) == (0, f"{uri}\n")
    assert byoc("push", "from-cli:1")[:2] == (0, f"{uri}\n")
    assert cloud.train(uri)["TrainingJobStatus"] == "Completed"


def test_cleanup_lists_deletes_and_finds_nothing_left(byoc, cloud, toy):
    def cleanup(*words):
        code, out, _ = byoc("cleanup", "--account-id", cloud.account, "--project", "fish", *words)
        return code, out

    assert cleanup("--list") == (0, "nothing\n")
    cloud.sagemaker.create_model(
        ModelName="fish-1",
        PrimaryContainer={"Image": toy},
        ExecutionRoleArn=cloud.role,
        Tags=[{"Key": "project", "Value": "fish"}],
    )
    expected = [{"service": "sagemaker", "kind": "Model", "name": "fish-1"}]
    code, out = cleanup("--list", "--json")
    assert (code, json.loads(out)) == (0, expected)
    code, out = cleanup("--json")
    assert (code, json.loads(out)) == (0, expected)
    assert cleanup() == (0, "nothing\n")


def test_run_executes_notebooks_for_an_account(byoc, cloud, tmp_path):
    notebook = nbformat.v4.new_notebook(metadata=KERNEL)
    notebook.cells = [
        nbformat.v4.new_code_cell(
            "target = ''\naccount_id = ''\nregion = ''\nproject = ''",
            metadata={"tags": ["parameters"]},
        ),
        nbformat.v4.new_code_cell("print(target, account_id, region, project)"),
    ]
    nbformat.write(notebook, tmp_path / "1.ipynb")
    words = ["--account-id", "000012345678", "--region", "eu-west-1", "--project", "fish"]
    code, out, err = byoc("run", "1.ipynb", "--output", "results", *words)
    assert (code, out.strip()) == (0, "results/1.ipynb"), err
    done = nbformat.read(tmp_path / "results/1.ipynb", as_version=4)
    assert done.cells[-1].outputs[0].text == "local 000012345678 eu-west-1 fish\n"
    assert byoc("status")[0] == 0  # the local AWS that was up still is


def test_an_aws_error_is_one_sentence(byoc, toy_folder):
    assert byoc("build", toy_folder, "--tag", "toy:1")[0] == 0
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    code, out, err = byoc("push", "toy:1", AWS_DEFAULT_REGION="us-east-1", **nowhere, **keys)
    assert (code, out) == (2, "")
    assert err.startswith("byoc: Could not connect to the endpoint URL")
    assert err.count("\n") == 1
