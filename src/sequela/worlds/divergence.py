"""The divergence of the truth, in float64 log space.

Written apart from the estimators on purpose: a truth that shared their code would share their mistakes.
"""

from __future__ import annotations

import numpy as np

from sequela.density.base import Floats, Ids

_LOG_HALF = -np.log(2.0)


def log1mexp(log_p: Floats) -> Floats:
    """Return ``log(1 - p)`` from ``log p`` (any shape, at most 0); -inf where ``p = 1``.

    Source: Mächler (2012), "Accurately computing log(1 - exp(-|a|))": `expm1` above one half, `log1p` below.

    Example:
        >>> log1mexp(np.array([-1e-20, np.log(0.25)])).round(4).tolist()
        [-46.0517, -0.2877]
    """
    with np.errstate(divide="ignore"):
        near_one = np.log(-np.expm1(np.maximum(log_p, _LOG_HALF)))
        result: Floats = np.where(log_p > _LOG_HALF, near_one, np.log1p(-np.exp(np.minimum(log_p, _LOG_HALF))))
    return result


def log_mean_exp(log_p: Floats) -> Floats:
    """Return the log of the mean of ``p`` over the last axis (float64, ``[…, n]`` to ``[…]``).

    Example:
        >>> log_mean_exp(np.log([[0.1, 0.3]])).round(6).tolist() == np.log([0.2]).round(6).tolist()
        True
    """
    top = log_p.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)  # all -inf: the mean is 0
    with np.errstate(divide="ignore"):
        result: Floats = np.log(np.exp(log_p - top).mean(axis=-1)) + top[..., 0]
    return result


def bernoulli_kl(log_p: Floats, log_not_p: Floats, log_q: Floats, log_not_q: Floats) -> Floats:
    """Return ``KL(Ber(p) || Ber(q))`` in nats, at least 0 (all shapes equal).

    The complements are arguments because ``1 - q`` of an averaged ``q`` is known better than ``log q`` tells
    when ``q`` is within rounding of 1.

    Source: `docs/method.md`, section 4.

    Example:
        >>> p, q = np.array([0.5, 1.0]), np.array([0.25, 0.5])
        >>> with np.errstate(divide="ignore"):
        ...     kl = bernoulli_kl(np.log(p), np.log(1 - p), np.log(q), np.log(1 - q))
        >>> kl.round(4).tolist()
        [0.1438, 0.6931]
    """
    total = _term(log_p, log_q) + _term(log_not_p, log_not_q)
    result: Floats = np.maximum(total, 0.0)  # rounding of two terms that cancel
    return result


def divergence_from_mean(log_f: Floats, observed: Ids) -> Floats:
    """Return the truth of some cells from what every replacement of their cause would give.

    Args:
        log_f: Log-probability of the effect under each replacement (``[n, V]``, every event type once).
        observed: The type that was there (int32, ``[n]``).

    Returns:
        ``KL(Ber(p) || Ber(q))`` in nats (``[n]``), ``p`` that of the observed type and ``q`` the mean over all.

    Source: `docs/method.md`, section 6.

    Example:
        >>> divergence_from_mean(np.log([[0.5, 0.25]]), np.array([0], np.int32)).round(4).tolist()
        [0.0323]
    """
    log_p = log_f[np.arange(len(log_f)), observed]
    return bernoulli_kl(log_p, log1mexp(log_p), log_mean_exp(log_f), log_mean_exp(log1mexp(log_f)))


def _term(log_a: Floats, log_b: Floats) -> Floats:
    """``a log(a / b)``, 0 where ``a = 0``."""
    ratio = np.subtract(log_a, log_b, out=np.zeros_like(log_a), where=log_a > -np.inf)
    result: Floats = np.exp(log_a) * ratio
    return result
