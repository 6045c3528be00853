"""Training examples of decoders: blocks of a case, every event of which is a target once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sequela.density.blocks import blocks
from sequela.density.objectives import hide_some
from sequela.density.registry import Steps
from sequela.events.sequences import SequenceSet
from sequela.events.vocabulary import Vocabulary


def block_steps(
    train_set: SequenceSet, n_types: int, memory: int, batch_size: int | None, *, learning_rate: float
) -> Steps:
    """Return how to train on blocks of some cases; see `TrainedBackbone.steps`."""
    typical = float(np.minimum(train_set.lengths, memory).mean())
    # Logits of a step stay below a quarter of a gibibyte.
    events = min(2048, 2**26 // n_types, max(64, train_set.n_events // 20))
    size = batch_size or max(1, round(events / max(typical, 1)))
    return Steps(size, train_set.n_events / (typical * size), learning_rate=learning_rate, most=6000)


class DecoderTask:
    """Examples are blocks of a case, cut as `HuggingFaceDensity` cuts them; every event is a target once."""

    def __init__(
        self, sequences: SequenceSet, vocabulary: Vocabulary, *, context: int, hide: float, times: bool = False
    ) -> None:
        self.vocabulary = vocabulary
        self.hide = hide
        self._ids = sequences.ids
        self._times = sequences.times if times else None
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
        given = {"input_ids": torch.from_numpy(inputs).to(device).long()}
        if self._times is not None:
            seconds = self._times[place]
            gaps = np.where(inside, np.diff(seconds, axis=1, prepend=seconds[:, :1]), 0.0).astype(np.float32)
            given["gaps"] = torch.from_numpy(gaps).to(device)
        # Padding stands at the end and attention is causal, so no mask is needed.
        logits = model(**given, use_cache=False).logits
        logits = logits[..., : self.vocabulary.n_types].flatten(0, 1).float()
        goal = torch.from_numpy(targets).to(device).long().flatten()
        total = F.cross_entropy(logits, goal, reduction="sum", ignore_index=-100)
        return torch.stack([total, (goal >= 0).sum().float()])
