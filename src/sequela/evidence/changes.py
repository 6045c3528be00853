"""Did the effect of one event type on another change between two logs, everything else that may have changed aside?

In each log the next event is modelled as ``P(x_q = v) ∝ exp(a_v + Σ_u θ_uv z_uv(q))``. ``z_uv(q)`` is what the past
events of type ``u`` are known to add to the log-probability of ``v``, by lag, relative to the strongest lag; ``θ_uv``
is the effect at that lag in nats. All links are fitted together, so that a link is not blamed for what another one did,
nor for what becomes rarer because something else became more frequent. Errors are by case (a sandwich of the summed
scores of each case, or the curvature where that says more): events of one case may depend on each other in any way.

Source of the errors: White (1982), *Maximum likelihood estimation of misspecified models*; of the false discovery rate:
Benjamini and Yekutieli (2001), any dependence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import lgamma

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from sequela.density.base import Floats
from sequela.errors import SequelaError

Integers = NDArray[np.int64]

_BLOCK = 1 << 14
"""Events that are worked on at a time, or one case."""
_RIDGE = 1.0
"""Inverse variance of the prior of each coefficient around what is known, in 1 / nats²."""
_MAX_STEPS = 50
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Cases:
    """Events of several cases, one case after the other.

    Attributes:
        ids: Event types (int64, ``[n]``).
        offsets: Where each case begins, and the end of the last (int64, ``[n_cases + 1]``).
        ticks: Number of the time stamp of each event in its case (int64, ``[n]``): lags are differences of these.
    """

    ids: Integers
    offsets: Integers
    ticks: Integers

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield ranges of whole cases, of about `_BLOCK` events."""
        bounds = np.searchsorted(self.offsets, np.arange(0, int(self.offsets[-1]), _BLOCK))
        edges = np.unique(np.append(bounds, len(self.offsets) - 1))
        yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)


@dataclass(frozen=True)
class Links:
    """What is known of some links.

    Attributes:
        cause: Event type of each (int64, ``[L]``).
        effect: The same.
        shape: What a cause at each lag adds to the log-probability of the effect (float64, ``[L, horizon]``, nats).
    """

    cause: Integers
    effect: Integers
    shape: Floats


@dataclass(frozen=True)
class Slopes:
    """How large the effects are in one log.

    Attributes:
        theta: Effects at the strongest lag (float64, ``[L]``, nats).
        variance: Of these (float64, ``[L]``).
        freedom: Effective number of cases behind each variance (float64, ``[L]``).
        size: Mean of ``z`` over the events that a cause precedes (float64, ``[L]``); 0 where there are none.
        n_cases: Cases with such an event (int64, ``[L]``).
    """

    theta: Floats
    variance: Floats
    freedom: Floats
    size: Floats
    n_cases: Integers


def slopes(cases: Cases, links: Links, n_types: int) -> Slopes:
    """Fit the effects of all links in one log.

    Args:
        cases: The log.
        links: What is known.
        n_types: Event types.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> ids = rng.integers(0, 2, 4000)
        >>> again = rng.random(4000) < 0.5  # half of the events repeat the one before
        >>> for i in range(1, 4000):
        ...     ids[i] = ids[i - 1] if again[i] else ids[i]
        >>> cases = Cases(ids, np.arange(0, 4001, 40), np.tile(np.arange(40), 100))
        >>> known = Links(np.array([1]), np.array([1]), np.array([[2.2]]))  # odds 3 : 1 against 1 : 3
        >>> fitted = slopes(cases, known, 2)
        >>> bool(abs(fitted.theta[0] - 2.2) < 3 * np.sqrt(fitted.variance[0]))
        True
    """
    model = _Model(cases, links, n_types)
    theta = model.fit()
    _, _, information = model.derivatives(theta, second=True)
    inverse = np.linalg.inv(information)[:, : model.n_links]
    squares, fourths = np.zeros(model.n_links), np.zeros(model.n_links)
    for scores in model.case_scores(theta):
        moved = scores @ inverse
        squares += (moved**2).sum(axis=0)
        fourths += (moved**4).sum(axis=0)
    n = len(cases.offsets) - 1
    variance = np.maximum(squares * n / max(n - 1, 1), np.diag(inverse))
    freedom = np.maximum(squares**2 / np.maximum(fourths, 1e-300) - 1, 1.0)
    return Slopes(theta[: model.n_links], variance, freedom, *model.sizes())


