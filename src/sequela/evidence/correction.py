"""How likely it is that a pair has an effect of ``delta`` at least (`docs/method.md`, section 13).

The mean effect of a pair at a lag is a model's. What its forecasts leave over on held-out cases
(`sequela.evidence.residuals`) says by how much it is off, in log-odds, with a standard error over cases. Of hundreds of
pairs a few are far off and most next to nothing: the true shifts are taken to be drawn from a mixture of normal
distributions around ``slope`` times the effect itself (a density of a small log shows all effects too weak), whose
weights are estimated from all pairs (adaptive shrinkage, Stephens 2017). From the posterior of the shift follow the
corrected effect and the probability that it reaches ``delta``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.special import ndtr, ndtri

from sequela.density.base import Floats

SPREADS = np.array([0.02, 0.1, 0.2, 0.4, 0.8, 1.6])
"""Standard deviations of the shifts that are mixed, in log-odds."""
_ROUNDS = 100
_LEAST_INFORMATION = 0.5
"""Less says next to nothing of a shift: such a pair plays no part in the estimates of the mixture."""
_LEAST_PLACES = 5
"""Places that a pair must have at a lag to have an effect there."""
_QUANTILES = ndtri((np.arange(15) + 0.5) / 15)


def link_probability(lags: pl.DataFrame, residuals: Sequence[pl.DataFrame], *, delta: float) -> pl.DataFrame:
    """Return ``cause``, ``effect``, ``corrected_nats`` and ``probability`` of each pair, at its likeliest lag.

    Without residuals the effect is as the density says, normal with its standard error over cases.

    Args:
        lags: Strength of each pair by lag, with ``support``, ``cmi_nats``, ``pointwise_nats`` and ``std_error``.
        residuals: ``cause``, ``effect``, ``lag`` and the sums of `sequela.evidence.residuals`, one frame a density.
        delta: Least mean effect of a link, in nats.
    """
    keys = ["cause", "effect", "lag"]
    table = _with_residuals(lags, residuals)
    cmi, error = table["cmi_nats"].to_numpy(), table["std_error"].to_numpy()
    if residuals:
        nats, probability = corrected(
            cmi, table["pointwise_nats"].to_numpy(), *_sums(table), delta, known=np.isfinite(error)
        )
        table = table.with_columns(corrected_nats=pl.Series(nats, dtype=pl.Float64))
    else:
        probability = ndtr((cmi - delta) / np.maximum(error, 1e-12))
        table = table.with_columns(corrected_nats=pl.lit(None, pl.Float64))
    # One case says nothing of how cases differ.
    probability = np.where(np.isfinite(error) & (table["support"].to_numpy() >= _LEAST_PLACES), probability, 0.0)
    table = table.with_columns(probability=pl.Series(probability, dtype=pl.Float64))
    best = table.sort(
        "cause", "effect", pl.col("probability").round(9), pl.col("cmi_nats").round(9), "lag",
        descending=[False, False, True, True, False],
    )  # fmt: skip
    return best.unique(keys[:2], keep="first", maintain_order=True).select(*keys[:2], "corrected_nats", "probability")


def effect_intervals(lags: pl.DataFrame, residuals: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return ``cause``, ``effect``, ``lag`` and 95 % intervals of the mean log ratios, with the error of the density.

    Args:
        lags: As for `link_probability`.
        residuals: As for `link_probability`, at least one.
    """
    table = _with_residuals(lags, residuals)
    low, high = interval(table["cmi_nats"].to_numpy(), table["pointwise_nats"].to_numpy(), *_sums(table))
    known = table["information"].fill_null(0.0).to_numpy() > 0
    columns = {"pointwise_low_nats": low, "pointwise_high_nats": high}
    return table.select("cause", "effect", "lag").with_columns(
        **{name: pl.Series(np.where(known, values, np.nan)).fill_nan(None) for name, values in columns.items()}
    )


def interval(
    cmi: Floats, log_ratio: Floats, score: Floats, information: Floats, score_squared: Floats
) -> tuple[Floats, Floats]:
    """Return the ends of 95 % intervals of mean log ratios ``log p - log q`` (float64, ``[n]`` each).

    The shift in log-odds is a first step from where the density is. For a rare effect it is the shift of the log ratio;
    where the density is far off, the same residuals say rather by how much the probability is off: the shift times a
    mean of ``p (1 - p)`` and ``q (1 - q)``, with the two that go with the mean effect and the mean log ratio. The
    interval holds all three readings: it is wide where they differ.

    Args:
        cmi: Mean effects (float64, ``[n]``), in nats.
        log_ratio: Mean log ratios of the density (float64, ``[n]``).
        score: As for `corrected`.
        information: As for `corrected`.
        score_squared: As for `corrected`.
    """
    shift, variance = shifts(score, information, score_squared)
    margin = float(ndtri(0.975)) * np.sqrt(variance)
    chance = _chance(cmi, log_ratio)
    without = np.clip(chance * np.exp(-log_ratio), 1e-6, 1 - 1e-6)
    ends = []
    for moved, worst in ((shift - margin, np.minimum), (shift + margin, np.maximum)):
        end = log_ratio + moved
        for rate in (chance, without):
            probability = np.clip(chance + moved * rate * (1 - rate), 0.02 * without, 1 - 1e-6)
            end = worst(end, np.log(probability / without))
        ends.append(end)
    return ends[0], ends[1]


