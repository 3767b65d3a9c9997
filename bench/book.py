"""How long `make book` takes where it is set up, and each of its steps.

`python bench/book.py [--json FILE]` runs the Makefile's own commands as they stand; with `--quick`
it does nothing, because the book takes minutes. Nothing here decides a test.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOAL = 120.0  # seconds


def commands() -> list[str]:
    """What `make book` would run, each command in one line."""
    said = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "book"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.replace("\\\n", " ")
    lines = said.splitlines()
    if any(" -m venv " in line for line in lines):
        sys.exit("The environment is not set up: run make setup, then measure.")
    return lines


def step(command: str) -> str:
    """The program of a command, without variables and folders."""
    words = [word for word in command.split() if "=" not in word]
    name = Path(words[0]).name
    return " ".join([name, *words[1:3]])


def measure() -> dict[str, float]:
    """Seconds of each step; the first that fails ends all."""
    taken: dict[str, float] = {}
    for command in commands():
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, shell=True, stdout=subprocess.PIPE)
        if done.returncode:
            sys.exit(f"`{command}` failed with exit code {done.returncode}.")
        taken[step(command)] = time.perf_counter() - start
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave it out")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    arguments = parser.parse_args()
    if arguments.quick:
        print("make book, set up: not measured with --quick")
        return
    load = os.getloadavg()[0]
    taken = measure()
    whole = sum(taken.values())
    verdict = "met" if whole <= GOAL else "missed"
    print(f"make book, set up {whole:8.1f} s  goal {GOAL:g} s: {verdict}")
    for name, seconds in sorted(taken.items(), key=lambda item: -item[1]):
        if seconds >= 0.5:
            print(f"    {name:50} {seconds:8.1f} s")
    print(f"load {load:.1f} on {os.cpu_count()} processors before it began")
    if arguments.json:
        content = {"seconds": whole, "goal": GOAL, "steps": taken, "load": load}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
