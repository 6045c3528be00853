"""A Hugging Face causal model whose branches go on from copies of its own cache or recurrent state.

The observed events run once, from one cause to the next; at each cause the state is copied for its branches, which run
their tails as one batch. This asks nothing of a model but what generating text asks: Mamba and other recurrent models,
hybrids, and attention models that take no 4-D mask. Observed events alone are scored by whole runs.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequela.density.base import Branches, Floats, check_branches
from sequela.density.decoder.model import size_of
from sequela.density.decoder.probe import NotSharedError
from sequela.density.decoder.rerun import HuggingFaceRerunDensity
from sequela.density.decoder.tiles import Job, jobs_of
from sequela.density.runtime.network_density import Batches, Cost

_ARGUMENTS = ("past_key_values", "cache_params", "state")
"""What models call their cache."""
_ROWS = {"cpu": 64}
_ROWS_ACCELERATOR = 1024
"""Branches that hold a copy of the state at once."""


class HuggingFaceStateDensity(HuggingFaceRerunDensity):
    """A Hugging Face causal model that can go on from a copied state; see `DecoderDensity`.

    Attributes:
        one_by_one: Whether it does so by one token at a time.

    Raises:
        NotSharedError: The model has no cache that can be copied, or scores differ when it goes on from one.
    """

    reruns = False
    one_by_one = False

    def _make(self) -> None:
        """See `DecoderDensity`."""
        run: Any = self._head.run
        known = inspect.signature(run.forward).parameters
        found = [name for name in _ARGUMENTS if name in known]
        if not found:
            raise NotSharedError(f"{type(self.model).__name__} takes no cache")
        self._argument = found[0]
        super()._make()

    def cost(self, longest: int, horizon: int) -> Cost:
        """See `NetworkDensity.cost`."""
        found = super().cost(longest, horizon)
        return Cost(found.step_bytes, found.least_bytes, found.most_bytes, self.token_flops)

    def _held_bytes(self, batches: Batches, row: int) -> int:
        """Return the bytes of a whole run, and of the copies of the state."""
        config = self.model.config.get_text_config()
        width, item = int(config.hidden_size), self._head.dtype.itemsize
        state = size_of(config, "state_size")
        a_layer = item * 2 * width * row + 8 * width * state  # keys and values, or a recurrent state
        rows = min(self._most_rows(), batches.n_tokens)
        return super()._held_bytes(batches, row) + rows * a_layer * int(config.num_hidden_layers)

    def _most_rows(self) -> int:
        return _ROWS.get(torch.device(self.runtime.device).type, _ROWS_ACCELERATOR)

    @torch.inference_mode()
    def score_branches_many(self, branches: Sequence[Branches]) -> list[Floats]:
        """See `Density.score_branches_many`."""
        for one in branches:
            check_branches(one, self.vocabulary, self.max_tail)
        results = [np.full(one.tails.shape, np.nan) for one in branches]
        for job in jobs_of(branches, self.context, observed=False):
            self._score_job(job, branches[job.case], results[job.case])
        return results

    def _score_job(self, job: Job, one: Branches, result: Floats) -> None:
        """Run the observed events of a block from one cause to the next, and the branches of each."""
        observed = one.ids[job.block.begin : int(one.starts[job.rows].max(initial=0))]
        inputs = np.concatenate([[self.begin_token], self._token_of_id[observed]])
        starts, state, done = one.starts[job.rows], None, 0
        for start in np.unique(starts).tolist():
            end = 1 + start - job.block.begin
            _, state = self._go_on(inputs[None, done:end], state)
            done = end
            here = starts == start
            rows, steps = job.rows[here], job.steps[here]
            size = max(1, min(self._most_rows(), self._batches.n_tokens // int(steps.max())))
            for low in range(0, len(rows), size):
                some = slice(low, low + size)
                self._score_rows(job, one, result, (rows[some], steps[some]), state)

    def _score_rows(
        self, job: Job, one: Branches, result: Floats, some: tuple[NDArray[np.int64], NDArray[np.int64]], state: Any
    ) -> None:
        """Run the tails of some branches of one cause from copies of the state there."""
        rows, steps = some
        order = np.arange(int(steps.max()))
        tails = self._token_of_id[one.tails[rows][:, order]]
        hidden, _ = self._go_on(tails, _copied(state, len(rows), self.runtime.device))
        target = one.starts[rows][:, None] + 1 + order
        good = (order < steps[:, None]) & (target >= job.block.low)
        if one.wanted is not None:
            good &= one.wanted[rows][:, order]
        row, step = np.nonzero(good)
        picked = torch.from_numpy(np.stack([row, step])).to(hidden.device)
        result[rows[row], step] = self._head.target_log_prob(hidden[picked[0], picked[1]], one.ids[target[good]])

    def _go_on(self, tokens: NDArray[np.int64], state: Any) -> tuple[Tensor, Any]:
        """Run tokens (``[B, n]``) after a state, which may change; return the last hidden layer and the state after."""
        if self.one_by_one and state is not None and tokens.shape[1] > 1:
            parts = []
            for place in range(tokens.shape[1]):
                part, state = self._go_on(tokens[:, place : place + 1], state)
                parts.append(part)
            return torch.cat(parts, dim=1), state
        given = {} if state is None else {self._argument: state}
        found = self._head.run(input_ids=torch.from_numpy(tokens).to(self.runtime.device), use_cache=True, **given)
        after = getattr(found, self._argument, None)
        if after is None:
            raise NotSharedError(f"{type(self.model).__name__} gives no cache")
        return getattr(found, self._head.field), after


class HuggingFaceStepDensity(HuggingFaceStateDensity):
    """The same for a model that goes on from a state by one token at a time only."""

    one_by_one = True


def _copied(state: Any, n: int, device: str) -> Any:
    """Return ``n`` copies of the state of one row, side by side."""
    rows = torch.zeros(n, dtype=torch.int64, device=device)
    if isinstance(state, list | tuple):
        return [part.index_select(0, rows) for part in state]
    own = copy.deepcopy(state)
    own.reorder_cache(rows)
    return own
