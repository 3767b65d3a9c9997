"""Environments of requirements: kept by content, and refused in one sentence."""

import subprocess
import zipfile

import pytest

from byoc import ByocError
from byoc.engines.environment import prepare


def test_the_same_requirements_share_an_environment(toy_tag):
    folder = prepare("")
    before = (folder / ".complete").stat().st_mtime_ns
    assert prepare("") == folder
    assert (folder / ".complete").stat().st_mtime_ns == before
    python = subprocess.run([folder / "bin/python", "-c", "print(1)"], capture_output=True)
    assert python.stdout == b"1\n"


def test_what_cannot_be_installed_is_said_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("BYOC_CACHE", str(tmp_path))
    with pytest.raises(ByocError, match=r"could not be installed: \w") as caught:
        prepare("./no-such-package-here.whl\n")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("environments/*/.complete"))


def test_a_list_can_be_taken_as_the_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("BYOC_CACHE", str(tmp_path))
    wheel = tmp_path / "asking-1-py3-none-any.whl"
    name, needs = "Name: asking\nVersion: 1\n", "Requires-Dist: more @ file:///nowhere/more.whl\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("asking.py", "")
        archive.writestr("asking-1.dist-info/METADATA", f"Metadata-Version: 2.1\n{name}{needs}")
        archive.writestr("asking-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("asking-1.dist-info/RECORD", "")
    with pytest.raises(ByocError, match="more"):
        prepare(f"{wheel}\n")
    folder = prepare(f"{wheel}\n", dependencies=False)
    done = subprocess.run([folder / "bin/python", "-c", "import asking"], capture_output=True)
    assert done.returncode == 0, done.stderr
