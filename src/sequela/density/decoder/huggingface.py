"""Any Hugging Face causal decoder as a density, with branches that share the observed prefix.

The observed events of a sequence run once and leave their keys and values. Branches then run in tiles (`tiles`): a row
of tail tokens behind a copy of the prefix, whose 4-D attention mask lets each token see its own prefix and its own tail
only, at its own positions and within the sliding windows of the model's layers (`windows`). Tiles of all causes,
particles and sequences share batches. Of the logits only the log-probability of the target is kept.

Sequences longer than the context are cut into blocks of half a context: an event in block ``b`` is predicted from the
events since the start of block ``b - 1``. That is a proper density of its own (each event has one fixed past), and
branches that cross a block border are run in both blocks, so ``score`` and ``score_branches`` always agree.

Batches are only made of parts whose shape depends on their own sequence, and matrix products have `logits.MIN_ROWS`
rows at least, so that a sequence gets the same bits in whatever company, as long as the matrix library sums a row alike
in products of different heights (MKL does; `tests/density/test_branches.py` checks it), and within 1e-5 always.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequela.density.base import Branches, Floats, Ids, Times
from sequela.density.blocks import blocks
from sequela.density.decoder.llama import LlamaTiles
from sequela.density.decoder.model import DecoderDensity, size_of
from sequela.density.decoder.tiles import TILE_TOKENS, Job, Tile, batches_of, jobs_of, padded, tiles_of
from sequela.density.decoder.timing import Timing, gaps_before
from sequela.density.decoder.windows import additive, masks, windows_of
from sequela.density.output_head import MIN_ROWS, Head
from sequela.density.runtime.block_scoring import BlockScoring
from sequela.density.runtime.network_density import Batches, Cost, Runtime
from sequela.density.window.time_features import Gaps, check_times
from sequela.errors import MissingExtraError
from sequela.events.vocabulary import Vocabulary

try:
    from transformers import DynamicCache
except ImportError as error:
    raise MissingExtraError("a decoder (llama, or one of Hugging Face)", "decoders") from error

_TOKENS = {"cpu": 768}
_TOKENS_ACCELERATOR = 32_768
"""Tokens a call: what keeps the intermediate arrays in cache, or an accelerator busy."""
_TOKENS_HELD = 16_384
"""Prefix tokens whose keys and values are held at once."""

Layers = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer."""


