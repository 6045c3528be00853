"""What one density says of some of its cases: sums that add up, to the last bit, however the cases were shared out.

A sum of floats depends on the order of the additions. So cases are cut into *units* that depend on the log alone
(`unit_bounds`); a unit is summed in the order of its cases; and units are only ever added in the same pairs: 0 + 1,
2 + 3, (0 + 1) + (2 + 3), … A `Partial` holds the sums of whole such blocks. Two neighbours become one where both are
there, so a run of many units is held as few blocks, and blocks that wait for their neighbour are held as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.density.base import Density, Floats
from sequela.discovery.discover import iter_estimates
from sequela.effects.settings import Settings
from sequela.errors import ConfigError
from sequela.events.sequences import SequenceSet
from sequela.evidence.bets import (
    Codes,
    Groups,
    LagSums,
    add_bets_many,
    group_estimate,
    pair_names,
)
from sequela.execution.chunks import Counts

_EVENTS_A_UNIT = 2048
"""Part of the result's bits, so it is a constant."""


def unit_bounds(sequences: SequenceSet) -> NDArray[np.int64]:
    """Return the first case of each unit, and the number of cases (int64, ``[n_units + 1]``).

    A unit has about 2,048 events, or one long case.
    """
    number = sequences.offsets[:-1] // _EVENTS_A_UNIT
    firsts = np.flatnonzero(np.diff(number, prepend=-1))
    return np.append(firsts, sequences.n_cases).astype(np.int64)


class Block(NamedTuple):
    """Sums over the cases of a block of units, of the pairs whose cause was met there.

    Attributes:
        pairs: Sorted code ``cause * n_groups + effect`` (int64, ``[P]``).
        log_e: Log e-value of each (float64, ``[P]``).
        cells: Sorted code of each pair and lag, ``pair * horizon + lag - 1`` (int64, ``[C]``).
        sums: One row each of `LagSums.columns` (float64, ``[8, C]``).
    """

    pairs: Codes
    log_e: Floats
    cells: Codes
    sums: Floats

    def plus(self, other: Block) -> Block:
        """Add the sums of other cases."""
        pairs, log_e = _add(self.pairs, self.log_e[None], other.pairs, other.log_e[None])
        cells, sums = _add(self.cells, self.sums, other.cells, other.sums)
        return Block(pairs, log_e[0], cells, sums)


def _add(keys: Codes, values: Floats, more_keys: Codes, more_values: Floats) -> tuple[Codes, Floats]:
    union = np.union1d(keys, more_keys)
    total = np.zeros((len(values), len(union)))
    total[:, np.searchsorted(union, keys)] = values
    total[:, np.searchsorted(union, more_keys)] += more_values
    return union, total


