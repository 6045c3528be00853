"""Is this density good enough? Its held-out cross-entropy beside that of simple references."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sequela.density.base import Density
from sequela.density.reference import NGram
from sequela.events.sequences import SequenceSet

_CASES_A_CALL = 256


@dataclass(frozen=True)
class DensityReport:
    """Held-out cross-entropies in nats per event; lower is better.

    Attributes:
        n_cases: Held-out cases.
        n_events: Held-out events.
        cross_entropy: Of the density.
        std_error: Of `cross_entropy`, over cases (over events when there is one case).
        unigram: Of event frequencies.
        bigram: Of an interpolated n-gram over the last event.
        trigram: Of an interpolated n-gram over the last two events ("order 2").
        log_n_types: Of guessing evenly.
    """

    n_cases: int
    n_events: int
    cross_entropy: float
    std_error: float
    unigram: float
    bigram: float
    trigram: float
    log_n_types: float

    @property
    def best_reference(self) -> float:
        """The lowest cross-entropy among the references."""
        return min(self.unigram, self.bigram, self.trigram)

    @property
    def beats_references(self) -> bool:
        """Whether the density predicts better than every reference."""
        return self.cross_entropy < self.best_reference

    @property
    def oracle_score(self) -> float:
        """``(CE - H) / (log|X| - H)`` with the order-2 n-gram in place of the unknown entropy rate ``H``.

        Negative when the density is better than the n-gram. Source: METHOD section 1.
        """
        return (self.cross_entropy - self.trigram) / (self.log_n_types - self.trigram)

    def sentence(self) -> str:
        """Say in one line whether the model beats the references."""
        references = f"unigram {self.unigram:.3f}, bigram {self.bigram:.3f}, trigram {self.trigram:.3f}"
        gain = self.best_reference - self.cross_entropy
        if gain <= 0:
            verdict = "does NOT beat the simple references: its graphs are not to be trusted; get more data"
        elif gain < 2 * self.std_error:
            verdict = "beats the simple references by less than the noise of the held-out cases"
        else:
            verdict = f"beats the simple references by {gain:.3f}"
        return (
            f"the density {verdict} (held-out nats per event: {self.cross_entropy:.3f} ± {self.std_error:.3f}; "
            f"{references}; {self.n_events:,} events of {self.n_cases:,} cases)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"beats_references": self.beats_references}


def diagnose(density: Density, *, train: SequenceSet, held_out: SequenceSet) -> DensityReport:
    """Compare a density with n-grams on cases it was not trained on.

    Args:
        density: The density.
        train: The cases it was trained on; the n-grams are counted on the same.
        held_out: Cases to score.
    """
    losses = []
    for low in range(0, held_out.n_cases, _CASES_A_CALL):
        cases = [held_out[i].ids for i in range(low, min(low + _CASES_A_CALL, held_out.n_cases))]
        losses += [-values for values in density.score_many([ids for ids in cases if len(ids)])]
    every = np.concatenate(losses)
    mean = float(every.mean())
    n_types = density.vocabulary.n_types
    grams = [NGram(train, n_types=n_types, order=order).cross_entropy(held_out) for order in range(3)]
    return DensityReport(
        len(losses), len(every), mean, _std_error(losses, mean), grams[0], grams[1], grams[2], float(np.log(n_types))
    )


def _std_error(losses: list[np.ndarray[Any, np.dtype[np.float64]]], mean: float) -> float:
    """Standard error of a mean over events whose cases are independent (ratio estimator)."""
    if len(losses) < 2:
        return float(losses[0].std(ddof=1) / np.sqrt(len(losses[0]))) if len(losses[0]) > 1 else float("inf")
    residuals = np.array([float((values - mean).sum()) for values in losses])
    n_events = sum(len(values) for values in losses)
    return float(np.sqrt(len(losses) / (len(losses) - 1) * (residuals**2).sum()) / n_events)