class _PrefixCache(DynamicCache):  # type: ignore[misc]
    """Keys and values that are already there; new ones are put behind them and forgotten."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self._given = layers

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        keys, values = self._given[layer_idx]
        return torch.cat([keys, key_states], dim=2), torch.cat([values, value_states], dim=2)

    def get_seq_length(self, *_: Any, **__: Any) -> int:
        return int(self._given[0][0].shape[2])


class HuggingFaceDensity(BlockScoring, DecoderDensity):
    """A Hugging Face causal decoder whose branches share the observed prefix; see `DecoderDensity`.

    Args:
        model: A causal language model.
        vocabulary: Event types.
        timing: What the gaps before events add to its embeddings; the density then uses times.
        settings: See `DecoderDensity`.

    Raises:
        NotSharedError: The model does not honour a 4-D attention mask, position ids and a cache (this is probed).
    """

    def __init__(self, model: Any, vocabulary: Vocabulary, *, timing: Timing | None = None, **settings: Any) -> None:
        self.uses_times = timing is not None
        if timing is not None:
            self.timing = timing.to(settings.get("device", "cpu")).eval().requires_grad_(False)
        super().__init__(model, vocabulary, **settings)

    def _make(self) -> None:
        """See `DecoderDensity`."""
        self._windows = windows_of(self.model.config.get_text_config())
        self._llama = LlamaTiles(self.model) if LlamaTiles.fits(self.model) else None
        self._batches = self._fastest_batches()

    def cost(self, longest: int = 1, horizon: int = 1) -> Cost:
        """See `NetworkDensity.cost`.

        A step holds what says where a branch's results go; the smallest batches are one prefix, one tile, and the
        logits of a few rows. Operations are two for each weight that is multiplied with.
        """
        least, most = self._batch_bytes(longest, horizon)
        return Cost(step_bytes=24, least_bytes=least, most_bytes=most, step_flops=self.token_flops)

    def _fastest_batches(self) -> Batches:
        kind = torch.device(self.runtime.device).type
        return Batches(_TOKENS.get(kind, _TOKENS_ACCELERATOR), _TOKENS_HELD, self._head.best_rows)

    def _least_batches(self, longest: int, horizon: int) -> Batches:
        prefix = padded(min(longest, self.context) + 1)
        return Batches(max(TILE_TOKENS, horizon) * 2, prefix, MIN_ROWS)

    def _held_bytes(self, longest: int, horizon: int, batches: Batches) -> int:
        """Return the bytes that some batches hold: activations, masks, keys and values, logits."""
        config = self.model.config.get_text_config()
        width, item = int(config.hidden_size), self._head.dtype.itemsize
        inner = size_of(config, "intermediate_size") or 4 * width
        heads = size_of(config, "num_attention_heads")
        head_width = size_of(config, "head_dim") or width // heads
        keys = 2 * head_width * (size_of(config, "num_key_value_heads") or heads)  # and values
        prefix = padded(min(longest, self.context) + 1)
        tile = max(TILE_TOKENS, horizon)
        n_tokens, n_held, n_rows = max(batches.n_tokens, tile), max(batches.n_held, prefix), batches.n_rows
        a_token = item * (12 * width + 4 * inner) + 10 * len(self._windows) * (prefix + tile)  # and masks
        copies = n_tokens / tile * 3 * keys * (prefix + tile) * item
        logits = n_rows * (4 if self._head.weight is not None else 8) * self._head.n_logits
        held = n_held * (keys * item * int(config.num_hidden_layers) + 4 * width)
        whole = n_tokens * self._head.n_logits * item if self._head.weight is None else 0
        return int(n_tokens * a_token + copies + logits + held + whole)

    @torch.inference_mode()
    def _prepare(self, before: Runtime) -> None:
        """See `NetworkDensity`."""
        now = self.runtime
        if now.precision != before.precision:
            dtype = None if now.precision == "float32" else getattr(torch, now.precision)
            self._head = Head.of(self.model, self.tokens, now.device, dtype=dtype)
            self._llama = LlamaTiles(self.model) if LlamaTiles.fits(self.model) and dtype is None else None
        self._batches = now.batches or self._fastest_batches()
        self._head = replace(self._head, n_rows=self._batches.n_rows)

    @torch.inference_mode()
    def conditional_many(
        self, sequences: Sequence[Ids], positions: Sequence[NDArray[np.int64]], times: Times = None
    ) -> list[Floats]:
        """See `Density.conditional_many`; prefixes of like length run as one batch."""
        results = [np.empty((len(where), self.vocabulary.n_types)) for where in positions]
        needed = [
            max(len(ids), int(where.max(initial=-1)) + 1) for ids, where in zip(sequences, positions, strict=True)
        ]
        gaps = self._gaps(times, needed)
        jobs = []
        for case, (ids, where) in enumerate(zip(sequences, positions, strict=True)):
            for block in blocks(len(ids) + 1, self.context):
                wanted = np.flatnonzero((where >= block.low) & (where < block.high))
                if len(wanted):
                    jobs.append(Job(case, block, wanted, wanted, 1 + int(where[wanted].max()) - block.begin))
        for flight in self._flights(jobs):
            for batch in self._prefix_batches(flight):
                hidden, _ = self._run_prefixes(batch, sequences, gaps)
                for job, own in zip(batch, hidden, strict=True):
                    where = positions[job.case]
                    wanted = np.flatnonzero((where >= job.block.low) & (where < job.block.high))
                    rows = torch.from_numpy(where[wanted] - job.block.begin).to(self.runtime.device)
                    results[job.case][wanted] = self._head.log_probs(own[rows])
        return results

    def _score(self, branches: Sequence[Branches], scores: list[Floats] | None, results: list[Floats]) -> None:
        """See `BlockScoring`."""
        sequences = [one.ids for one in branches]
        gaps = self._gaps([one.times for one in branches], [len(ids) for ids in sequences])
        for jobs in self._flights(jobs_of(branches, self.context, observed=scores is not None)):
            layers: list[Layers] = []
            for batch in self._prefix_batches(jobs):
                hidden, found = self._run_prefixes(batch, sequences, gaps)
                layers += found if self._llama is None else map(self._llama.prefix, found)
                if scores is not None:
                    self._score_observed(batch, hidden, branches, scores)
            tiles = [tile for number, job in enumerate(jobs) for tile in tiles_of(number, job, branches[job.case])]
            for same in batches_of(tiles, self._batches.n_tokens):
                self._score_tiles(same, jobs, layers, branches, gaps, results)

    def _gaps(self, times: Times, needed: list[int]) -> list[Gaps] | None:
        """Return the gaps of sequences of which the times of so many events are needed; None without times."""
        return [gaps_before(own) for own in check_times(times, needed)] if self.uses_times else None

    def _flights(self, jobs: list[Job]) -> Iterator[list[Job]]:
        """Cut jobs into groups whose keys and values may be held at once, of like lengths together."""
        yield from _groups(sorted(jobs, key=lambda job: padded(job.n_prefix)), self._batches.n_held)

    def _prefix_batches(self, jobs: list[Job]) -> Iterator[list[Job]]:
        yield from _groups(jobs, self._batches.n_tokens, same=True)

    def _run_prefixes(
        self, jobs: list[Job], ids: Sequence[Ids], gaps: list[Gaps] | None
    ) -> tuple[list[Tensor], list[Layers]]:
        """Run the prefixes of some jobs of equal padded length, on sequences and their gaps.

        Returns:
            For each the last hidden layer (``[n_prefix, d]``; row ``i`` predicts event ``block.begin + i``), and the
            keys and values of each layer (``[heads, padded, d_head]``).
        """
        length = padded(max(job.n_prefix for job in jobs))
        tokens = np.full((len(jobs), length), self.begin_token, dtype=np.int64)
        ago = None if gaps is None else np.zeros(tokens.shape, dtype=np.float32)
        for row, job in enumerate(jobs):
            begin = job.block.begin
            tokens[row, 1 : job.n_prefix] = self._token_of_id[ids[job.case][begin:][: job.n_prefix - 1]]
            if ago is not None and gaps is not None:
                ago[row, 1 : job.n_prefix] = gaps[job.case][begin + 1 : begin + job.n_prefix]
        cache = DynamicCache()
        parts = []
        size = max(16, self._batches.n_tokens // len(jobs))
        for low in range(0, length, size):
            high = min(length, low + size)
            place = torch.arange(low, high)
            sees = (torch.arange(high) <= place[:, None])[None].expand(len(jobs), -1, -1)
            before = torch.arange(high).expand(len(jobs), -1)
            given = self._inputs(self._head.run, tokens[:, low:high], None if ago is None else ago[:, low:high])
            parts.append(self._forward(given, place.expand(len(jobs), -1), sees, before, cache))
        hidden = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        layers = [(layer.keys, layer.values) for layer in cache.layers]
        return (
            [hidden[row, : job.n_prefix] for row, job in enumerate(jobs)],
            [[(keys[row], values[row]) for keys, values in layers] for row in range(len(jobs))],
        )

    def _score_observed(
        self, jobs: list[Job], hidden: list[Tensor], branches: Sequence[Branches], scores: list[Floats]
    ) -> None:
        targets = [branches[job.case].ids[job.block.low : job.block.high] for job in jobs]
        rows = [own[job.block.low - job.block.begin :] for job, own in zip(jobs, hidden, strict=True)]
        values = self._head.target_log_prob(torch.cat(rows), np.concatenate(targets))
        ends = np.cumsum([len(part) for part in targets])
        for job, part in zip(jobs, np.split(values, ends[:-1]), strict=True):
            scores[job.case][job.block.low : job.block.high] = part

    def _score_tiles(
        self,
        tiles: list[Tile],
        jobs: list[Job],
        layers: list[Layers],
        branches: Sequence[Branches],
        gaps: list[Gaps] | None,
        results: list[Floats],
    ) -> None:
        """Run tiles of one shape as one batch."""
        n_rows, n_steps, n_prefix = tiles[0].shape
        tail = np.full((len(tiles), n_rows, n_steps), self.begin_token, dtype=np.int64)
        ago = None if gaps is None else np.zeros((len(tiles), n_rows * n_steps), dtype=np.float32)
        n_visible = np.ones((len(tiles), n_rows), dtype=np.int64)
        has_target = np.zeros((len(tiles), n_rows, n_steps), dtype=bool)
        targets, places = [], []
        for part in _runs(tiles):
            job = jobs[tiles[part.start].job]
            one = branches[job.case]
            filled = np.concatenate([np.arange(len(tile.rows)) + i * n_rows for i, tile in enumerate(tiles[part])])
            rows = np.concatenate([tile.rows for tile in tiles[part]])
            steps = np.concatenate([tile.steps for tile in tiles[part]])
            start = one.starts[rows]
            tail[part].reshape(-1, n_steps)[filled] = self._token_of_id[one.tails[rows, :n_steps]]
            n_visible[part].reshape(-1)[filled] = 1 + start - job.block.begin
            target = start[:, None] + 1 + np.arange(n_steps)
            good = (np.arange(n_steps) < steps[:, None]) & (target >= job.block.low)
            if one.wanted is not None:
                good &= one.wanted[rows, :n_steps]
            has_target[part].reshape(-1, n_steps)[filled] = good
            if ago is not None and gaps is not None:
                ago[part].reshape(-1, n_steps)[filled] = gaps[job.case][np.minimum(target, len(one.ids))]
            targets.append(one.ids[target[good]])
            row, step = np.nonzero(good)
            places.append((job.case, rows[row], step))
        visible = torch.from_numpy(n_visible)[:, :, None]
        order = torch.arange(n_steps)
        sees_prefix = (torch.arange(n_prefix) < visible).repeat_interleave(n_steps, dim=1)  # [M, rows * steps, prefix]
        own_tail = torch.kron(torch.eye(n_rows), (order <= order[:, None]).float()).bool()
        sees = torch.cat([sees_prefix, own_tail.expand(len(tiles), -1, -1)], dim=2)
        tokens, positions = tail.reshape(len(tiles), -1), (visible + order).flatten(1)
        if self._llama is not None:
            prefixes = [(part, layers[tiles[part.start].job]) for part in _runs(tiles)]
            added = None if self.timing is None or ago is None else self.timing(torch.from_numpy(ago))
            hidden = self._llama.hidden(tokens, positions, additive(sees, self._head.dtype), prefixes, added)
        else:
            cache = _PrefixCache(_stacked(tiles, layers, n_prefix))
            places_ = torch.cat([torch.arange(n_prefix).expand(len(tiles), -1), positions], dim=1)
            given = self._inputs(self._head.run, tokens, ago)
            hidden = self._forward(given, positions, sees, places_, cache).flatten(0, 1)
        if not has_target.any():
            return
        rows_ = torch.from_numpy(np.flatnonzero(has_target)).to(self.runtime.device)
        values = self._head.target_log_prob(hidden.index_select(0, rows_), np.concatenate(targets))
        ends = np.cumsum([len(part) for part in targets])
        for (index, row, step), own in zip(places, np.split(values, ends[:-1]), strict=True):
            results[index][row, step] = own

    def _forward(self, given: dict[str, Tensor], positions: Tensor, sees: Tensor, keys: Tensor, cache: Any) -> Tensor:
        """Run tokens after cached ones.

        Args:
            given: The tokens, as `_inputs` gives them.
            positions: Their positions (int64, ``[B, n]``).
            sees: What is in the past of each, among the cached and these (bool, ``[B, n, cached + n]``).
            keys: Positions of those (int64, ``[B, cached + n]``).
            cache: What is cached.

        Returns:
            The last hidden layer (``[B, n, d]``).
        """
        found = masks(self._windows, sees, positions, keys, self._head.dtype)
        device = self.runtime.device
        return self._head.body(
            **given,
            position_ids=positions.clamp(max=self.context - 1).to(device),  # padding may stand beyond all
            attention_mask={k: m.to(device) for k, m in found.items()} if isinstance(found, dict) else found.to(device),
            past_key_values=cache,
            use_cache=True,
        )


def _stacked(tiles: list[Tile], layers: list[Layers], n_prefix: int) -> Layers:
    """Return the prefixes of some tiles side by side (keys and values of each layer, ``[M, heads, P, d_head]``)."""
    if len({tile.job for tile in tiles}) == 1:
        return [
            (
                keys[None, :, :n_prefix].expand(len(tiles), -1, -1, -1),
                values[None, :, :n_prefix].expand(len(tiles), -1, -1, -1),
            )
            for keys, values in layers[tiles[0].job]
        ]
    return [
        (
            torch.stack([layers[tile.job][depth][0][:, :n_prefix] for tile in tiles]),
            torch.stack([layers[tile.job][depth][1][:, :n_prefix] for tile in tiles]),
        )
        for depth in range(len(layers[0]))
    ]


def _runs(tiles: list[Tile]) -> list[slice]:
    """Return the runs of tiles of one job."""
    jobs = [tile.job for tile in tiles]
    starts = [i for i, job in enumerate(jobs) if i == 0 or job != jobs[i - 1]]
    return [slice(low, high) for low, high in zip(starts, [*starts[1:], len(jobs)], strict=True)]


def _groups(jobs: list[Job], n_tokens: int, *, same: bool = False) -> Iterator[list[Job]]:
    """Cut jobs into groups of at most ``n_tokens`` padded tokens (one job at least), of one length with ``same``."""
    group: list[Job] = []
    total = 0
    for job in jobs:
        size = padded(job.n_prefix)
        if group and (total + size > n_tokens or (same and size != padded(group[0].n_prefix))):
            yield group
            group, total = [], 0
        group.append(job)
        total += size
    if group:
        yield group
