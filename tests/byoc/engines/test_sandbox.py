"""The private view of the file system that a program is started in."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from byoc.engines import sandbox

pytestmark = pytest.mark.skipif(not sandbox.available(), reason="this machine has no namespaces")

LOOK = """\
import json, os
print(json.dumps({"pid": os.getpid(), "uid": os.getuid(), "cwd": os.getcwd(),
                  "opt": sorted(os.listdir("/opt")), "ml": sorted(os.listdir("/opt/ml"))}))
open("/opt/ml/written", "w").close()
"""

WRITE_IN_ETC = """\
before = open("/etc/passwd").read()
open("/etc/byoc-test", "w").close()
with open("/etc/passwd", "a") as file:
    file.write("written\\n")
assert open("/etc/passwd").read() == before + "written\\n"
"""


@pytest.fixture
def seen(tmp_path):
    """What a program in the sandbox sees."""
    ml, program, scratch = (tmp_path / name for name in ("ml", "a program", "scratch"))
    for folder in (ml, program, scratch):
        folder.mkdir()
    (ml / "here").touch()
    mounts = {"/opt/ml": ml, "/opt/program": program}
    argv = sandbox.command(["python3", "-c", LOOK], mounts, "/opt/program", scratch)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_program_is_the_first_process_and_root(seen):
    assert (seen["pid"], seen["uid"]) == (1, 0)


@pytest.mark.parametrize("change", ["os.setuid(65534)", "os.setgid(65534)"])
def test_the_program_can_not_become_another_user(tmp_path, change):
    argv = sandbox.command(["python3", "-c", f"import os; {change}"], {}, "/", tmp_path)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "PermissionError" in done.stdout + done.stderr


def test_the_job_lies_at_opt_ml_and_can_be_written(seen, tmp_path):
    assert seen["ml"] == ["here"]
    assert (tmp_path / "ml/written").exists()


def test_the_working_directory_is_the_images(seen):
    assert seen["cwd"] == "/opt/program"


@pytest.mark.skipif(os.geteuid() != 0, reason="the kernel may have no overlays for this user")
def test_what_is_written_in_etc_stays_inside(tmp_path):
    ml, scratch = tmp_path / "ml", tmp_path / "scratch"
    ml.mkdir()
    scratch.mkdir()
    before = Path("/etc/passwd").read_bytes()
    argv = sandbox.command(["python3", "-c", WRITE_IN_ETC], {"/opt/ml": ml}, "/", scratch)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not Path("/etc/byoc-test").exists()
    assert Path("/etc/passwd").read_bytes() == before


def test_nothing_of_it_is_seen_outside(seen, tmp_path):
    mounted = open("/proc/self/mounts").read()
    assert str(tmp_path) not in mounted


def test_a_folder_that_is_read_only(tmp_path):
    ml, scratch = tmp_path / "ml", tmp_path / "scratch"
    for folder in (ml / "model", scratch):
        folder.mkdir(parents=True)
    try_both = "touch /opt/ml/here; touch /opt/ml/model/there"
    argv = sandbox.command(
        ["/bin/sh", "-c", try_both], {"/opt/ml": ml}, "/", scratch, read_only=["/opt/ml/model"]
    )
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert "Read-only file system" in done.stdout + done.stderr
    assert sorted(str(p.relative_to(ml)) for p in ml.rglob("*")) == ["here", "model"]
