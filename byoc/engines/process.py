"""The engine that needs no engine: programs as child processes, images as snapshots of a folder.

A build lays the files that the Dockerfile copies into a root folder and keeps its ENV, WORKDIR,
ENTRYPOINT, CMD and LABEL lines. RUN lines are not executed: a virtual environment of the folder's
requirements.txt stands for them. Images are kept as registries keep them, a configuration and a
manifest (Docker image manifest v2, schema 2), so that the digest follows from the content.
"""

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import posixpath
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from byoc.engines import environment as environments
from byoc.engines import sandbox
from byoc.engines.base import (
    MULTIPLE_PORTS_LABEL,
    SERVING_PORT,
    Container,
    Image,
    Network,
    check_tag,
    no_image,
)
from byoc.engines.dockerfile import BASE_PATH, Dockerfile
from byoc.engines.dockerfile import read as read_dockerfile
from byoc.engines.network import LoopbackNetwork
from byoc.engines.ports import PORTS
from byoc.engines.registries import MANIFEST_TYPE, ecr_client, immutable, no_repository
from byoc.engines.usage import WATCH
from byoc.errors import ByocError
from byoc.optml import OptML
from byoc.paths import home

CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar"

TEMPORARY = "/opt/.tmp"  # short: the names of sockets below it may have some 100 characters only


