"""Keep memory that was freed for the next array, instead of asking the operating system for it again and again.

The C library of Linux (glibc) gives the end of its heap back as soon as some megabytes of it are free. Scoring makes
and frees arrays of a few megabytes all the time: each is then mapped anew, and the system clears it page by page before
the first number is written. Up to `KEPT_BYTES` are kept here instead. No result depends on it.
"""

from __future__ import annotations

import functools
import os
import sys

KEPT_BYTES = 64 * 2**20
"""Free memory at the end of the heap that is kept."""
_MAPPED_BYTES = 32 * 2**20
"""Larger arrays are mapped on their own and given back when freed, as glibc itself ends up doing."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_USER_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory, from now on in this process; return whether it does.

    Does nothing on other systems, or where the user has set one of glibc's own variables.

    Example:
        >>> keep_freed_memory() in (True, False)
        True
    """
    if sys.platform != "linux" or any(name in os.environ for name in _USER_VARIABLES):
        return False
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _MAPPED_BYTES)) and bool(mallopt(_TRIM_THRESHOLD, KEPT_BYTES))
