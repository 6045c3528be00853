"""Compiled code for what runs many times in one shape, and whether a job is big enough for it."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sequela.density.base import COMPILED_TOLERANCE, PRECISION_TOLERANCE, Density
from sequela.errors import check_choice

if TYPE_CHECKING:
    from torch import Tensor

WORTH_COMPILING_FLOPS = 1e15
"""Work from which on a GPU is given compiled code: minutes, against up to one minute of compiling."""


def compile_or_warn(
    run: Callable[..., Tensor], arguments: tuple[Any, ...], *, device: str, precision: str, backend: str
) -> Callable[..., Tensor] | None:
    """Compile a function of fixed shapes and compare it with itself.

    Args:
        run: From some arguments to logits (``[B, n_types]``).
        arguments: What to compare on.
        device: Where they are.
        precision: What ``run`` computes in.
        backend: Of ``torch.compile``.

    Returns:
        The compiled function, whose result holds until its next call; None, with a warning, where it could not be
        compiled or its log-probabilities differ.
    """
    import torch

    tolerance = COMPILED_TOLERANCE if precision == "float32" else PRECISION_TOLERANCE
    # A code object of its own: torch keeps compiled code with it, and only so many shapes each.
    assert isinstance(run, types.FunctionType)
    own = types.FunctionType(run.__code__.replace(), run.__globals__, run.__name__, run.__defaults__, run.__closure__)
    graphs = backend == "inductor" and torch.device(device).type == "cuda"
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's notices about itself
            compiled: Callable[..., Tensor] = torch.compile(
                own, dynamic=False, backend=backend, mode="reduce-overhead" if graphs else None
            )
            found, expected = (call(*arguments).float().log_softmax(1).cpu() for call in (compiled, run))
        moved = float((found - expected).abs().max())
    except Exception as error:  # compilers fail in many ways; each means that there is no compiled code
        reason = str(error).strip().splitlines() or [type(error).__name__]
        warnings.warn(f"compiling failed, computing without ({reason[0]})", stacklevel=3)
        return None
    if not moved <= tolerance:
        warnings.warn(
            f"compiled code moves log-probabilities by {moved:.2g} nats, more than {tolerance:g}: computing without",
            stacklevel=3,
        )
        return None
    return compiled


@contextmanager
def compilation(density: Density, compile: bool | str, n_steps: int) -> Iterator[bool]:
    """Run a job with compiled code, or without; gives whether it is, and undoes it afterwards.

    Args:
        density: What will score.
        compile: True, False, or ``"auto"``: as it is if it is compiled already, else on CUDA for
            `WORTH_COMPILING_FLOPS` or more. That depends on the job and the device only, not on a clock: the same job
            is computed in the same way each time it is started.
        n_steps: Model steps of the job.
    """
    before = density.compiled
    if isinstance(compile, str):
        check_choice("compile", compile, ["auto"])
        on = before or _pays(density, n_steps)
    else:
        on = compile
    if on != before:
        density.use_compilation(on)
    try:
        yield density.compiled
    finally:
        if density.compiled and not before:
            density.use_compilation(False)


def _pays(density: Density, n_steps: int) -> bool:
    on_gpu = density.can_compile and density.device.startswith("cuda")
    return on_gpu and (density.step_flops or 0.0) * n_steps >= WORTH_COMPILING_FLOPS
