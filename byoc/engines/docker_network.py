"""The network that the hosts of one job, or one server, have to themselves."""

import uuid
from collections.abc import Sequence
from pathlib import Path

from byoc.engines.base import Network
from byoc.engines.commands import CommandLine

FOLDER_LABEL = "byoc.folder"  # which run of which local AWS a container or network belongs to


class DockerNetwork(Network):
    """Made when its first container needs it; `isolated`: nothing leads out of it.

    A single host needs none: it knows its own name, and isolated it has `--network none`, unless
    it is a server, which must be reached from here.
    """

    def __init__(self, command: CommandLine, hosts: Sequence[str], isolated: bool) -> None:
        self._command, self._hosts, self._isolated = command, list(hosts), isolated
        self._name: str | None = None

    def options(self, host: str | None, folder: Path, serving: bool) -> list[str]:
        """Options of `docker run` for one of the hosts, whose /opt/ml is `folder`."""
        host = host or self._hosts[0]
        alone = len(self._hosts) == 1
        if alone and not (self._isolated and serving):
            network = ["--network", "none"] if self._isolated else []
            return [*network, "--add-host", f"{host}:127.0.0.1"]
        if self._name is None:
            name = f"byoc-{uuid.uuid4().hex[:12]}"
            inside = ["--internal"] if self._isolated else []
            label = f"{FOLDER_LABEL}={folder}"
            self._command.ask("network", "create", *inside, "--label", label, name)
            self._name = name
        return ["--network", self._name, "--network-alias", host]

    @property
    def private(self) -> bool:
        """Whether a container in it is reached at its own address only."""
        return self._isolated

    def close(self) -> None:
        if self._name is not None:
            self._command.run("network", "rm", self._name)
