"""What can be chosen when a local AWS is started."""

from collections.abc import Iterable
from dataclasses import Field, dataclass, field, fields
from typing import Any

from byoc.errors import ByocError


def _option(default: Any, text: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"help": text, "choices": choices})


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
    iam: str = _option(
        "off",
        "off, record or enforce: whether policies are asked at each call (AWS: enforce)",
        ("off", "record", "enforce"),
    )

    @property
    def memory_bytes(self) -> int | None:
        """`memory` in bytes, as engines take it."""
        return None if self.memory is None else int(self.memory * 2**30)

    @classmethod
    def parse(cls, chosen: Iterable[str]) -> "Options":
        """Options from `name=value` texts; raises ByocError for one that is not an option."""
        known = {f.name: f for f in fields(cls)}
        values: dict[str, Any] = {}
        for text in chosen:
            name, _, value = text.partition("=")
            if name not in known:
                raise ByocError(
                    f"There is no option {name!r}: it must be one of {', '.join(known)}."
                )
            values[name] = _value(known[name], value)
        return cls(**values)


def _value(option: "Field[Any]", text: str) -> Any:
    choices = option.metadata["choices"]
    if choices:
        if text not in choices:
            raise ByocError(
                f"The option {option.name} is {text!r}: it must be one of {', '.join(choices)}."
            )
        return text
    try:
        value = int(text) if option.type is int else float(text)
        if not value > 0:  # so that NaN is none
            raise ValueError
    except ValueError:
        kind = "a whole number" if option.type is int else "a number"
        raise ByocError(
            f"The option {option.name} is {text!r}: it must be {kind} above 0."
        ) from None
    return value
