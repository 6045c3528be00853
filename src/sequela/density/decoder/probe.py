"""Is a wrapped model what its scores say? A comparison with the model's own plain forward, made when it is wrapped.

The sequence is as long as the context allows, so that a sliding window, a limit on positions or a mask that is ignored
shows. Long contexts of large models are probed as far as `_FLOPS` reaches, and up to `_WINDOW_FACTOR` times as far
where that takes the probe past a window that the configuration names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from sequela.density.base import Branches, Floats, Ids
from sequela.density.runtime.network_density import Runtime
from sequela.errors import ConfigError
from sequela.events.vocabulary import Vocabulary

_FLOPS = 2e11
_FLOPS_ACCELERATOR = 2e13
"""Operations of one plain forward of the probe."""
_WINDOW_FACTOR = 20
_NUMBERS = 2**24
"""Log-probabilities of one plain forward of the probe: 128 MiB."""
_LONGEST = 2048
_SHORTEST = 32
_TOLERANCE = {torch.float32: 5e-4, torch.float64: 5e-4}
_TOLERANCE_HALF = 3e-2
_CUTS = 12
"""Places at which a sequence is cut, to see whether what comes later counts: a model that picks which past events it
attends to (DeepSeek V3.2) may let it count at some places only."""
_ROUNDING, _LEAST, _SHARE = 20, 1e-5, 1e-3
"""A density may be off by so many times what plain forwards of different lengths differ by (rounding: 4e-7 to 4e-6 over
40 small architectures), by the least, and by no more than this share of what an event a few places back changes. A
state that is not honoured may show in the fifth digit only (NemotronH: 7e-5 nats)."""


class NotSharedError(ConfigError):
    """Branches of a model cannot share the observed prefix."""


class Probed(Protocol):
    """What is probed: a density, and what its model says by itself; see `DecoderDensity`."""

    model: Any
    vocabulary: Vocabulary
    context: int
    runtime: Runtime
    uses_times: bool

    @property
    def max_tail(self) -> int | None:
        """The longest tail."""

    @property
    def token_flops(self) -> float:
        """Operations of one token."""

    def plain_log_probs(self, past: Ids, times: Floats | None = None) -> Floats:
        """Return what one plain forward says."""

    def score(self, ids: Ids, times: Floats | None = None) -> Floats:
        """Return what the density says of a sequence."""

    def score_branches_many(self, branches: Sequence[Branches]) -> list[Floats]:
        """Return what it says of branches."""


def probe(density: Probed) -> None:
    """Compare a density with plain forwards of its model.

    Raises:
        NotSharedError: Its scores are not those of the model.
        ConfigError: The model itself is no model of the next event: a later token moves an earlier score, or two runs
            differ, or it gives no finite log-probabilities.
    """
    rng = np.random.default_rng(0)
    n = probe_length(density)
    ids = rng.integers(0, density.vocabulary.n_types, n).astype(np.int32)
    with torch.inference_mode():
        times = np.cumsum(10.0 ** rng.uniform(-1, 6, n)) if density.uses_times else None
        plain, most = _checked_plain(density, ids, times)
        _compare(density, "score", density.score(ids, times), plain, most)
        steps = min(3, density.max_tail or 3, n - 1)
        last = n - 1 - steps
        # Neighbours too: some models run a single token by other code, and go on wrongly after it.
        starts = np.unique([min(1, last), min(2, last), last // 2, last // 2 + 1, last]).clip(max=last).repeat(2)
        tails = rng.integers(0, density.vocabulary.n_types, (len(starts), steps)).astype(np.int32)
        found = density.score_branches_many([Branches(ids, starts, tails, times)])[0]
        for row, start in enumerate(starts):
            whole = np.concatenate([ids[:start], tails[row]])
            logs = density.plain_log_probs(whole, times)[start + 1 :]
            expected = logs[np.arange(steps), ids[start + 1 : start + 1 + steps]]
            _compare(density, "branch", found[row], expected, most)


def _checked_plain(density: Probed, ids: Ids, times: Floats | None) -> tuple[Floats, float]:
    """Return the plain scores of a sequence (float64, ``[L]``) and the largest error, after a look at the model."""
    rounding = 0.0
    n, name = len(ids), type(density.model).__name__
    whole = density.plain_log_probs(ids[:-1], times)
    if not np.isfinite(whole).all():
        raise ConfigError(f"{name} gives log-probabilities that are not finite numbers: its weights are damaged")
    if _apart(density, density.plain_log_probs(ids[:-1], times), whole):
        raise ConfigError(f"{name} gives other log-probabilities each time: turn off what is random in it")
    for cut in np.unique(np.linspace(1, n - 2, _CUTS, dtype=int)):
        other = ids.copy()
        other[cut:] = (ids[cut:] + 1) % density.vocabulary.n_types
        forwards = [density.plain_log_probs(ids[:cut], times)]
        if cut in (n // 2, n - 2):
            forwards.append(density.plain_log_probs(other[:-1], times)[: cut + 1])
        rounding = max(rounding, float(np.abs(forwards[0] - whole[: cut + 1]).max()))
        if any(_apart(density, found, whole[: cut + 1]) for found in forwards):
            raise ConfigError(
                f"{name} is no model of the next event: at {n} events a later token moves the score of an earlier one; "
                "give a causal model, or a smaller context"
            )
    other, cut = ids.copy(), n // 2
    other[cut] = (ids[cut] + 1) % density.vocabulary.n_types
    later = np.abs(density.plain_log_probs(other[:-1], times) - whole)[cut + 4 :]
    most = max(_LEAST, min(_ROUNDING * rounding, _SHARE * float(later.max(initial=0.0))))
    return whole[np.arange(n), ids], most if density.model.dtype in _TOLERANCE else np.inf


def _apart(density: Probed, found: Floats, expected: Floats, most: float = np.inf) -> bool:
    tolerance = _TOLERANCE.get(density.model.dtype, _TOLERANCE_HALF)
    return not bool((np.abs(found - expected) < np.minimum(most, tolerance * np.maximum(1.0, np.abs(expected)))).all())


def _compare(density: Probed, what: str, found: Floats, expected: Floats, most: float) -> None:
    if _apart(density, found, expected, most):
        worst = int(np.argmax(np.where(np.isfinite(found), np.abs(found - expected), np.inf)))
        raise NotSharedError(
            f"{type(density.model).__name__} does not honour a 4-D attention mask with position ids and a cache "
            f"({what} {found[worst]:.4f} instead of {expected[worst]:.4f}); load it with attn_implementation='sdpa' or "
            "'eager', or use wrap_huggingface, which then scores branches in another way"
        )


def probe_length(density: Probed) -> int:
    """Return how many events the probe has: one block of the context, as far as that is affordable."""
    longest = 2 * (density.context // 2)
    accelerated = torch.device(density.runtime.device).type != "cpu"
    affordable = (_FLOPS_ACCELERATOR if accelerated else _FLOPS) / max(density.token_flops, 1.0)
    usual = int(min(affordable, _LONGEST, _NUMBERS / density.vocabulary.n_types))
    widths = _widths(density.model.config.get_text_config())
    past_windows = [width + _SHORTEST for width in widths if width + _SHORTEST <= _WINDOW_FACTOR * max(affordable, 1.0)]
    return min(longest, max(_SHORTEST, usual, *past_windows))


def _widths(config: Any) -> list[int]:
    """Return every number of a configuration that may limit how far a layer sees."""
    named = {key: value for key, value in vars(config).items() if "window" in key or "chunk" in key}
    return [value for value in named.values() if isinstance(value, int) and not isinstance(value, bool)]
