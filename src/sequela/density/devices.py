"""Where a model runs."""

from __future__ import annotations


def choose_device() -> str:
    """Return ``"cuda"``, ``"mps"`` or ``"cpu"``: the first that is there."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"
