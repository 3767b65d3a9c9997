"""The network that the hosts of one job share: a loopback address for each name, or nothing else.

Linux only, as the sandbox. The hosts of a job are on this machine: what one of them listens on at
0.0.0.0 is taken for the others too.
"""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from byoc.engines.base import Network
from byoc.errors import ByocError

TOOLS = "/usr/sbin:/usr/bin:/sbin:/bin"
NUMBERS = itertools.count(1)  # one for each host that this process has named

# Brings the loopback interface up (SIOCSIFFLAGS, IFF_UP | IFF_RUNNING), then keeps the namespace
# as long as its creator lives.
HOLD = """\
import fcntl, socket, struct, sys
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh22x", b"lo", 0x41))
print("up", flush=True)
sys.stdin.read()
"""


class LoopbackNetwork(Network):
    """Names and addresses of hosts; `isolated`: they reach each other and nothing else.

    Leaving its `with` block gives the isolated network up. Raises ByocError when this machine can't
    make one.
    """

    def __init__(self, hosts: Sequence[str], isolated: bool = False) -> None:
        self.addresses: Mapping[str, str] = {host: _address(next(NUMBERS)) for host in hosts}
        self._holder = _hold() if isolated else None

    @property
    def prefix(self) -> list[str]:
        """The command that starts another one in this network."""
        if self._holder is None:
            return []
        command = [shutil.which("nsenter", path=TOOLS) or "nsenter"]
        command += ["--target", str(self._holder.pid), "--net"]
        return command if os.geteuid() == 0 else [*command, "--user", "--preserve-credentials"]

    @property
    def owns_user_namespace(self) -> bool:
        """Whether who enters is root of a user namespace already."""
        return self._holder is not None and os.geteuid() != 0

    def write_hosts(self, path: Path) -> None:
        """This machine's /etc/hosts with the hosts of the network."""
        known = Path("/etc/hosts")
        lines = known.read_text().splitlines() if known.is_file() else ["127.0.0.1 localhost"]
        lines += [f"{address} {host}" for host, address in self.addresses.items()]
        path.write_text("\n".join(lines) + "\n")

    def close(self) -> None:
        if self._holder is not None:
            self._holder.communicate()


def _hold() -> "subprocess.Popen[bytes]":
    command = [shutil.which("unshare", path=TOOLS) or "unshare", "--net"]
    command += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    holder = subprocess.Popen(
        [*command, sys.executable, "-I", "-S", "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert holder.stdout is not None
    if holder.stdout.readline() != b"up\n":
        holder.communicate()
        raise ByocError("This machine does not let us make an isolated network.")
    return holder


def _address(number: int) -> str:
    """One of the four million loopback addresses from 127.64.0.1 on."""
    number %= 1 << 22
    return f"127.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
