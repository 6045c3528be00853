"""Densities that are computed by a network, and the values that say how: device, precision, compiled code, batches.

A network density is frozen: `NetworkDensity.with_runtime` returns another density with the same weights.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from sequela.density.base import Density


@dataclass(frozen=True)
class Batches:
    """How much a decoder runs in one call. Changes the memory that scoring holds, not the result.

    Attributes:
        n_tokens: Tokens a call.
        n_held: Prefix tokens whose keys and values are held at once.
        n_rows: Rows whose logits are held at once.
    """

    n_tokens: int
    n_held: int
    n_rows: int


@dataclass(frozen=True)
class Runtime:
    """How a network is run.

    Attributes:
        device: Where: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        precision: What the hidden layers are computed in: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
            Log-probabilities are always formed in float32.
        compiled: Whether it runs as code that ``torch.compile`` made.
        compiler: The backend of ``torch.compile``.
        batches: How much it runs in one call; None for what is fastest on the device.
        screening: What screening asks first: ``"float32"``, ``"bfloat16"``, or ``"auto"``, see
            `sequela.density.runtime.precision.screening_density`.
    """

    device: str = "cpu"
    precision: str = "float32"
    compiled: bool = False
    compiler: str = "inductor"
    batches: Batches | None = None
    screening: str = "auto"


@dataclass(frozen=True)
class Cost:
    """What scoring with a density costs.

    Attributes:
        step_bytes: Bytes that scoring holds for each tail step of the branches of one call, beside the batches.
        least_bytes: Bytes that the smallest batches hold, whatever the number of branches.
        most_bytes: Bytes that the fastest batches hold; more than this is of no use.
        step_flops: Floating-point operations of one model step (an event more or less of a past), attention left out;
            None when unknown.
    """

    step_bytes: int
    least_bytes: int = 0
    most_bytes: int = 0
    step_flops: float | None = None


class NetworkDensity(Density):
    """A density that a network computes.

    Attributes:
        runtime: How it is run.
        can_compile: Whether it can run as compiled code.
        gains_by_half: Whether 16-bit numbers make it clearly faster on processors that multiply them in hardware.
        screener: What `sequela.density.runtime.precision.screening_density` found, once it was asked.
    """

    runtime: Runtime
    can_compile: ClassVar[bool] = False
    gains_by_half: bool = False
    screener: Self | None = None

    def with_runtime(self, runtime: Runtime) -> Self:
        """Return a density of the same weights that is run in another way; this one stays as it is.

        Weights are shared wherever the precision is the same. The device cannot change: load the density there.

        Args:
            runtime: How. ``compiled`` is a wish: where compiling fails a warning says so, and the ``runtime`` of the
                result says what was done.
        """
        assert runtime.device == self.runtime.device
        other = copy.copy(self)
        other.runtime, other.screener = runtime, None
        other._prepare(self.runtime)
        return other

    @abstractmethod
    def _prepare(self, before: Runtime) -> None:
        """Make what `runtime` asks for, in a copy of a density that was run as ``before``."""

    @abstractmethod
    def cost(self, longest: int, horizon: int) -> Cost:
        """Return what scoring costs.

        Args:
            longest: Events of the longest sequence.
            horizon: Longest tail.
        """

    def batches_within(self, limit: int, longest: int, horizon: int) -> Batches | None:
        """Return the largest batches that hold at most ``limit`` bytes, or else the smallest there are.

        None, the default, is for a density whose batches have one size.
        """
        return None


def runtime_of(density: Density) -> Runtime:
    """Return how a density is run; one without a network has the default `Runtime`.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> runtime_of(SoftmaxWorld.random(4, horizon=2, seed=0)).device
        'cpu'
    """
    return density.runtime if isinstance(density, NetworkDensity) else Runtime()


def density_cost(density: Density, longest: int = 1, horizon: int = 1) -> Cost:
    """Return what scoring with a density costs.

    Args:
        density: Any density. One without a network holds its branches as windows of its memory, and no batches.
        longest: Events of the longest sequence.
        horizon: Longest tail.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> density_cost(SoftmaxWorld.random(4, horizon=2, seed=0)).step_bytes
        160
    """
    if isinstance(density, NetworkDensity):
        return density.cost(longest, horizon)
    return Cost(step_bytes=window_bytes(density))


def window_bytes(density: Density) -> int:
    """Return the bytes that one tail step takes as a window, with all temporaries (measured): 64 an event of memory.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> window_bytes(SoftmaxWorld.random(4, horizon=2, seed=0))
        160
    """
    return 64 * (density.memory or 1) + 32


def within_memory(density: Density, limit: int, *, longest: int, horizon: int) -> Density:
    """Return a density whose batches hold at most some bytes; results are the same.

    Args:
        density: Any density; one without batches is returned as it is.
        limit: Bytes; at least `Cost.least_bytes`.
        longest: Events of the longest sequence.
        horizon: Longest tail.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> within_memory(world, 1_000_000, longest=20, horizon=2) is world
        True
    """
    if not isinstance(density, NetworkDensity):
        return density
    batches = density.batches_within(limit, longest, horizon)
    return density if batches is None else density.with_runtime(replace(density.runtime, batches=batches))
