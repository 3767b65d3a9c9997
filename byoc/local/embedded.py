"""A local AWS for tests: as long as a `with` block, or as a pytest session."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3

from byoc import engines
from byoc.connect import check, local_variables
from byoc.local import daemon
from byoc.local.options import Options
from byoc.studio import scratch

STOP_TIMEOUT = 60.0  # seconds


@dataclass
class LocalAWS:
    """A local AWS of its own process, on a free port of the loopback interface.

    Use it as a context manager: it starts on entry, and ends, with every container it runs, on
    leaving, also when this process is killed. Any number run side by side.
    Raises ByocError for an account or region that can't be one.
    """

    account_id: str = "123456789012"
    region: str = "us-east-1"
    options: Options = field(default_factory=Options)
    url: str = ""
    _process: "subprocess.Popen[bytes] | None" = None
    _folder: Path | None = None

    def __post_init__(self) -> None:
        check("local", self.account_id, self.region)

    def __enter__(self) -> "LocalAWS":
        self._folder = Path(tempfile.mkdtemp(prefix="byoc-aws-", dir=scratch()))
        self._process, self.url = daemon.launch(
            self._folder / "work",
            self._folder / "log",
            0,
            self.options,
            "--attached",
            f"{self._folder}",
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._folder is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.returncode != 0:  # it was killed
            daemon.sweep(self._folder / "work")
        shutil.rmtree(self._folder, ignore_errors=True)
        self.url = ""

    def account(self, account_id: str, region: str | None = None) -> "LocalAWS":
        """The same local AWS as another account, perhaps in another region, sees it."""
        return replace(self, account_id=account_id, region=region or self.region)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead boto3, the SDKs and the AWS CLI here, as `byoc env` prints them."""
        return local_variables(self.url, self.account_id, self.region)

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    @property
    def work(self) -> Path:
        """The folder in which its containers work."""
        assert self._folder is not None, "it does not run"
        return self._folder / "work"

    @property
    def log(self) -> str:
        """What the server has written: the traces of its own faults."""
        assert self._folder is not None, "it does not run"
        return (self._folder / "log").read_text()

    def client(self, service: str) -> Any:
        """A boto3 client of this account and region."""
        return self._session().client(service, endpoint_url=self.url)

    def push(self, folder: str | Path, tag: str) -> str:
        """Build a folder's Dockerfile and push it as `tag` (name:tag); returns the image's URI.

        The ECR repository is created if it is not there. Raises ByocError if it can't be built.
        """
        image = engines.engine().build(folder, tag)
        ecr, name = self.client("ecr"), image.tag.rpartition(":")[0]
        try:
            repository = ecr.create_repository(repositoryName=name)["repository"]
        except ecr.exceptions.RepositoryAlreadyExistsException:
            repository = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]
        return engines.engine().push(image.tag, repository["repositoryUri"], ecr)

    def _session(self) -> boto3.Session:
        return boto3.Session(self.account_id, "local", region_name=self.region)
