"""From the last hidden layer to the log-probability of one event, in chunks that never hold many logits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

MIN_ROWS = 16
"""Matrix products of at least this many rows give each row the same bits whatever the others (measured with MKL)."""
_LOGIT_BYTES = {"cpu": 2**20}
_LOGIT_BYTES_ACCELERATOR = 256 * 2**20
"""Logits held at once: what stays in a processor's cache, or keeps an accelerator busy."""
_GOOD_ROWS = 128
"""Fewer rows make a product with a large vocabulary slow (measured at 29,100 types: 32 rows 71 ms, 128 rows 51 ms)."""
_SAME = 1e-4


def target_log_prob(logits: Tensor, targets: Tensor) -> Tensor:
    """Return ``log softmax(logits)[target]`` (``[B]``) for logits ``[B, V]`` and targets int64 ``[B]``.

    Written as ``log_sigmoid(target - logsumexp(others))``, which keeps full relative precision where the target is
    nearly certain; ``target - logsumexp(all)`` rounds such a probability to 1 in float32. Overwrites ``logits``.

    Example:
        >>> round(float(target_log_prob(torch.tensor([[0.0, 20.0]]), torch.tensor([1]))) * 1e9, 3)
        -2.061
    """
    chosen, others = target_and_others(logits, targets)
    return F.logsigmoid(chosen - others)


def target_and_others(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logit of each target and the ``logsumexp`` of all others (``[B]`` each). Overwrites ``logits``.

    Example:
        >>> target_and_others(torch.tensor([[0.0, 20.0]]), torch.tensor([1]))
        (tensor([20.]), tensor([0.]))
    """
    index = targets[:, None]
    chosen = logits.gather(1, index)[:, 0]
    logits.scatter_(1, index, -torch.inf)
    top = logits.amax(1, keepdim=True)
    return chosen, logits.sub_(top).exp_().sum(1).log_() + top[:, 0]


@dataclass
class Head:
    """A decoder in two parts: tokens to the last hidden layer, and from there to the logits of event types.

    Attributes:
        run: The decoder's body, or the whole decoder where it does more than a linear layer at its end.
        field: Which part of its output is "hidden".
        weight: Output layer of the event types (``[n_types, d]``); None where `run` gives logits.
        bias: Its bias, if any.
        columns: Logits of the event types, where `run` gives logits of all tokens.
        n_types: Event types.
        n_rows: Rows whose logits are held at once.
        best_rows: The number of rows that is fastest.
        dtype: What the body computes in.
        n_logits: Logits a row: of the event types, or of all tokens where `run` gives them.
    """

    run: Callable[..., Any]
    field: str
    weight: Tensor | None
    bias: Tensor | None
    columns: Tensor
    n_types: int
    n_rows: int
    best_rows: int
    n_logits: int
    dtype: torch.dtype = torch.float32

    @classmethod
    def of(cls, model: Any, tokens: NDArray[np.int64], device: str, *, dtype: torch.dtype | None = None) -> Head:
        """Split a causal language model; one whose end is not a plain linear layer is kept whole.

        Args:
            model: The model.
            tokens: Token of each event type (int64, ``[n_types]``).
            device: Where it is.
            dtype: What the body computes in; as it is when not given.
        """
        columns = torch.from_numpy(tokens).to(device)
        logit_bytes = _LOGIT_BYTES.get(torch.device(device).type, _LOGIT_BYTES_ACCELERATOR)
        size = max(_GOOD_ROWS, logit_bytes // (4 * len(tokens)))
        n_all = int(model.config.get_text_config().vocab_size)
        whole = cls(model, "logits", None, None, columns, len(tokens), size, size, n_all, model.dtype)
        last, body = model.get_output_embeddings(), model.base_model
        if not isinstance(last, torch.nn.Linear) or body is model:
            return whole.converted(dtype, model)
        in_order = bool((tokens == np.arange(len(tokens))).all())
        select: Callable[[Tensor], Tensor] = lambda x: (x[: len(tokens)] if in_order else x[columns]).float()  # noqa: E731
        bias = None if last.bias is None else select(last.bias)
        weight = select(last.weight)
        split = cls(body, "last_hidden_state", weight, bias, columns, len(tokens), size, size, len(tokens), model.dtype)
        probe = columns[:8][None]
        expected = model(input_ids=probe, use_cache=False).logits[0][:, columns].float()
        found = split._logits(split.body(input_ids=probe, use_cache=False)[0])
        scale = float(expected.abs().max()) + 1.0
        good = bool(((found - expected).abs() < _SAME * scale).all())
        return split.converted(dtype, body) if good else whole.converted(dtype, model)

    @classmethod
    def linear(cls, layer: torch.nn.Linear, device: str) -> Head:
        """Return the head of a network of our own that ends in a linear layer; it has no body."""
        n_types, weight = layer.out_features, layer.weight.float()
        logit_bytes = _LOGIT_BYTES.get(torch.device(device).type, _LOGIT_BYTES_ACCELERATOR)
        size = max(_GOOD_ROWS, logit_bytes // (4 * n_types))
        columns = torch.arange(n_types, device=weight.device)
        return cls(layer, "", weight, layer.bias.float(), columns, n_types, size, size, n_types)

    def with_rows(self, n_rows: int) -> Head:
        """Return the same head with another number of rows whose logits are held at once."""
        return replace(self, n_rows=n_rows)

    def converted(self, dtype: torch.dtype | None, run: Any) -> Head:
        """Return the head with a copy of ``run`` in another type of numbers as its body; itself without a type."""
        if dtype is None:
            return self
        return replace(self, run=copy.deepcopy(run).to(dtype), dtype=dtype)

    def body(self, **inputs: Any) -> Tensor:
        """Run the body on one batch; returns ``[B, n, d]``."""
        hidden: Tensor = getattr(self.run(**inputs), self.field)
        return hidden

    def target_log_prob(self, hidden: Tensor, targets: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the log-probability of one event type for each row of the hidden layer (float64, ``[n]``)."""
        index = torch.from_numpy(targets.astype(np.int64)).to(hidden.device)
        result = torch.empty(len(index), dtype=torch.float32, device=hidden.device)  # Apple devices have no float64
        for part, logits in self._chunks(hidden):
            result[part] = target_log_prob(logits, index[part])
        return result.cpu().numpy().astype(np.float64)

    def log_probs(self, hidden: Tensor) -> NDArray[np.float64]:
        """Return whole conditionals (float64, ``[n, n_types]``)."""
        result = np.empty((len(hidden), self.n_types))
        for part, logits in self._chunks(hidden):
            result[part] = logits.cpu().double().log_softmax(1).numpy()
        return result

    def _chunks(self, hidden: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield logits of some rows at a time; they may be overwritten."""
        rows = min(max(self.n_rows, MIN_ROWS), -(-len(hidden) // MIN_ROWS) * MIN_ROWS)
        buffer = torch.empty((rows, self.n_types), device=hidden.device)
        for low in range(0, len(hidden), rows):
            some = hidden[low : low + rows]
            n = len(some)
            if n < MIN_ROWS:
                some = F.pad(some, (0, 0, 0, MIN_ROWS - n))
            yield slice(low, low + n), self._logits(some, buffer[: len(some)])[:n]

    def _logits(self, hidden: Tensor, out: Tensor | None = None) -> Tensor:
        if self.weight is None:
            return hidden[:, self.columns].float()
        logits = torch.mm(hidden.float(), self.weight.T, out=out)
        return logits if self.bias is None else logits.add_(self.bias)
