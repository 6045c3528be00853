"""The numbers that hidden layers are computed in, chosen by name or by what the device is fast with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sequela.density.base import Density, Floats
from sequela.density.runtime.devices import fast_half, multiplies_bfloat16
from sequela.density.runtime.network_density import NetworkDensity
from sequela.errors import ConfigError, check_choice

PRECISIONS = ("float32", "bfloat16", "float16", "auto")
PRECISION_TOLERANCE = 0.05
"""Nats by which "auto" lets 16-bit numbers move a log-probability of a random sequence."""
SCREENING_TOLERANCE = 0.03
"""Nats by which they may where pairs near the threshold are asked again in float32."""


def with_precision(density: Density, precision: str) -> Density:
    """Return a density whose hidden layers are computed in other numbers; the one given stays as it is.

    Log-probabilities are always formed in float32. The result runs as it is, not compiled.

    Args:
        density: One that a network computes.
        precision: ``"float32"``, ``"bfloat16"``, ``"float16"``, or ``"auto"``: the 16-bit numbers that the device has
            in hardware (`fast_half`), if no log-probability of a random sequence moves by more than
            `PRECISION_TOLERANCE`.

    Raises:
        ConfigError: The density has no network, or float16 is too small for its numbers.

    Example:
        >>> import sequela as sq
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> log = sq.read_log(world.to_log(world.sample(20, 8, seed=1)))
        >>> density = sq.fit(log, max_steps=2, device="cpu", progress=False)
        >>> with_precision(density, "bfloat16").runtime.precision, density.runtime.precision
        ('bfloat16', 'float32')
    """
    check_choice("precision", precision, PRECISIONS)
    if not isinstance(density, NetworkDensity):
        raise ConfigError(f"precision cannot be chosen for a {type(density).__name__}: it has no network")
    plain = replace(density.runtime, precision="float32", compiled=False)
    if precision == "auto":
        whole, half = density.with_runtime(plain), fast_half(plain.device)
        if half is None:
            return whole
        rough = density.with_runtime(replace(plain, precision=half))
        moved = np.abs(_score_random(rough) - _score_random(whole)).max()
        return rough if moved <= PRECISION_TOLERANCE else whole  # not where `moved` is NaN
    found = density.with_runtime(replace(plain, precision=precision))
    if precision == "float16" and not np.isfinite(_score_random(found)).all():
        raise ConfigError(
            "numbers of this model exceed what float16 can hold (65,504): set precision to 'bfloat16' or 'float32'"
        )
    return found


def screening_density(density: Density) -> Density:
    """Return the density that screening asks before pairs near the threshold are asked again: in 16 bits, or as it is.

    ``runtime.screening`` says which; ``"auto"`` is bfloat16 on processors that have it in hardware, for networks that
    gain by it (`NetworkDensity.gains_by_half`) and whose log-probabilities of a random sequence stay within
    `SCREENING_TOLERANCE`. That depends on processor and network alone, not on a clock.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> screening_density(world) is world
        True
    """
    if not isinstance(density, NetworkDensity):
        return density
    if density.screener is None:
        density.screener = density if not _may_screen_in_half(density) else _in_half(density)
    return density.screener


def _may_screen_in_half(density: NetworkDensity) -> bool:
    runtime = density.runtime
    if runtime.precision != "float32" or runtime.compiled or runtime.screening == "float32":
        return False
    on_cpu = runtime.device == "cpu"
    return runtime.screening == "bfloat16" or (on_cpu and density.gains_by_half and multiplies_bfloat16())


def _in_half(density: NetworkDensity) -> NetworkDensity:
    rough = density.with_runtime(replace(density.runtime, precision="bfloat16"))
    if density.runtime.screening == "bfloat16":
        return rough
    moved = np.abs(_score_random(rough) - _score_random(density)).max()
    return rough if moved <= SCREENING_TOLERANCE else density


def _score_random(density: Density) -> Floats:
    """Return the scores of a fixed random sequence, by which a way of computing is judged."""
    ids = np.random.default_rng(0).integers(0, density.vocabulary.n_types, 64).astype(np.int32)
    return density.score(ids, np.arange(64.0))
