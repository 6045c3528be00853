"""Cutting branches into tiles: the unit in which a decoder runs them.

A tile is a handful of branches of one sequence, laid one after the other in one row of tokens, behind the part of the
observed prefix they can see. Its shape depends on its own sequence alone, and tiles of equal shape, of whatever
sequences, run as one batch: that keeps the matrix products large without letting one sequence touch another's bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Branches, n_targets
from sequela.density.blocks import Block, blocks
from sequela.density.output_head import MIN_ROWS

TILE_TOKENS = 96
"""About as many tail tokens a tile: larger wastes attention between branches, smaller copies the prefix more often."""
_SHORT_PREFIX = 96
"""Behind a prefix of at most so many tokens half a tile is better (measured: 64 tokens, 5 %)."""


class Job(NamedTuple):
    """One block of one sequence, and the branches that have a target in it.

    Attributes:
        case: Which sequence.
        block: Which part of it.
        rows: Its branches by start (int64, ``[n]``).
        steps: Tail steps of each up to its last target in the block (int64, ``[n]``, at least 1).
        n_prefix: Tokens of the prefix that is needed, the begin token included.
    """

    case: int
    block: Block
    rows: NDArray[np.int64]
    steps: NDArray[np.int64]
    n_prefix: int


class Tile(NamedTuple):
    """Some branches of a job.

    Attributes:
        job: Its number.
        rows: Branches (int64, ``[n]``, ``n <= n_rows``).
        steps: Tail steps of each (int64, ``[n]``).
        shape: ``(n_rows, n_steps, n_prefix)``, padded: tiles of equal shape run together.
    """

    job: int
    rows: NDArray[np.int64]
    steps: NDArray[np.int64]
    shape: tuple[int, int, int]


def padded(n_tokens: int) -> int:
    """Return the length to which a prefix is padded: few different ones, little waste.

    Example:
        >>> [padded(n) for n in (1, 17, 200, 1000)]
        [16, 32, 224, 1024]
    """
    unit = 16 if n_tokens <= 128 else 32 if n_tokens <= 512 else 128
    return -(-n_tokens // unit) * unit


def jobs_of(branches: Sequence[Branches], context: int, *, observed: bool) -> list[Job]:
    """Return the work that some branches are; with ``observed`` every event of a sequence is a target as well."""
    result = []
    for index, one in enumerate(branches):
        counts = n_targets(one)
        order = np.argsort(one.starts, kind="stable")
        for block in blocks(len(one.ids), context):
            steps = np.minimum(counts, block.high - 1 - one.starts)
            steps = np.where(one.starts + steps >= block.low, np.maximum(steps, 0), 0)
            rows = order[steps[order] > 0]
            last = block.high - 1 if observed else int(one.starts[rows[-1]]) if len(rows) else -1
            if len(one.ids) and last >= 0:
                result.append(Job(index, block, rows, steps[rows], 1 + last - block.begin))
    return result


def tiles_of(number: int, job: Job, branches: Branches) -> Iterator[Tile]:
    """Cut the branches of one job. Where only some steps are wanted, tails of like length stand together."""
    n_steps = branches.tails.shape[1]
    if branches.wanted is None:
        yield from _tiles_of(number, job, branches.starts, n_steps)
        return
    shorter = 0
    for most in sorted({-(-n_steps // 4), -(-n_steps // 2), n_steps}):
        own = (job.steps > shorter) & (job.steps <= most)
        if own.any():
            some = job._replace(rows=job.rows[own], steps=job.steps[own])
            yield from _tiles_of(number, some, branches.starts, most)
        shorter = most


def _tiles_of(number: int, job: Job, starts: NDArray[np.int64], n_steps: int) -> Iterator[Tile]:
    n_rows = max(1, round(TILE_TOKENS / n_steps / (2 if job.n_prefix <= _SHORT_PREFIX else 1)))
    for low in range(0, len(job.rows), n_rows):
        rows, steps = job.rows[low : low + n_rows], job.steps[low : low + n_rows]
        n_visible = 1 + int(starts[rows[-1]]) - job.block.begin
        half = -(-n_steps // 2)
        most = half if steps.max() <= half else n_steps  # two shapes only: each further one is a batch of its own
        yield Tile(number, rows, steps, (max(n_rows, -(-MIN_ROWS // most)), most, padded(n_visible)))


def batches_of(tiles: Sequence[Tile], n_tokens: int) -> Iterator[list[Tile]]:
    """Group tiles of equal shape into batches of about ``n_tokens`` tail tokens."""
    by_shape: dict[tuple[int, int, int], list[Tile]] = {}
    for tile in tiles:
        by_shape.setdefault(tile.shape, []).append(tile)
    for (n_rows, n_steps, _), same in by_shape.items():
        size = max(1, n_tokens // (n_rows * n_steps))
        for low in range(0, len(same), size):
            yield same[low : low + size]
