"""How well found edges, or the scores they come from, agree with a known truth.

Conventions for empty sets, so that means over many sequences never break: where nothing is predicted and
nothing is true, precision, recall and F1 are 1 (the graph is right); where only one is empty, all three are 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sequela.errors import ConfigError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Scores:
    """Agreement of predicted edges with true ones.

    Attributes:
        precision: Share of predicted edges that are true.
        recall: Share of true edges that are predicted.
        f1: Harmonic mean of both, ``2 n_correct / (n_true + n_predicted)``.
        n_true: True edges.
        n_predicted: Predicted edges.
        n_correct: Edges that are both.
    """

    precision: float
    recall: float
    f1: float
    n_true: int
    n_predicted: int
    n_correct: int

    @classmethod
    def from_counts(cls, *, n_true: int, n_predicted: int, n_correct: int) -> Scores:
        """Compute the shares from the counts.

        Raises:
            ConfigError: More edges are correct than true or predicted, or a count is negative.

        Source:
            Van Rijsbergen (1979), Information Retrieval, chapter 7; empty sets as the module says.

        Example:
            >>> Scores.from_counts(n_true=4, n_predicted=2, n_correct=1).precision
            0.5
        """
        most = min(n_true, n_predicted)
        if not 0 <= n_correct <= most:
            raise ConfigError(f"n_correct must be 0 … min(n_true, n_predicted) = {most}; got {n_correct}")
        if n_true == n_predicted == 0:
            return cls(1.0, 1.0, 1.0, 0, 0, 0)
        precision = n_correct / n_predicted if n_predicted else 0.0
        recall = n_correct / n_true if n_true else 0.0
        return cls(precision, recall, 2 * n_correct / (n_true + n_predicted), n_true, n_predicted, n_correct)

    @classmethod
    def from_sets(cls, predicted: AbstractSet[Hashable], true: AbstractSet[Hashable]) -> Scores:
        """Compare two sets of edges, whatever names an edge.

        Example:
            >>> Scores.from_sets({("a", "b"), ("b", "c")}, {("a", "b")}).recall
            1.0
        """
        return cls.from_counts(n_true=len(true), n_predicted=len(predicted), n_correct=len(predicted & true))

    @classmethod
    def pooled(cls, parts: Iterable[Scores]) -> Scores:
        """Add the counts of several sequences up (micro average: every edge weighs the same).

        Example:
            >>> one = Scores.from_counts(n_true=1, n_predicted=1, n_correct=1)
            >>> two = Scores.from_counts(n_true=3, n_predicted=1, n_correct=0)
            >>> Scores.pooled([one, two]).recall
            0.25
        """
        every = list(parts)
        return cls.from_counts(
            n_true=sum(part.n_true for part in every),
            n_predicted=sum(part.n_predicted for part in every),
            n_correct=sum(part.n_correct for part in every),
        )


def score_edges(predicted: ArrayLike, true: ArrayLike, tested: ArrayLike | None = None) -> Scores:
    """Compare predicted with true edges cell by cell.

    Args:
        predicted: Bool, any shape (banded ``[L, horizon]``, or ``[n_types, n_types]``).
        true: Bool, same shape.
        tested: Bool, same shape: cells that count; all when None. A cell outside the sequence or the horizon
            is neither right nor wrong.

    Raises:
        ConfigError: The arrays are not bool or differ in shape.

    Example:
        >>> score_edges([True, True, False], [True, False, True])
        Scores(precision=0.5, recall=0.5, f1=0.5, n_true=2, n_predicted=2, n_correct=1)
    """
    found, real = _bools("predicted", predicted), _bools("true", true)
    counted = np.ones(real.shape, dtype=np.bool_) if tested is None else _bools("tested", tested)
    if not found.shape == real.shape == counted.shape:
        raise ConfigError(
            f"predicted and tested must have the shape of true {real.shape}; got {found.shape} and {counted.shape}"
        )
    return Scores.from_counts(
        n_true=int((real & counted).sum()),
        n_predicted=int((found & counted).sum()),
        n_correct=int((found & real & counted).sum()),
    )


def recall_by_lag(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """Return the share of true edges found at each lag.

    Args:
        predicted: Bool, banded ``[n, horizon]`` (stack several sequences along the first axis).
        true: Bool, same shape.

    Returns:
        float64, ``[horizon]``; entry ``k`` is lag ``k + 1``; NaN where no edge of that lag is true.

    Raises:
        ConfigError: The arrays are not bool, not banded or differ in shape.

    Example:
        >>> recall_by_lag([[True, False], [False, False]], [[True, False], [True, False]]).tolist()
        [0.5, nan]
    """
    found, real = _bools("predicted", predicted), _bools("true", true)
    if found.shape != real.shape or real.ndim != 2:
        raise ConfigError(f"predicted and true must both be [n, horizon]; got {found.shape} and {real.shape}")
    n_true = real.sum(axis=0)
    n_correct = (found & real).sum(axis=0)
    result: Floats = np.divide(n_correct, n_true, out=np.full(real.shape[1], np.nan), where=n_true > 0)
    return result


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the area under the ROC curve: how often a true edge scores above a false one (ties: half).

    Args:
        scores: Numbers, any shape, no NaN (leave out what was not tested); higher means an edge.
        labels: Bool, same shape.

    Returns:
        0 … 1; NaN when there is no true or no false edge.

    Raises:
        ConfigError: Shapes differ, or a score is NaN.

    Source:
        Mann-Whitney U over the product of group sizes (Hanley and McNeil 1982); ties get their mean rank.

    Example:
        >>> auroc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
        0.75
    """
    values, real = _ranked(scores, labels)
    n_true, n_false = int(real.sum()), int((~real).sum())
    if not n_true or not n_false:
        return float("nan")
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(size) - (size - 1) / 2  # 1-based
    return float((mean_rank[group][real].sum() - n_true * (n_true + 1) / 2) / (n_true * n_false))


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the area under the precision-recall curve as a sum of steps, ``Σ (R_n - R_{n-1}) P_n``.

    Args:
        scores: As in `auroc`.
        labels: As in `auroc`.

    Returns:
        0 … 1 (chance level is the share of true edges); NaN when there is no true edge.

    Raises:
        ConfigError: Shapes differ, or a score is NaN.

    Source:
        The definition of scikit-learn's `average_precision_score`: no interpolation, ties enter together.

    Example:
        >>> round(average_precision([0.1, 0.4, 0.35, 0.8], [False, False, True, True]), 4)
        0.8333
    """
    _, n_correct, n_predicted = _cuts(*_ranked(scores, labels))
    if not len(n_correct) or not n_correct[-1]:
        return float("nan")
    steps = np.diff(n_correct, prepend=0)
    return float((steps * (n_correct / n_predicted)).sum() / n_correct[-1])


class BestF1(NamedTuple):
    """The highest F1 and the threshold that reaches it: an edge is a score *above* the threshold."""

    f1: float
    threshold: float


def best_f1(scores: ArrayLike, labels: ArrayLike) -> BestF1:
    """Return the highest F1 over all thresholds, and the highest threshold that reaches it.

    It has seen the labels: a ceiling for what a threshold rule can do, not a result.

    Args:
        scores: As in `auroc`.
        labels: As in `auroc`.

    Returns:
        F1 and threshold, to be used as ``scores > threshold``. With no true edge: 1, and nothing is above it.

    Raises:
        ConfigError: Shapes differ, or a score is NaN.

    Example:
        >>> found = best_f1([0.1, 0.2, 0.3], [False, True, True])
        >>> found.f1, bool(0.1 < found.threshold < 0.2)
        (1.0, True)
    """
    values, real = _ranked(scores, labels)
    cuts, n_correct, n_predicted = _cuts(values, real)
    if not real.any():
        return BestF1(1.0, float("inf"))
    f1 = 2 * n_correct / (n_predicted + real.sum())
    best = int(f1.argmax())
    # The next smaller number: the cut itself is above it, and nothing else can lie between.
    return BestF1(float(f1[best]), float(np.nextafter(cuts[best], -np.inf)))


def _cuts(values: Floats, real: Bools) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct scores, highest first, and how many cells at or above each are true, and in all."""
    cuts, group, size = np.unique(values, return_inverse=True, return_counts=True)
    correct = np.bincount(group, weights=real, minlength=len(cuts)).astype(np.int64)
    return cuts[::-1], np.cumsum(correct[::-1]), np.cumsum(size[::-1])


def _bools(argument: str, value: ArrayLike) -> Bools:
    array = np.asarray(value)
    if array.dtype != np.bool_:
        raise ConfigError(f"{argument} must be True or False in every cell; got type {array.dtype}")
    return array


def _ranked(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Bools]:
    values, real = np.asarray(scores, dtype=np.float64), _bools("labels", labels)
    if values.shape != real.shape:
        raise ConfigError(f"labels must have the shape of scores {values.shape}; got {real.shape}")
    if np.isnan(values).any():
        raise ConfigError(f"scores must not be NaN (leave out cells not tested); got {int(np.isnan(values).sum())} NaN")
    return values.ravel(), real.ravel()
