"""Rules that turn estimates into edges. Each is a small object with ``edges`` and ``to_dict``.

`EffectSize` is the default. `Percentile` and `Otsu` are what other tools ship; on realistic logs they find next to
nothing (`docs/method.md`, section 5), and are here to be compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.effects.cmi import CMIEstimate, Floats
from sequela.errors import ConfigError, check_choice, check_range

Edges = NDArray[np.bool_]


class Threshold(Protocol):
    """A rule from an estimate to edges."""

    def edges(self, estimate: CMIEstimate) -> Edges:
        """Return which pairs are edges (bool, ``[L, m]``); a pair that was not tested never is."""

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain values."""


class _Rule:
    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain values."""
        return {"rule": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class EffectSize(_Rule):
    """Edge when the lower confidence bound of the CMI exceeds ``delta``.

    Attributes:
        delta: Smallest effect of interest in nats. Higher: fewer, stronger edges.
        confidence_level: One-sided confidence that the effect is that large, as far as Monte Carlo error goes.
    """

    delta: float = 0.05
    confidence_level: float = 0.95

    def __post_init__(self) -> None:
        check_range("delta", self.delta, low=0)
        check_range("confidence_level", self.confidence_level, low=0.5, high=1)

    def edges(self, estimate: CMIEstimate) -> Edges:
        """See `Threshold.edges`."""
        low, _ = estimate.interval(max(2 * self.confidence_level - 1, 1e-12))
        return _above(low, self.delta)


@dataclass(frozen=True)
class Fixed(_Rule):
    """Edge when the CMI exceeds ``tau`` nats."""

    tau: float

    def __post_init__(self) -> None:
        check_range("tau", self.tau, low=0)

    def edges(self, estimate: CMIEstimate) -> Edges:
        """See `Threshold.edges`."""
        return _above(estimate.cmi, self.tau)


@dataclass(frozen=True)
class Percentile(_Rule):
    """Edge when the CMI, decayed by lag, is in the top ``100 - percent`` percent of its own sequence.

    Attributes:
        percent: Percentile of the tested pairs.
        decay: Factor per lag beyond the first.
    """

    percent: float = 95.0
    decay: float = 0.9

    def __post_init__(self) -> None:
        check_range("percent", self.percent, low=0, high=100)
        check_range("decay", self.decay, low=0, high=1, above=True)

    def edges(self, estimate: CMIEstimate) -> Edges:
        """See `Threshold.edges`."""
        values = _decayed(estimate.cmi, self.decay)
        tested = values[np.isfinite(values)]
        return _above(values, float(np.percentile(tested, self.percent)) if len(tested) else np.inf)


@dataclass(frozen=True)
class Otsu(_Rule):
    """Edge above the cut that separates the lag-decayed CMI of a sequence into two groups best (Otsu 1979).

    Attributes:
        decay: Factor per lag beyond the first.
    """

    decay: float = 0.9

    def __post_init__(self) -> None:
        check_range("decay", self.decay, low=0, high=1, above=True)

    def edges(self, estimate: CMIEstimate) -> Edges:
        """See `Threshold.edges`."""
        values = _decayed(estimate.cmi, self.decay)
        tested = np.sort(values[np.isfinite(values)])
        if len(tested) < 2:
            return np.zeros(values.shape, dtype=bool)
        n_below = np.arange(1, len(tested))
        sums = np.cumsum(tested)
        below = sums[:-1] / n_below
        above = (sums[-1] - sums[:-1]) / (len(tested) - n_below)
        between = n_below * (len(tested) - n_below) * (above - below) ** 2
        best = int(np.argmax(between))
        return _above(values, tested[best]) if between[best] > 0 else np.zeros(values.shape, dtype=bool)


def vocabulary(c: float, n_types: int) -> Fixed:
    """Return the paper's scaling ``tau = c / |X|`` for ``n_types`` event types.

    Example:
        >>> vocabulary(3.0, 100)
        Fixed(tau=0.03)
    """
    check_range("c", c, low=0)
    return Fixed(c / n_types)


def validated(estimates: Sequence[CMIEstimate], labels: Sequence[Edges]) -> Fixed:
    """Return the fixed threshold with the highest pooled F1 on labelled sequences.

    Args:
        estimates: One a sequence.
        labels: True edges of each (bool, ``[L, m]``, the shape of its estimate).

    Raises:
        ConfigError: Shapes differ, or no label is an edge.
    """
    scores, truth = _tested(estimates, labels)
    assert truth is not None
    if not truth.any():
        raise ConfigError("validated needs at least one true edge among the tested pairs")
    order = np.argsort(-scores, kind="stable")
    ranked, correct = scores[order], np.cumsum(truth[order])
    f1 = 2 * correct / (np.arange(1, len(ranked) + 1) + truth.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = -1.0  # a threshold cannot cut through equal values
    best = int(np.argmax(f1))
    following = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return Fixed(float((ranked[best] + following) / 2))


def sweep(
    estimates: Sequence[CMIEstimate], labels: Sequence[Edges] | None = None, *, taus: Sequence[float] | None = None
) -> pl.DataFrame:
    """Return what every fixed threshold would give.

    Args:
        estimates: One a sequence.
        labels: True edges of each (bool, ``[L, m]``, the shape of its estimate), if known.
        taus: Thresholds in nats; by default 60 from 1e-4 to the largest CMI, evenly on a log scale.

    Returns:
        One row a threshold, rising: ``tau_nats``, ``n_edges`` (over all sequences) and, with labels, ``precision``,
        ``recall`` and ``f1`` over the tested pairs; NaN where nothing is found (precision) or true (recall).

    Raises:
        ConfigError: Shapes differ.

    Example:
        >>> nan = np.nan
        >>> cmi = np.array([[0.5, 0.01], [0.2, nan], [nan, nan]])
        >>> estimate = CMIEstimate(cmi, cmi, cmi, cmi, cmi, None)
        >>> sweep([estimate], [cmi > 0.3], taus=[0.1, 0.4])["precision"].to_list()
        [0.5, 1.0]
    """
    scores, truth = _tested(estimates, labels)
    if taus is None:
        top = max(float(scores.max()) if len(scores) else 0.0, 1e-3)
        taus = np.geomspace(1e-4, top, 60).tolist()
    cuts = np.sort(np.asarray(taus, dtype=np.float64))
    ranked = np.sort(scores)
    n_edges = len(ranked) - np.searchsorted(ranked, cuts, side="right")
    columns: dict[str, Any] = {"tau_nats": cuts, "n_edges": n_edges.astype(np.int64)}
    if truth is not None:
        real = np.sort(scores[truth])
        n_correct = len(real) - np.searchsorted(real, cuts, side="right")
        with np.errstate(invalid="ignore"):
            columns["precision"] = n_correct / n_edges
            columns["recall"] = n_correct / np.float64(len(real))
            columns["f1"] = 2 * n_correct / np.float64(len(real) + n_edges)
    return pl.DataFrame(columns)


def _tested(
    estimates: Sequence[CMIEstimate], labels: Sequence[Edges] | None
) -> tuple[Floats, NDArray[np.bool_] | None]:
    """Return the CMI of all tested pairs of all sequences and, with labels, which of them are true edges."""
    if labels is not None and (
        len(estimates) != len(labels) or any(e.cmi.shape != y.shape for e, y in zip(estimates, labels, strict=False))
    ):
        raise ConfigError("labels must be one array for each estimate, of the same shape [L, m]")
    tested = [np.isfinite(estimate.cmi) for estimate in estimates]
    scores = np.concatenate([e.cmi[t] for e, t in zip(estimates, tested, strict=True)] or [np.empty(0)])
    if labels is None:
        return scores, None
    truth = np.concatenate([y[t] for y, t in zip(labels, tested, strict=True)] or [np.empty(0, dtype=bool)])
    return scores, truth


@dataclass(frozen=True)
class RuleArguments:
    """What a rule may be made from.

    Attributes:
        n_types: Event types.
        delta: Smallest effect of interest, in nats.
        confidence_level: Confidence that an effect exceeds it.
        tau: A threshold in nats, or the constant of the rule ``"vocabulary"``; None where it was not given.
    """

    n_types: int
    delta: float = 0.05
    confidence_level: float = 0.95
    tau: float | None = None


def _with_tau(name: str, make: Callable[[float, int], Threshold]) -> Callable[[RuleArguments], Threshold]:
    def rule(given: RuleArguments) -> Threshold:
        if given.tau is None:
            raise ConfigError(f"threshold '{name}' needs tau (--tau)")
        return make(given.tau, given.n_types)

    return rule


RULES: dict[str, Callable[[RuleArguments], Threshold]] = {
    "effect-size": lambda given: EffectSize(given.delta, given.confidence_level),
    "fixed": _with_tau("fixed", lambda tau, _: Fixed(tau)),
    "vocabulary": _with_tau("vocabulary", vocabulary),
    "percentile": lambda _: Percentile(),
    "otsu": lambda _: Otsu(),
}
"""How each rule is made; a new rule is a class with `Threshold.edges` and a line here."""


def make_threshold(
    rule: str | Threshold,
    *,
    n_types: int,
    delta: float = 0.05,
    confidence_level: float = 0.95,
    tau: float | None = None,
) -> Threshold:
    """Return the rule by its name (one of `RULES`), or the given one; the other arguments are `RuleArguments`."""
    if not isinstance(rule, str):
        return rule
    check_choice("threshold", rule, RULES)
    return RULES[rule](RuleArguments(n_types, delta, confidence_level, tau))


def _above(values: Floats, threshold: float) -> Edges:
    with np.errstate(invalid="ignore"):
        return np.asarray(values > threshold)


def _decayed(cmi: Floats, decay: float) -> Floats:
    return cmi * decay ** np.arange(cmi.shape[1])
