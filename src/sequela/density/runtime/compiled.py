"""Compiled code for what runs many times in one shape, and whether a job is big enough for it."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sequela.density.base import Density
from sequela.density.runtime.network_density import NetworkDensity, density_cost, runtime_of
from sequela.density.runtime.precision import PRECISION_TOLERANCE
from sequela.errors import ConfigError, check_choice

if TYPE_CHECKING:
    from torch import Tensor

COMPILED_TOLERANCE = 1e-4
"""Nats by which compiled code may move a log-probability (with 16-bit numbers: `PRECISION_TOLERANCE`)."""

WORTH_COMPILING_FLOPS = 1e15
"""Work from which on a GPU is given compiled code: minutes, against up to one minute of compiling."""


def compile_or_warn(
    run: Callable[..., Tensor], arguments: tuple[Any, ...], *, device: str, precision: str, compiler: str
) -> Callable[..., Tensor] | None:
    """Compile a function of fixed shapes and compare it with itself.

    Args:
        run: From some arguments to logits (``[B, n_types]``).
        arguments: What to compare on.
        device: Where they are.
        precision: What ``run`` computes in.
        compiler: The backend of ``torch.compile``.

    Returns:
        The compiled function, whose result holds until its next call; None, with a warning, where it could not be
        compiled or its log-probabilities differ.
    """
    import torch

    tolerance = COMPILED_TOLERANCE if precision == "float32" else PRECISION_TOLERANCE
    # A code object of its own: torch keeps compiled code with it, and only so many shapes each.
    assert isinstance(run, types.FunctionType)
    own = types.FunctionType(run.__code__.replace(), run.__globals__, run.__name__, run.__defaults__, run.__closure__)
    graphs = compiler == "inductor" and torch.device(device).type == "cuda"
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's notices about itself
            compiled: Callable[..., Tensor] = torch.compile(
                own, dynamic=False, backend=compiler, mode="reduce-overhead" if graphs else None
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


def with_compilation(density: Density, on: bool = True, *, compiler: str = "inductor") -> Density:
    """Return a density that runs as code made by ``torch.compile`` (on CUDA as CUDA graphs), or as it is.

    Takes some seconds to a minute. Where compiling fails (no C++ compiler, say), or moves a log-probability of a random
    chunk by more than `COMPILED_TOLERANCE`, a warning says so and the result is not compiled: its ``runtime.compiled``
    tells. Choose the precision first: `with_precision` gives a density that is not compiled.

    Args:
        density: One whose network can be compiled (the backbone ``"window"``), or any density with ``on=False``.
        on: Whether to compile.
        compiler: The backend of ``torch.compile``.

    Raises:
        ConfigError: A density of this kind cannot be compiled.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> with_compilation(SoftmaxWorld.random(4, horizon=2, seed=0))
        Traceback (most recent call last):
        ...
        sequela.errors.ConfigError: a SoftmaxWorld cannot be compiled, ...
    """
    if not isinstance(density, NetworkDensity) or not density.can_compile:
        if on:
            raise ConfigError(
                f"a {type(density).__name__} cannot be compiled, only the backbone 'window' can: leave compile as "
                "'auto'"
            )
        return density
    return density.with_runtime(replace(density.runtime, compiled=on, compiler=compiler))


def compiled_for(density: Density, compile: bool | str, n_steps: int) -> Density:
    """Return a density compiled for a job, or not.

    Args:
        density: What will score.
        compile: True, False, or ``"auto"``: as it is if it is compiled already, else on CUDA for
            `WORTH_COMPILING_FLOPS` or more. That depends on the job and the device only, not on a clock: the same job
            is computed in the same way each time it is started.
        n_steps: Model steps of the job.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> compiled_for(world, "auto", n_steps=10**15) is world
        True
    """
    before = runtime_of(density).compiled
    if isinstance(compile, str):
        check_choice("compile", compile, ["auto"])
        on = before or _pays(density, n_steps)
    else:
        on = compile
    return density if on == before else with_compilation(density, on)


def _pays(density: Density, n_steps: int) -> bool:
    if not isinstance(density, NetworkDensity) or not density.can_compile:
        return False
    on_gpu = density.runtime.device.startswith("cuda")
    return on_gpu and (density_cost(density).step_flops or 0.0) * n_steps >= WORTH_COMPILING_FLOPS
