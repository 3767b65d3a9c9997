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
from uv import find_uv_bin

from byoc.errors import ByocError
from byoc.paths import cache


def prepare(requirements: str, *, dependencies: bool = True) -> Path:
    """The folder of an environment with what `requirements` (a file's text) lists.

    Without `dependencies` nothing else gets in, even if the listed packages ask for more. Raises
    ByocError with uv's reason when it can't be installed.
    """
    version = platform.python_version()
    options = [] if dependencies else ["--no-deps"]
    content = " ".join([version, sys.base_prefix, *options]) + f"\n{requirements}"
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    folder = cache() / "environments" / f"python{version}-{key}"
    complete = folder / ".complete"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder, requirements, options)
            complete.touch()
    return folder


def _install(folder: Path, requirements: str, options: list[str]) -> None:
    if requirements.strip():
        print("byoc: installing the container's requirements (once)", file=sys.stderr)
    uv = [find_uv_bin(), "--quiet", "--no-progress"]
    python = str(folder / "bin/python")
    subprocess.run([*uv, "venv", "--python", sys.executable, str(folder)], check=True)
    listed = folder / "requirements.txt"
    listed.write_text(requirements)
    install = [*uv, "pip", "install", "--python", python, "--compile-bytecode", *options]
    install += ["-r", str(listed)]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        reason = " ".join(done.stderr.split()) or "no reason given"
        raise ByocError(f"The container's requirements.txt could not be installed: {reason}")


if __name__ == "__main__":
    prepare(Path(sys.argv[1]).read_text())