class ProcessEngine:
    """Build, push and run without Docker; see the module's text for what stands for what."""

    name = "process"

    def build(
        self, folder: str | Path, tag: str, build_args: Mapping[str, str] | None = None
    ) -> Image:
        """Take a snapshot of the folder and call it `tag` (name:tag)."""
        check_tag(tag)
        folder = Path(folder).absolute()
        dockerfile = read_dockerfile(folder)
        requirements = folder / "requirements.txt"
        listed = requirements.read_text() if requirements.is_file() else ""
        environments.prepare(listed)
        image = _store(dockerfile, listed, tag)
        _tag_file(tag).write_text(image.id)
        print(f"process engine: snapshot {tag} {image.id[:19]}, {image.size:,} bytes of files")
        for name in build_args or {}:
            print(f"process engine: --build-arg {name} changes nothing: no ARG line is executed")
        for line in dockerfile.not_executed:
            print(f"process engine: not executed: {_shorten(line)}")
        print(
            "process engine: an environment of requirements.txt stands for the base and RUN lines"
        )
        return image

    def image(self, tag: str) -> Image:
        """The snapshot called `tag`; raises ByocError when there is none."""
        file = _tag_file(tag)
        if not file.is_file():
            raise no_image(tag)
        return _load(file.read_text(), tag)

    def configuration(self, image: Image) -> dict[str, Any]:
        """What the Dockerfile says; the manifest is Docker's own."""
        found = json.loads((_folder(image.id) / "config.json").read_text())
        here = {"Architecture": found["architecture"], "MediaType": MANIFEST_TYPE}
        return {**found["config"], **here}

    def push(self, tag: str, repository_uri: str, ecr: Any = None) -> str:
        """Register the snapshot in an ECR repository of the local AWS; returns the image's URI."""
        image = self.image(tag)
        repository = repository_uri.partition("/")[2]
        ecr = ecr or ecr_client(repository_uri)
        if "127.0.0.1" not in ecr.meta.endpoint_url:
            raise ByocError(
                "The process engine's snapshots can be pushed to the local AWS only: "
                "for your account, build and push with Docker."
            )
        manifest = (_folder(image.id) / "manifest.json").read_text()
        name = tag.rpartition(":")[2]
        try:
            ecr.describe_repositories(repositoryNames=[repository])
            ecr.put_image(
                repositoryName=repository,
                imageManifest=manifest,
                imageManifestMediaType=MANIFEST_TYPE,
                imageTag=name,
                imageDigest="sha256:" + hashlib.sha256(manifest.encode()).hexdigest(),
            )
        except ecr.exceptions.RepositoryNotFoundException:
            raise no_repository(repository) from None
        except ecr.exceptions.ImageTagAlreadyExistsException:
            raise immutable(name, repository) from None
        except ecr.exceptions.ImageAlreadyExistsException:
            pass  # the same content under the same tag: nothing to do, as `docker push` finds
        print(f"process engine: put the manifest of {tag} into ECR, without any layer")
        return f"{repository_uri}:{name}"

    def resolve(self, manifest: str) -> Image | None:
        """The snapshot that a registry's manifest stands for, if it is on this machine."""
        digest = json.loads(manifest).get("config", {}).get("digest", "")
        return _load(digest, digest) if (_folder(digest) / "config.json").is_file() else None

    def packages(self, image: Image) -> dict[str, int]:
        """The installed Python packages of the image and their sizes in bytes, largest first."""
        sizes: dict[str, int] = {}
        site = next(_environment(image.id).glob("lib/python*/site-packages"))
        for distribution in importlib.metadata.distributions(path=[str(site)]):
            listed = [site / str(file) for file in distribution.files or []]
            files = [file for file in listed if file.suffix != ".pyc"]
            files += [code for file in files for code in _bytecode(file)]
            sizes[distribution.name] = sum(f.stat().st_size for f in files if f.is_file())
        return dict(sorted(sizes.items(), key=lambda item: -item[1]))

    def run(
        self,
        image: Image,
        arguments: Sequence[str],
        *,
        ml: OptML,
        environment: Mapping[str, str] | None = None,
        entrypoint: Sequence[str] | None = None,
        memory: int | None = None,
        network: Network | None = None,
        host: str | None = None,
        read_only: Sequence[str] = (),
    ) -> Container:
        """Start `docker run [--entrypoint E] IMAGE ARGUMENTS` as a child process.

        A program that can't be started ends with 126 or 127 and Docker's words in its log. What
        the container needs of its own lies beside the folder of `ml` until it ends.
        """
        assert network is None or isinstance(network, LoopbackNetwork)
        config = json.loads((_folder(image.id) / "config.json").read_text())["config"]
        program = list(entrypoint or config["Entrypoint"] or [])
        argv = [*program, *(arguments or ([] if entrypoint else config["Cmd"] or []))]
        can_be_told = image.labels.get(MULTIPLE_PORTS_LABEL) == "true"
        port = None
        if list(arguments) == ["serve"]:
            port = PORTS.take() if can_be_told else PORTS.take_fixed()
        try:
            return ProcessContainer(
                image.id,
                config,
                argv,
                dict(environment or {}),
                ml,
                port,
                memory,
                network,
                read_only,
            )
        except BaseException:
            PORTS.release(port)
            raise

    def has_networks(self, serving: bool = False) -> bool:
        """Networks need private mounts, so Linux; nothing outside reaches a server in one."""
        return sandbox.available() and not serving

    def network(self, hosts: Sequence[str], isolated: bool = False) -> LoopbackNetwork:
        """A loopback address for each host, in this machine's network or in one of their own."""
        if not self.has_networks():
            raise ByocError("Hosts that reach each other by name need Linux's private mounts.")
        return LoopbackNetwork(hosts, isolated)

    def sweep(self, work: Path) -> None:
        """End every process of a container under `work`, which a dead daemon may have left.

        It is known by the folders that it was given, or by the mounts that `unshare` had to make.
        """
        quiet = 0
        while quiet < 2:  # what was just being started shows itself, or has a child, a moment later
            quiet = 0 if _kill_all(f"{work}/") else quiet + 1


def _kill_all(inside: str) -> int:
    """Kill the processes that were given a folder there; returns how many there were."""
    found = 0
    for process in psutil.process_iter():
        known: list[str] = []
        with contextlib.suppress(psutil.Error):
            variables = process.environ()
            known += [variables.get(name, "") for name in ("HOME", "SAGEMAKER_BASE_DIR")]
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            known += words if words and words[0].endswith("unshare") else []
            if process.pid != os.getpid() and any(inside in text for text in known):
                process.kill()
                found += 1
    return found


