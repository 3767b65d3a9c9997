"""Virtual environments that stand for a Dockerfile's `RUN pip install -r requirements.txt`.

One for each content of requirements.txt, kept in the cache, so that the network is needed once.
Run as a program to prepare one ahead: `python -m byoc.engines.environment requirements.txt`.
"""

import hashlib
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from byoc.errors import ByocError
from byoc.paths import cache


def prepare(requirements: str) -> Path:
    """The folder of an environment with what `requirements` (a file's text) lists.

    Raises ByocError with pip's last line when it can't be installed.
    """
    version = platform.python_version()
    key = hashlib.sha256(f"{version} {sys.base_prefix}\n{requirements}".encode()).hexdigest()[:16]
    folder = cache() / "environments" / f"python{version}-{key}"
    complete = folder / ".complete"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder, requirements)
            complete.touch()
    return folder


def _install(folder: Path, requirements: str) -> None:
    print("byoc: installing the container's requirements (once)", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    listed = folder / "requirements.txt"
    listed.write_text(requirements)
    pip = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "-r", str(listed)], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ByocError(f"The container's requirements.txt could not be installed: {reason}")


if __name__ == "__main__":
    prepare(Path(sys.argv[1]).read_text())
