"""What an instance type has, as far as it matters to a container.

Source: EC2's DescribeInstanceTypes, as moto keeps its answer; `ml.m5.large` is EC2's m5.large.
"""

import functools
import gzip
import json
from importlib import resources

MIB = 2**20
TABLE = "ec2/resources/instance_types.json.gz"


def memory(instance_type: str, most: int | None) -> int | None:
    """Bytes that a container may take: the type's memory, and `most` if that is less.

    None when neither is known: a few old types are not in the table.
    """
    found = _memory().get(instance_type.removeprefix("ml."))
    return min((limit for limit in (found, most) if limit is not None), default=None)


@functools.cache
def _memory() -> dict[str, int]:
    table = resources.files("moto").joinpath(TABLE)
    types = json.loads(gzip.decompress(table.read_bytes()))
    return {name: info["MemoryInfo"]["SizeInMiB"] * MIB for name, info in types.items()}