def _chance(cmi: Floats, log_ratio: Floats) -> Floats:
    """Return the probability ``p`` with which ``log p - log q`` and the divergence are as given."""
    low, high = np.full(len(cmi), 1e-7), 0.98 * np.exp(np.minimum(log_ratio, 0.0))
    for _ in range(60):
        middle = np.sqrt(low * high)
        without = np.minimum(middle * np.exp(-log_ratio), 1 - 1e-9)
        nats = middle * log_ratio + (1 - middle) * (np.log1p(-middle) - np.log1p(-without))
        low, high = np.where(nats < cmi, middle, low), np.where(nats < cmi, high, middle)
    return np.clip(np.sqrt(low * high), 1e-4, 0.9)


def _with_residuals(lags: pl.DataFrame, residuals: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the strengths by lag, sorted, with the sums over all residuals."""
    keys = ["cause", "effect", "lag"]
    table = lags.select(*keys, "support", "cmi_nats", "pointwise_nats", "std_error").sort(keys)
    if not residuals:
        return table
    sums = pl.concat(residuals).group_by(keys, maintain_order=True).agg(pl.all().sum())
    return table.join(sums, on=keys, how="left", maintain_order="left")


def _sums(table: pl.DataFrame) -> tuple[Floats, Floats, Floats]:
    score, information, squared = (
        table[name].fill_null(0.0).to_numpy() for name in ("score", "information", "score_squared")
    )
    return score, information, squared


def corrected(
    cmi: Floats,
    log_ratio: Floats,
    score: Floats,
    information: Floats,
    score_squared: Floats,
    delta: float,
    *,
    known: np.ndarray | None = None,
) -> tuple[Floats, Floats]:
    """Return corrected effects in nats, and the probabilities that they reach ``delta`` (float64, ``[n]`` each).

    With a log ratio ``d`` of the forecasts with and without the cause the effect is about ``q g(d)`` nats,
    ``g(d) = (d - 1) e^d + 1`` and ``q`` the forecast without; a shift of ``d`` therefore multiplies it by
    ``g(d + shift) / g(d)``.

    Args:
        cmi: Mean effects (float64, ``[n]``), in nats.
        log_ratio: Mean log ratios (float64, ``[n]``), in nats.
        score: Sums of the products of residuals (float64, ``[n]``).
        information: Sums of their weights (float64, ``[n]``).
        score_squared: Over cases, the squared score of a case (float64, ``[n]``).
        delta: Least effect of a link, in nats.
        known: Which effects tell of the mixture (bool, ``[n]``); by default all.
    """
    shift, variance = shifts(score, information, score_squared)
    used = (information > _LEAST_INFORMATION) & (True if known is None else known)
    weight = np.where(used, 1 / variance, 0.0)
    total = (weight * log_ratio**2).sum()
    slope = (weight * log_ratio * shift).sum() / total if total > 0 else 0.0
    share, mean, spread = posterior(shift, variance, slope * log_ratio, used)
    base = np.minimum(cmi / np.maximum(_effect(log_ratio), 1e-4), 0.5)
    probability = np.zeros(len(cmi))
    for quantile in _QUANTILES:
        reaches = base[:, None] * _effect(log_ratio[:, None] + mean + spread * quantile) >= delta
        probability += (share * reaches).sum(axis=1) / len(_QUANTILES)
    nats: Floats = base * _effect(log_ratio + (share * mean).sum(axis=1))
    return nats, np.minimum(probability, 1.0)


def shifts(score: Floats, information: Floats, score_squared: Floats) -> tuple[Floats, Floats]:
    """Return shifts in log-odds and their variances (float64, ``[n]`` each), from sums over cases.

    The variance is that over cases, or that of the information where that is larger.
    """
    weight = np.maximum(information, 0.05)
    return score / weight, np.maximum(information, np.maximum(score_squared, 0.05)) / weight**2


def posterior(shift: Floats, variance: Floats, centre: Floats, used: np.ndarray) -> tuple[Floats, Floats, Floats]:
    """Return the posterior of each shift: shares, means and standard deviations of `SPREADS` (``[n, 6]`` each).

    Args:
        shift: Estimates (float64, ``[n]``).
        variance: Of their errors (float64, ``[n]``).
        centre: Mean of the distribution that each is drawn from (float64, ``[n]``).
        used: Which tell of its shape (bool, ``[n]``).
    """
    wide = SPREADS**2 + variance[:, None]
    log_density = -0.5 * np.log(wide) - 0.5 * (shift - centre)[:, None] ** 2 / wide
    likelihood = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    weights = np.full(len(SPREADS), 1 / len(SPREADS))
    for _ in range(_ROUNDS if used.any() else 0):
        share = likelihood[used] * weights
        weights = (share / share.sum(axis=1, keepdims=True)).mean(axis=0)
    share = likelihood * weights
    share /= share.sum(axis=1, keepdims=True)
    precision = 1 / SPREADS**2 + 1 / variance[:, None]
    mean = (centre[:, None] / SPREADS**2 + (shift / variance)[:, None]) / precision
    return share, mean, 1 / np.sqrt(precision)


def _effect(log_ratio: Floats) -> Floats:
    """Return ``(d - 1) e^d + 1`` of log ratios, at most 20 of them."""
    ratio = np.minimum(log_ratio, 20.0)
    value: Floats = (ratio - 1) * np.exp(ratio) + 1
    return value
