"""A private view of the file system: the image's programs under /opt, the job's folder at /opt/ml,
and an /etc in which what the program writes is its own.

Linux only, by `unshare`: no other process sees the mounts. The program is the first of its own PID
namespace, as in a container: signals reach it as they reach a container's PID 1, and when it ends
the kernel ends all its children. It has one user, root, and can't become another: outside it is
whoever started it, and what that one may read another might not.
"""

import functools
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from byoc.engines.network import TOOLS, LoopbackNetwork

ONE_USER = f"{shutil.which('setpriv', path=TOOLS)} --bounding-set -setuid,-setgid --"
TRAP = "trap 'exit 143' TERM"  # for a stop that comes before the program has started
OPTIONS = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]


@functools.cache
def available() -> bool:
    """Whether this machine lets us make private mounts (it must be Linux with user namespaces)."""
    if shutil.which("unshare") is None or not Path("/opt").is_dir():
        return False
    script = f"mount -t tmpfs tmpfs /opt && exec {ONE_USER} /bin/sh -c 'test $$ = 1'"
    probe = [*_unshare(), "/bin/sh", "-c", script]
    return subprocess.run(probe, capture_output=True).returncode == 0


def command(
    argv: list[str],
    mounts: Mapping[str, Path],
    workdir: str,
    scratch: Path,
    *,
    hosts: Path | None = None,
    network: LoopbackNetwork | None = None,
    read_only: Sequence[str] = (),
) -> list[str]:
    """`argv` with `mounts` (path under /opt → folder) in place; `scratch` is an empty folder.

    `read_only` are folders in the mounts that can't be written to. `hosts` is mounted at
    /etc/hosts. Standard error goes where standard output goes; what reaches the first is
    `unshare`'s own.
    """
    old, etc = shlex.quote(f"{scratch}/opt"), shlex.quote(f"{scratch}/etc")
    layers = f"lowerdir=/etc,upperdir={etc}/upper,workdir={etc}/work"
    names = {path.split("/")[2] for path in mounts}
    script = [
        TRAP,
        "exec 2>&1",
        f"image_path=$PATH; PATH={TOOLS}",
        "set -e",
        f"mkdir {old} {etc}",
        f"mount -t tmpfs tmpfs {etc} && mkdir {etc}/upper {etc}/work",
        # where the kernel has no overlays for this user, /etc stays the machine's
        f"mount -t overlay overlay -o {layers} /etc 2>/dev/null || true",
        f"mount --rbind /opt {old}",
        "mount -t tmpfs -o mode=0755 tmpfs /opt",
    ]
    for entry in os.scandir("/opt"):
        if entry.name not in names:
            before, place = shlex.quote(f"{scratch}/opt/{entry.name}"), shlex.quote(entry.path)
            if entry.is_symlink():
                script.append(f"cp -P {before} {place}")
            else:
                make = "mkdir" if entry.is_dir() else "touch"
                script.append(f"{make} {place}; mount --rbind {before} {place}")
    for path, source in mounts.items():
        make, place = "mkdir -p" if source.is_dir() else "touch", shlex.quote(path)
        script.append(f"{make} {place}; mount --rbind {shlex.quote(str(source))} {place}")
    for path in read_only:
        place = shlex.quote(path)
        script.append(f"mount --bind {place} {place}; mount -o remount,bind,ro {place}")
    if hosts is not None:
        script.append(f"mount --bind {shlex.quote(str(hosts))} /etc/hosts")
    script.append("mount -t proc proc /proc 2>/dev/null || true")
    script.append(f"cd {shlex.quote(workdir)}")
    script.append(f'unset PWD OLDPWD; PATH=$image_path; exec {ONE_USER} "$@"')
    prefix = _unshare()
    if network is not None:
        prefix = [*network.prefix, *_unshare(network.owns_user_namespace)]
    return [*prefix, "/bin/sh", "-c", "\n".join(script), "sh", *argv]


def _unshare(is_root: bool = False) -> list[str]:
    command = [shutil.which("unshare", path=TOOLS) or "unshare", *OPTIONS]
    return command if is_root or os.geteuid() == 0 else [*command, "--map-root-user"]
