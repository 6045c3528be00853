"""A Hugging Face causal model whose branches cannot share the observed prefix: whole sequences are run again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sequela.density.base import Floats, Ids
from sequela.density.decoder.model import DecoderDensity, size_of
from sequela.density.decoder.tiles import padded
from sequela.density.output_head import MIN_ROWS, Head
from sequela.density.rerun import Places, RerunDensity
from sequela.density.runtime.network_density import Batches, Cost, Runtime

_TOKENS = {"cpu": 2048}
_TOKENS_ACCELERATOR = 65_536


class HuggingFaceRerunDensity(RerunDensity, DecoderDensity):
    """Any Hugging Face causal model, exact and slow; see `DecoderDensity`."""

    def _make(self) -> None:
        """See `DecoderDensity`."""
        self._batches = self._fastest_batches()

    def _fastest_batches(self) -> Batches:
        kind = torch.device(self.runtime.device).type
        return Batches(_TOKENS.get(kind, _TOKENS_ACCELERATOR), 0, self._head.best_rows)

    def cost(self, longest: int, horizon: int) -> Cost:
        """See `NetworkDensity.cost`; a step pays for its share of the past that is run again, half of it on average."""
        past = min(longest, self.context) / 2
        row = padded(min(longest, self.context) + 1)
        least = self._held_bytes(Batches(row, 0, MIN_ROWS), row)
        most = self._held_bytes(self._fastest_batches(), row)
        flops = self.token_flops * (1 + past / max(1, horizon))
        return Cost(step_bytes=24, least_bytes=least, most_bytes=max(least, most), step_flops=flops)

    def batches_within(self, limit: int, longest: int, horizon: int) -> Batches:
        """See `NetworkDensity.batches_within`."""
        row = padded(min(longest, self.context) + 1)
        found, least = self._fastest_batches(), Batches(row, 0, MIN_ROWS)
        while (found.n_tokens > row or found.n_rows > MIN_ROWS) and self._held_bytes(found, row) > limit:
            found = Batches(max(found.n_tokens // 2, least.n_tokens), 0, max(found.n_rows // 2, MIN_ROWS))
        return found

    def _held_bytes(self, batches: Batches, row: int) -> int:
        config = self.model.config.get_text_config()
        width, item = int(config.hidden_size), self._head.dtype.itemsize
        inner = size_of(config, "intermediate_size") or 4 * width
        state = size_of(config, "state_size")  # of a model whose scan holds one for every token
        heads = size_of(config, "num_attention_heads")
        a_token = item * (12 * width + 4 * inner) + 16 * inner * state + 12 * heads * row
        logits = batches.n_rows * (4 if self._head.weight is not None else 8) * self._head.n_logits
        whole = self._head.n_logits * item if self._head.weight is None else width * item
        return int(max(batches.n_tokens, row) * (a_token + whole) + logits)

    @torch.inference_mode()
    def _prepare(self, before: Runtime) -> None:
        """See `NetworkDensity`."""
        now = self.runtime
        if now.precision != before.precision:
            dtype = None if now.precision == "float32" else getattr(torch, now.precision)
            self._head = Head.of(self.model, self.tokens, now.device, dtype=dtype)
        self._batches = now.batches or self._fastest_batches()
        self._head = replace(self._head, n_rows=self._batches.n_rows)

    def _padded(self, n_inputs: int) -> int:
        return max(n_inputs, min(padded(n_inputs), self.context))  # a model may have no positions beyond

    def _rows_a_call(self, n_inputs: int) -> int:
        return max(1, self._batches.n_tokens // n_inputs)

    @torch.inference_mode()
    def _target_log_probs(self, inputs: Ids, places: Places, targets: Ids) -> Floats:
        return self._head.target_log_prob(self._hidden(inputs, places), targets)

    @torch.inference_mode()
    def _log_probs(self, inputs: Ids, places: Places) -> Floats:
        return self._head.log_probs(self._hidden(inputs, places))

    def _hidden(self, inputs: Ids, places: Places) -> Tensor:
        """Return the last hidden layer at some places (``[n, d]``)."""
        tokens: Any = torch.from_numpy(self._token_of_id[inputs]).to(self.runtime.device)
        hidden = self._head.body(input_ids=tokens, use_cache=False)
        rows, columns = (torch.from_numpy(np.asarray(part)).to(hidden.device) for part in places)
        return hidden[rows, columns]
