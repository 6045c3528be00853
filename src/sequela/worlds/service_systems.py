"""Random systems of services: operations in layers, plans that call them, influences between them."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Floats
from sequela.errors import check_range
from sequela.worlds.call_plans import FAILED, Call, Influence, Mechanism, Operation, Plan

_SERVICES = (
    "gateway", "cart", "order", "payment", "stock", "user", "auth", "mail", "search", "price", "shipping", "review",
    "catalog", "invoice", "coupon", "route", "seat", "ticket", "notify", "audit",
)  # fmt: skip
_VERBS = ("get", "list", "create", "check", "update", "reserve", "cancel", "query", "confirm", "read")
_TYPES_AN_OPERATION = 2.73
_LAYERS = 4
_ATTEMPTS = (0.6, 0.3, 0.1)
"""How many operations are tried once, twice and three times at most."""
_SPREADS = 0.7
"""Share of pairs of caller and callee where a failure usually spreads; elsewhere the caller copes."""
_DEPENDS = 0.5
"""Share of calls after the first that depend on the call before."""


class _Sketch(NamedTuple):
    """A call while its plan is drawn: its operation, its caller, and when it is made."""

    operation: int
    caller: int
    chance: float


def draw_system(
    n_types: int,
    *,
    n_operations: int | None,
    n_requests: int | None,
    max_calls: int,
    retry: float,
    optional: float,
    parallel: float,
    seed: int,
) -> tuple[Mechanism, list[float]]:
    """Draw the laws of a system, and how likely each operation is in a noise event; see `ServiceWorld.random`.

    Example:
        >>> mechanism, _ = draw_system(
        ...     20, n_operations=None, n_requests=2, max_calls=6, retry=0.5, optional=0.2, parallel=0.0, seed=0
        ... )
        >>> len(mechanism.operations), len(mechanism.plans)
        (7, 2)
    """
    check_range("n_types", n_types, low=12, whole=True)
    n_operations = round(n_types / _TYPES_AN_OPERATION) if n_operations is None else n_operations
    check_range("n_operations", n_operations, low=max(5, -(-n_types // 4)), high=n_types, whole=True)
    n_requests = max(2, n_operations // 4) if n_requests is None else n_requests
    check_range("n_requests", n_requests, low=1, whole=True)
    check_range("max_calls", max_calls, low=2, whole=True)
    for name, share in (("retry", retry), ("optional", optional), ("parallel", parallel)):
        check_range(name, share, low=0, high=1)
    check_range("seed", seed, low=0, whole=True)
    generator = np.random.default_rng([seed, 13])
    n_noise = max(1, n_operations // 15)
    n_called = n_operations - n_noise
    layer = np.sort(np.arange(n_called) * _LAYERS // n_called)
    outcomes = _draw_outcomes(n_operations, n_types, generator)
    names = _draw_names(n_operations, generator)
    callees = [_draw_callees(o, layer, generator) for o in range(n_called)]
    sketches = _draw_sketches(n_requests, layer, callees, max_calls, optional, generator)
    operations = tuple(
        Operation(
            names[o],
            outcomes[o],
            _draw_own(outcomes[o], deep=o < n_called and layer[o] == _LAYERS - 1, generator=generator),
            int(generator.choice([1, 2, 3], p=_ATTEMPTS)) if retry else 1,
            retry,
        )
        for o in range(n_operations)
    )
    weight = generator.permutation(1.0 / np.sqrt(1.0 + np.arange(n_requests)))
    plans = tuple(
        Plan(float(w), _to_calls(sketch, parallel, generator)) for w, sketch in zip(weight, sketches, strict=True)
    )
    noise_law = [1.0 if o >= n_called else 0.0 for o in range(n_operations)]
    mechanism = Mechanism(operations, plans, _draw_influences(operations, plans, generator))
    return mechanism, noise_law


def _draw_outcomes(n_operations: int, n_types: int, generator: np.random.Generator) -> list[tuple[int, ...]]:
    """Draw which outcomes each operation can have, so that there are as many types as asked for."""
    size = generator.choice([1, 2, 3, 4], n_operations, p=[0.07, 0.3, 0.4, 0.23])
    while size.sum() != n_types:
        step = 1 if size.sum() < n_types else -1
        able = np.flatnonzero((size + step >= 1) & (size + step <= 4))
        size[generator.choice(able)] += step
    some = [generator.permutation(3)[: n - 1] + 1 for n in size]
    return [(0, *sorted(int(one) for one in each)) for each in some]


def _draw_names(n_operations: int, generator: np.random.Generator) -> list[str]:
    n_services = max(3, n_operations // 3)
    services = [_SERVICES[i % len(_SERVICES)] + ("" if i < len(_SERVICES) else str(i)) for i in range(n_services)]
    found: dict[str, None] = {}
    while len(found) < n_operations:
        service, verb = services[int(generator.integers(n_services))], _VERBS[int(generator.integers(len(_VERBS)))]
        found.setdefault(f"{service}/{verb}")
    return list(found)


def _draw_own(outcomes: tuple[int, ...], *, deep: bool, generator: np.random.Generator) -> tuple[float, ...]:
    """Draw how often an operation goes wrong by itself; what lies deep (a data base, say) twice as often."""
    rate = {1: generator.uniform(0.02, 0.08), 2: generator.uniform(0.01, 0.05), 3: generator.uniform(0.005, 0.03)}
    bad = [float(rate[one]) * (2.0 if deep else 1.0) for one in outcomes[1:]]
    return (1.0 - sum(bad), *bad)


def _draw_callees(operation: int, layer: NDArray[np.int64], generator: np.random.Generator) -> list[int]:
    """Draw what an operation can call: operations of lower layers, mostly the next one."""
    below = np.flatnonzero(layer > layer[operation])
    if not len(below):
        return []
    weight = np.exp(-1.5 * (layer[below] - layer[operation] - 1.0))
    n = min(int(generator.integers(1, 5)), len(below))
    return [int(one) for one in generator.choice(below, n, replace=False, p=weight / weight.sum())]


def _draw_sketches(
    n_requests: int,
    layer: NDArray[np.int64],
    callees: list[list[int]],
    max_calls: int,
    optional: float,
    generator: np.random.Generator,
) -> list[list[_Sketch]]:
    """Draw the calls of each request type, callers before callees; every operation is called by some."""

    def chance() -> float:
        return float(generator.uniform(0.3, 0.9)) if generator.random() < optional else 1.0

    entries = np.flatnonzero(layer == 0)
    sketches = []
    for request in range(n_requests):
        sketch = [_Sketch(int(entries[request % len(entries)]), -1, 1.0)]
        place = 0
        while place < len(sketch) and len(sketch) < max_calls:
            for number, callee in enumerate(callees[sketch[place].operation]):
                first = place == 0 and number == 0  # a request calls something
                if (first or generator.random() < 0.8) and len(sketch) < max_calls:
                    sketch.append(_Sketch(callee, place, 1.0 if first else chance()))
            place += 1
        sketches.append(sketch)
    used = {one.operation for sketch in sketches for one in sketch}
    for operation in range(len(layer)):
        if operation in used:
            continue
        sketch = sketches[int(generator.integers(n_requests))]
        callers = [i for i, one in enumerate(sketch) if layer[one.operation] < max(layer[operation], 1)]
        sketch.append(_Sketch(operation, callers[int(generator.integers(len(callers)))], chance()))
    return sketches


def _to_calls(sketch: list[_Sketch], parallel: float, generator: np.random.Generator) -> tuple[Call, ...]:
    below: list[list[int]] = [[] for _ in sketch]
    for index, one in enumerate(sketch[1:], start=1):
        below[one.caller].append(index)
    spread = generator.random(len(sketch)) < parallel
    after = [-1] * len(sketch)
    for caller, calls in enumerate(below):
        for earlier, later in pairwise(calls):
            if not spread[caller] and generator.random() < _DEPENDS:
                after[later] = earlier
    return tuple(
        Call(one.operation, tuple(below[i]), after[i], one.chance, bool(spread[i])) for i, one in enumerate(sketch)
    )


def _draw_influences(
    operations: tuple[Operation, ...], plans: tuple[Plan, ...], generator: np.random.Generator
) -> dict[Influence, Floats]:
    """Draw what proposes what, for every pair of operations that meet in some plan."""
    keys: dict[Influence, None] = {}
    for plan in plans:
        for call in plan.calls:
            for one in call.calls:
                made = plan.calls[one]
                keys.setdefault(Influence("call", call.operation, made.operation))
                if made.after >= 0:
                    keys.setdefault(Influence("order", made.operation, plan.calls[made.after].operation))
            if not call.calls and operations[call.operation].attempts > 1:
                keys.setdefault(Influence("retry", call.operation, call.operation))
    found: dict[Influence, Floats] = {}
    for key in keys:
        ranges = {"call": (0.5, 0.95), "order": (0.3, 0.8), "retry": (0.3, 0.7)}
        strength = float(generator.uniform(*ranges[key.route]))
        if key.route == "call" and generator.random() >= _SPREADS:
            strength = float(generator.uniform(0.0, 0.1))
        source, target = operations[key.source].outcomes, operations[key.operation].outcomes
        found[key] = _proposals(source, target, strength, only_failures=key.route == "order")
    return found


def _proposals(source: tuple[int, ...], target: tuple[int, ...], strength: float, *, only_failures: bool) -> Floats:
    """Return what each outcome of the source proposes: with some probability the target's outcome nearest to it.

    One fifth of that goes to its other bad outcomes; slowness turns into failure at a third of the strength.
    """
    matrix = np.zeros((len(source), len(target)))
    bad = [place for place, one in enumerate(target) if one > 0]
    for row, outcome in enumerate(source):
        least = FAILED if only_failures else 1
        if outcome >= least and bad:
            nearest = min(bad, key=lambda place: abs(target[place] - outcome))
            acts = strength * (0.3 if (outcome < FAILED) != (target[nearest] < FAILED) else 1.0)
            others = [place for place in bad if place != nearest]
            matrix[row, nearest] = acts * (0.8 if others else 1.0)
            matrix[row, others] = acts * 0.2 / max(len(others), 1)
        matrix[row, 0] += 1.0 - matrix[row].sum()
    return matrix