def above_common_level(links: Links, counts: Integers) -> tuple[Links, NDArray[np.bool_]]:
    """Return the links relative to what their cause does to most events, and which of them differ from that.

    A cause that makes one type likely makes all others rarer. That common level is the median over all events, and the
    links at it (nearer to it than to 0) are no effects of their own: they are the reference for the others.

    Args:
        links: What is known; pairs that are not among them have no effect.
        counts: Events of each type (int64, ``[n_types]``).

    Returns:
        The links that differ, and which they are (bool, ``[L]``).

    Example:
        >>> shape = np.array([[0.9], [-0.4], [-0.4]])
        >>> found, differs = above_common_level(Links(np.zeros(3, int), np.arange(3), shape), np.array([5, 5, 5]))
        >>> found.shape.round(1).tolist(), differs.tolist()
        ([[1.3]], [True, False, False])
    """
    shape = links.shape.copy()
    order = np.argsort(links.cause, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(links.cause[order])) + 1):
        of_types = np.zeros((len(counts), shape.shape[1]))
        of_types[links.effect[rows]] = shape[rows]
        for lag in range(shape.shape[1]):
            ranked = np.argsort(of_types[:, lag], kind="stable")
            middle = np.searchsorted(np.cumsum(counts[ranked]), counts.sum() / 2)
            shape[rows, lag] -= of_types[ranked[middle], lag]
    differs = np.abs(shape).sum(axis=1) >= np.abs(links.shape - shape).sum(axis=1)
    return Links(links.cause[differs], links.effect[differs], shape[differs]), differs


def change_p_values(first: Slopes, second: Slopes, testable: NDArray[np.bool_]) -> Floats:
    """Return the two-sided p-value of each link for the same effect in both logs (Welch); 1 where not testable."""
    variance = first.variance + second.variance
    freedom = variance**2 / (first.variance**2 / first.freedom + second.variance**2 / second.freedom)
    t = np.abs(second.theta - first.theta) / np.sqrt(variance)
    return np.where(testable, 2 * stats.t.sf(t, freedom), 1.0)


