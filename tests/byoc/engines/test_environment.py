"""Environments of requirements: kept by content, and refused in one sentence."""

import subprocess

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
