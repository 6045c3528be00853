"""Shifts of a window against normal operation, with their errors: means of logarithms, and proportions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

_PRIOR_ROWS = 5.0
_FEWEST = 3
_LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Shift:
    """A change of a mean.

    Attributes:
        key: Of what.
        mean: Mean in the window less the mean in normal operation.
        variance: Its squared standard error.
        n: Rows in the window.
        unknown: Share of its baseline, 0 to 1, that comes from other instances than those in the window.
    """

    key: tuple[str, ...]
    mean: float
    variance: float
    n: int
    unknown: float = 0.0

    @property
    def z(self) -> float:
        """The shift by its standard error."""
        return self.mean / math.sqrt(self.variance)


def shifts(normal: pl.DataFrame, window: pl.DataFrame, keys: Sequence[str], instance_weight: float) -> list[Shift]:
    """Return how the mean of ``value`` moved, by key, less the median move of all keys.

    An instance (column ``instance``) is compared with itself as far as normal operation has rows of it: its normal mean
    is the mean of its ``n`` rows and of ``instance_weight`` rows at the mean of its key. A key with fewer than 3 rows
    in normal operation is left out.

    Example:
        >>> rows = pl.DataFrame({"k": ["a"] * 4, "instance": ["i"] * 4, "value": [0.0, 0.2, 0.0, 0.2]})
        >>> moved = rows.with_columns(pl.col("value") + 1.0)
        >>> shifts(pl.concat([rows, rows.with_columns(k=pl.lit("b"))]), moved, ["k"], 3.0)[0].n
        4
    """
    keys = list(keys)
    by_key = normal.group_by(keys).agg(m=pl.col("value").mean(), v=pl.col("value").var(), n=pl.len()).filter(
        pl.col("n") >= _FEWEST
    )  # fmt: skip
    if by_key.is_empty():
        return []
    freedom = by_key["n"].to_numpy() - 1.0
    pooled = float((by_key["v"].to_numpy() * freedom).sum() / freedom.sum())
    spread = (pl.col("v") * (pl.col("n") - 1) + _PRIOR_ROWS * max(pooled, _LEAST_VARIANCE)) / (
        pl.col("n") - 1 + _PRIOR_ROWS
    )
    own = normal.group_by([*keys, "instance"]).agg(mi=pl.col("value").mean(), ni=pl.len())
    now = window.group_by([*keys, "instance"]).agg(x=pl.col("value").mean(), n1=pl.len())
    weight = pl.col("ni") + instance_weight
    moved = (
        now.join(by_key.with_columns(s2=spread), on=keys).join(own, on=[*keys, "instance"], how="left")
        .with_columns(pl.col("ni").fill_null(0), pl.col("mi").fill_null(0.0))
        .with_columns(d=pl.col("x") - (pl.col("ni") * pl.col("mi") + instance_weight * pl.col("m")) / weight,
                      e=pl.col("s2") * (1 / pl.col("n1") + 1 / weight), u=instance_weight / weight)
        .group_by(keys).agg(d=(pl.col("d") * pl.col("n1")).sum() / pl.col("n1").sum(),
                            e=(pl.col("e") * pl.col("n1") ** 2).sum() / pl.col("n1").sum() ** 2,
                            u=(pl.col("u") * pl.col("n1")).sum() / pl.col("n1").sum(), n1=pl.col("n1").sum())
        .sort(keys)
    )  # fmt: skip
    middle = float(np.median(moved["d"].to_numpy())) if moved.height else 0.0
    rows = moved.select(*keys, "d", "e", "n1", "u").iter_rows()
    return [Shift(tuple(key), d - middle, e, n, u) for *key, d, e, n, u in rows]


def pool(parts: Sequence[Shift]) -> tuple[float, float]:
    """Return the common shift and its standard error, by the random effects of DerSimonian and Laird (1986).

    What only one of many moved by says little about what they have in common.

    Example:
        >>> pool([Shift(("a",), 1.0, 0.01, 5), Shift(("b",), 1.0, 0.01, 5)])[0]
        1.0
    """
    x = np.array([part.mean for part in parts])
    weight = 1 / np.array([part.variance for part in parts])
    if len(parts) > 1:
        mean = (weight * x).sum() / weight.sum()
        excess = (weight * (x - mean) ** 2).sum() - (len(parts) - 1)
        between = max(0.0, excess / (weight.sum() - (weight**2).sum() / weight.sum()))
        weight = 1 / (1 / weight + between)
    return float((weight * x).sum() / weight.sum()), float(1 / math.sqrt(weight.sum()))


def proportion(k: int, n: int, k_normal: int, n_normal: int, drift: float) -> float:
    """Return the standardised rise of a proportion's log odds; 0 where it fell.

    The error is that of the signed root of the likelihood ratio, which also holds where a count is 0.

    Example:
        >>> round(proportion(18, 24, 0, 16, 1.0), 1), proportion(0, 24, 3, 16, 1.0)
        (3.4, 0.0)
    """
    if not n or not n_normal or k * n_normal <= k_normal * n:
        return 0.0
    rate = (k + k_normal) / (n + n_normal)
    deviance = 0.0
    for hits, of in ((k, n), (k_normal, n_normal)):
        for count, expected in ((hits, rate * of), (of - hits, (1 - rate) * of)):
            deviance += 2 * count * math.log(count / expected) if count else 0.0
    root = math.sqrt(max(deviance, 0.0))
    if root == 0:
        return 0.0
    rise = math.log((k + 0.5) / (n - k + 0.5)) - math.log((k_normal + 0.5) / (n_normal - k_normal + 0.5))
    return rise / math.hypot(rise / root, drift) if rise > 0 else 0.0
