"""Evidence that an event type acts on an outcome: bets on whether it came, given which others did and the outcome.

Null: given which other types came, the label does not depend on whether type ``a`` came. With ``pi`` the probability of
``a`` given the other types, and ``P1``, ``P0`` what a model says of the observed label with and without ``a``, a case
bets ``P / (pi P1 + (1 - pi) P0)``, where ``P`` is ``P1`` if ``a`` came and else ``P0``. Its expectation over ``a`` is 1
whatever the model of the label is worth, if ``pi`` is right (model-X, as `sequela.evidence.cause_bets`); over disjoint
cases bets multiply, as long as neither model has seen the case.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from sequela.density.base import Floats
from sequela.density.outcomes.base import OutcomeHead

_STAKE = 0.95
"""Share of the stake that is bet; the rest is kept, so that no case can ruin the evidence of all others."""
_CLIP = 0.005


@dataclass(frozen=True)
class PresenceLaw:
    """How likely each type comes in a case, given which others do: a logistic regression a type.

    Attributes:
        intercept: float64, ``[V]``.
        weights: ``[other type, type]`` (float64, ``[V, V]``), 0 on the diagonal.
    """

    intercept: Floats
    weights: Floats

    @classmethod
    def fit(cls, present: NDArray[np.bool_]) -> PresenceLaw:
        """Fit all regressions (weights with a normal prior of variance 1).

        Args:
            present: Which types came (bool, ``[n, V]``).

        Example:
            >>> came = np.array([[1, 1], [0, 0]] * 50, dtype=bool)
            >>> PresenceLaw.fit(came).probabilities(came)[:2, 0].round(1).tolist()
            [0.9, 0.1]
        """
        x = present.astype(np.float64)
        n_types = x.shape[1]
        rate = (x.sum(axis=0) + 0.5) / (len(x) + 1.0)
        start = np.concatenate([np.log(rate / (1 - rate)), np.zeros(n_types**2)])

        def loss(flat: Floats) -> tuple[float, Floats]:
            weights = flat[n_types:].reshape(n_types, n_types)
            logits = x @ weights + flat[:n_types]
            residual = expit(logits) - x
            gradient = x.T @ residual + weights
            np.fill_diagonal(gradient, 0.0)
            value = np.logaddexp(0.0, logits).sum() - (x * logits).sum() + 0.5 * (weights**2).sum()
            return float(value), np.concatenate([residual.sum(axis=0), gradient.ravel()])

        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
        return cls(found.x[:n_types], found.x[n_types:].reshape(n_types, n_types))

    def probabilities(self, present: NDArray[np.bool_]) -> Floats:
        """Return the probability of each type given the others (float64, ``[n, V]``), kept from 0 and 1 by 0.005."""
        found: Floats = np.clip(expit(present.astype(np.float64) @ self.weights + self.intercept), _CLIP, 1 - _CLIP)
        return found


def presence_bets(
    head: OutcomeHead,
    law: PresenceLaw,
    present: NDArray[np.bool_],
    labels: NDArray[np.bool_],
    asked: NDArray[np.bool_],
) -> Floats:
    """Return the log e-value of each type and label over some cases, which neither model has seen.

    Args:
        head: Says how likely each label is.
        law: Says how likely each type is.
        present: Which types came (bool, ``[n, V]``).
        labels: Which labels each case has (bool, ``[n, n_labels]``).
        asked: Where a row counts for a label (bool, ``[n, n_labels]``).

    Returns:
        float64, ``[V, n_labels]``.
    """
    found = np.zeros((present.shape[1], labels.shape[1]))
    probability = law.probabilities(present)
    base = np.hstack([present.astype(np.float64), np.zeros((len(present), 1))])
    for kind in range(present.shape[1]):
        likelihood = []
        for value in (0.0, 1.0):
            changed = base.copy()
            changed[:, kind] = value
            p = head.probabilities(changed)
            likelihood.append(np.where(labels, p, 1 - p))
        without, with_it = likelihood
        came, pi = present[:, [kind]], probability[:, [kind]]
        mean = np.maximum(pi * with_it + (1 - pi) * without, 1e-300)
        bet = np.log1p(_STAKE * (np.where(came, with_it, without) / mean - 1))
        found[kind] = np.where(asked, bet, 0.0).sum(axis=0)
    return found
