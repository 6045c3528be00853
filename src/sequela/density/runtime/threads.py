"""How many processor threads to compute with: as many as make the work faster on this machine at this moment.

On processors that other work uses, more threads are often slower than one, because each parallel step waits for its
slowest thread. Limits of a container, hyper-threads and other people's work all show in one measurement, so that is
what decides: a few hundredths of a second of matrix products with 1, 2, 4, … threads, again every half minute.
Results do not depend on the number of threads (`tests/test_threads.py` trains and discovers with one and with two).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

GOOD_FOR_SECONDS = 30.0
"""A measurement is used for so long."""
_MEASURE_SECONDS = 0.015
_ROUNDS = 2
_GAIN = 1.15
"""More threads must be this much faster: a small gain is not worth another processor."""
_USER_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class _State:
    """What holds for the process."""

    chosen: int | None = None
    measured_at: float = 0.0
    inside: bool = False


_state = _State()


@contextmanager
def right_threads() -> Iterator[None]:
    """Compute with the right number of threads inside, and with the number from before afterwards.

    Does nothing when the user has chosen: by ``OMP_NUM_THREADS``, ``MKL_NUM_THREADS`` or ``torch.set_num_threads``.
    May be nested.

    Example:
        >>> import torch
        >>> before = torch.get_num_threads()
        >>> with right_threads():
        ...     product = torch.ones(2, 2) @ torch.ones(2, 2)
        >>> torch.get_num_threads() == before
        True
    """
    import torch

    before = torch.get_num_threads()
    if _state.inside or before == 1 or _user_chose(before):
        yield
        return
    _state.inside = True
    try:
        refresh_threads()
        yield
    finally:
        _state.inside = False
        torch.set_num_threads(before)


def refresh_threads() -> None:
    """Measure again if the last measurement is old; does nothing outside of `right_threads`. For long loops."""
    import torch

    if not _state.inside:
        return
    if _state.chosen is None or time.monotonic() - _state.measured_at > GOOD_FOR_SECONDS:
        _state.chosen = fastest(_candidates(most_threads()))
        _state.measured_at = time.monotonic()
    if torch.get_num_threads() != _state.chosen:
        torch.set_num_threads(_state.chosen)


def most_threads() -> int:
    """Return how many processors this process may use: those it is bound to, within the limit of its container.

    Example:
        >>> 1 <= most_threads() <= (os.cpu_count() or 1)
        True
    """
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(n, _container_limit()))


def fastest(candidates: list[int]) -> int:
    """Return the number of threads that computes fastest now; leaves the last one tried set.

    Args:
        candidates: Numbers of threads, increasing.
    """
    if len(candidates) == 1:
        return candidates[0]
    done, spent = dict.fromkeys(candidates, 0), dict.fromkeys(candidates, 0.0)
    for _ in range(_ROUNDS):  # in turns, so that a burst of other work does not meet one of them alone
        for n in candidates:
            count, seconds = measure(n)
            done[n] += count
            spent[n] += seconds
    best = candidates[0]
    for n in candidates[1:]:
        if done[n] / spent[n] > _GAIN * done[best] / spent[best]:
            best = n
    return best


def measure(n_threads: int) -> tuple[int, float]:
    """Return how many steps like those of a small network were done with some threads, and in how many seconds."""
    import torch

    torch.set_num_threads(n_threads)
    with torch.inference_mode():
        x, weight = torch.ones(256, 256), torch.ones(512, 256)
        torch.nn.functional.silu(x @ weight.T).sum()  # threads start here
        count, started = 0, time.perf_counter()
        while (seconds := time.perf_counter() - started) < _MEASURE_SECONDS:
            torch.nn.functional.silu(x @ weight.T).sum()
            count += 1
    return count, seconds


def _candidates(most: int) -> list[int]:
    found = [1]
    while found[-1] * 2 < most:
        found.append(found[-1] * 2)
    return found + [most] * (most > 1)


def _user_chose(n_threads: int) -> bool:
    """Whether the number of threads is not the one that torch starts with."""
    import psutil

    if any(name in os.environ for name in _USER_VARIABLES):
        return True
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return n_threads not in (bound, os.cpu_count(), psutil.cpu_count(logical=False))


def _container_limit() -> int:
    """Return the processors that a Linux container may use, by its quota; many where there is none."""
    for path in ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"):
        try:
            with open(path) as file:
                quota, *period = file.read().split()
            if not period:
                with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us") as file:
                    period = file.read().split()
            if quota not in ("max", "-1"):
                return max(1, -(-int(quota) // int(period[0])))
        except (OSError, ValueError):
            continue
    return 2**16
