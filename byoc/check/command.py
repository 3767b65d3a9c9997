"""`byoc check`: options, progress, report, exit code."""

import contextlib
import json
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from byoc import engines
from byoc.check import ecr, runner
from byoc.check import report as reports
from byoc.check.clause import Clause, Kind, Unknown
from byoc.check.multi_model import LABEL as MULTI_MODEL_LABEL
from byoc.check.runner import Outcome
from byoc.check.subject import Payload, Settings
from byoc.engines import Engine, Image
from byoc.errors import ByocError

KINDS = [kind.value for kind in Kind if kind is not Kind.IMAGE]
FILE = click.Path(path_type=Path)

# For a folder of programs without a Dockerfile: as plain as an image can be.
DOCKERFILE = """\
FROM python:3.12-slim-bookworm
COPY . /opt/program/
RUN if [ -f /opt/program/requirements.txt ]; then \\
      pip install --no-cache-dir -r /opt/program/requirements.txt; fi
ENV PATH=/opt/program:$PATH PYTHONUNBUFFERED=1
WORKDIR /opt/program
"""


@click.command()
@click.argument("target", required=False)
@click.option("--training-data", type=FILE, help="A file, or a folder (of channels).")
@click.option("--hyperparameters", help="JSON, or a file that holds it: names to values.")
@click.option(
    "--payload",
    "payloads",
    multiple=True,
    metavar="FILE:CONTENT_TYPE",
    help="A request that is answered with 200; repeatable.",
)
@click.option("--model", type=FILE, help="Serve this folder or tar.gz, not what `train` made.")
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="For the container's environment; repeatable.",
)
@click.option(
    "--processing-input", type=FILE, help="A file or folder, for /opt/ml/processing/input."
)
@click.option(
    "--processing-output",
    "processing_outputs",
    multiple=True,
    metavar="NAME",
    default=["output"],
    show_default=True,
    help="A folder below /opt/ml/processing; repeatable.",
)
@click.option(
    "--argument", "arguments", multiple=True, help="For the processing program; repeatable."
)
@click.option(
    "--as",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    help="What the image is for; by default training, serving and batch, and multi-model if it has "
    "the label.",
)
@click.option("--only", multiple=True, metavar="PATTERN", help="Ids, kinds or levels; repeatable.")
@click.option("--skip", multiple=True, metavar="PATTERN", help="The same, to leave out.")
@click.option(
    "--startup-time", default=120.0, show_default=True, help="Seconds until /ping is good."
)
@click.option("--training-time", default=300.0, show_default=True, help="Seconds for one run.")
@click.option("--list", "only_list", is_flag=True, help="Show the clauses, and stop.")
@click.option("--junit", type=FILE, help="Write the report as JUnit XML too.")
@click.option("--json", "as_json", is_flag=True, help="For a machine to read.")
def check(
    target: str | None,
    training_data: Path | None,
    hyperparameters: str | None,
    payloads: tuple[str, ...],
    model: Path | None,
    variables: tuple[str, ...],
    processing_input: Path | None,
    processing_outputs: tuple[str, ...],
    arguments: tuple[str, ...],
    kinds: tuple[str, ...],
    only: tuple[str, ...],
    skip: tuple[str, ...],
    startup_time: float,
    training_time: float,
    only_list: bool,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Does TARGET keep SageMaker's contract? Each rule is tried on the running container.

    TARGET is an image, or a folder with a Dockerfile or with `train` and `serve`. Exit 0: no `must`
    is broken; 1: one is; 2: it could not be tried.

    Example: byoc check my-image:1 --training-data data/ --payload rows.csv:text/csv
    """
    settings = Settings(
        kinds=frozenset({Kind.IMAGE, *map(Kind, kinds)}) if kinds else Settings().kinds,
        training_data=training_data,
        hyperparameters=_hyperparameters(hyperparameters),
        payloads=tuple(map(Payload.parse, payloads)),
        model=model,
        environment=_variables(variables),
        processing_input=processing_input,
        processing_outputs=processing_outputs,
        arguments=arguments,
        training_time=training_time,
        startup_time=startup_time,
    )
    if only_list:
        everything = settings if kinds else Settings(kinds=frozenset(Kind))
        return _list(runner.select(everything, only, skip), as_json)
    if target is None:
        raise ByocError("Name an image or a folder to check: `byoc check my-image:1`.")
    _ = settings.channels  # a wrong path stops before anything is built
    if processing_input is not None and not processing_input.exists():
        raise ByocError(
            f"--processing-input {processing_input} is not there: name a file or folder."
        )
    if junit is not None and (junit.is_dir() or not junit.absolute().parent.is_dir()):
        raise ByocError(f"--junit {junit} can't be written: name a file in a folder that is there.")
    clauses = runner.select(settings, only, skip)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # what runs is stopped on the way out
    with _resolved(target) as (engine, image):
        if not kinds and image.labels.get(MULTI_MODEL_LABEL) == "true":
            settings = replace(settings, kinds=settings.kinds | {Kind.MULTI_MODEL})
            clauses = runner.select(settings, only, skip)
        progress = _Progress(quiet=as_json)
        report = runner.check(
            engine, image, settings, clauses, starting=progress.starting, done=progress.done
        )
    if junit is not None:
        junit.write_bytes(reports.as_junit(report))
    if as_json:
        click.echo(json.dumps(reports.as_json(report), indent=2))
    else:
        click.echo(reports.details(report))
        click.echo(reports.summary(report))
    sys.exit(report.exit_code)


class _Progress:
    """A line for each clause as it ends; on a terminal also the one that is being tried."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._group = quiet, ""
        self._terminal = sys.stderr.isatty() and not quiet

    def starting(self, clause: Clause) -> None:
        if not self._quiet and clause.group != self._group:
            self._group = clause.group
            click.echo(reports.heading(clause))
        if self._terminal:
            click.echo(f"  … {clause.id}\r", nl=False, err=True)

    def done(self, outcome: Outcome) -> None:
        if self._terminal:
            click.echo("\x1b[2K\r", nl=False, err=True)
        if not self._quiet:
            click.echo(reports.line(outcome))


def _list(clauses: list[Clause], as_json: bool) -> None:
    if as_json:
        return click.echo(json.dumps([reports.clause_row(one) for one in clauses], indent=2))
    group = ""
    for one in clauses:
        if one.group != group:
            group = one.group
            click.echo(reports.heading(one))
        click.echo(f"  {one.id:<30} {one.level:<7} {one.sentence}")
    click.echo(f"\n{len(clauses)} clauses")


@contextlib.contextmanager
def _resolved(target: str) -> Iterator[tuple[Engine, Image]]:
    """The engine and the image that TARGET names; a folder is built first."""
    folder = Path(target)
    if not folder.is_dir():
        engine = engines.engine()
        yield engine, _image(engine, target)
        return
    name = re.sub("[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")
    tag = f"byoc-check-{name or 'folder'}:check"
    with contextlib.ExitStack() as stack:
        if not (folder / "Dockerfile").is_file():
            if not any((folder / name).is_file() for name in ("train", "serve")):
                raise ByocError(
                    f"{target} has neither a Dockerfile nor a program `train` or `serve`: name the "
                    "folder that holds them, or an image."
                )
            copy = stack.enter_context(tempfile.TemporaryDirectory(prefix="byoc-check-"))
            folder = Path(shutil.copytree(folder, copy, dirs_exist_ok=True))
            (folder / "Dockerfile").write_text(DOCKERFILE)
        with contextlib.redirect_stdout(sys.stderr):
            image = engines.engine().build(folder, tag)
        yield engines.engine(), image


def _image(engine: Engine, target: str) -> Image:
    """The image of this name; for an ECR URI also the one that was pushed there from here."""
    try:
        return engine.image(target)
    except ByocError:
        try:
            pushed = ecr.manifest(target)
        except Unknown as error:
            raise ByocError(f"{error}.") from None
        found = engine.resolve(pushed.text) if pushed else None
        if found is None:
            raise
        return replace(found, tag=target)


def _hyperparameters(text: str | None) -> dict[str, str]:
    """The values as the API takes them: strings. Raises ByocError for what is not an object."""
    if text is None:
        return {}
    try:
        content = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    except (OSError, ValueError) as error:
        raise ByocError(
            f"--hyperparameters is neither JSON nor a file that holds it: {error}."
        ) from None
    if not isinstance(content, dict):
        raise ByocError('--hyperparameters must be a JSON object, as in {"depth": "3"}.')
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in content.items()}


def _variables(given: tuple[str, ...]) -> dict[str, str]:
    for text in given:
        if not text.partition("=")[0] or "=" not in text:
            raise ByocError(f"--env {text!r} is not NAME=VALUE.")
    return dict(text.split("=", 1) for text in given)
