"""What can be chosen when a local AWS is started."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from byoc.errors import ByocError


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Options:
    """How the local AWS differs from AWS where waiting teaches nothing, and what it may use."""

    startup_timeout: float = _option(20.0, "seconds for the first good /ping (AWS: 480)")
    serverless_idle: float = _option(
        60.0, "seconds without a request after which a serverless container ends (AWS: not told)"
    )
    stop_grace: float = _option(120.0, "seconds from SIGTERM to SIGKILL; endpoints wait 30 at most")
    parallel_jobs: int = _option(4, "training and processing jobs that run at a time")
    memory: float | None = _option(None, "GiB that one container may take")
    disk: float | None = _option(None, "GiB on disk beyond which nothing more is downloaded")
    ping_interval: float = _option(5.0, "seconds between two /ping to a container in service")
    metrics_interval: float = _option(10.0, "seconds between metrics of an endpoint (AWS: 60)")
    capture_interval: float = _option(5.0, "seconds between two files of captured data")
    alarm_interval: float = _option(10.0, "seconds between two looks at alarms (AWS: 60 or 10)")
    scaling_interval: float = _option(
        2.0, "seconds that a minute of autoscaling lasts: its periods and cooldowns (AWS: 60)"
    )
    rollout_interval: float = _option(
        60.0, "seconds that a minute of a deployment's waiting lasts (AWS: 60)"
    )
    volume_size: int = _option(30, "GB of an instance's disk without VolumeSizeInGB")

    @property
    def memory_bytes(self) -> int | None:
        """`memory` in bytes, as engines take it."""
        return None if self.memory is None else int(self.memory * 2**30)

    @classmethod
    def parse(cls, chosen: Iterable[str]) -> "Options":
        """Options from `name=number` texts; raises ByocError for one that is not an option."""
        known = {f.name: int if f.type is int else float for f in fields(cls)}
        values: dict[str, Any] = {}
        for text in chosen:
            name, _, value = text.partition("=")
            try:
                values[name] = known[name](value)
                if not values[name] > 0:  # so that NaN is none
                    raise ValueError
            except KeyError:
                raise ByocError(
                    f"There is no option {name!r}: it must be one of {', '.join(known)}."
                ) from None
            except ValueError:
                kind = "a whole number" if known[name] is int else "a number"
                raise ByocError(
                    f"The option {name} is {value!r}: it must be {kind} above 0."
                ) from None
        return cls(**values)
