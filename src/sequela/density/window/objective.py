"""Training examples of the window network: events, each with the window before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequela.density.objectives import hide_some
from sequela.density.sampled_types import LEAST_TYPES, TypeSampler
from sequela.events.sequences import SequenceSet
from sequela.events.vocabulary import Vocabulary


@dataclass(frozen=True)
class Ticks:
    """Ticks of the flat array of a `WindowTask`, whose events are put in a fresh random order in every batch.

    Attributes:
        of: Tick of each slot (int64, ``[n_slots]``, sorted); a slot that holds no event has a tick of its own.
        memory: Events of a window.
        largest: Events of the largest tick.
    """

    of: NDArray[np.int64]
    memory: int
    largest: int

    @classmethod
    def of_sequences(cls, sequences: SequenceSet, memory: int) -> Ticks | None:
        """Return the ticks of the cases, ``memory`` empty slots before each; None where events have an order."""
        if not sequences.unordered_ties or sequences.times is None or not sequences.n_events:
            return None
        new = np.diff(sequences.times, prepend=-np.inf) > 0
        new[sequences.offsets[:-1][sequences.lengths > 0]] = True
        largest = int(np.bincount(np.cumsum(new) - 1).max())
        if largest == 1:
            return None
        place = np.arange(sequences.n_events) + np.repeat(
            np.arange(1, sequences.n_cases + 1) * memory, sequences.lengths
        )
        starts = np.ones(sequences.n_events + sequences.n_cases * memory + largest, dtype=bool)
        starts[place] = new
        return cls(np.cumsum(starts), memory, largest)

    def shuffled(self, place: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the slots of the window before each place, and of the event there, with every tick in a random order.

        Args:
            place: Slots (int64, ``[B]``).
            rng: Source of the orders, one for each place.

        Returns:
            int64, ``[B, memory + 1]``.
        """
        reach = self.memory + self.largest - 1  # so that every tick of the window is there as a whole
        around = place[:, None] + np.arange(-reach, self.largest)
        around = np.maximum(around, 0)
        order = np.lexsort((rng.random(around.shape), self.of[around]), axis=-1)
        slots = np.take_along_axis(around, order, axis=1)
        found: NDArray[np.int64] = slots[:, reach - self.memory : reach + 1]
        return found


class WindowTask:
    """Examples are events; the input is the window before each."""

    def __init__(
        self, sequences: SequenceSet, vocabulary: Vocabulary, *, memory: int, hide: float, times: bool = False
    ) -> None:
        self.vocabulary = vocabulary
        self.memory = memory
        self.hide = hide
        self._ticks = Ticks.of_sequences(sequences, memory)
        # One begin mark per step of memory before each case: a window is then one slice of a flat array.
        n_cases = sequences.n_cases
        after = 0 if self._ticks is None else self._ticks.largest
        self._flat = np.full(sequences.n_events + n_cases * memory + after, vocabulary.begin_id, np.int32)
        self._place = np.arange(sequences.n_events) + np.repeat(np.arange(1, n_cases + 1) * memory, sequences.lengths)
        self._flat[self._place] = sequences.ids
        self.n_examples = self.n_targets = sequences.n_events
        self._sampler = None
        if vocabulary.n_types >= LEAST_TYPES:
            self._sampler = TypeSampler(np.bincount(sequences.ids, minlength=vocabulary.n_types))
        self._times = None
        if times:
            assert sequences.times is not None
            self._times = np.zeros(len(self._flat))
            self._times[self._place] = sequences.times

    def loss(self, model: Any, examples: NDArray[np.int64], rng: np.random.Generator | None, device: Any) -> Tensor:
        """See `Task.loss`."""
        place = self._place[examples]
        slots = place[:, None] + np.arange(-self.memory, 1)  # the window, and what comes after it
        if rng is not None and self._ticks is not None:
            slots = self._ticks.shuffled(place, rng)
        windows, targets = self._flat[slots[:, :-1]], self._flat[slots[:, -1]]
        if rng is not None and self.hide:
            hide_some(windows, self.vocabulary.hidden_id, self.vocabulary.n_types, self.hide, rng)
        given = [torch.from_numpy(windows).to(device).long()]
        if self._times is not None:
            gaps = self._times[place][:, None] - self._times[place[:, None] + np.arange(-self.memory, 0)]
            gaps = np.where(windows == self.vocabulary.begin_id, 0.0, gaps).astype(np.float32)
            given.append(torch.from_numpy(gaps).to(device))
        sample = None if rng is None or self._sampler is None else self._sampler.draw(targets, rng, device)
        total = -model(*given, targets=torch.from_numpy(targets).to(device).long(), sample=sample).sum()
        return torch.stack([total, torch.tensor(float(len(examples)), device=total.device)])
