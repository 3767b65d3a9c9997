"""Goals and their verdicts, on records that nobody had to measure."""

import subprocess
import sys
from pathlib import Path

import goals
import pytest
from goals import Goal

ROOT = Path(__file__).resolve().parents[2]
FASTER = Goal("requests/s", 4000, "1/s", 20, "at least", "AWS's sample", 200)
SLOWER = Goal("memory", 120, "MiB", 0.5, "at most", "AWS's sample", 200)
ALONE = Goal("/ping", 0.3, "s", 0.5, "at most")


def report(folder):
    command = [sys.executable, ROOT / "bench/report.py", folder]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        (FASTER, 20, "met"),
        (SLOWER, 0.6, "missed"),
        (ALONE, 0.3, "met"),
        (Goal("errors", 0, "", 0, "at most"), 0, "met"),
        (Goal("requests/s", None, "1/s", 20, "at least", "AWS's sample", 200), None, "no figure"),
        (Goal("requests/s", 4000, "1/s", 20, "at least", "AWS's sample"), None, "no figure"),
    ],
)
def test_a_goal_is_held_against_the_ratio_or_our_own_figure(goal, value, verdict):
    assert goal.value == value
    assert goal.verdict([]) == verdict


def test_a_noisy_machine_gets_no_verdict():
    assert FASTER.verdict(["Others keep it busy."]) == "no verdict"


def test_all_goals_met(tmp_path):
    goals.write(tmp_path / "serving.json", [FASTER], [])
    goals.write(tmp_path / "image.json", [ALONE], [])
    done = report(tmp_path)
    assert done.returncode == 0, done.stderr
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["what", "ours", "against", "ratio", "goal", "verdict"]
    assert lines[0].split() == ["/ping,", "s", "0.3", "-", "-", "≤0.5", "met"]
    assert lines[1].split()[-6:] == ["AWS's", "sample", "200", "20", "≥20", "met"]


@pytest.mark.parametrize(
    ("goal", "noisy", "verdict"), [(SLOWER, [], "missed"), (FASTER, ["Busy."], "no verdict")]
)
def test_the_exit_code_says_that_not_all_is_met(tmp_path, goal, noisy, verdict):
    goals.write(tmp_path / "serving.json", [goal], noisy, failed={"bentoml": "It does not start."})
    done = report(tmp_path)
    assert done.returncode == 1
    assert verdict in done.stdout
    assert [f"serving: {reason}" in done.stdout for reason in noisy] == [True] * len(noisy)
    assert "serving: bentoml is out: It does not start." in done.stdout


def test_without_a_record(tmp_path):
    done = report(tmp_path)
    assert done.returncode == 2
    assert "make bench" in done.stderr