@dataclass(frozen=True)
class Partial:
    """Strengths, log e-values, node counts and `Counts` of some cases; see the module for how it adds up.

    Attributes:
        horizon: Largest lag.
        nodes: Events of each type, or group (int64, ``[n_groups]``).
        counts: What happened on the way.
        blocks: By level and number: the block of units ``number * 2**level … (number + 1) * 2**level - 1``.

    Example:
        >>> empty = Partial.empty(2, horizon=3)
        >>> block = Block(np.array([1]), np.array([0.5]), np.zeros(0, np.int64), np.zeros((8, 0)))
        >>> first, second = (Partial(3, np.array([1, 0]), blocks={(0, unit): block}) for unit in (0, 1))
        >>> both = second + empty + first
        >>> list(both.blocks), both.total().log_e.tolist(), both.nodes.tolist()
        ([(1, 0)], [1.0], [2, 0])
    """

    horizon: int
    nodes: NDArray[np.int64]
    counts: Counts = field(default_factory=Counts)
    blocks: Mapping[tuple[int, int], Block] = field(default_factory=dict)

    @classmethod
    def empty(cls, n_groups: int, horizon: int) -> Partial:
        """Return what nothing is said of."""
        return cls(horizon, np.zeros(n_groups, np.int64))

    def __add__(self, other: Partial) -> Partial:
        """Return what is said of the cases of both.

        Raises:
            ConfigError: They share cases, or do not speak of the same types and lags.
        """
        if (len(self.nodes), self.horizon) != (len(other.nodes), other.horizon):
            raise ConfigError(
                f"partial results add up when they are of the same types and horizon; got {len(self.nodes):,} types up "
                f"to lag {self.horizon}, and {len(other.nodes):,} types up to lag {other.horizon}"
            )
        both = sorted((number << level, (number + 1) << level) for level, number in [*self.blocks, *other.blocks])
        if any(low < before for (_, before), (low, _) in pairwise(both)):
            raise ConfigError("partial results add up when no case is in both; these share some")
        blocks = dict(self.blocks)
        for place, block in other.blocks.items():
            (level, number), added = place, block
            while (level, number ^ 1) in blocks:
                neighbour = blocks.pop((level, number ^ 1))
                added = added.plus(neighbour) if number % 2 == 0 else neighbour.plus(added)
                level, number = level + 1, number // 2
            blocks[level, number] = added
        counts = Counts()
        counts.include(self.counts)
        counts.include(other.counts)
        return Partial(self.horizon, self.nodes + other.nodes, counts, blocks)

    def total(self) -> Block:
        """Return the sums over all units, added in their order."""
        none = np.zeros(0, np.int64)
        empty = Block(none, np.zeros(0), none, np.zeros((len(LagSums.columns), 0)))
        ordered = sorted(self.blocks.items(), key=lambda item: item[0][1] << item[0][0])
        return reduce(Block.plus, (block for _, block in ordered), empty)

    def tables(self, groups: Groups) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Return the total by name: sums by ``cause``, ``effect``, ``lag``; their ``log_e``; ``event``, ``count``."""
        found = self.total()
        pair, column = np.divmod(found.cells, self.horizon)
        sums = dict(zip(LagSums.columns, found.sums, strict=True))
        strength = pair_names(pair, groups.names).with_columns(lag=pl.Series(column + 1, dtype=pl.Int64), **sums)
        evidence = pair_names(found.pairs, groups.names).with_columns(log_e=pl.Series(found.log_e))
        nodes = pl.DataFrame({"event": list(groups.names), "count": self.nodes})
        return strength, evidence, nodes.filter(pl.col("count") > 0)

    def to_frame(self) -> pl.DataFrame:
        """Return all of it but `counts` and `horizon` as one table, for a file.

        Columns ``level`` and ``number`` of the block, ``code``, ``log_e`` and the sums. A row is a pair (``log_e`` is
        not null), a pair and lag (it is null), or, with null ``level``, an event type and its count as ``support``.
        """
        frames = [pl.DataFrame(schema=_SCHEMA)]
        for (level, number), block in self.blocks.items():
            place = pl.lit(level, pl.Int64).alias("level"), pl.lit(number, pl.Int64).alias("number")
            evidence = pl.DataFrame({"code": block.pairs, "log_e": block.log_e}).with_columns(*place)
            sums = pl.DataFrame({"code": block.cells} | dict(zip(LagSums.columns, block.sums, strict=True)))
            frames += [evidence, sums.with_columns(*place)]
        seen = np.flatnonzero(self.nodes)
        frames.append(pl.DataFrame({"code": seen, "support": self.nodes[seen].astype(np.float64)}))
        return pl.concat(frames, how="diagonal")

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, counts: Counts, n_groups: int, horizon: int) -> Partial:
        """Return what `to_frame` wrote."""
        nodes = np.zeros(n_groups, np.int64)
        blocks = {}
        for (level, number), rows in frame.partition_by("level", "number", as_dict=True, maintain_order=True).items():
            if level is None:
                nodes[rows["code"].to_numpy()] = rows["support"].to_numpy().astype(np.int64)
                continue
            evidence, sums = rows.filter(pl.col("log_e").is_not_null()), rows.filter(pl.col("log_e").is_null())
            by_row = [sums[name].to_numpy() for name in LagSums.columns]
            blocks[level, number] = Block(
                evidence["code"].to_numpy(), evidence["log_e"].to_numpy(), sums["code"].to_numpy(), np.stack(by_row)
            )
        return cls(horizon, nodes, counts, blocks)


_SCHEMA = {
    "level": pl.Int64,
    "number": pl.Int64,
    "code": pl.Int64,
    "log_e": pl.Float64,
    **dict.fromkeys(LagSums.columns, pl.Float64),
}


@dataclass(frozen=True)
class Weighing:
    """How the cases of one density are weighed, wherever that happens.

    Attributes:
        settings: As for `discover`.
        longest: Events of the longest case of all.
        hierarchy_level: See `discover_population`.
        shift: From `calibration`, over all cases.
        pairs: From `co_occurring`, over all cases. A pair that occurs anywhere is bet on wherever its cause is: to bet
            only where the effect comes too would be to know the outcome.
        bounds: From `unit_bounds`, of all cases.
    """

    settings: Settings
    longest: int
    hierarchy_level: int | None
    shift: Floats
    pairs: Codes
    bounds: NDArray[np.int64]

    def units(self, density: Density, low: int, cases: SequenceSet) -> Iterator[tuple[int, Partial]]:
        """Yield each unit of a run of whole units that starts with case ``low``: its end, and what is said of it."""
        first = int(np.searchsorted(self.bounds, low))
        last = int(np.searchsorted(self.bounds, low + cases.n_cases))
        groups = Groups.at_level(density.vocabulary, self.hierarchy_level)
        for unit in range(first, last):
            begin, end = int(self.bounds[unit]), int(self.bounds[unit + 1])
            yield end, self._weigh(density, unit, cases.take(range(begin - low, end - low)), groups)

    def __call__(self, density: Density, low: int, cases: SequenceSet) -> tuple[pl.DataFrame, Counts]:
        """Weigh a run of whole units; return its partial result as a table, and what was counted."""
        total = self.nothing(density)
        for _, partial in self.units(density, low, cases):
            total += partial
        return total.to_frame(), total.counts

    def horizon(self, density: Density) -> int:
        """Return the largest lag."""
        return self.settings.horizon_for(density, self.longest)

    def nothing(self, density: Density) -> Partial:
        """Return what is said of no case."""
        return Partial.empty(
            len(Groups.at_level(density.vocabulary, self.hierarchy_level).names), self.horizon(density)
        )

    def read(self, density: Density, frame: pl.DataFrame, counts: Counts) -> Partial:
        """Return what was kept of some cases."""
        return Partial.from_frame(frame, counts, len(self.nothing(density).nodes), self.horizon(density))

    def _weigh(self, density: Density, unit: int, cases: SequenceSet, groups: Groups) -> Partial:
        horizon, seconds, n_groups = self.horizon(density), self.settings.horizon_seconds, len(groups.names)
        nodes = np.bincount(groups.of[cases.ids], minlength=n_groups).astype(np.int64)
        pairs = self.pairs[nodes[self.pairs // n_groups] > 0]
        sums, log_e, counts = LagSums(horizon), np.zeros(len(pairs)), Counts()
        estimates = iter_estimates(density, cases, self.settings, longest=self.longest)
        if groups.names != density.vocabulary.names:
            estimates = ((case, group_estimate(density, case, horizon, seconds, groups)) for case in cases)
        for case, found in estimates:
            sums.add(case._replace(ids=groups.of[case.ids]), found, n_groups)
            counts.n_cases += 1
            counts.n_cases_skipped += len(case.ids) < 2
            counts.n_pairs_tested += found.n_tested
            counts.n_clamped += found.n_clamped
        add_bets_many(log_e, pairs, density, cases, horizon, self.shift, seconds, groups)
        return Partial(horizon, nodes, counts, {(0, unit): Block(pairs, log_e, *sums.table())})
