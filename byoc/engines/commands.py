"""The command line of docker, podman or finch: its commands, and its refusals in one sentence."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass

from byoc.errors import ByocError

PROGRAMS = ("docker", "podman", "finch")  # in the order in which they are looked for
DETECTION = 10.0  # seconds in which an engine must say that it is there

UNREACHABLE = re.compile(
    r"cannot connect to the docker daemon|is the docker daemon running|error during connect"
    r"|failed to connect to the docker api|unable to connect to podman|cannot connect to podman"
    r"|(docker daemon|docker api) (socket )?at \S+: .*permission denied"
    r"|permission denied while trying to connect|instance .* does not exist|VM is (not|stopped)",
    re.IGNORECASE,
)
NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
NOT_ALLOWED = re.compile(
    r"unauthorized|no basic auth credentials|authentication required|denied:|access denied"
    r"|access to the resource is denied|403 forbidden",
    re.IGNORECASE,
)
NOT_FOUND = re.compile(
    r"manifest unknown|manifest for \S+ not found|name unknown|repository .* not found"
    r"|does not exist or may require|: not found",
    re.IGNORECASE,
)
NO_NETWORK = re.compile(
    r"temporary failure in name resolution|temporary failure resolving|could not resolve"
    r"|no such host|network is unreachable|no route to host|i/o timeout|connection timed out"
    r"|failed to establish a new connection|connection refused|TLS handshake timeout",
    re.IGNORECASE,
)
NOISE = re.compile(r"^(see 'docker|run 'docker|deprecated:|\s*install the buildx|\s*https://docs)")


@dataclass(frozen=True)
class CommandLine:
    """One engine's program. Its commands inherit the environment, so DOCKER_HOST is honoured."""

    program: str

    def why_not(self) -> str | None:
        """None if the engine answers, else the reason in a sentence."""
        if shutil.which(self.program) is None:
            return f"There is no program {self.program} on PATH: install it."
        # `docker info` is not among the calls that Studio allows; podman's version has no server
        probe = ["version"] if self.program == "docker" else ["info"]
        try:
            done = self.run(*probe, timeout=DETECTION)
        except subprocess.TimeoutExpired:
            return self._silent(f"no answer within {DETECTION:.0f} s")
        return None if done.returncode == 0 else self._silent(last_line(done.stderr))

    def run(
        self, *arguments: str, given: str | None = None, timeout: float | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """A command that is over soon; `given` is its standard input."""
        return subprocess.run(
            [self.program, *arguments],
            input="" if given is None else given,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
        )

    def ask(self, *arguments: str, given: str | None = None) -> str:
        """The standard output of a command; raises ByocError with the reason if it fails."""
        done = self.run(*arguments, given=given)
        if done.returncode:
            raise self.refusal(f"{self.program} {arguments[0]}", done.stderr)
        return done.stdout

    def show(self, *arguments: str) -> None:
        """Print a command as one would type it."""
        print(f"$ {shlex.join([self.program, *arguments])}", flush=True)

    def follow(self, *arguments: str) -> tuple[int, str]:
        """Show and run a command that takes a while; returns its exit code and all it wrote.

        What it writes is shown to a person at a terminal only: it is never twice the same.
        """
        self.show(*arguments)
        watched, lines = sys.stderr.isatty(), []
        with subprocess.Popen(
            [self.program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    lines.append(re.sub(r"\x1b\[[0-9;]*m", "", line))
                    if watched:
                        sys.stderr.write(line)
            except BaseException:
                process.kill()
                raise
        return process.returncode, "".join(lines)

    def refusal(self, what: str, text: str) -> ByocError:
        """Why a command failed, and the cure where the engine's words are known."""
        said = last_line(text)
        if UNREACHABLE.search(text):
            return ByocError(self._silent(said))
        if NO_SPACE.search(text):
            return ByocError(
                f"There is no space left on the engine's disk for `{what}`: remove images that "
                f"nobody needs (`{self.program} image ls`, `{self.program} image rm`)."
            )
        return ByocError(f"`{what}` failed: {said}")

    def _silent(self, said: str) -> str:
        host = os.environ.get("DOCKER_HOST") if self.program == "docker" else None
        cure = f"correct DOCKER_HOST ({host})" if host else f"start {self.program}"
        return (
            f"{self.program} is installed, but its engine does not answer ({said.rstrip('.')}): "
            f"{cure}, or set BYOC_ENGINE=process to do without."
        )


def last_line(text: str) -> str:
    """The last line in which an engine says something."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    said = [line for line in lines if line and not NOISE.match(line.lower())]
    last = said[-1] if said else "it said nothing"
    prefix = r"^(docker: |error: )*(error response from daemon: )?"
    return re.sub(prefix, "", last, flags=re.IGNORECASE)


def pull_refusal(reference: str, text: str) -> ByocError | None:
    """Why a registry did not give an image, if that is what the text is about."""
    if NO_NETWORK.search(text):
        return ByocError(
            f"{reference} can't be pulled, its registry can't be reached ({last_line(text)}): "
            "check the network, or name an image that is here."
        )
    if NOT_ALLOWED.search(text):
        return ByocError(
            f"{reference} can't be pulled, the registry refuses it or does not have it "
            f"({last_line(text)}): check the name, and log in with `docker login`."
        )
    if NOT_FOUND.search(text):
        return ByocError(f"{reference} can't be pulled, there is no such image: check the name.")
    return None
