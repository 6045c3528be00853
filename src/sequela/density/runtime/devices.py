"""Where a model runs, and which one it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sequela.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


def choose_device(wanted: str | None = None) -> str:
    """Return a device: the one that is wanted, or the first of ``"cuda"``, ``"mps"``, ``"cpu"`` that is there.

    Raises:
        ConfigError: The one that is wanted is not here.

    Example:
        >>> choose_device("cpu")
        'cpu'
    """
    import torch

    if wanted is not None:
        try:
            torch.zeros(1, device=wanted)
        except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"device must be one that torch finds here, such as 'cpu' or 'cuda'; got {wanted!r} ({reason[:150]})"
            ) from error
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def fast_half(device: str) -> str | None:
    """Return the 16-bit numbers a device is fast with: ``"bfloat16"`` where it is native, ``"float16"``, or None.

    GPUs of compute capability 7 and Apple's have float16 only, or bfloat16 in software on some systems.
    """
    import torch

    if has_fast_bfloat16(device):
        return "bfloat16"
    kind = torch.device(device).type
    if kind == "mps" or (kind == "cuda" and torch.cuda.get_device_capability(device)[0] == 7):
        return "float16"
    return None


def has_fast_bfloat16(device: str) -> bool:
    """Whether a device multiplies bfloat16 matrices natively: a CPU with AMX, a GPU of compute capability 8 or more."""
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return kind == "cpu" and bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


def multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware: with AMX, or with AVX512-BF16.

    The latter is about twice as fast as float32 and pays for wide layers only (`docs/engine.md`).
    """
    import torch

    known = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in known)


def is_first_process() -> bool:
    """Whether this process is the one that writes, when several train together (`accelerate launch`, `torchrun`).

    These say in the environment which process is which; what is locked before training begins must know it too.
    """
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank() == 0
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ.get("RANK", "0") == "0"


def fingerprint_of(weights: Mapping[str, Tensor], *settings: str) -> str:
    """Return a hash of weights and settings: equal only for densities that score alike."""
    import torch

    digest = hashlib.blake2b("\0".join(settings).encode(), digest_size=16)
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data if value.numel() else b"")
    return digest.hexdigest()
