"""What every host of a training job has before its program starts: channels and configuration.

Source: Developer Guide, your-algorithms-training-algo-running-container and
model-access-training-data.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from byoc.local import channels, storage
from byoc.local.options import Options
from byoc.local.streams import Stream
from byoc.optml import InstanceGroup, OptML

Share = tuple[list[storage.Object], Path]  # objects, and the folder that they go to


class Inputs:
    """The channels of one attempt, laid out for every host; `job` is what Describe answers."""

    def __init__(
        self, s3: Any, job: dict[str, Any], groups: Sequence[InstanceGroup], mls: dict[str, OptML]
    ) -> None:
        self._s3, self._job, self._groups, self._mls = s3, job, groups, mls
        self.streams: list[Stream] = []

    def deliver(self, work: Path, options: Options, ended: Callable[[], bool]) -> None:
        """Lay all out; returns early once `ended`. Raises StorageError in AWS's words."""
        shares: list[Share] = []
        settings: dict[str, dict[str, dict[str, str]]] = {host: {} for host in self._mls}
        try:
            for channel in self._job.get("InputDataConfig", []):
                if ended():
                    return
                mode = channels.mode_of(self._job, channel)
                found = channels.objects(self._s3, channel, self._job["RoleArn"])
                for host in self._hosts_of(channel):
                    settings[host][channel["ChannelName"]] = channels.settings(channel, mode)
                if mode == "Pipe":
                    self._stream(channel, found)
                else:
                    shares += self._shares(channel, found)
            self._check_space(shares, work, options.disk)
            for share, target in shares:
                storage.download(self._s3, share, target, ended)
        except storage.StorageError as error:
            raise storage.StorageError(f"Data download failed:{error}") from None
        for host, ml in self._mls.items():
            ml.write_config(
                hyperparameters=self._job.get("HyperParameters", {}),
                channels=settings[host],
                groups=self._groups,
                current_host=host,
            )

    def check_streams(self) -> None:
        """Raise what has kept a stream from going on, if anything has."""
        for error in (stream.error for stream in self.streams):
            if isinstance(error, storage.StorageError):
                raise storage.StorageError(f"Data download failed:{error}")
            if error is not None:
                raise error

    def read_only(self, host: str) -> list[str]:
        """The folders that the host's program can't write to: those of FastFile mode."""
        return [
            f"/opt/ml/input/data/{channel['ChannelName']}"
            for channel in self._job.get("InputDataConfig", [])
            if channels.mode_of(self._job, channel) == "FastFile"
            and host in self._hosts_of(channel)
        ]

    def _hosts_of(self, channel: dict[str, Any]) -> list[str]:
        names = channel["DataSource"]["S3DataSource"].get("InstanceGroupNames")
        return [
            host
            for group in self._groups
            if names is None or group.name in names
            for host in group.hosts
        ]

    def _stream(self, channel: dict[str, Any], found: list[storage.Object]) -> None:
        hosts = self._hosts_of(channel)

        def of_epoch(number: int, epoch: int) -> list[storage.Object]:
            return channels.share(found, channel, hosts, epoch)[number]

        for number, host in enumerate(hosts):
            folder = self._mls[host].path / "input/data"
            stream = Stream(self._s3, channel, folder, partial(of_epoch, number))
            self.streams.append(stream)

    def _shares(self, channel: dict[str, Any], found: list[storage.Object]) -> list[Share]:
        hosts, name = self._hosts_of(channel), channel["ChannelName"]
        dealt = channels.share(found, channel, hosts)
        return [(s, self._mls[h].channel(name)) for h, s in zip(hosts, dealt, strict=True)]

    def _check_space(self, shares: list[Share], work: Path, limit: float | None) -> None:
        """Raise StorageError for data that the volume, the disk or the limit can't hold."""
        per_host: dict[Path, int] = {}
        for share, target in shares:
            size = sum(wanted.size for wanted in share)
            per_host[target.parent] = per_host.get(target.parent, 0) + size
        volume = self._job["ResourceConfig"].get("VolumeSizeInGB")
        if volume and max(per_host.values(), default=0) > volume * storage.GIB:
            raise storage.StorageError(storage.NO_SPACE)
        storage.check_space(work, sum(per_host.values()), limit)
