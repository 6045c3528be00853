"""What one training step does for each backbone: which examples there are, and the loss of a batch of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sequela.density.decoder.tiles import blocks
from sequela.events.sequences import SequenceSet
from sequela.events.vocabulary import Vocabulary


class Task(Protocol):
    """Examples of a training set and their loss."""

    n_examples: int
    n_targets: int

    def loss(self, model: Any, examples: NDArray[np.int64], rng: np.random.Generator | None, device: Any) -> Tensor:
        """Return the summed ``-log P`` of the targets of some examples and their number, as a tensor ``[2]``.

        With a generator some of the past is hidden, as in training; without one nothing is.
        """


def hide_some(inputs: NDArray[np.int32], hidden_id: int, n_types: int, hide: float, rng: np.random.Generator) -> None:
    """Replace past events by the hidden id, in place (masked history, `docs/method.md`, section 3).

    Half of the rows stay as they are, so that the density stays sharp on complete histories; the others lose a share
    of their events drawn from 0 to ``hide`` for each row.
    """
    share = rng.uniform(0, hide, len(inputs)) * (rng.random(len(inputs)) < 0.5)
    gone = (rng.random(inputs.shape, dtype=np.float32) < share[:, None]) & (inputs < n_types)
    inputs[gone] = hidden_id


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
        logits = model(*given)
        total = F.cross_entropy(logits.float(), torch.from_numpy(targets).to(device).long(), reduction="sum")
        return torch.stack([total, torch.tensor(float(len(examples)), device=total.device)])


class DecoderTask:
    """Examples are blocks of a case, cut as `HuggingFaceDensity` cuts them; every event is a target once."""

    def __init__(self, sequences: SequenceSet, vocabulary: Vocabulary, *, context: int, hide: float) -> None:
        self.vocabulary = vocabulary
        self.hide = hide
        self._ids = sequences.ids
        self._ticks = None
        if sequences.unordered_ties and sequences.times is not None:
            self._ticks = np.cumsum(np.diff(sequences.times, prepend=-np.inf) != 0)  # within a case
        rows = [
            (int(start) + block.begin, int(start) + block.low, int(start) + block.high)
            for start, length in zip(sequences.offsets[:-1], sequences.lengths, strict=True)
            if length
            for block in blocks(int(length), context)
        ]
        self._blocks = np.array(rows, dtype=np.int64).reshape(-1, 3)
        self.n_examples = len(self._blocks)
        self.n_targets = sequences.n_events

    def loss(self, model: Any, examples: NDArray[np.int64], rng: np.random.Generator | None, device: Any) -> Tensor:
        """See `Task.loss`."""
        begin, low, high = self._blocks[examples].T
        longest = int((high - begin).max())
        place = begin[:, None] + np.arange(longest)  # [B, T]
        inside = place < high[:, None]
        place = np.minimum(place, len(self._ids) - 1)
        if rng is not None and self._ticks is not None:
            # Events past the end of a block keep their places: they sort last.
            tick = np.where(inside, self._ticks[place], np.iinfo(np.int64).max)
            place = np.take_along_axis(place, np.lexsort((rng.random(place.shape), tick), axis=-1), axis=1)
        events = np.where(inside, self._ids[place], 0).astype(np.int32)
        targets = np.where(inside & (place >= low[:, None]), events, -100)
        inputs = np.where(inside, events, self.vocabulary.pad_id).astype(np.int32)
        inputs = np.concatenate([np.full((len(inputs), 1), self.vocabulary.begin_id, np.int32), inputs[:, :-1]], 1)
        if rng is not None and self.hide:
            hide_some(inputs, self.vocabulary.hidden_id, self.vocabulary.n_types, self.hide, rng)
        # Padding stands at the end and attention is causal, so no mask is needed.
        logits = model(input_ids=torch.from_numpy(inputs).to(device).long(), use_cache=False).logits
        logits = logits[..., : self.vocabulary.n_types].flatten(0, 1).float()
        goal = torch.from_numpy(targets).to(device).long().flatten()
        total = F.cross_entropy(logits, goal, reduction="sum", ignore_index=-100)
        return torch.stack([total, (goal >= 0).sum().float()])
