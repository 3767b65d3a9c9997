"""How long `make book` takes where it is set up, and each of its steps.

`python bench/book.py [--quick] [--json FILE]` runs the Makefile's own commands as they stand; with
`--quick` it does nothing, because the book takes minutes. Nothing here decides a test.
"""

import subprocess
import sys
import time
from pathlib import Path

import goals
from arguments import parse
from goals import Goal
from noise import Noise

from byoc.errors import ByocError

ROOT = Path(__file__).parents[1]
LIMIT = 120.0  # seconds


def commands() -> list[str]:
    """What `make book` would run, each command in one line.

    ByocError: the environment must be set up first.
    """
    said = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "book"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.replace("\\\n", " ")
    lines = said.splitlines()
    if any(" -m venv " in line for line in lines):
        raise ByocError("The environment is not set up: run make setup, then measure.")
    return lines


def step(command: str) -> str:
    """The program of a command, without variables and folders."""
    words = [word for word in command.split() if "=" not in word]
    return " ".join([Path(words[0]).name, *words[1:3]])


def measure() -> dict[str, float]:
    """Seconds of each step; ByocError: one failed."""
    taken: dict[str, float] = {}
    for command in commands():
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, shell=True, stdout=subprocess.PIPE)
        if done.returncode:
            raise ByocError(f"`{command}` failed with exit code {done.returncode}.")
        taken[step(command)] = time.perf_counter() - start
    return taken


def main() -> int:
    arguments = parse(__doc__)
    if arguments.quick:
        print("make book, set up: not measured with --quick")
        return 0
    noise = Noise()
    try:
        taken = measure()
    except ByocError as error:
        print(error, file=sys.stderr)
        return 2
    for _ in range(3):
        noise.listen()
    for name, seconds in sorted(taken.items(), key=lambda item: -item[1]):
        if seconds >= 0.5:
            print(f"{name:50} {seconds:8.1f} s")
    return goals.conclude(
        arguments.json,
        [Goal("make book, set up", sum(taken.values()), "s", LIMIT, "at most")],
        noise.reasons({}),
        noise=noise.record(),
        steps=taken,
    )


if __name__ == "__main__":
    sys.exit(main())
