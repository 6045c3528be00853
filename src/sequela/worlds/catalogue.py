"""All worlds by name, each with defaults that make sense at any size."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from sequela.errors import ConfigError, check_choice, check_range, nearest
from sequela.worlds.base import World
from sequela.worlds.confounded import ConfoundedWorld
from sequela.worlds.diagnostic import DiagnosticWorld
from sequela.worlds.fault_codes import FaultCodes
from sequela.worlds.hidden_clock import HiddenClockWorld
from sequela.worlds.observed import NoisyWorld, SimultaneousWorld
from sequela.worlds.parentage import CausalLog
from sequela.worlds.rules import RuleWorld
from sequela.worlds.services import ServiceWorld
from sequela.worlds.softmax import SoftmaxWorld
from sequela.worlds.topology import AlarmTopology

_LONG_LAG = 50
_Made = TypeVar("_Made")


def linear(n_types: int = 100, *, seed: int = 0, **options: Any) -> World:
    """Past events add to the logits of the next (`docs/method.md`, section 6, ``a = 0``)."""
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


def slow_clock(n_types: int = 30, *, seed: int = 0, **options: Any) -> World:
    """Frequencies drift with a hidden state that changes slowly, or goes round (``rotating=1``)."""
    return HiddenClockWorld.random(n_types, seed=seed, **options)


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
        slow_clock,
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
    "slow_clock": HiddenClockWorld.random,
    "simultaneous": SoftmaxWorld.random,
    "noisy": SoftmaxWorld.random,
    "diagnostic_log": DiagnosticWorld.random,
}
"""What takes the options that a constructor passes on."""


class LogGenerator(Protocol):
    """What draws logs of any length with their causes: a number of cases in, a log and its truth out."""

    def simulate(self, n_cases: int = ..., *, seed: int) -> CausalLog:
        """Draw a log."""


def fault_codes(n_types: int = 59, *, seed: int = 0, **options: Any) -> LogGenerator:
    """A fleet of vehicles: cascades of fault codes, background and rare codes, ties without order, free text."""
    return FaultCodes.random(n_types, seed=seed, **options)


def services(n_types: int = 82, *, seed: int = 0, **options: Any) -> LogGenerator:
    """Traces of services: calls, retries, outcomes that spread, latent request types; also an exact density."""
    return ServiceWorld.random(n_types, seed=seed, **options)


def topology(n_types: int = 40, *, seed: int = 0, **options: Any) -> LogGenerator:
    """Entities in a network: alarms travel between joined components, and from an entity to its neighbours."""
    return AlarmTopology.random(n_types, seed=seed, **options)


GENERATORS: dict[str, Callable[..., LogGenerator]] = {
    maker.__name__: maker for maker in (services, fault_codes, topology)
}
"""Simulators whose cases are as long as they happen to be, by name."""

_GENERATOR_MAKERS: dict[str, Callable[..., LogGenerator]] = {
    "services": ServiceWorld.random,
    "fault_codes": FaultCodes.random,
    "topology": AlarmTopology.random,
}


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
    return _make(WORLDS[name], _MAKERS[name], options)


def make_generator(name: str, **options: Any) -> LogGenerator:
    """Return a simulator of logs with known parentage.

    Args:
        name: One of `GENERATORS`.
        **options: ``n_types``, ``seed`` and what else it takes.

    Raises:
        ConfigError: There is no such simulator, or it does not take such an option.

    Example:
        >>> make_generator("fault_codes", tied=0, seed=1).simulate(2, seed=0).columns["case"]
        'vehicle'
    """
    check_choice("world", name, list(GENERATORS))
    return _make(GENERATORS[name], _GENERATOR_MAKERS[name], options)


def _make(constructor: Callable[..., _Made], takes: Callable[..., object], options: dict[str, Any]) -> _Made:
    """Call a constructor; an option that neither it nor what it passes options on to takes is named."""
    known: dict[str, None] = {}
    for maker in (constructor, takes):
        parameters = inspect.signature(maker).parameters.values()
        known |= dict.fromkeys(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)
    unknown = [name for name in options if name not in known]
    if unknown:
        hint = nearest(unknown[0], known)
        raise ConfigError(f"the world '{constructor.__name__}' takes {', '.join(known)}; got {unknown[0]!r}{hint}")
    return constructor(**options)
