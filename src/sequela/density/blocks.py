"""Cutting a sequence into blocks, where a model looks at a limited number of past events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Block(NamedTuple):
    """Events ``low … high - 1`` are predicted from the events since ``begin``."""

    begin: int
    low: int
    high: int


def blocks(length: int, context: int) -> Iterator[Block]:
    """Cut a sequence so that every event has one fixed past of at most ``context`` events.

    Example:
        >>> [tuple(block) for block in blocks(10, 4)]
        [(0, 0, 4), (2, 4, 6), (4, 6, 8), (6, 8, 10)]
    """
    half = context // 2
    yield Block(0, 0, min(length, 2 * half))
    for low in range(2 * half, length, half):
        yield Block(low - half, low, min(length, low + half))
