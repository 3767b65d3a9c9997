"""The `byoc` command: results on standard output, all else on standard error; exit 0, 1 (no), 2."""

import json
import platform
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from byoc.check.command import check
from byoc.errors import ByocError

TARGET = click.option(
    "--target", default="local", show_default=True, help="local: this machine's AWS; aws: yours."
)
ACCOUNT = click.option(
    "--account-id", default="123456789012", show_default=True, help="Twelve digits."
)
REGION = click.option("--region", default="us-east-1", show_default=True, help="An AWS region.")
PROJECT = click.option(
    "--project", default="byoc-penguins", show_default=True, help="The name that all carries."
)
BASE_LABEL = "org.opencontainers.image.base.name"
JSON = click.option("--json", "as_json", is_flag=True, help="For a machine to read.")


def _options() -> str:
    from byoc.local.options import Options

    return "; ".join(
        f"{f.name}: {f.metadata['help']} [{f.default or 'no limit'}]" for f in fields(Options)
    )


class _Group(click.Group):
    """Says a ByocError in its one sentence and exits with 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ByocError, BotoCoreError, ClientError) as error:
            click.echo(f"byoc: {' '.join(str(error).split())}", err=True)
            ctx.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Bring your own container to Amazon SageMaker."""


@main.command()
@click.option("--port", default=0, help="Listen here; a free port otherwise.")
@click.option("--option", "chosen", multiple=True, metavar="NAME=VALUE", help=_options())
@JSON
def up(port: int, chosen: tuple[str, ...], as_json: bool) -> None:
    """Start the local AWS, unless it runs; returns when it answers.

    It goes on from what `byoc down --keep` kept.

    Example: byoc up --option parallel_jobs=8 && eval "$(byoc env)" && aws sts get-caller-identity
    """
    from byoc.local import Options, daemon

    running = daemon.up(port, Options.parse(chosen))
    _print(running.__dict__, as_json, lambda: running.url)


@main.command()
@click.option("--keep", is_flag=True, help="The next `byoc up` finds what there is now.")
def down(keep: bool) -> None:
    """Stop the local AWS and everything it runs; what it held is gone unless it is kept.

    Example: byoc down --keep
    """
    from byoc.local import daemon

    if not daemon.down(keep):
        click.echo("byoc: no local AWS was running", err=True)


@main.command()
@JSON
def status(as_json: bool) -> None:
    """Show the local AWS, its jobs and endpoints; exit 1 when it does not run.

    Example: byoc status --json
    """
    from byoc.local import daemon

    running = daemon.status()
    if running is None:
        _print({"running": False}, as_json, lambda: "not running")
        sys.exit(1)
    runs = daemon.runs(running)
    content = {"running": True, **running.__dict__, "log": str(daemon.log_file()), "runs": runs}
    first = f"{running.url}  up {_age(running.started)}  log {daemon.log_file()}"
    rows = [
        f"{run['kind']:12}  {run['name']:32}  {run['status']:10}  {_age(run['created']):>8}  "
        f"{run['account']} {run['region']}  {run['log_group']}"
        for run in runs
    ]
    _print(content, as_json, lambda: "\n".join([first, *rows]))


@main.command()
@click.argument("job")
@ACCOUNT
@REGION
def interrupt(job: str, account_id: str, region: str) -> None:
    """Take the Spot instances of the training JOB away, which AWS does whenever it likes.

    Example: byoc interrupt my-job --account-id 000012345678 --region eu-west-1
    """
    from byoc.local import daemon, interruption

    running = daemon.status()
    if running is None:
        raise ByocError("The local AWS does not run: start it with `byoc up`.")
    interruption.order(running.url, job, account_id, region)


def _age(since: float) -> str:
    return str(timedelta(seconds=int(time.time() - since)))


