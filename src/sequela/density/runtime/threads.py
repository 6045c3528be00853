"""The number of processor threads: one for each process, unless the user sets another.

The matrix products of small networks gain little from a second thread, and lose many times their time where other work
uses the same processors: each parallel step then waits for its slowest thread. Several processes (`engine="ray"`) use
several processors better. Results do not depend on the number of threads (`tests/density/runtime/test_threads.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_USER_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def right_threads() -> Iterator[None]:
    """Compute with one thread inside, and with the number from before afterwards; may be nested.

    Does nothing when the user has chosen: by ``OMP_NUM_THREADS``, ``MKL_NUM_THREADS`` or ``torch.set_num_threads``.

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
    if before == 1 or _user_chose(before):
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _user_chose(n_threads: int) -> bool:
    """Whether the number of threads is not one that torch starts with: the processors, or the physical ones."""
    import psutil

    if any(name in os.environ for name in _USER_VARIABLES):
        return True
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return n_threads not in (bound, os.cpu_count(), psutil.cpu_count(logical=False))
