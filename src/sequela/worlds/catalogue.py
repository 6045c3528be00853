"""All worlds by name, each with defaults that make sense at any size."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from sequela.errors import ConfigError, check_choice, check_range
from sequela.worlds.base import World
from sequela.worlds.confounded import ConfoundedWorld
from sequela.worlds.diagnostic import DiagnosticWorld
from sequela.worlds.observed import NoisyWorld, SimultaneousWorld
from sequela.worlds.rules import RuleWorld
from sequela.worlds.softmax import SoftmaxWorld

_LONG_LAG = 50


def linear(n_types: int = 100, *, seed: int = 0, **options: Any) -> World:
    """Past events add to the logits of the next (METHOD section 6, ``a = 0``)."""
    return SoftmaxWorld.random(n_types, seed=seed, **options)


def nonlinear(n_types: int = 100, *, seed: int = 0, nonlinear: float = 1.0, **options: Any) -> World:
    """As `linear`, with a nonlinear part over the whole window: the paper's setting (``a = 1``)."""
    return SoftmaxWorld.random(n_types, seed=seed, nonlinear=nonlinear, **options)


def multiplicative(n_types: int = 20, *, seed: int = 0, **options: Any) -> World:
    """Two past events act only together."""
    return RuleWorld.multiplicative(n_types, seed=seed, **options)


def threshold(n_types: int = 20, *, seed: int = 0, **options: Any) -> World:
    """An event acts from its k-th occurrence in the window on."""
    return RuleWorld.threshold(n_types, seed=seed, **options)


def long_range(
    n_types: int = 30, *, seed: int = 0, lag: int = _LONG_LAG, n_causes: int | None = None, **options: Any
) -> World:
    """Causes act at one lag only, up to 200 events later; most types are fillers without effect."""
    check_range("lag", lag, low=1, high=200, whole=True)
    scale = [0.0] * (lag - 1) + [1.0]
    return SoftmaxWorld.random(
        n_types,
        horizon=lag,
        lag_scale=scale,
        n_causes=n_causes or max(1, n_types // 3),
        sparsity=options.pop("sparsity", 0.8),
        seed=seed,
        **options,
    )


def confounded(n_types: int = 30, *, seed: int = 0, **options: Any) -> World:
    """Hidden triggers drive two observed types each, with a delay between them."""
    return ConfoundedWorld.random(n_types, seed=seed, **options)


def simultaneous(
    n_types: int = 30, *, seed: int = 0, tick_size: float = 2.0, shuffle: bool = True, **options: Any
) -> World:
    """Events that share a time, in causal order underneath and in lost order in the log."""
    return SimultaneousWorld(SoftmaxWorld.random(n_types, seed=seed, **options), tick_size=tick_size, shuffle=shuffle)


def noisy(
    n_types: int = 30,
    *,
    seed: int = 0,
    insert: float = 0.05,
    delete: float = 0.05,
    drop_mediators: float = 0.0,
    **options: Any,
) -> World:
    """Events inserted, lost, and mediators dropped."""
    base = SoftmaxWorld.random(n_types, seed=seed, **options)
    return NoisyWorld(base, insert=insert, delete=delete, drop_mediators=drop_mediators)


def diagnostic_log(n_types: int = 200, *, seed: int = 0, **options: Any) -> World:
    """Components, fault codes, cascades, idle gaps, rare codes and times."""
    return DiagnosticWorld.random(n_types, seed=seed, **options)


WORLDS: dict[str, Callable[..., World]] = {
    world.__name__: world
    for world in (
        linear,
        nonlinear,
        multiplicative,
        threshold,
        long_range,
        confounded,
        simultaneous,
        noisy,
        diagnostic_log,
    )
}
"""Name to constructor; see each for what it is."""

_MAKERS: dict[str, Callable[..., World]] = {
    "linear": SoftmaxWorld.random,
    "nonlinear": SoftmaxWorld.random,
    "multiplicative": RuleWorld.multiplicative,
    "threshold": RuleWorld.threshold,
    "long_range": SoftmaxWorld.random,
    "confounded": ConfoundedWorld.random,
    "simultaneous": SoftmaxWorld.random,
    "noisy": SoftmaxWorld.random,
    "diagnostic_log": DiagnosticWorld.random,
}
"""What takes the options that a constructor passes on."""


def make_world(name: str, **options: Any) -> World:
    """Return a world of the catalogue.

    Args:
        name: One of `WORLDS`.
        **options: ``n_types``, ``seed`` and what else that world takes.

    Raises:
        ConfigError: There is no such world, or it does not take such an option.

    Example:
        >>> make_world("linear", n_types=5, seed=1).vocabulary.n_types
        5
    """
    check_choice("world", name, list(WORLDS))
    try:
        return WORLDS[name](**options)
    except TypeError as error:
        known: dict[str, None] = {}
        for maker in (WORLDS[name], _MAKERS[name]):
            parameters = inspect.signature(maker).parameters.values()
            known |= dict.fromkeys(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)
        raise ConfigError(f"the world '{name}' takes {', '.join(known)}: {str(error).split('() ')[-1]}") from None
