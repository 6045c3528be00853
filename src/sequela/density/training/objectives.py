"""What one training step does for each backbone: which examples there are, and the loss of a batch of them."""

from __future__ import annotations

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
    """Replace past events by the hidden id, in place (masked history, METHOD section 3).

    Half of the rows stay as they are, so that the density stays sharp on complete histories; the others lose a share
    of their events drawn from 0 to ``hide`` for each row.
    """
    share = rng.uniform(0, hide, len(inputs)) * (rng.random(len(inputs)) < 0.5)
    gone = (rng.random(inputs.shape, dtype=np.float32) < share[:, None]) & (inputs < n_types)
    inputs[gone] = hidden_id


class WindowTask:
    """Examples are events; the input is the window before each."""

    def __init__(
        self, sequences: SequenceSet, vocabulary: Vocabulary, *, memory: int, hide: float, times: bool = False
    ) -> None:
        self.vocabulary = vocabulary
        self.memory = memory
        self.hide = hide
        # One begin mark per step of memory before each case: a window is then one slice of a flat array.
        n_cases = sequences.n_cases
        self._flat = np.full(sequences.n_events + n_cases * memory, vocabulary.begin_id, np.int32)
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
        windows = self._flat[place[:, None] + np.arange(-self.memory, 0)]
        if rng is not None and self.hide:
            hide_some(windows, self.vocabulary.hidden_id, self.vocabulary.n_types, self.hide, rng)
        given = [torch.from_numpy(windows).to(device).long()]
        if self._times is not None:
            gaps = self._times[place][:, None] - self._times[place[:, None] + np.arange(-self.memory, 0)]
            gaps = np.where(windows == self.vocabulary.begin_id, 0.0, gaps).astype(np.float32)
            given.append(torch.from_numpy(gaps).to(device))
        logits = model(*given)
        targets = torch.from_numpy(self._flat[place]).to(device).long()
        total = F.cross_entropy(logits.float(), targets, reduction="sum")
        return torch.stack([total, torch.tensor(float(len(examples)), device=total.device)])


class DecoderTask:
    """Examples are blocks of a case, cut as `HuggingFaceDensity` cuts them; every event is a target once."""

    def __init__(self, sequences: SequenceSet, vocabulary: Vocabulary, *, context: int, hide: float) -> None:
        self.vocabulary = vocabulary
        self.hide = hide
        self._ids = sequences.ids
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
        events = np.where(inside, self._ids[np.minimum(place, len(self._ids) - 1)], 0).astype(np.int32)
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
