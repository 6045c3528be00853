"""Causes of a label together: sets that suffice, and pairs that need each other or stand in for each other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

from sequela.density.base import Floats
from sequela.density.outcomes.base import OutcomeHead
from sequela.events.outcome_rows import OutcomeRows

LEAST_CASES = 10
"""Cases that must hold both types before a pair is reported."""
_SUFFICES = 0.9
"""Share of the effect of all causes of a case that a set must have by itself to suffice."""

_LEAST_RATIO = 3.0
"""Sets are looked for where all causes together make the label so many times as likely."""

SetRow = tuple[str, list[str], int, float]
PairRow = tuple[str, str, str, float, float, int]


def sets_and_pairs(
    model: OutcomeHead, rows: OutcomeRows, by_label: dict[int, list[int]], delta: float
) -> tuple[list[SetRow], list[PairRow]]:
    """Return the sets of causes that suffice, and the pairs that act together, for each label.

    Args:
        model: Says how likely each label is.
        rows: All cases.
        by_label: Types that are causes of each label, by its column.
        delta: Least effect that counts, as a probability.

    Returns:
        Rows of `sequela.graphs.schemas.OUTCOME_SETS`: label, causes, cases, probability. And of `OUTCOME_PAIRS`: label,
        two causes, interaction, its standard error, cases.
    """
    counts = rows.counts.toarray().astype(np.float64)
    names = model.density.vocabulary.names
    sets: list[SetRow] = []
    pairs: list[PairRow] = []
    for column, causes in by_label.items():

        def chance(table: Floats, column: int = column) -> Floats:
            return model.probabilities(table)[:, column]

        label, asked = model.labels[column], rows.asked[:, column]
        found: dict[tuple[str, ...], list[float]] = {}
        for row in counts[asked & rows.labels[:, column]]:
            kept = sufficient(chance, row, causes, delta)
            if kept:
                only = row.copy()
                only[[k for k in causes if k not in kept]] = 0
                found.setdefault(tuple(sorted(names[k] for k in kept)), []).append(float(chance(only[None])[0]))
        sets += [(label, list(kept), len(p), float(np.mean(p))) for kept, p in found.items()]
        for a, b in combinations(causes, 2):
            both = counts[asked & (counts[:, a] > 0) & (counts[:, b] > 0)]
            if len(both) < LEAST_CASES:
                continue
            mean, error = interaction(chance, both, a, b)
            if abs(mean) >= max(delta, 2 * error):
                pairs.append((label, names[a], names[b], mean, error, len(both)))
    return sets, pairs


def interaction(chance: Callable[[Floats], Floats], both: Floats, a: int, b: int) -> tuple[float, float]:
    """Return the effect of two types less the sum of the effects of each alone, its mean and standard error.

    Args:
        chance: From counts to the probability of the label.
        both: Counts of cases that hold both (float64, ``[n, n_types + 1]``).
        a: One type.
        b: The other.
    """
    p = []
    for off in ([], [a], [b], [a, b]):
        changed = both.copy()
        changed[:, off] = 0
        p.append(chance(changed))
    together = p[0] - p[1] - p[2] + p[3]
    return float(together.mean()), float(together.std(ddof=1) / np.sqrt(len(both)))


def sufficient(chance: Callable[[Floats], Floats], row: Floats, causes: list[int], delta: float) -> list[int]:
    """Return causes of a case that suffice for a label, none of which can be taken away; none if they explain little.

    Args:
        chance: From counts (``[n, n_types + 1]``) to the probability of the label (``[n]``).
        row: Counts of the case.
        causes: Types that are causes of the label.
        delta: Least effect of all of them together.
    """
    kept = [k for k in causes if row[k] > 0]
    none = row.copy()
    none[kept] = 0
    with_all, base = float(chance(row[None])[0]), float(chance(none[None])[0])
    if with_all - base < max(delta, 1e-12) or with_all < _LEAST_RATIO * base:
        return []
    least = base + _SUFFICES * (with_all - base)
    while len(kept) > 1:
        tries = np.tile(none, (len(kept), 1))
        for i, left_out in enumerate(kept):
            rest = [k for k in kept if k != left_out]
            tries[i, rest] = row[rest]
        p = chance(tries)
        if p.max() < least:
            break
        kept.pop(int(p.argmax()))
    return kept
