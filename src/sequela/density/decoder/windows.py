"""Which past tokens the layers of a decoder see: all of them, or a sliding window of the last ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sequela.density.decoder.probe import NotSharedError

Windows = dict[str, int | None]
"""Width of the window of each kind of layer, None where it sees everything."""


def windows_of(config: Any) -> Windows:
    """Return the windows of a model by kind of layer.

    Raises:
        NotSharedError: The model has layers that are neither full nor sliding attention.

    Example:
        >>> from transformers import LlamaConfig, MistralConfig
        >>> windows_of(LlamaConfig()), windows_of(MistralConfig(sliding_window=8))
        ({'full_attention': None}, {'sliding_attention': 8})
    """
    width = getattr(config, "sliding_window", None)
    if getattr(config, "use_sliding_window", True) is False:
        width = None
    kinds = getattr(config, "layer_types", None)
    if not kinds:
        kinds = ["full_attention" if width is None else "sliding_attention"]
    windows: Windows = {}
    for kind in sorted(set(kinds)):
        if kind == "full_attention":
            windows[kind] = None
        elif kind == "sliding_attention" and isinstance(width, int):
            windows[kind] = width
        else:
            raise NotSharedError(f"it has layers of the kind '{kind}'")
    return windows


def masks(
    windows: Windows, sees: Tensor, queries: Tensor, keys: Tensor, dtype: torch.dtype
) -> Tensor | dict[str, Tensor]:
    """Return the 4-D mask of a model (``[B, 1, n, k]``), or one for each kind of layer.

    Args:
        windows: Its windows.
        sees: Which keys are in the past of each query (bool, ``[B, n, k]``).
        queries: Positions of the queries (int64, ``[B, n]``).
        keys: Positions of the keys (int64, ``[B, k]``).
        dtype: What the model computes in.

    Example:
        >>> place = torch.arange(3)[None]
        >>> sees = place[:, :, None] >= place[:, None]
        >>> (masks({"sliding_attention": 2}, sees, place, place, torch.float32) == 0).int()[0, 0].tolist()
        [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    found = {}
    for kind, width in windows.items():
        own = sees if width is None else sees & (queries[:, :, None] - keys[:, None] < width)
        found[kind] = additive(own, dtype)[:, None]
    return found if len(found) > 1 else next(iter(found.values()))


def additive(sees: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 0 where something is seen, and the lowest number where not."""
    return torch.zeros(sees.shape, dtype=dtype).masked_fill_(~sees, torch.finfo(dtype).min)
