"""A recurrent network as a density: the observed events run once, branches go on from copies of the state.

One run over a block of a sequence gives the state after every event. A branch starts with a copy of the state at its
place and runs its tail only; tails of all causes, particles and sequences share batches. Long sequences are cut into
blocks as for a decoder (`sequela.density.blocks`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequela.density.base import Branches, Floats, Ids, Times
from sequela.density.blocks import Block, blocks
from sequela.density.decoder.tiles import Job, jobs_of
from sequela.density.output_head import MIN_ROWS, Head
from sequela.density.recurrent.network import RecurrentNetwork
from sequela.density.runtime.block_scoring import BlockScoring
from sequela.density.runtime.devices import fingerprint_of
from sequela.density.runtime.network_density import Batches, Cost, Runtime
from sequela.events.vocabulary import Vocabulary

_TOKENS = {"cpu": 4096}
_TOKENS_ACCELERATOR = 65_536
"""Events a call."""
_TOKENS_HELD = 16_384
"""Events whose states are held at once."""


class RecurrentDensity(BlockScoring):
    """A trained `RecurrentNetwork` as a density.

    Args:
        network: It.
        vocabulary: Event types.
        knows_hidden: Whether it was trained with hidden events.
        device: Where it runs.
    """

    backbone = "gru"

    def __init__(
        self, network: RecurrentNetwork, vocabulary: Vocabulary, *, knows_hidden: bool = False, device: str = "cpu"
    ) -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self.vocabulary = vocabulary
        self.knows_hidden = knows_hidden
        self.context = network.config.context
        self.runtime = Runtime(device=device)
        self._body = self.network
        self._head = Head.linear(self.network.head, device)
        self._batches = self._fastest_batches()

    @property
    def fingerprint(self) -> str:
        """See `Density.fingerprint`."""
        settings = f"{self.network.config} {self._body.head.weight.dtype}"
        return fingerprint_of(self.network.state_dict(), self.vocabulary.fingerprint, settings)

    def cost(self, longest: int = 1, horizon: int = 1) -> Cost:
        """See `NetworkDensity.cost`."""
        least, most = self._batch_bytes(longest, horizon)
        config = self.network.config
        flops = 2.0 * (6 * config.width**2 * config.n_layers + config.width * config.n_types)
        return Cost(step_bytes=24, least_bytes=least, most_bytes=most, step_flops=flops)

    def _fastest_batches(self) -> Batches:
        kind = torch.device(self.runtime.device).type
        return Batches(_TOKENS.get(kind, _TOKENS_ACCELERATOR), _TOKENS_HELD, self._head.best_rows)

    def _least_batches(self, longest: int, horizon: int) -> Batches:
        prefix = min(longest, self.context)
        return Batches(MIN_ROWS * max(prefix, horizon), prefix, MIN_ROWS)

    def _held_bytes(self, longest: int, horizon: int, batches: Batches) -> int:
        """Return the bytes of the states held, of one call (inputs, gates and states), and of the logits."""
        config = self.network.config
        states = 4 * config.width * config.n_layers
        a_call = batches.n_tokens * (2 * states + 4 * 8 * config.width + 24)
        return int(batches.n_held * states + a_call + batches.n_rows * 4 * config.n_types)

    @torch.inference_mode()
    def _prepare(self, before: Runtime) -> None:
        """See `NetworkDensity`."""
        now = self.runtime
        if now.precision != before.precision:
            plain = now.precision == "float32"
            self._body = self.network if plain else copy.deepcopy(self.network).to(getattr(torch, now.precision))
        self._batches = now.batches or self._fastest_batches()
        self._head = self._head.with_rows(self._batches.n_rows)

    @torch.inference_mode()
    def conditional_many(
        self, sequences: Sequence[Ids], positions: Sequence[NDArray[np.int64]], times: Times = None
    ) -> list[Floats]:
        """See `Density.conditional_many`."""
        results = [np.empty((len(where), self.vocabulary.n_types)) for where in positions]
        jobs = [
            Job(case, block, np.zeros(0, np.int64), np.zeros(0, np.int64), 1 + block.high - 1 - block.begin)
            for case, (ids, where) in enumerate(zip(sequences, positions, strict=True))
            for block in blocks(len(ids) + 1, self.context)
            if _inside(where, block).any()
        ]
        for batch in self._flights(jobs):
            states = self._prefix_states(batch, sequences)
            for row, job in enumerate(batch):
                own = _inside(np.asarray(positions[job.case]), job.block)
                at = torch.from_numpy(np.asarray(positions[job.case])[own] - job.block.begin).to(states.device)
                results[job.case][own] = self._head.log_probs(self._body.hidden(states[-1, row, at]))
        return results

    def _score(self, branches: Sequence[Branches], scores: list[Floats] | None, results: list[Floats]) -> None:
        """See `BlockScoring`."""
        sequences = [one.ids for one in branches]
        for jobs in self._flights(jobs_of(branches, self.context, observed=scores is not None)):
            states = self._prefix_states(jobs, sequences)
            if scores is not None:
                for row, job in enumerate(jobs):
                    block = job.block
                    hidden = self._body.hidden(states[-1, row, block.low - block.begin : block.high - block.begin])
                    own = self._head.target_log_prob(hidden, sequences[job.case][block.low : block.high])
                    scores[job.case][block.low : block.high] = own
            self._score_tails(jobs, states, branches, results)

    def _flights(self, jobs: list[Job]) -> Iterator[list[Job]]:
        """Cut jobs into groups of like lengths whose states may be held at once, and that run in one call."""
        group: list[Job] = []
        for job in sorted(jobs, key=lambda job: job.n_prefix):
            rows = len(group) + 1
            too_many = max(rows, MIN_ROWS) * job.n_prefix > self._batches.n_tokens
            if group and (too_many or rows * job.n_prefix > self._batches.n_held):
                yield group
                group = []
            group.append(job)
        if group:
            yield group

    def _prefix_states(self, jobs: list[Job], sequences: Sequence[Ids]) -> Tensor:
        """Return the states after the begin mark and each observed event (``[n_layers, B, n_prefix, width]``)."""
        inputs = np.full((max(len(jobs), MIN_ROWS), max(job.n_prefix for job in jobs)), self.vocabulary.begin_id)
        for row, job in zip(inputs, jobs, strict=False):
            row[1 : job.n_prefix] = sequences[job.case][job.block.begin :][: job.n_prefix - 1]
        return self._body.states(torch.from_numpy(inputs).long().to(self.runtime.device))[:, : len(jobs)]

    def _score_tails(
        self, jobs: list[Job], states: Tensor, branches: Sequence[Branches], results: list[Floats]
    ) -> None:
        """Run the tails of some jobs, those of like length together."""
        row_of = np.repeat(np.arange(len(jobs)), [len(job.rows) for job in jobs])
        if not len(row_of):
            return
        branch = np.concatenate([job.rows for job in jobs])
        steps = np.concatenate([job.steps for job in jobs])
        order = np.argsort(steps, kind="stable")
        low = 0
        while low < len(order):
            high = min(len(order), low + max(MIN_ROWS, self._batches.n_tokens // int(steps[order[low]])))
            while high - low > MIN_ROWS and (high - low) * int(steps[order[high - 1]]) > self._batches.n_tokens:
                high = low + max(MIN_ROWS, (high - low) // 2)
            some = order[low:high]
            self._score_batch(jobs, states, branches, results, (row_of[some], branch[some], steps[some]))
            low = high

    def _score_batch(
        self,
        jobs: list[Job],
        states: Tensor,
        branches: Sequence[Branches],
        results: list[Floats],
        which: tuple[NDArray[np.int64], ...],
    ) -> None:
        """Run some tails: the job, the branch and the number of steps of each (int64, ``[n]``)."""
        row_of, branch, steps = which
        n_steps, n = int(steps.max()), max(len(row_of), MIN_ROWS)
        tails = np.full((n, n_steps), self.vocabulary.begin_id, np.int64)
        place = np.zeros(len(row_of), np.int64)
        wanted = np.zeros((n, n_steps), bool)
        targets = np.zeros((n, n_steps), np.int32)
        for i, (row, k, many) in enumerate(zip(row_of.tolist(), branch.tolist(), steps.tolist(), strict=True)):
            job = jobs[row]
            one, start = branches[job.case], int(branches[job.case].starts[k])
            tails[i, :many] = one.tails[k, :many]
            place[i] = start - job.block.begin
            target = np.arange(start + 1, start + 1 + many)
            wanted[i, :many] = target >= job.block.low
            if one.wanted is not None:
                wanted[i, :many] &= one.wanted[k, :many]
            targets[i, :many] = one.ids[target]
        at = torch.from_numpy(np.stack([row_of, place])).to(states.device)
        begin = states.new_zeros((states.shape[0], n, states.shape[3]))
        begin[:, : len(row_of)] = states[:, at[0], at[1]]
        after = self._body.states(torch.from_numpy(tails).to(states.device), begin)[-1]
        rows, columns = np.nonzero(wanted)
        picked = torch.from_numpy(np.stack([rows, columns])).to(states.device)
        values = self._head.target_log_prob(self._body.hidden(after[picked[0], picked[1]]), targets[rows, columns])
        for i, step, value in zip(rows.tolist(), columns.tolist(), values.tolist(), strict=True):
            results[jobs[int(row_of[i])].case][branch[i], step] = value


def _inside(positions: NDArray[np.int64], block: Block) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (np.asarray(positions) >= block.low) & (np.asarray(positions) < block.high)
    return found
