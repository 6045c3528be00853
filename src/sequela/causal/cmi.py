"""From log-probabilities to conditional mutual information, its error, and its sign."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from sequela.errors import check_range

Floats = NDArray[np.float64]

LOG_PROB_FLOOR = -700.0
"""Log-probabilities below this are clamped (their exponential leaves float64)."""
LOG_PROB_CEILING = -1e-40
"""Log-probabilities above this are clamped (a probability of exactly 1 has no divergence)."""


@dataclass(frozen=True)
class CMIEstimate:
    """Estimated conditional mutual information of every tested pair of positions of one sequence.

    All arrays are float64 ``[L, m]``: row = position of the cause, column ``k`` = lag ``k + 1``; NaN where not tested.

    Attributes:
        cmi: Divergence in nats.
        std_error: Its Monte Carlo standard error by the delta method; 0 where enumerated.
        pointwise: ``log p - log q`` in nats: above 0 when the cause made the effect more likely.
        log_p: Log-probability of the effect with the cause as observed.
        log_q: The same with the cause intervened on.
        q_std_error: Standard error of ``q`` where it is all that is estimated; None for the staircase and for
            ``mean_of_kl``.
        mean_of_kl: The other statistic, when asked for.
        n_clamped: Log-probabilities that had to be clamped.
    """

    cmi: Floats
    std_error: Floats
    pointwise: Floats
    log_p: Floats
    log_q: Floats
    q_std_error: Floats | None
    mean_of_kl: Floats | None = None
    n_clamped: int = 0

    @property
    def horizon(self) -> int:
        """Largest lag that was tested."""
        return int(self.cmi.shape[1])

    @property
    def n_tested(self) -> int:
        """Number of tested pairs."""
        return int(np.count_nonzero(np.isfinite(self.cmi)))

    def interval(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Return the lower and upper bounds of ``cmi`` at a two-sided confidence level, for Monte Carlo error only.

        Where only ``q`` is estimated, its normal interval is mapped through the divergence. That keeps the level
        near ``p = q``, where the delta method's slope vanishes. Otherwise ``cmi ± z * std_error``, cut at 0.
        """
        check_range("level", level, low=0, high=1, above=True)
        z = NormalDist().inv_cdf(0.5 + min(level, 1 - 1e-12) / 2)
        if self.q_std_error is None:
            return np.maximum(0.0, self.cmi - z * self.std_error), self.cmi + z * self.std_error
        p, q = np.exp(self.log_p), np.exp(self.log_q)
        tiny = np.exp(LOG_PROB_FLOOR)
        below = np.clip(q - z * self.q_std_error, tiny, 1 - 1e-16)
        above = np.clip(q + z * self.q_std_error, tiny, 1 - 1e-16)
        exact = self.q_std_error == 0
        at_below = np.where(exact, self.cmi, bernoulli_kl(self.log_p, np.log(below)))
        at_above = np.where(exact, self.cmi, bernoulli_kl(self.log_p, np.log(above)))
        inside = (below <= p) & (p <= above) & ~exact
        low = np.where(inside, 0.0, np.minimum(at_below, at_above))
        return low, np.maximum(at_below, at_above)


def log1mexp(x: Floats) -> Floats:
    """Return ``log(1 - exp(x))`` for ``x < 0`` without loss of precision.

    Source: Maechler (2012), "Accurately computing log(1 - exp(-|a|))".

    Example:
        >>> float(log1mexp(np.array([-1e-20]))[0]) == float(np.log(1e-20))
        True
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = np.where(x > -np.log(2.0), np.log(-np.expm1(x)), np.log1p(-np.exp(x)))
    return result


def clamp(log_prob: Floats) -> tuple[Floats, int]:
    """Keep log-probabilities where the divergence is finite; return them and how many were changed."""
    bad = (log_prob < LOG_PROB_FLOOR) | (log_prob > LOG_PROB_CEILING)
    n_bad = int(bad.sum())
    return (np.clip(log_prob, LOG_PROB_FLOOR, LOG_PROB_CEILING) if n_bad else log_prob), n_bad


def bernoulli_kl(log_p: Floats, log_q: Floats) -> Floats:
    """Return ``KL(Ber(p) || Ber(q))`` in nats from log-probabilities below 0 (float64, any shape).

    Example:
        >>> round(float(bernoulli_kl(np.log([0.5]), np.log([0.25]))[0]), 6)
        0.143841
    """
    p = np.exp(log_p)
    not_p, not_q = log1mexp(log_p), log1mexp(log_q)
    value = p * (log_p - log_q) + np.exp(not_p) * (not_p - not_q)
    return np.maximum(value, 0.0)


def slope_in_q(log_p: Floats, log_q: Floats) -> Floats:
    """Return ``d KL / d q = (q - p) / (q (1 - q))``."""
    slope: Floats = np.exp(-log_q - log1mexp(log_q)) * (np.exp(log_q) - np.exp(log_p))
    return slope


def slope_in_p(log_p: Floats, log_q: Floats) -> Floats:
    """Return ``d KL / d p = logit(p) - logit(q)``."""
    return (log_p - log1mexp(log_p)) - (log_q - log1mexp(log_q))
