"""What one density says of some of its cases: sums that add up, to the last bit, however the cases were shared out.

All sums are integers (`sequela.evidence.fixed_point`), so no order of additions and no grouping of cases changes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.effects.cmi import CMIEstimate
from sequela.errors import ConfigError
from sequela.events.sequences import Case
from sequela.evidence.fixed_point import (
    Floats,
    Integers,
    add_limbs,
    add_units,
    from_limbs,
    from_units,
    to_limbs,
)
from sequela.evidence.pairs import Codes, Groups, pair_codes, pair_names

WHOLE = ("cases", "support", "support_squared", "ties")
"""Sums of whole numbers. Cases that hold the pair at that lag; places (pairs of positions) that do; over cases, the
square of a case's places; places that share their time."""

REAL = ("cmi", "pointwise", "cmi_squared", "cmi_support")
"""Sums of real numbers. Over places, CMI and pointwise information in nats; over cases, the square of a case's sum of
CMI, and its product with the case's places."""

_ROWS = (*WHOLE, *(f"{name}_{limb}" for name in REAL for limb in ("high", "low")))
_NODE, _PAIR, _CELL = 0, 1, 2
_SCHEMA = {"kind": pl.Int8, "code": pl.Int64, "units": pl.Int64, **dict.fromkeys(_ROWS, pl.Int64)}


class LagSums:
    """What is known of the strength of each type pair at each lag, as sums over cases; only what was met is held.

    Args:
        horizon: Largest lag ``m``.
    """

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self._cells: list[Codes] = [np.zeros(0, np.int64)]
        self._added: list[Integers] = [np.zeros((len(_ROWS), 0), np.int64)]

    def add(self, case: Case, estimate: CMIEstimate, n_types: int) -> None:
        """Add the tested pairs of positions of one case; its own sums are rounded, once."""
        cause, column = np.nonzero(np.isfinite(estimate.cmi))
        effect = cause + column + 1
        lag = column + 1 if estimate.lags is None else estimate.lags[cause, column]
        counted = (case.ids[cause] != case.ids[effect]) & (lag > 0)  # within a tick there is no direction
        cause, column, effect, lag = cause[counted], column[counted], effect[counted], lag[counted]
        pair = pair_codes(case.ids[cause], case.ids[effect], n_types)
        cells, inverse = np.unique(pair * self.horizon + lag - 1, return_inverse=True)

        def total(values: Floats | None = None) -> Floats:
            return np.bincount(inverse, weights=values, minlength=len(cells)).astype(np.float64)

        support, strength = total(), total(estimate.cmi[cause, column])
        tied = np.zeros(len(cells))
        if case.times is not None:
            tied = total((case.times[cause] == case.times[effect]).astype(np.float64))
        whole = np.stack([np.ones(len(cells)), support, support**2, tied]).astype(np.int64)
        real = (strength, total(estimate.pointwise[cause, column]), strength**2, strength * support)
        self._cells.append(cells)
        self._added.append(np.concatenate([whole, *map(to_limbs, real)]))

    def table(self) -> tuple[Codes, Integers]:
        """Return the sorted cells that were met (int64, ``[C]``) and their sums (int64, ``[12, C]``).

        A cell is the code of the pair times the horizon, plus lag - 1. The sums have a row for each of `WHOLE`, and two
        limbs for each of `REAL`.
        """
        return add_cells(np.concatenate(self._cells), np.concatenate(self._added, axis=1))


def add_cells(cells: Codes, sums: Integers) -> tuple[Codes, Integers]:
    """Add up the columns of `LagSums.table` that belong to the same cell."""
    order, keys, starts = _sorted(cells)
    sums = sums[:, order]
    n = len(WHOLE)
    limbs = [add_limbs(sums[n + 2 * i : n + 2 * i + 2], starts) for i in range(len(REAL))]
    return keys, np.concatenate([add_units(sums[:n], starts), *limbs])


def real_sums(sums: Integers) -> dict[str, Floats]:
    """Return the sums of `LagSums.table` as floats, by name (float64, ``[C]`` each)."""
    n = len(WHOLE)
    found = {name: row.astype(np.float64) for name, row in zip(WHOLE, sums, strict=False)}
    return found | {name: from_limbs(sums[n + 2 * i : n + 2 * i + 2]) for i, name in enumerate(REAL)}


def _sorted(codes: Codes) -> tuple[Integers, Codes, Integers]:
    """Return an order that sorts, the different codes, and where each begins."""
    order = np.argsort(codes, kind="stable")
    keys, starts = np.unique(codes[order], return_index=True)
    return order, keys, starts.astype(np.int64)