@main.command()
@ACCOUNT
@REGION
@click.option("--role", help="With keys of this role, taken on; else the account's own.")
def env(account_id: str, region: str, role: str | None) -> None:
    """Print the lines that lead a shell's AWS clients to the local AWS.

    Example: eval "$(byoc env --account-id 000012345678 --region eu-west-1)"
    """
    from byoc.connect import check, in_the_way, keys_of, local_variables
    from byoc.local import daemon

    check("local", account_id, region)
    running = daemon.up()
    click.echo(f"unset {' '.join(in_the_way())}")
    variables = local_variables(running.url, account_id, region)
    if role is not None:
        variables |= keys_of(role, running.url, account_id, region)
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("--tag", required=True, help="NAME:TAG of the image.")
@click.option(
    "--build-arg", "arguments", multiple=True, metavar="NAME=VALUE", help="For an ARG line."
)
@click.option("--sbom", metavar="FILE", help="Where the SBOM goes; beside the image otherwise.")
@JSON
def build(
    folder: str, tag: str, arguments: tuple[str, ...], sbom: str | None, as_json: bool
) -> None:
    """Build FOLDER's Dockerfile into an image, or a snapshot where there is no engine.

    With each build comes its software bill of materials: a CycloneDX file in JSON.

    Example: byoc build container --tag byoc-penguins:1 --sbom sbom.json
    """
    from byoc import engines
    from byoc.engines import dockerfile
    from byoc.engines.sbom import write
    from byoc.paths import home

    engine = engines.engine()
    for text in arguments:
        if "=" not in text[1:]:
            raise ByocError(f"--build-arg {text!r} is not NAME=VALUE: give both.")
    given = dict(text.split("=", 1) for text in arguments)
    with _progress_on_stderr():
        image = engine.build(folder, tag, given)
    base = image.labels.get(BASE_LABEL) or dockerfile.read(Path(folder)).base
    file = Path(sbom or home() / f"images/sbom/{image.id.partition(':')[2]}.cdx.json")
    # a snapshot runs on this Python, an image on its base's
    write(Path(folder), base, file, platform.python_version() if engine.name == "process" else "")
    click.echo(f"byoc: the SBOM is {file}", err=True)
    content = {"tag": image.tag, "id": image.id, "size": image.size, "labels": dict(image.labels)}
    _print({**content, "sbom": str(file)}, as_json, lambda: image.id)


@main.command()
@click.argument("tag", metavar="NAME:TAG")
@click.option("--create", is_flag=True, help="Create the repository if it is not there.")
def push(tag: str, create: bool) -> None:
    """Push an image into the ECR of the account and region in the environment; prints its URI.

    Example: eval "$(byoc env)" && byoc push byoc-penguins:1 --create
    """
    import boto3

    from byoc import engines

    name = engines.engine().image(tag).tag.rpartition(":")[0]
    name = name.partition(".amazonaws.com/")[2] or name  # Studio's images have their final name
    ecr = boto3.client("ecr")
    try:
        found = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]
    except ecr.exceptions.RepositoryNotFoundException:
        if not create:
            raise ByocError(
                f"There is no ECR repository {name}: create it, or push with --create."
            ) from None
        found = ecr.create_repository(repositoryName=name)["repository"]
    with _progress_on_stderr():
        uri = engines.engine().push(tag, found["repositoryUri"])
    click.echo(uri)


@main.command()
@click.argument("notebooks", nargs=-1, type=click.Path(exists=True, dir_okay=False))
@click.option("--output", default="_build/run", show_default=True, help="Folder for the results.")
@TARGET
@ACCOUNT
@REGION
@PROJECT
def run(
    notebooks: tuple[str, ...],
    output: str,
    target: str,
    account_id: str,
    region: str,
    project: str,
) -> None:
    """Run NOTEBOOKS (all of notebooks/ by default) in order with papermill.

    A local AWS that is up is used; otherwise one is started for the run and stopped after it.

    Example: byoc run --account-id 000012345678 --region eu-west-1
    """
    from byoc.connect import connect
    from byoc.local import daemon
    from byoc.notebooks import run_all

    paths = [Path(n) for n in notebooks] or sorted(Path("notebooks").glob("[0-9]*.ipynb"))
    if not paths:
        raise ByocError("There is no folder notebooks/ here: name the notebooks, or change folder.")
    parameters = {
        "target": target,
        "account_id": account_id,
        "region": region,
        "project": project,
    }
    was_up = daemon.status() is not None
    try:
        connect(**parameters)  # a wrong value stops before the first notebook
        for path in run_all(paths, Path(output), parameters):
            click.echo(path)
    finally:
        if target == "local" and not was_up:
            daemon.down()


@main.command()
@TARGET
@ACCOUNT
@REGION
@PROJECT
@click.option("--list", "only_list", is_flag=True, help="Show what would be deleted, and stop.")
@JSON
def cleanup(
    target: str, account_id: str, region: str, project: str, only_list: bool, as_json: bool
) -> None:
    """Delete all that carries the project's tag; exit 1 if anything is left.

    Example: byoc cleanup --project byoc-penguins --list
    """
    from byoc import cleanup as work
    from byoc.connect import connect

    aws = connect(target, account_id, region, project)
    items = work.inventory(aws) if only_list else list(work.delete_all(aws))
    rows = [item.__dict__ for item in items]
    _print(rows, as_json, lambda: "\n".join(map(str, items)) or "nothing")
    if not only_list and work.inventory(aws):
        sys.exit(1)


main.add_command(check)


def _print(content: Any, as_json: bool, text: Callable[[], str]) -> None:
    click.echo(json.dumps(content) if as_json else text())


class _progress_on_stderr:
    """What engines print while they work is not the command's result."""

    def __enter__(self) -> None:
        self._stdout, sys.stdout = sys.stdout, sys.stderr

    def __exit__(self, *_: object) -> None:
        sys.stdout = self._stdout


if __name__ == "__main__":
    main()