def rate_p_values(first: Integers, second: Integers) -> Floats:
    """Return the two-sided p-value of each column for the same mean a case in both logs (Welch).

    It is never below that of the most extreme of all ways to share the cases out, one in ``n choose n_first``.

    Args:
        first: Counts (int64, ``[n_first, K]``).
        second: Counts (int64, ``[n_second, K]``).

    Example:
        >>> a, b = np.array([[0, 1]] * 30 + [[1, 1]] * 30), np.array([[1, 1]] * 60)
        >>> rate_p_values(a, b).round(6).tolist()
        [0.0, 1.0]
    """
    n, m = len(first), len(second)
    if min(n, m) < 2:
        return np.ones(first.shape[1])
    means = first.mean(axis=0), second.mean(axis=0)
    spread = first.var(axis=0, ddof=1) / n, second.var(axis=0, ddof=1) / m
    variance = spread[0] + spread[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = variance**2 / (spread[0] ** 2 / (n - 1) + spread[1] ** 2 / (m - 1))
        p = 2 * stats.t.sf(np.abs(means[1] - means[0]) / np.sqrt(variance), freedom)
    p = np.where(variance > 0, p, np.where(means[0] == means[1], 1.0, 0.0))
    fewest = np.exp(lgamma(n + 1) + lgamma(m + 1) - lgamma(n + m + 1))
    return np.clip(p, fewest, 1.0)


def by_q_values(p: Floats, n_tests: int) -> Floats:
    """Return the q-values of Benjamini and Yekutieli, under any dependence.

    Args:
        p: The p-values that may be small (float64, ``[k]``).
        n_tests: Hypotheses in all; those left out have a p-value of 1.

    Example:
        >>> by_q_values(np.array([0.001, 0.5]), 10).round(4).tolist()
        [0.0293, 1.0]
    """
    order = np.argsort(p, kind="stable")
    harmonic = float((1 / np.arange(1, n_tests + 1)).sum()) if n_tests else 1.0
    scaled = p[order] * n_tests * harmonic / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def neighbours(cases: Cases, horizon: int) -> Iterator[tuple[Integers, Integers, Integers]]:
    """Yield all pairs of positions of one case at lags 1 … horizon: the earlier ones, the later ones, their lags."""
    case = np.repeat(np.arange(len(cases.offsets) - 1), np.diff(cases.offsets))
    for distance in range(1, len(cases.ids)):
        lag = cases.ticks[distance:] - cases.ticks[:-distance]
        near = (case[distance:] == case[:-distance]) & (lag <= horizon)
        if not near.any():
            return
        earlier = np.flatnonzero(near & (lag > 0))
        yield earlier, earlier + distance, lag[earlier]


def places_by_lag(cases: Cases, links: Links, n_types: int) -> Integers:
    """Return how many pairs of positions hold each link's types at each lag (int64, ``[L, horizon]``)."""
    horizon = links.shape.shape[1]
    row = {code: i for i, code in enumerate((links.cause * n_types + links.effect).tolist())}
    found = np.zeros((len(row), horizon), dtype=np.int64)
    for earlier, later, lag in neighbours(cases, horizon):
        codes, counts = np.unique(
            (cases.ids[earlier] * n_types + cases.ids[later]) * horizon + lag - 1, return_counts=True
        )
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            pair, column = divmod(code, horizon)
            if pair in row:
                found[row[pair], column] += count
    return found


def known_effects(cases: Cases, links: Links, n_types: int) -> sparse.csr_array:
    """Return ``z``: what the past of each event is known to add for each link (sparse float64, ``[n, L]``)."""
    n, horizon = len(cases.ids), links.shape.shape[1]
    link, lag = np.nonzero(links.shape)
    table = sparse.csr_array(
        (links.shape[link, lag], (links.cause[link] * horizon + lag, link)),
        shape=(n_types * horizon + 1, len(links.cause)),
    )  # the last row is empty
    found = sparse.csr_array((n, len(links.cause)))
    for earlier, later, lags in neighbours(cases, horizon):
        rows = np.full(n, n_types * horizon)
        rows[later] = cases.ids[earlier] * horizon + lags - 1
        found = found + table[rows]
    return sparse.csr_array(found)


class _Model:
    """The log-likelihood of one log. Coefficients: those of the links, then the intercepts of the columns.

    Columns are the types that some link leads to; all others are one more column, which changes nothing: their
    probabilities relative to each other do not depend on the coefficients of the links.
    """

    def __init__(self, cases: Cases, links: Links, n_types: int) -> None:
        strongest = np.take_along_axis(links.shape, np.abs(links.shape).argmax(axis=1)[:, None], axis=1)
        links = Links(links.cause, links.effect, links.shape / np.where(strongest == 0, 1, strongest))
        targets = np.unique(links.effect)
        column = np.full(n_types, len(targets), dtype=np.int64)
        column[targets] = np.arange(len(targets))
        self.cases, self.links, self._n_types = cases, links, n_types
        self.target = column[links.effect]
        self.observed = column[cases.ids]
        self.n_links, self.n_columns = len(links.cause), len(targets) + 1
        counts = np.bincount(self.observed, minlength=self.n_columns)
        self.start = np.append(strongest, np.log((counts + 0.5) / counts.sum()))
        self._to_columns = sparse.csr_array(
            (np.ones(self.n_links), (np.arange(self.n_links), self.target)), shape=(self.n_links, self.n_columns)
        )
        self._same = self.target[:, None] == self.target
        self._known = [(self._z(low, high), low, high) for low, high in cases.blocks()]

    def _z(self, low: int, high: int) -> sparse.csr_array:
        begin, end = int(self.cases.offsets[low]), int(self.cases.offsets[high])
        own = Cases(self.cases.ids[begin:end], self.cases.offsets[low : high + 1] - begin, self.cases.ticks[begin:end])
        return known_effects(own, self.links, self._n_types)

    def sizes(self) -> tuple[Floats, Integers]:
        """Return `Slopes.size` and `Slopes.n_cases`."""
        total, count, cases = (np.zeros(self.n_links) for _ in range(3))
        for z, low, high in self._known:
            there = sparse.csr_array(z != 0, dtype=np.float64)
            total += np.asarray(z.sum(axis=0)).ravel()
            count += np.asarray(there.sum(axis=0)).ravel()
            cases += np.asarray(((self._by_case(low, high) @ there) != 0).sum(axis=0)).ravel()
        return total / np.maximum(count, 1), cases.astype(np.int64)

    def _by_case(self, low: int, high: int) -> sparse.csr_array:
        """Return the matrix that adds up the rows of each case (``[cases, n]``)."""
        rows = np.repeat(np.arange(high - low), np.diff(self.cases.offsets[low : high + 1]))
        return sparse.csr_array((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(high - low, len(rows)))

    def _rows(self, theta: Floats) -> Iterator[tuple[sparse.csr_array, Floats, Integers, int, int]]:
        """Yield ``z``, log-probabilities ``[n, C]`` and observed columns of each block."""
        for z, low, high in self._known:
            begin, end = int(self.cases.offsets[low]), int(self.cases.offsets[high])
            logits = z @ (self._to_columns.multiply(theta[: self.n_links, None])).toarray() + theta[self.n_links :]
            logits -= logits.max(axis=1, keepdims=True)
            yield z, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), self.observed[begin:end], low, high

    def _scores(self, z: sparse.csr_array, log_p: Floats, observed: Integers) -> tuple[sparse.csr_array, Floats]:
        residual = -np.exp(log_p)
        residual[np.arange(len(observed)), observed] += 1
        return self._times(z, residual), residual

    def _times(self, z: sparse.csr_array, columns: Floats) -> sparse.csr_array:
        """Return ``z`` with each entry times the value of its link's column in its row."""
        weighed = z.tocoo()
        values = weighed.data * columns[weighed.row, self.target[weighed.col]]
        return sparse.csr_array((values, (weighed.row, weighed.col)), shape=z.shape)

    def derivatives(self, theta: Floats, *, second: bool) -> tuple[float, Floats, Floats]:
        """Return the penalised log-likelihood, its gradient, and its negative second derivative where asked for."""
        off = theta - self.start
        value, gradient = -0.5 * _RIDGE * float(off @ off), -_RIDGE * off
        n, k = self.n_links, len(theta)
        information = np.eye(k) * _RIDGE if second else np.zeros((0, 0))
        for z, log_p, observed, _, _ in self._rows(theta):
            value += float(log_p[np.arange(len(observed)), observed].sum())
            of_links, of_columns = self._scores(z, log_p, observed)
            gradient[:n] += np.asarray(of_links.sum(axis=0)).ravel()
            gradient[n:] += of_columns.sum(axis=0)
            if second:
                p = np.exp(log_p)
                weighed = self._times(z, p)
                information[:n, :n] += (weighed.T @ z).toarray() * self._same - (weighed.T @ weighed).toarray()
                cross = -(weighed.T @ p)
                cross[np.arange(n), self.target] += np.asarray(weighed.sum(axis=0)).ravel()
                information[:n, n:] += cross
                information[n:, :n] += cross.T
                information[n:, n:] += np.diag(p.sum(axis=0)) - p.T @ p
        return value, gradient, information

    def fit(self) -> Floats:
        """Return the coefficients that maximise it, by Newton's method with halved steps."""
        theta = self.start
        value, gradient, information = self.derivatives(theta, second=True)
        for _ in range(_MAX_STEPS):
            step = np.linalg.solve(information, gradient)
            if float(gradient @ step) < _TOLERANCE:
                return theta
            for share in 0.5 ** np.arange(20):
                new, _, _ = self.derivatives(theta + share * step, second=False)
                if new >= value:
                    break
            theta = theta + share * step
            value, gradient, information = self.derivatives(theta, second=True)
        raise SequelaError("the effects of the links could not be fitted: their log-likelihood did not settle")

    def case_scores(self, theta: Floats) -> Iterator[Floats]:
        """Yield the summed scores of some cases (float64, ``[cases, k]``)."""
        for z, log_p, observed, low, high in self._rows(theta):
            of_links, of_columns = self._scores(z, log_p, observed)
            by_case = self._by_case(low, high)
            yield np.hstack([(by_case @ of_links).toarray(), by_case @ of_columns])
