"""One container of docker, podman or finch, from its start until nothing of it is left."""

import atexit
import contextlib
import io
import ipaddress
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import uuid
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from byoc.engines.base import MULTIPLE_PORTS_LABEL, SERVING_PORT, Container, Image
from byoc.engines.commands import NO_SPACE, UNREACHABLE, CommandLine, last_line
from byoc.engines.docker_network import FOLDER_LABEL, DockerNetwork
from byoc.engines.ports import PORTS
from byoc.engines.usage import WATCH
from byoc.errors import ByocError
from byoc.optml import OptML
from byoc.studio import NETWORK as STUDIO_NETWORK
from byoc.studio import check_folder, in_studio

LAST_WORDS = 10.0  # seconds in which the rest of the log must come after the end
NOT_FOUND = re.compile(
    r'(exec: "[^"]*": (?:executable file not found in \$PATH|permission denied'
    r"|stat [^:]*: no such file or directory|[^:]+))"
)
CRUN_NOT_FOUND = re.compile(r"executable file `([^`]*)` not found in \$PATH")

RUNNING: "weakref.WeakSet[DockerContainer]" = weakref.WeakSet()


class DockerContainer(Container):
    """A detached container; threads follow its log, await its end and remove it."""

    def __init__(
        self,
        command: CommandLine,
        image: Image,
        options: Sequence[str],
        words: Sequence[str],
        *,
        ml: OptML,
        serving: bool,
        memory: int | None,
        network: DockerNetwork | None,
        host: str | None,
        read_only: Sequence[str],
        show: bool,
    ) -> None:
        super().__init__(0)  # until it is known where it listens
        self._command, self._image, self._ml, self._show = command, image, ml, show
        self._name = f"byoc-{uuid.uuid4().hex[:12]}"
        self._code: int | None = None
        self._done = threading.Event()
        self._port: int | None = None
        self.memory_limit, self.pid = memory, 0
        if image.architecture != "amd64":
            return self._end_unstarted(
                f"exec {shlex.join(words) or 'program'}: exec format error: {image.tag} is for "
                f"{image.architecture}: build it with `--platform linux/amd64`.",
                1,
            )
        flags = ["--detach", "--pull", "never", "--name", self._name]
        flags += ["--label", f"{FOLDER_LABEL}={ml.path}", *_mounts(ml.path, read_only)]
        flags += network.options(host, ml.path, serving) if network is not None else []
        flags += self._way_in(serving, network)
        self._start([*flags, *options], words)
        if self._done.is_set():
            return
        RUNNING.add(self)
        threading.Thread(target=self._reap, daemon=True).start()
        try:
            self._look(serving, network)
        except BaseException:
            self.stop(0)
            raise

    def poll(self) -> int | None:
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        if not self._done.wait(timeout):
            raise TimeoutError(f"the program still runs after {timeout} s")
        assert self._code is not None
        return self._code

    def stop(self, grace: float = 10.0) -> int:
        for number, patience in (("TERM", grace), ("KILL", 60.0)):
            if self.poll() is not None:
                break
            if patience > 0:
                self._say("kill", "--signal", number, self._name)
                with contextlib.suppress(TimeoutError):
                    self.wait(patience)
        return self.wait(10.0)

    def kill_for_memory(self) -> None:
        """The kernel does it: the limit is the container's own."""

    def handles(self, number: int) -> bool | None:
        try:
            status = Path(f"/proc/{self.pid}/status").read_text() if self.pid else ""
        except OSError:
            return False
        caught = status.partition("SigCgt:")[2].split()
        return bool(int(caught[0], 16) >> (number - 1) & 1) if caught else None

    def _way_in(self, serving: bool, network: DockerNetwork | None) -> list[str]:
        """Options by which a server can be asked; in Studio all share the network of the app."""
        if in_studio():
            options = ["--network", STUDIO_NETWORK]
            if serving:
                self._port = self._studio_port()
                self.url = f"http://localhost:{self._port}"
                if self._port != SERVING_PORT:
                    options += ["--env", f"SAGEMAKER_BIND_TO_PORT={self._port}"]
            return options
        if not serving or (network is not None and network.private):
            return []
        return ["--publish", f"127.0.0.1::{SERVING_PORT}"]

    def _studio_port(self) -> int:
        try:
            return PORTS.take_fixed()
        except ByocError:
            if self._image.labels.get(MULTIPLE_PORTS_LABEL) != "true":
                raise
            return PORTS.take()

    def _start(self, flags: Sequence[str], words: Sequence[str]) -> None:
        """Run it, or end with the engine's words; raises ByocError if the fault is the engine's."""
        try:
            done = self._say("run", *flags, self._image.id, *words)
        except BaseException:
            PORTS.release(self._port)
            raise
        if done.returncode == 0:
            return
        self._command.run("rm", "--force", "--volumes", self._name)
        said = last_line(done.stderr)
        found = NOT_FOUND.search(done.stderr) or CRUN_NOT_FOUND.search(done.stderr)
        if found is not None:
            crun = found.re is CRUN_NOT_FOUND
            text = f'exec: "{found[1]}": executable file not found in $PATH' if crun else found[1]
            return self._end_unstarted(text, done.returncode)
        PORTS.release(self._port)
        if re.search("no such image", done.stderr, re.IGNORECASE):
            raise ByocError(f"The image {self._image.tag} is no longer here: build or pull it.")
        if re.search("no command specified", done.stderr, re.IGNORECASE):
            return self._end_unstarted("docker: no command specified", done.returncode)
        if UNREACHABLE.search(done.stderr) or NO_SPACE.search(done.stderr):
            raise self._command.refusal(f"{self._command.program} run", done.stderr)
        if re.search("bind source path does not exist|mounts denied|no such file", done.stderr):
            raise ByocError(
                f"The engine can't see the folder {self._ml.path} ({said}): it runs on another "
                "machine, or shares only some folders with it; name one that it shares."
            )
        raise self._command.refusal(f"{self._command.program} run", done.stderr)

    def _end_unstarted(self, text: str, code: int) -> None:
        PORTS.release(self._port)
        self._add_line(text)
        self._code = code
        self._done.set()
        self._close_log()

    def _look(self, serving: bool, network: DockerNetwork | None) -> None:
        """Find out where the container listens, and its process on this machine."""
        seen = self._inspect()
        pid = seen.get("State", {}).get("Pid") or 0
        if pid and _is_of(seen["Id"], pid) and not self._done.is_set():
            self.pid = pid
            WATCH.add(self)
            if self._done.is_set():
                WATCH.remove(self)
        if not serving or in_studio():
            return
        settings = seen.get("NetworkSettings") or {}
        if network is not None and network.private:
            self.url = self._own_address(settings) or self.url
        else:
            for binding in (settings.get("Ports") or {}).get(f"{SERVING_PORT}/tcp") or []:
                self.url = f"http://127.0.0.1:{binding['HostPort']}"

    def _own_address(self, settings: dict[str, Any]) -> str | None:
        """The server's address in its own network; None when it has ended."""
        for found in (settings.get("Networks") or {}).values():
            if not found.get("IPAddress"):
                continue
            its = ipaddress.ip_interface(f"{found['IPAddress']}/{found['IPPrefixLen']}")
            ours = [a.address for all_of in psutil.net_if_addrs().values() for a in all_of]
            if any(_inside(address, its.network) for address in ours):
                return f"http://{its.ip}:{SERVING_PORT}"
            raise ByocError(
                "A server without a network can't be reached here, where containers run in a "
                "machine of their own: leave EnableNetworkIsolation off, or use Docker on Linux."
            )
        return None

    def _reap(self) -> None:
        """Follow the log, await the end, and leave nothing behind."""
        logs = subprocess.Popen(
            [self._command.program, "logs", "--follow", self._name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        pump = threading.Thread(target=self._pump, args=(logs,), daemon=True)
        pump.start()
        code = self._await()
        WATCH.remove(self)
        pump.join(LAST_WORDS)
        logs.kill()
        logs.wait()
        try:
            self._own_files()
        finally:
            self._say("rm", "--force", "--volumes", self._name)
            PORTS.release(self._port)
            self._code = code
            self._done.set()
            self._close_log()

    def _pump(self, logs: "subprocess.Popen[bytes]") -> None:
        assert logs.stdout is not None
        for line in io.TextIOWrapper(logs.stdout, "utf-8", "replace", newline="\n"):
            self._add_line(line.rstrip("\r\n"))

    def _await(self) -> int:
        """The exit code, told by the engine; if it can't tell, its words are the log's last."""
        waited = self._command.run("wait", self._name)
        state = self._inspect().get("State", {})
        self.out_of_memory = bool(state.get("OOMKilled"))
        if "ExitCode" in state and not state.get("Running"):
            return int(state["ExitCode"])
        if waited.stdout.strip().lstrip("-").isdigit():
            return int(waited.stdout)  # somebody has removed it already
        self._add_line(f"{self._command.program}: {last_line(waited.stderr)}")
        return 125

    def _inspect(self) -> dict[str, Any]:
        done = self._command.run("inspect", self._name)
        return json.loads(done.stdout)[0] if done.returncode == 0 else {}

    def _own_files(self) -> None:
        """What root has left in our folder becomes ours, so that it can be read and removed."""
        if os.geteuid() == 0 or not _has_foreign(self._ml.path):
            return
        # where the engine has no root's rights, its root is this user
        info = self._command.run("info").stdout
        owner = "0:0" if "rootless" in info else f"{os.geteuid()}:{os.getegid()}"
        network = STUDIO_NETWORK if in_studio() else "none"
        done = self._command.run(
            *("run", "--rm", "--network", network, "--user", "0", *_mounts(self._ml.path, ())),
            *("--entrypoint", "chown", self._image.id, "-R", owner, "/opt/ml"),
        )
        if done.returncode:
            print(
                f"byoc: files in {self._ml.path} belong to the container's user and can't be given "
                f"back ({last_line(done.stderr)}): remove them with `sudo rm -r`.",
                file=sys.stderr,
            )

    def _say(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        if self._show:
            self._command.show(*arguments)
        return self._command.run(*arguments)


def _mounts(folder: Path, read_only: Sequence[str]) -> list[str]:
    """Options that lay `folder` at /opt/ml, with parts of it again where it may not be changed."""
    if in_studio():
        check_folder(folder)
    options = _bind(folder, "/opt/ml", "")
    for path in read_only:
        source = folder / path.removeprefix("/opt/ml/")
        source.mkdir(parents=True, exist_ok=True)
        options += _bind(source, path, "ro")
    return options


def _bind(source: Path, target: str, mode: str) -> list[str]:
    if in_studio():
        return ["--volume", ":".join(filter(None, (f"{source}", target, mode)))]
    # unlike --volume, it says so when the engine has no such folder
    fields = ["type=bind", f"source={source}", f"target={target}", *(["readonly"] if mode else [])]
    quoted = [f'"{field}"' if "," in field else field for field in fields]
    return ["--mount", ",".join(quoted)]


def _is_of(container: str, pid: int) -> bool:
    """Whether a process of this machine is the container's: the engine may run elsewhere."""
    try:
        return container in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


def _inside(address: str, network: Any) -> bool:
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:
        return False


def _has_foreign(folder: Path) -> bool:
    files = [folder, *folder.rglob("*")]
    return any(file.lstat().st_uid != os.geteuid() for file in files)


def _stop_all() -> None:
    for container in list(RUNNING):
        with contextlib.suppress(Exception):
            container.stop(0)


atexit.register(_stop_all)
