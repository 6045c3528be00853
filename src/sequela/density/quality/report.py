"""Is this density good enough? Its held-out cross-entropy beside that of simple references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import inf, isfinite
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.density.base import Density
from sequela.density.quality.ngrams import NGram
from sequela.errors import DensityError
from sequela.events.sequences import SequenceSet

_CASES_A_CALL = 256
_CELLS_A_CALL = 2**21


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
        gain_std_error: Of the difference to the best reference, paired case by case.
    """

    n_cases: int
    n_events: int
    cross_entropy: float
    std_error: float
    unigram: float
    bigram: float
    trigram: float
    log_n_types: float
    gain_std_error: float

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

        Negative when the density is better than the n-gram. Source: `docs/method.md`, section 1.
        """
        return (self.cross_entropy - self.trigram) / (self.log_n_types - self.trigram)

    def sentence(self) -> str:
        """Say in one line whether the model beats the references."""
        references = f"unigram {self.unigram:.3f}, bigram {self.bigram:.3f}, trigram {self.trigram:.3f}"
        gain = self.best_reference - self.cross_entropy
        if not gain > 0:  # also where it is no number
            verdict = "does NOT predict new cases better than simple counting: do not trust its graphs; get more data"
        elif not gain >= 2 * self.gain_std_error:
            verdict = "predicts new cases better than simple counting by less than the noise"
        else:
            verdict = f"predicts new cases better than simple counting, by {gain:.3f} ± {self.gain_std_error:.3f}"
        return (
            f"the model {verdict} (held-out nats per event: {self.cross_entropy:.3f} ± {self.std_error:.3f}; "
            f"{references}; {self.n_events:,} events of {self.n_cases:,} cases)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; None where there is no error of a mean (of one event)."""
        values = asdict(self)
        for name in ("std_error", "gain_std_error"):
            values[name] = values[name] if isfinite(values[name]) else None
        return values | {"beats_references": self.beats_references}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DensityReport:
        """Return the report that `to_dict` gave; an error of the mean that is not known is infinite."""
        known: dict[str, Any] = {field.name: values[field.name] for field in fields(cls)}
        for name in ("std_error", "gain_std_error"):
            known[name] = inf if known[name] is None else known[name]
        return cls(**known)


def diagnose(density: Density, *, train: SequenceSet, held_out: SequenceSet) -> DensityReport:
    """Compare a density with n-grams on cases it was not trained on.

    Args:
        density: The density.
        train: The cases it was trained on; the n-grams are counted on the same.
        held_out: Cases to score.

    Raises:
        DensityError: A log-probability is not finite.
    """
    losses = _losses(density, held_out)
    n_types = density.vocabulary.n_types
    grams = [-NGram(train, n_types=n_types, order=order).log_prob(held_out) for order in range(3)]
    best = min(grams, key=lambda values: float(values.mean()))
    return DensityReport(
        n_cases=held_out.n_cases,
        n_events=held_out.n_events,
        cross_entropy=float(losses.mean()),
        std_error=_std_error(losses, held_out),
        unigram=float(grams[0].mean()),
        bigram=float(grams[1].mean()),
        trigram=float(grams[2].mean()),
        log_n_types=float(np.log(n_types)),
        gain_std_error=_std_error(best - losses, held_out),
    )


def held_out_loss(density: Density, held_out: SequenceSet) -> tuple[float, float]:
    """Return the cross-entropy of cases in nats an event, and its standard error over cases (infinite for one event).

    Raises:
        DensityError: A log-probability is not finite.
    """
    losses = _losses(density, held_out)
    return float(losses.mean()), _std_error(losses, held_out)


def _losses(density: Density, held_out: SequenceSet) -> NDArray[np.float64]:
    """Return minus the log-probability of every event (float64, ``[n_events]``)."""
    log_probs = []
    for low in range(0, held_out.n_cases, _CASES_A_CALL):
        cases = [held_out[i] for i in range(low, min(low + _CASES_A_CALL, held_out.n_cases))]
        log_probs += density.score_many([case.ids for case in cases], [case.times for case in cases])
    losses: NDArray[np.float64] = -np.concatenate(log_probs)
    n_bad = int(np.count_nonzero(~np.isfinite(losses)))
    if n_bad:
        raise DensityError(
            f"the density gives {n_bad:,} of {len(losses):,} held-out events a log-probability that is not a finite "
            "number: its weights are not finite, or it calls events impossible that occur; train again with a lower "
            "learning rate, or look at extreme values in the times of the log"
        )
    return losses


def calibration(density: Density, held_out: SequenceSet) -> pl.DataFrame:
    """Compare predicted probabilities with how often the event came true, over every type at every event.

    Args:
        density: The density.
        held_out: Cases it was not trained on; each event costs one whole distribution.

    Returns:
        One row a range of probabilities that occurs, rising: ``low``, ``high`` (its bounds), ``n`` (pairs of an event
        and a type predicted in it), ``predicted`` (their mean probability), ``observed`` (share that came true) and
        ``std_error`` (of the difference; cases are independent, the events of one are not).

    Source:
        Reliability diagram: DeGroot and Fienberg (1983); all types, not only the likeliest, are counted.
    """
    n_types, edges = density.vocabulary.n_types, np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 17)])
    n_bins = len(edges) - 1
    n, predicted, observed, squares = (np.zeros(n_bins) for _ in range(4))
    for case in held_out:
        gap = np.zeros(n_bins)
        size = max(1, _CELLS_A_CALL // n_types)
        for low in range(0, len(case.ids), size):
            positions = np.arange(low, min(low + size, len(case.ids)))
            chance = np.exp(density.conditional(case.ids, positions, case.times))
            place = np.clip(np.searchsorted(edges, chance, side="right") - 1, 0, n_bins - 1)
            sums = np.bincount(place.ravel(), weights=chance.ravel(), minlength=n_bins)
            hits = np.bincount(place[np.arange(len(positions)), case.ids[positions]], minlength=n_bins)
            n += np.bincount(place.ravel(), minlength=n_bins)
            predicted += sums
            observed += hits
            gap += hits - sums
        squares += gap**2
    n_cases = held_out.n_cases
    # One case says nothing of how cases differ.
    spread = np.sqrt(squares * n_cases / (n_cases - 1)) if n_cases > 1 else np.full(n_bins, np.inf)
    with np.errstate(invalid="ignore"):
        columns = {
            "low": edges[:-1], "high": edges[1:], "n": n.astype(np.int64), "predicted": predicted / n,
            "observed": observed / n, "std_error": spread / n,
        }  # fmt: skip
    return pl.DataFrame(columns).filter(pl.col("n") > 0)


def _std_error(values: NDArray[np.float64], sequences: SequenceSet) -> float:
    """Standard error of a mean over events whose cases are independent (ratio estimator; over events in one case)."""
    residuals = values - values.mean()
    case = np.repeat(np.arange(sequences.n_cases), sequences.lengths)
    groups = np.bincount(case, weights=residuals) if sequences.n_cases > 1 else residuals
    n = len(groups)
    return float(np.sqrt(n / (n - 1) * (groups**2).sum()) / len(values)) if n > 1 else float("inf")
