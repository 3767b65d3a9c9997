"""The kernel's own count of pages that a process touched for the first time."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
import memory

def first_touches():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(2**17)  # 1 MiB: 256 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) * 1024

memory.keep(memory.USUAL)
usual = first_touches()
with memory.kept():
    first_touches()
    kept = first_touches()
    arrays = [np.ones(2**17) for _ in range(64)]  # 64 MiB
    del arrays[::2]  # between those that stay
    held = resident()
print(usual, kept, held, resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the memory that glibc keeps")
def test_memory_is_kept_for_the_next_array_and_given_back_in_the_end():
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": "container", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    usual, kept, held, given_back = map(int, said.split())
    assert usual > 20 * 200
    assert kept < usual / 10
    assert given_back < held - 24 * 2**20
