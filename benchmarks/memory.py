"""Peak memory of a call, from the operating system (Linux)."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def peak_above(call: Callable[[], T]) -> tuple[T, float, int]:
    """Return the call's result, its seconds, and its highest resident memory above what was resident before."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # start VmHWM anew
    before = _status_bytes("VmRSS")
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started, _status_bytes("VmHWM") - before