class ProcessContainer(Container):
    """A child process, its output pumped into `log` by a thread."""

    def __init__(
        self,
        image_id: str,
        config: dict,
        argv: list[str],
        environment: dict[str, str],
        ml: OptML,
        port: int | None,
        memory: int | None = None,
        network: LoopbackNetwork | None = None,
        read_only: Sequence[str] = (),
    ) -> None:
        super().__init__(port or SERVING_PORT)
        self._scratch = Path(tempfile.mkdtemp(prefix=f"{ml.path.name}-run-", dir=ml.path.parent))
        self._private = sandbox.available()
        self._process: subprocess.Popen[bytes] | None = None
        self._code: int | None = None
        self.memory_limit = memory
        root = self._scratch / "rootfs"  # its own copy: what it writes must not change the image
        shutil.copytree(_folder(image_id) / "rootfs", root)
        self._port = port
        mounts = {f"/opt/{p.name}": p for p in (root / "opt").glob("*")} if self._private else {}
        mounts["/opt/ml"] = ml.path  # hides what the image holds there
        temporary = self._scratch / "tmp"  # /tmp is the machine's
        temporary.mkdir()
        mounts[TEMPORARY] = temporary
        host = _HostPaths(root, set(mounts))
        python = _environment(image_id) / "bin"
        variables = {
            "HOME": str(self._scratch),
            "HOSTNAME": socket.gethostname(),
            "LANG": "C.UTF-8",  # as python's own images have it
            "TMPDIR": TEMPORARY if self._private else str(temporary),
            **dict(line.split("=", 1) for line in config["Env"]),
            **environment,
        }
        if port not in (None, SERVING_PORT):
            variables["SAGEMAKER_BIND_TO_PORT"] = str(port)
        if not self._private:
            variables["SAGEMAKER_BASE_DIR"] = str(ml.path)
        search = host.search_path(variables["PATH"], python)
        variables["PATH"] = ":".join(search)
        workdir = host.real(config["WorkingDir"])
        problem = _cannot_start(argv, search, workdir, host)
        if problem:
            self._add_line(problem[0])
            self._code = problem[1]
            self._close_log()
            self._release()
            return
        argv = [host.real(word) if word.startswith("/") else word for word in argv]
        if self._private:
            old = self._scratch / "opt"
            old.mkdir()
            hosts = self._scratch / "hosts" if network is not None else None
            if network is not None and hosts is not None:
                network.write_hosts(hosts)
            argv = sandbox.command(
                argv, mounts, workdir, old, hosts=hosts, network=network, read_only=read_only
            )
        else:
            argv = [re.sub(r"^/opt/ml(?=/)", lambda _: str(ml.path), word) for word in argv]
            argv[0] = shutil.which(argv[0], path=variables["PATH"]) or argv[0]
        self._complaints = (self._scratch / "unshare.log").open("w+b")
        self._process = subprocess.Popen(
            argv,
            cwd=None if self._private else workdir,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._complaints if self._private else subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._process.pid
        WATCH.add(self)
        self._reaper = threading.Thread(target=self._reap, daemon=True)
        self._reaper.start()
        threading.Thread(target=self._pump, daemon=True).start()

    def poll(self) -> int | None:
        if self._code is None and self._process is not None and self._process.poll() is not None:
            self._reaper.join()
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        if self._code is None and self._process is not None:
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                raise TimeoutError(f"the program still runs after {timeout} s") from None
        code = self.poll()
        assert code is not None
        return code

    def stop(self, grace: float = 10.0) -> int:
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
            if self.poll() is not None:
                break
            self._signal(number)
            try:
                self.wait(patience)
            except TimeoutError:
                continue
        return self.wait(10.0)

    def handles(self, number: int) -> bool | None:
        if not self._private or self._process is None:
            return None
        try:
            program = Path(f"/proc/{_children(self._process.pid)[0]}")
            if sandbox.TRAP in (program / "cmdline").read_text():
                return False  # the program has not begun
            status = (program / "status").read_text()
        except (IndexError, OSError):
            return False
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return bool(caught >> (number - 1) & 1)

    def _pump(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in io.TextIOWrapper(self._process.stdout, "utf-8", "replace", newline="\n"):
            self._add_line(line.rstrip("\r\n"))
        self._reaper.join()
        self._close_log()

    def _reap(self) -> None:
        """What the program leaves behind ends with it, at once and only once.

        Later its process group's number may be another's.
        """
        assert self._process is not None
        code = self._process.wait()
        WATCH.remove(self)
        self._end_group()
        with self._complaints as file:
            file.seek(0)
            complaints = file.read().decode("utf-8", "replace")
        if code == 1 and "sigprocmask" in complaints:  # `unshare` can't die of SIGKILL as its child
            code = -signal.SIGKILL
        elif complaints:
            self._add_line(complaints.rstrip())
        self._release()
        self._code = 128 - code if code < 0 else code

    def kill_for_memory(self) -> None:
        """End it as the kernel ends a container that takes more memory than it may."""
        self.out_of_memory = True
        self._signal(signal.SIGKILL)

    def _release(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
        PORTS.release(self._port)

    def _signal(self, number: signal.Signals) -> None:
        """To the program itself, as an engine signals PID 1; `unshare`, its parent, only waits."""
        assert self._process is not None
        target = self._process.pid
        if self._private:
            for _ in range(100):
                children = _children(self._process.pid)
                if children or self._process.poll() is not None:
                    break
                time.sleep(0.01)
            target = children[0] if children else target
        try:
            os.kill(target, number)
        except ProcessLookupError:
            pass

    def _end_group(self) -> None:
        """Without a PID namespace the program's children may outlive it."""
        assert self._process is not None
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


class _HostPaths:
    """Where on this machine a path of the image lies: mounted as it stands, or in its root."""

    def __init__(self, root: Path, mounted: set[str]) -> None:
        self.root, self.mounted = root, mounted

    def real(self, path: str) -> str:
        here = self.root / path.lstrip("/")
        covered = any(path == m or path.startswith(f"{m}/") for m in self.mounted)
        return str(here) if here.exists() and path != "/" and not covered else path

    def file(self, path: str) -> Path | None:
        """The file behind a path before the mounts are in place; None if there is none."""
        if path == "/opt/ml" or path.startswith("/opt/ml/"):
            return None
        for candidate in (self.root / path.lstrip("/"), Path(path)):
            if candidate.is_file():
                return candidate
        return None

    def search_path(self, path: str, python: Path) -> list[str]:
        """PATH with the environment's programs where the image has its Python.

        In /usr/local/bin, or in the bin/ of a virtual environment that a RUN line made.
        """
        entries = []
        for entry in path.split(":"):
            copied = (self.root / entry.lstrip("/")).is_dir()
            made = entry.endswith("/bin") and not copied and entry not in BASE_PATH.split(":")
            if made or entry == "/usr/local/bin":
                entries.append(str(python))
            entries.append(self.real(entry))
        return entries


def _cannot_start(
    argv: list[str], search: list[str], workdir: str, host: _HostPaths
) -> tuple[str, int] | None:
    """Docker's words and exit code for a program that is missing or not executable, else None."""
    if not argv:
        return "docker: no command specified", 125
    name = argv[0]
    if "/" not in name:  # what may not be executed is skipped, as `docker run` skips it
        for folder in search:
            file = host.file(f"{folder}/{name}")
            if file is not None and os.access(file, os.X_OK):
                return _without_interpreter(file, f"{folder}/{name}", host)
        return f'exec: "{name}": executable file not found in $PATH', 127
    program = host.file(posixpath.join(workdir, name))
    if program is None:
        return f'exec: "{name}": stat {name}: no such file or directory', 127
    if not os.access(program, os.X_OK):
        return f'exec: "{name}": permission denied', 126
    return _without_interpreter(program, name, host)


def _without_interpreter(program: Path, name: str, host: _HostPaths) -> tuple[str, int] | None:
    """The same for a script whose first line names a program that is not there."""
    with program.open("rb") as file:
        line = file.readline(256)
    words = line.removeprefix(b"#!").strip(b" \t\n").decode("utf-8", "replace")
    if line.startswith(b"#!") and words and host.file(re.split("[ \t]", words)[0]) is None:
        return f"exec {name}: no such file or directory", 127
    return None


def _bytecode(source: Path) -> list[Path]:
    """The compiled forms of a module; not every installer lists them."""
    if source.suffix != ".py":
        return []
    return list(source.parent.glob(f"__pycache__/{source.stem}.*.pyc"))


def _children(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []


def _store(dockerfile: Dockerfile, requirements: str, tag: str) -> Image:
    """Write the snapshot's files, configuration and manifest, whole or not at all."""
    images = home() / "images/sha256"
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=images, prefix="build-", ignore_cleanup_errors=True
    ) as work:
        Path(work).chmod(0o755)
        root = Path(work) / "rootfs"
        root.mkdir()
        for place, source in dockerfile.copies.items():
            target = root / place.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        if not dockerfile.workdir.startswith("/opt/ml"):
            (root / dockerfile.workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
        layer = _layer(root)
        layer_digest = "sha256:" + hashlib.sha256(layer).hexdigest()
        path = dockerfile.environment.get("PATH", BASE_PATH)
        config = {
            "architecture": dockerfile.architecture,
            "os": "linux",
            "config": {
                "Env": [f"{k}={v}" for k, v in {**dockerfile.environment, "PATH": path}.items()],
                "Entrypoint": dockerfile.entrypoint,
                "Cmd": dockerfile.command,
                "WorkingDir": dockerfile.workdir,
                "Labels": dockerfile.labels,
                **({"User": dockerfile.user} if dockerfile.user else {}),
            },
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
            "byoc": {"base": dockerfile.base, "requirements": requirements},
        }
        content = json.dumps(config, sort_keys=True)
        digest = "sha256:" + hashlib.sha256(content.encode()).hexdigest()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "size": len(content), "digest": digest},
            "layers": [{"mediaType": LAYER_TYPE, "size": len(layer), "digest": layer_digest}],
        }
        (Path(work) / "config.json").write_text(content)
        (Path(work) / "manifest.json").write_text(json.dumps(manifest, indent=2))
        try:
            Path(work).rename(_folder(digest))
        except OSError:
            pass  # the same content is there already
    return _load(digest, tag)


def _layer(root: Path) -> bytes:
    """The files as one tar archive: the same bytes for the same content, whoever builds it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(root.rglob("*")):
            member = archive.gettarinfo(str(path), arcname=str(path.relative_to(root)))
            member.uid = member.gid = member.mtime = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644
            with path.open("rb") if path.is_file() else io.BytesIO() as file:
                archive.addfile(member, file)
    return buffer.getvalue()


def _load(digest: str, tag: str) -> Image:
    config = json.loads((_folder(digest) / "config.json").read_text())
    manifest = json.loads((_folder(digest) / "manifest.json").read_text())
    size = sum(layer["size"] for layer in manifest["layers"])
    return Image(tag, digest, size, config["config"]["Labels"])


def _environment(digest: str) -> Path:
    config = json.loads((_folder(digest) / "config.json").read_text())
    return environments.prepare(config["byoc"]["requirements"])


def _folder(digest: str) -> Path:
    return home() / "images/sha256" / digest.removeprefix("sha256:").replace("/", "_")


def _tag_file(tag: str) -> Path:
    folder = home() / "images/tags"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / quote(tag, safe="")


def _shorten(line: str) -> str:
    words = " ".join(line.split())
    return words if len(words) <= 70 else words[:67] + "..."