@dataclass(frozen=True)
class Partial:
    """Strengths, log e-values and node counts of some cases; see the module for how they add up.

    Attributes:
        horizon: Largest lag.
        nodes: Events of each type, or group (int64, ``[n_groups]``).
        pairs: Sorted code ``cause * n_groups + effect`` of the pairs whose cause was met (int64, ``[P]``).
        bets: Log e-value of each in units of 2^-32, rounded down (int64, ``[P]``).
        cells: Sorted code of each pair and lag, ``pair * horizon + lag - 1`` (int64, ``[C]``).
        sums: From `LagSums.table` (int64, ``[12, C]``).

    Example:
        >>> half = np.array([2**31])
        >>> first = Partial(3, np.array([1, 0]), np.array([1]), half, *LagSums(3).table())
        >>> both = first + Partial.empty(2, horizon=3) + first
        >>> both.log_e.tolist(), both.nodes.tolist()
        ([1.0], [2, 0])
    """

    horizon: int
    nodes: NDArray[np.int64]
    pairs: Codes
    bets: Integers
    cells: Codes
    sums: Integers

    @classmethod
    def empty(cls, n_groups: int, horizon: int) -> Partial:
        """Return an empty partial sum."""
        none = np.zeros(0, np.int64)
        return cls(horizon, np.zeros(n_groups, np.int64), none, none, *LagSums(horizon).table())

    @property
    def log_e(self) -> Floats:
        """Log e-value of each pair, rounded down (float64, ``[P]``)."""
        return from_units(self.bets, down=True)

    def __add__(self, other: Partial) -> Partial:
        """Return the sums over the cases of both, which must not share any.

        Raises:
            ConfigError: They are not of the same types and lags.
            SequelaError: A sum is out of the range of fixed-point numbers.
        """
        if (len(self.nodes), self.horizon) != (len(other.nodes), other.horizon):
            raise ConfigError(
                f"partial results add up when they are of the same types and horizon; got {len(self.nodes):,} types up "
                f"to lag {self.horizon}, and {len(other.nodes):,} types up to lag {other.horizon}"
            )
        order, pairs, starts = _sorted(np.concatenate([self.pairs, other.pairs]))
        bets = add_units(np.concatenate([self.bets, other.bets])[None, order], starts)[0]
        cells, sums = add_cells(
            np.concatenate([self.cells, other.cells]), np.concatenate([self.sums, other.sums], axis=1)
        )
        return Partial(self.horizon, self.nodes + other.nodes, pairs, bets, cells, sums)

    def tables(self, groups: Groups) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Return the sums by name: by ``cause``, ``effect``, ``lag``; their ``log_e``; ``event``, ``count``."""
        pair, column = np.divmod(self.cells, self.horizon)
        strength = pair_names(pair, groups.names).with_columns(
            lag=pl.Series(column + 1, dtype=pl.Int64), **real_sums(self.sums)
        )
        evidence = pair_names(self.pairs, groups.names).with_columns(log_e=pl.Series(self.log_e))
        nodes = pl.DataFrame({"event": list(groups.names), "count": self.nodes})
        return strength, evidence, nodes.filter(pl.col("count") > 0)

    def to_frame(self) -> pl.DataFrame:
        """Return all of it but `horizon` as one table of integers, for a file.

        Columns ``kind`` (0: an event type and its count, 1: a pair and its bets, 2: a pair and lag), ``code``,
        ``units`` (the count or the bets) and the sums.
        """
        seen = np.flatnonzero(self.nodes)
        frames = [
            pl.DataFrame({"code": seen, "units": self.nodes[seen]}),
            pl.DataFrame({"code": self.pairs, "units": self.bets}),
            pl.DataFrame({"code": self.cells} | dict(zip(_ROWS, self.sums, strict=True))),
        ]
        named = [frame.with_columns(kind=pl.lit(kind, pl.Int8)) for kind, frame in enumerate(frames)]
        return pl.concat([pl.DataFrame(schema=_SCHEMA), *named], how="diagonal")

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, n_groups: int, horizon: int) -> Partial:
        """Return what `to_frame` wrote."""
        node, pair, cell = (frame.filter(pl.col("kind") == kind) for kind in (_NODE, _PAIR, _CELL))
        nodes = np.zeros(n_groups, np.int64)
        nodes[node["code"].to_numpy()] = node["units"].to_numpy()
        sums = np.stack([cell[name].to_numpy() for name in _ROWS])
        return cls(horizon, nodes, pair["code"].to_numpy(), pair["units"].to_numpy(), cell["code"].to_numpy(), sums)

    @classmethod
    def total(cls, frames: Sequence[pl.DataFrame], n_groups: int, horizon: int) -> Partial:
        """Return the sum of what `to_frame` wrote of disjoint cases."""
        return sum((cls.from_frame(frame, n_groups, horizon) for frame in frames), cls.empty(n_groups, horizon))
