"""Calibration of forecasts with hidden events (`docs/method.md`, section 7).

The forecast with hidden events is a model's. Where it is biased for a type as a whole, every pair with that effect
would gain. Here this is removed: over all hidden types together the hidden forecast of a type must come true as often
as it says, whatever causes what.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from sequela.density.base import Density, Floats
from sequela.events.sequences import Case, SequenceSet
from sequela.events.ties import shuffle_ticks
from sequela.evidence.fixed_point import Integers, from_units, to_units
from sequela.evidence.forecasts import forecasts_many
from sequela.evidence.pairs import Groups


class CalibrationSums(NamedTuple):
    """What `calibration` needs of some cases, by type; sums of disjoint cases are added.

    Attributes:
        came: How often the type came where another was hidden (int64, ``[n_types]``).
        expected: Sum of its hidden forecasts, in units of 2^-32 (int64, ``[n_types]``).
        spread: Sum of their variances, in units of 2^-32 (int64, ``[n_types]``).
    """

    came: Integers
    expected: Integers
    spread: Integers

    def shift(self) -> Floats:
        """Return what to add to the logit of each type's hidden forecast; see `calibration`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            # One Newton step of the intercept of a logistic regression.
            step = (self.came - from_units(self.expected)) / from_units(self.spread)
        return np.where((self.came >= 10) & np.isfinite(step), np.clip(step, -1, 1), 0.0)


def calibration(
    density: Density,
    sequences: SequenceSet,
    horizon: int,
    seconds: float | None = None,
    groups: Groups | None = None,
    *,
    n_events: int = 20_000,
) -> Floats:
    """Return what to add to the logit of each type's hidden forecast (float64, ``[n_types]``).

    With it the hidden forecasts of a type sum to how often it came, over all hidden types together. That holds for a
    true forecast whatever causes what, so no effect is taken away by it. A type seen less than 10 times keeps 0.

    Args:
        density: A density that knows hidden events.
        sequences: Held-out cases.
        horizon: Largest lag.
        seconds: Longest time between cause and effect.
        groups: Types taken together.
        n_events: Cases of about this many events are used, see `calibration_cases`.
    """
    some = calibration_cases(sequences, n_events)
    return calibration_sums(density, some, horizon, seconds, groups).shift()


def calibration_cases(sequences: SequenceSet, n_events: int = 20_000) -> SequenceSet:
    """Return cases spread evenly over all, of about ``n_events`` events; every tick in a random order."""
    n_all = sequences.n_cases
    n_cases = min(n_all, math.ceil(n_events * n_all / max(1, sequences.n_events)))
    return shuffle_ticks(sequences.take([i * n_all // n_cases for i in range(n_cases)]), 0)


def calibration_sums(
    density: Density,
    cases: Iterable[Case],
    horizon: int,
    seconds: float | None = None,
    groups: Groups | None = None,
) -> CalibrationSums:
    """Return the sums of `calibration` over some cases."""
    n_types = density.vocabulary.n_types if groups is None else len(groups.names)
    came, expected, spread = (np.zeros(n_types, np.int64) for _ in range(3))
    for rows in forecasts_many(density, cases, horizon, seconds, groups, within_ticks=True):
        q = np.exp(rows.log_q)
        q[np.arange(len(q)), rows.causes] = 0.0  # a type's own past is no pair
        came += np.bincount(rows.targets[rows.targets != rows.causes], minlength=n_types)
        expected += to_units(q).sum(axis=0)
        spread += to_units(q * (1 - q)).sum(axis=0)
    return CalibrationSums(came, expected, spread)
