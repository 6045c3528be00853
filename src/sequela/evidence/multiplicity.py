"""From the e-values of many pairs to those that are accepted at a false discovery rate.

Sources: e-BH, Wang and Ramdas (2022); means and products of e-values, Vovk and Wang (2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import logsumexp

from sequela.density.base import Floats
from sequela.events.log import event_at_level
from sequela.evidence.edge_probability import linked

_FAMILY_PRIOR = 5.0
"""Pairs at the mean of all that the mean of a family is drawn towards."""


def claimed(log_e: Floats, strength: Floats, delta: float) -> Floats:
    """Return the log e-values (float64, ``[m]``) of the claim "linked, and at least ``delta`` strong".

    It is that of the link where the strength is at least ``delta``, and minus infinity elsewhere. Wherever the strength
    comes from, ``e * 1{strong}`` is at most ``e``, so it is an e-value too. To take the weak pairs out *after* e-BH is
    something else: the rate holds for all rejected pairs together, and all false ones may be among the strong.

    Args:
        log_e: Log e-values (float64, ``[m]``).
        strength: Estimated effects (float64, ``[m]``, nats).
        delta: Least effect of a link, in nats.

    Example:
        >>> claimed(np.array([9.0, 9.0]), np.array([0.2, 0.01]), 0.05).tolist()
        [9.0, -inf]
    """
    return np.where(strength >= delta, log_e, -np.inf)


def by_density(bets: Sequence[pl.DataFrame], keys: Sequence[str]) -> tuple[pl.DataFrame, Floats]:
    """Return the pairs of several tables of log e-values, sorted, and what each density says of each.

    Args:
        bets: One frame a density: the keys, and ``log_e``.
        keys: Columns that name a pair.

    Returns:
        The keys (``m`` rows), and log e-values (float64, ``[m, n_densities]``): 0 where a density never met the pair.

    Example:
        >>> first = pl.DataFrame({"pair": ["a", "b"], "log_e": [1.0, 2.0]})
        >>> by_density([first, pl.DataFrame({"pair": ["b"], "log_e": [3.0]})], ["pair"])[1].tolist()
        [[1.0, 0.0], [2.0, 3.0]]
    """
    table = pl.concat([each.select(keys) for each in bets]).unique().sort(keys)
    columns = [
        table.join(each.select(*keys, "log_e"), on=list(keys), how="left", maintain_order="left")["log_e"].fill_null(
            0.0
        )
        for each in bets
    ]
    return table, np.stack([column.to_numpy() for column in columns], axis=1)


def combined(log_e: Floats, scheme: str) -> Floats:
    """Return one log e-value a pair from those of several densities.

    With ``"leave-one-out"`` it is the log of the mean: these densities were trained on each other's cases, and the
    product of their e-values would not be an e-value.

    With ``"forward"`` the cases that a density bets on were seen by none before it, so each e-value is fair given those
    before it, and so is the product of those from any density on. The first densities have seen few cases, and where
    they are wrong of a pair they lose what the later ones win. Where to begin is therefore not chosen but mixed: the
    mean over all beginnings, each weighed by the number of densities that bet from there on. A mean with weights that
    were fixed beforehand is an e-value, and of ``n`` densities it is at least their product times ``2 / (n + 1)``.

    Args:
        log_e: Log e-values (float64, ``[m, n_densities]``), ``"forward"`` in the order of training; 0 where a
            density placed no bet.
        scheme: ``"leave-one-out"`` or ``"forward"``.

    Returns:
        float64, ``[m]``.

    Example:
        >>> log_e = np.log([[8.0, 4.0], [0.01, 4.0]])
        >>> np.exp(combined(log_e, "forward")).round(3).tolist()  # (2 * 32 + 1 * 4) / 3
        [22.667, 1.36]
        >>> np.exp(combined(log_e, "leave-one-out")).round(3).tolist()
        [6.0, 2.005]
    """
    n = log_e.shape[1]
    if scheme == "forward":
        from_here = np.cumsum(log_e[:, ::-1], axis=1)[:, ::-1]
        weights = np.arange(n, 0, -1) / (n * (n + 1) / 2)
        mixed: Floats = logsumexp(from_here, b=weights, axis=1)
        return mixed
    mean: Floats = logsumexp(log_e, axis=1) - math.log(n)
    return mean


def e_bh(log_e: Floats) -> Floats:
    """Return the q-value of each hypothesis: the lowest false discovery rate at which e-BH rejects it.

    Args:
        log_e: Log e-values of all hypotheses (float64, ``[m]``), under any dependence.

    Returns:
        float64, ``[m]``, at most 1. Source: Wang and Ramdas (2022): the ``k`` largest are rejected at ``alpha`` when
        the ``k``-th is at least ``m / (alpha k)``.

    Example:
        >>> e_bh(np.log(np.array([100.0, 1.0, 30.0]))).round(3).tolist()
        [0.03, 1.0, 0.05]
    """
    m = len(log_e)
    order = np.argsort(-log_e, kind="stable")
    with np.errstate(over="ignore"):
        each = np.exp(np.log(m) - np.log(np.arange(1, m + 1)) - log_e[order]) if m else np.zeros(0)
    q = np.empty(m)
    q[order] = np.minimum(np.minimum.accumulate(each[::-1])[::-1], 1.0)
    return q


def families(table: pl.DataFrame) -> NDArray[np.int64]:
    """Return a number for the family of each pair (int64, ``[n]``): pairs of types with the same first components."""
    first = [[event_at_level(name, 1) for name in table[column]] for column in ("cause", "effect")]
    pairs = pl.DataFrame({"cause": first[0], "effect": first[1]}, schema={"cause": pl.String, "effect": pl.String})
    family: NDArray[np.int64] = pairs.select(pl.struct(pl.all()).rank("dense")).to_series().to_numpy().astype(np.int64)
    return family - 1


def family_weights(log_e: Floats, family: NDArray[np.int64]) -> Floats:
    """Return a weight for the e-value of each pair: how much likelier a link is in its family than anywhere.

    A family holds the pairs whose types share their first components, as all pairs of codes from one component to
    another. The probability of a link of each pair follows from its e-value (`linked`); a pair's weight is the mean
    of the others in its family, drawn towards the mean of all by `_FAMILY_PRIOR` pairs. Its own e-value plays no
    part in it.

    Args:
        log_e: Log e-values (float64, ``[m]``).
        family: Number of the family of each pair (int64, ``[m]``).

    Returns:
        float64, ``[m]``, mean 1, to multiply the e-values with before `e_bh`, which needs no more than that their
        expectations sum to ``m`` where nothing is linked (compound e-values, Ignatiadis, Wang and Ramdas 2024). The
        weights come from the same cases: exact as far as a pair's e-value does not depend on those of its family.

    Example:
        >>> log_e = np.log(np.array([1e6] * 20 + [30.0] + [0.01] * 79))
        >>> weights = family_weights(log_e, np.array([0] * 21 + [1] * 79))
        >>> float(weights[20].round(1)), float(weights[99].round(1))
        (4.5, 0.1)
    """
    if not len(log_e):
        return np.ones(0)
    probability, share = linked(log_e)
    total, size = np.bincount(family, weights=probability), np.bincount(family)
    prior = (total[family] - probability + _FAMILY_PRIOR * share) / (size[family] - 1 + _FAMILY_PRIOR)
    weights: Floats = prior / prior.mean()
    return weights


def best_for_f1(probability: Floats) -> NDArray[np.bool_]:
    """Return which pairs to call links so that the expected F1 is highest.

    Of the pairs in the order of their probabilities the first ``k`` are taken, with the ``k`` that maximises
    ``2 sum_{i <= k} P_i / (k + sum_i P_i)``, the ratio of what is expected above and below in F1. To find nothing is
    right (F1 1) where there is nothing to find, and is chosen where that is likelier than the best ratio.

    Args:
        probability: That each pair is a link (float64, ``[m]``).

    Returns:
        bool, ``[m]``.

    Example:
        >>> best_for_f1(np.array([0.1, 0.9, 0.6, 0.05])).tolist()
        [False, True, True, False]
        >>> best_for_f1(np.array([0.1, 0.02])).tolist()
        [False, False]
    """
    m = len(probability)
    chosen = np.zeros(m, dtype=bool)
    order = np.argsort(-probability, kind="stable")
    ratio = 2 * np.cumsum(probability[order]) / (np.arange(1, m + 1) + probability.sum())
    if m and ratio.max() > np.prod(1 - probability):
        chosen[order[: int(ratio.argmax()) + 1]] = True
    return chosen
