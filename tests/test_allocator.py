"""Freed memory is kept: fewer pages are asked for again; the user's own choice stands."""

import os
import subprocess
import sys

import pytest

from sequela.allocator import keep_freed_memory

CODE = """
import resource, sys
import numpy as np
from sequela.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    arrays = [np.ones(750_000) for _ in range(4)]  # 6 MB each
work(); work()
before = faults()
for _ in range(10):
    work()
print(int(kept), faults() - before)
"""


def run(mode, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC", "GLIBC"))}
    found = subprocess.run(
        [sys.executable, "-c", CODE, mode], env=environment | variables, capture_output=True, text=True, check=True
    )
    return tuple(map(int, found.stdout.split()))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_pages_are_asked_for_once():
    kept, faults = run("keep")
    if not kept:
        pytest.skip("not glibc")
    assert faults < 1000
    assert run("leave")[1] > 10 * max(faults, 100)
    assert run("keep", MALLOC_TRIM_THRESHOLD_="131072")[0] == 0  # the user's choice stands


def test_it_may_be_asked_again():
    assert keep_freed_memory() is keep_freed_memory()
