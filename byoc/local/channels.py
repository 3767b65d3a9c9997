"""The input channels of a training job: what is allowed, which objects they hold, who gets them.

Source: API Reference, Channel and S3DataSource; Developer Guide,
your-algorithms-training-algo-running-container.
"""

import contextlib
import json
import random
import re
import sys
from collections.abc import Sequence
from typing import Any

from byoc.local import storage
from byoc.local.errors import AWSError, not_implemented, validation
from byoc.local.storage import Object, StorageError

AUGMENTED = "AugmentedManifestFile can only be used if the Channel's input mode is Pipe"


def mode_of(job: dict[str, Any], channel: dict[str, Any]) -> str:
    """File, FastFile or Pipe: the channel's own, else that of the job. Source: Channel."""
    return channel.get("InputMode", job["AlgorithmSpecification"]["TrainingInputMode"])


def streams(job: dict[str, Any]) -> bool:
    """Whether any channel is in Pipe mode."""
    return any(mode_of(job, channel) == "Pipe" for channel in job.get("InputDataConfig", []))


def can_stream(engine: str) -> bool:
    """Whether a FIFO made here reaches the engine's containers: they must share one kernel."""
    return engine == "process" or sys.platform == "linux"


def check(request: dict[str, Any]) -> None:
    """Refuse what AWS refuses, or what is not done yet, and set the members AWS sets."""
    channels = request.get("InputDataConfig", [])
    names = [channel["ChannelName"] for channel in channels]
    if len(set(names)) < len(names):
        raise validation(f"The names of input channels must be unique, got {', '.join(names)}.")
    for channel in channels:
        pipes = re.compile(rf"{re.escape(channel['ChannelName'])}_\d+")
        if mode_of(request, channel) == "Pipe" and any(map(pipes.fullmatch, names)):
            raise validation(f"A channel has the name of a pipe of {channel['ChannelName']}.")
        _check_channel(request, channel, mode_of(request, channel))
        channel.setdefault("CompressionType", "None")
        channel.setdefault("RecordWrapperType", "None")
        source = channel["DataSource"]["S3DataSource"]
        source.setdefault("S3DataDistributionType", "FullyReplicated")


def _check_channel(request: dict[str, Any], channel: dict[str, Any], mode: str) -> None:
    name = channel["ChannelName"]
    if not channel["DataSource"]:
        raise validation(f"The channel {name} must have a data source.")
    source = channel["DataSource"].get("S3DataSource")
    if source is None:
        raise _not_done("a channel that is not in S3")
    kind = source["S3DataType"]
    if kind == "AugmentedManifestFile" and mode != "Pipe":
        raise validation(f"Invalid S3DataType for channel {name}: {AUGMENTED}.")
    if kind == "ManifestFile" and mode == "FastFile":
        raise validation(f"Invalid S3DataType for channel {name}: FastFile mode has S3Prefix only.")
    if kind not in ("S3Prefix", "ManifestFile"):
        raise _not_done(f"S3DataType {kind}")
    for member in ("ModelAccessConfig", "HubAccessConfig"):
        if member in source:
            raise _not_done(member)
    if not source["S3Uri"].startswith("s3://"):
        raise _not_done("an S3Uri that does not begin with s3://")
    for what, member in (
        ("compression", "CompressionType"),
        ("record wrapper", "RecordWrapperType"),
    ):
        if mode != "Pipe" and channel.get(member, "None") != "None":
            # AWS's words. Source: sagemaker-python-sdk, issue 716.
            raise validation(
                f"Invalid {what} type for channel {name}: {mode} mode only supports NONE, got "
                f"{channel[member]} instead"
            )
    groups = {g["InstanceGroupName"] for g in request["ResourceConfig"].get("InstanceGroups", [])}
    unknown = set(source.get("InstanceGroupNames", [])) - groups
    if unknown:
        raise validation(f"The channel {name} names no instance group: {min(unknown)}.")


def _not_done(what: str) -> AWSError:
    return not_implemented(f"CreateTrainingJob with {what}")


def objects(s3: Any, channel: dict[str, Any], role: str) -> list[Object]:
    """The objects of a channel; raises StorageError in AWS's words when there are none."""
    source = channel["DataSource"]["S3DataSource"]
    uri = source["S3Uri"]
    if source["S3DataType"] == "ManifestFile" and storage.exists(s3, uri):
        return _of_manifest(s3, uri)
    found: list[Object] = []
    if source["S3DataType"] == "S3Prefix":
        with contextlib.suppress(StorageError):  # AWS says the same when the bucket is refused
            found = storage.list_prefix(s3, uri)
    if not found:
        raise StorageError(
            f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure '
            "that the bucket exists in the selected region, that objects exist under that S3 "
            f'prefix, and that the role "{role}" has "s3:ListBucket" permissions on bucket '
            f'"{storage.split(uri)[0]}".'
        )
    return found


def share(
    found: list[Object], channel: dict[str, Any], hosts: Sequence[str], epoch: int = 0
) -> list[list[Object]]:
    """What each of `hosts` gets in an epoch: everything, or every n-th object.

    Which object goes to which host is not documented; here they are dealt in the order of their
    keys, or of the ShuffleConfig, which is another in each epoch and always the same for a seed.
    With more hosts than objects, some get none.
    """
    found = list(found)
    if "ShuffleConfig" in channel:
        random.Random(f"{channel['ShuffleConfig']['Seed']} {epoch}").shuffle(found)
    if channel["DataSource"]["S3DataSource"]["S3DataDistributionType"] == "FullyReplicated":
        return [found for _ in hosts]
    return [found[number :: len(hosts)] for number in range(len(hosts))]


def settings(channel: dict[str, Any], mode: str = "File") -> dict[str, str]:
    """The channel's entry in inputdataconfig.json.

    FastFile is called File there. Source: Developer Guide, your-algorithms-training-algo-running-
    container, as it is today; in 2023 it said FastFile.
    """
    entry = {
        "TrainingInputMode": "Pipe" if mode == "Pipe" else "File",
        "S3DistributionType": channel["DataSource"]["S3DataSource"]["S3DataDistributionType"],
        "RecordWrapperType": channel["RecordWrapperType"],
    }
    return entry | ({"ContentType": channel["ContentType"]} if "ContentType" in channel else {})


def _of_manifest(s3: Any, uri: str) -> list[Object]:
    """`[{"prefix": "s3://bucket/some/"}, "relative/1", …]`; the relative paths are kept on disk."""
    try:
        head, *names = json.loads(storage.read(s3, uri))
        prefix = head["prefix"]
        if not prefix.startswith("s3://") or not storage.split(prefix)[0]:
            raise ValueError("its prefix is not an S3 URI")
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError("it must list at least one key, each a text")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(
            f'The manifest "{uri}" is not of the form [{{"prefix": "s3://bucket/prefix/"}}, '
            f'"relative/path", …]: {error}.'
        ) from None
    return [storage.find(s3, f"{prefix}{name}", name) for name in dict.fromkeys(names)]
