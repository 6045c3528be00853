"""The layers of a small Llama over Hugging Face weights, arranged for branches: the decoder that `fit` trains.

The same sums as `LlamaModel` in a third of the launches: one product for queries, keys and values and one for both
halves of the gated layer, gains of the norms multiplied into the weights after them, residuals added by the product
before them, rotations as one complex product, keys written straight behind the prefix, and the first layer's products
only once for each distinct event (the events after a cause are the same in all its branches). Any other decoder, number
type or device runs through its own code; `HuggingFaceDensity` compares either with a plain forward when it is made.
Source: `transformers.models.llama.modeling_llama`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sequela.density.output_head import MIN_ROWS

_MOST_WIDTH = 128
"""Wider models spend their time in products anyway (`benchmarks/fast_layers.py`); the weights are held twice here."""


class _Layer(NamedTuple):
    """Weights of one layer, transposed for ``x @ weight``."""

    qkv: Tensor  # [d, 3 * d]; queries are scaled, pairs of numbers that rotate together stand together
    out: Tensor  # [d, d]
    gate_up: Tensor  # [d, 2 * inner]
    down: Tensor  # [inner, d]


class LlamaTiles:
    """The body of one `LlamaForCausalLM` for tiles of branches.

    Args:
        model: A model for which `fits` is true.
    """

    def __init__(self, model: Any) -> None:
        config, body = model.config, model.model
        self.n_heads = int(config.num_attention_heads)
        self.eps = float(config.rms_norm_eps)
        self._embedding: Tensor = body.embed_tokens.weight
        self._rotary = body.rotary_emb
        self._gain: Tensor = body.norm.weight
        head = self._embedding.shape[1] // self.n_heads
        self._order = torch.arange(head).view(2, -1).T.flatten()  # 0, head/2, 1, head/2 + 1, …
        self._layers = [self._layer(layer, head) for layer in body.layers]
        self._turns = torch.zeros(0)

    @staticmethod
    def fits(model: Any) -> bool:
        """Whether a model is a plain Llama in float32 on a processor."""
        from transformers import LlamaForCausalLM

        if type(model) is not LlamaForCausalLM or model.device.type != "cpu" or model.dtype != torch.float32:
            return False
        config = model.config
        rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
        return (
            config.num_key_value_heads == config.num_attention_heads
            and config.head_dim * config.num_attention_heads == config.hidden_size
            and config.head_dim % 2 == 0
            and config.hidden_act == "silu"
            and not config.attention_bias
            and not config.mlp_bias
            and rope.get("rope_type", "default") == "default"
            and config.hidden_size <= _MOST_WIDTH
        )

    def _layer(self, layer: Any, head: int) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp

        def in_pairs(weight: Tensor) -> Tensor:  # [d, d] -> [d, d]
            return weight.view(self.n_heads, head, -1)[:, self._order].flatten(0, 1)

        qkv = [in_pairs(attention.q_proj.weight) * head**-0.5, in_pairs(attention.k_proj.weight)]
        qkv = torch.cat([*qkv, attention.v_proj.weight]) * layer.input_layernorm.weight
        gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]) * layer.post_attention_layernorm.weight
        weights = (qkv, attention.o_proj.weight, gate_up, mlp.down_proj.weight)
        return _Layer(*(weight.T.contiguous() for weight in weights))

    def prefix(self, layers: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """Return a prefix's keys (``[heads, n, d_head]``, as the model makes them) in the order used here."""
        return [(keys[..., self._order], values) for keys, values in layers]

    def hidden(
        self,
        tokens: NDArray[np.int64],
        positions: Tensor,
        mask: Tensor,
        prefixes: Sequence[tuple[slice, list[tuple[Tensor, Tensor]]]],
        added: Tensor | None = None,
    ) -> Tensor:
        """Run tiles of one shape.

        Args:
            tokens: Tail tokens (int64, ``[T, n]``).
            positions: Their places (int64, ``[T, n]``).
            mask: 0 where a token sees, the lowest number where not (``[T, n, P + n]``).
            prefixes: For runs of tiles, the keys and values of each layer before them (`prefix`, ``P`` or more places).
            added: What is added to the embeddings (``[T, n, d]``), if anything.

        Returns:
            Their last hidden layer (``[T * n, d]``).
        """
        n_tiles, n = tokens.shape
        n_prefix = mask.shape[2] - n
        turns = self._turns_at(positions.flatten())  # [T * n, 1, d_head / 2]
        if added is None:
            distinct, which = np.unique(tokens, return_inverse=True)
            some = torch.from_numpy(np.resize(distinct, max(len(distinct), MIN_ROWS)))
            table, place = self._embedding.index_select(0, some), torch.from_numpy(which.ravel())
        else:  # equal tokens may differ in their times
            table = self._embedding.index_select(0, torch.from_numpy(tokens.ravel())) + added.flatten(0, 1)
            place = torch.arange(len(table))
        x = table.index_select(0, place)
        width = x.shape[1]
        head = width // self.n_heads
        keys, values = (torch.empty(n_tiles, self.n_heads, n_prefix + n, head) for _ in range(2))
        for depth, layer in enumerate(self._layers):
            qkv = self._normal(x if depth else table) @ layer.qkv
            if depth == 0:
                qkv = qkv.index_select(0, place)
            rotating = torch.view_as_complex(qkv[:, : 2 * width].view(-1, 2 * self.n_heads, head // 2, 2))
            rotating.mul_(turns)
            # [T * n, 3 * d] -> [3, T, heads, n, d_head]
            query, key, value = qkv.view(n_tiles, n, 3, self.n_heads, head).permute(2, 0, 3, 1, 4)
            for tiles, given in prefixes:
                keys[tiles, :, :n_prefix], values[tiles, :, :n_prefix] = (part[:, :n_prefix] for part in given[depth])
            keys[:, :, n_prefix:], values[:, :, n_prefix:] = key, value
            seen = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask[:, None], scale=1.0)
            x = torch.addmm(x, seen.transpose(1, 2).reshape(-1, width), layer.out)
            gate, up = (self._normal(x) @ layer.gate_up).chunk(2, dim=1)
            x = torch.addmm(x, F.silu(gate).mul_(up), layer.down)
        return self._normal(x).mul_(self._gain)

    def _normal(self, x: Tensor) -> Tensor:
        """Return rows of root mean square 1."""
        square = torch.linalg.vector_norm(x, dim=1, keepdim=True).square_()
        normal: Tensor = x * square.div_(x.shape[1]).add_(self.eps).rsqrt_()
        return normal

    def _turns_at(self, positions: Tensor) -> Tensor:
        """Return the rotation of each pair at some positions (complex, ``[n, 1, d_head / 2]``)."""
        most = int(positions.max()) + 1
        if len(self._turns) < most:
            size = 2 * most
            cos, sin = self._rotary(self._embedding[:1, None], torch.arange(size)[None])
            half = cos.shape[-1] // 2
            self._turns = torch.complex(cos[0, :, :half], sin[0, :, :half])[:, None].contiguous()
        return self._turns[positions]
