"""What a model of outcomes must answer: how likely is each label, given how often each event type came?"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from sequela.density.base import Density, Floats, Ids
from sequela.errors import ConfigError
from sequela.events.log import EventLog
from sequela.events.outcome_rows import OutcomeRows, outcome_rows
from sequela.events.sequences import SequenceSet


class OutcomeHead(ABC):
    """A frozen model of ``P(label | events)`` on top of a density.

    It reads how often each event type came; what their order tells is left to the density.

    Attributes:
        density: Says what could have come instead of an event, and what would have followed.
        labels: Names of the labels; a case may have several, or none.
        knows_hidden: Whether it was trained with hidden events.
    """

    density: Density
    labels: tuple[str, ...]
    knows_hidden: bool = False

    @abstractmethod
    def probabilities(self, counts: Floats) -> Floats:
        """Return the probability of each label.

        Args:
            counts: Events of each type, the last column those that are hidden (float, ``[n, n_types + 1]``).

        Returns:
            float64, ``[n, n_labels]``.
        """

    def refit(self, rows: OutcomeRows, *, seed: int) -> OutcomeHead:
        """Return a head of the same kind that has seen these cases only; an exact one is not trained at all."""
        return self

    def label_columns(self, labels: str | list[str] | None) -> list[int]:
        """Return the columns of some labels, by default of all; raise `ConfigError` where there is no such label."""
        from sequela.errors import nearest

        wanted = self.labels if labels is None else [labels] if isinstance(labels, str) else labels
        for name in wanted:
            if name not in self.labels:
                raise ConfigError(f"there is no label '{name}'{nearest(name, self.labels)}")
        return [self.labels.index(name) for name in wanted]


def count_types(cases: list[Ids] | Ids, n_types: int, hidden_id: int) -> Floats:
    """Return how often each type, and the hidden one last, is in each sequence (float64, ``[n, n_types + 1]``).

    Example:
        >>> count_types(np.array([[0, 1, 1]]), 2, 4).tolist()
        [[1.0, 2.0, 0.0]]
    """
    counts = np.zeros((len(cases), n_types + 1))
    for row, ids in enumerate(cases):
        column = np.where(np.asarray(ids) == hidden_id, n_types, ids)
        np.add.at(counts[row], column, 1.0)
    return counts


def rows_of_log(head: OutcomeHead, log: EventLog, sequences: SequenceSet) -> OutcomeRows:
    """Return what counts for each label of the cases of a log.

    Raises:
        ConfigError: The log was read without outcomes.
    """
    if log.outcomes is None:
        raise ConfigError(
            "the log has no outcomes: read it with  read_log(…, outcome=COLUMN)  or  read_log(…, outcomes=TABLE)"
        )
    return outcome_rows(sequences, log.outcomes, head.labels, head.density.vocabulary.n_types + 1)
