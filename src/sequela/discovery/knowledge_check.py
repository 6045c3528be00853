"""Whether what a user knows fits the event types of a log, and itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sequela.effects.knowledge import Knowledge, Statement
from sequela.errors import ConfigError, nearest
from sequela.events.patterns import TypeNames
from sequela.events.vocabulary import RARE
from sequela.text import quoted

Types = NDArray[np.int64]


def check_knowledge(known: Knowledge, names: tuple[str, ...]) -> None:
    """Raise `ConfigError` where a statement matches no event type or contradicts another; the message says its line.

    Args:
        known: Statements, with the names of the event columns where these are known.
        names: Event types of the density and of the log.
    """
    types = TypeNames(names, known.columns)
    said = [(each, types.matching(each.cause), types.matching(each.effect)) for each in known.statements]
    delays: dict[tuple[str, str], Statement] = {}
    for each, causes, effects in said:
        if each.kind == "joined":
            continue
        for pattern, numbers in zip((each.cause, each.effect), (causes, effects), strict=True):
            if not len(numbers):
                hint = nearest(pattern, [*types.names, *types.columns])
                _refuse(known, each, f"'{quoted(pattern)}' matches no event type{hint}; {types.hint()}")
        if each.kind == "tier" and len(both := np.intersect1d(causes, effects)):
            _refuse(known, each, f"'{quoted(names[int(both[0])])}' is in two tiers")
        if each.kind == "max_delay":
            first = delays.setdefault((each.cause, each.effect), each)
            if first.seconds != each.seconds:
                _refuse(known, each, f"another delay than in {first.place} for the same pair")
    _check_topology(known, types)
    limits = known.limits(names)
    for each, cause, effect in said:
        if each.kind in ("required", "allowed"):
            excluded = limits.excluded(cause[:, None], effect)
            if excluded.any() if each.kind == "required" else excluded.all():
                row, column = np.argwhere(excluded)[0]
                one, other = int(cause[row]), int(effect[column])
                why = _why(said, one, other)
                _refuse(known, each, f"'{quoted(names[one])} -> {quoted(names[other])}' is {each.kind}, but {why}")


def _check_topology(known: Knowledge, types: TypeNames) -> None:
    """Refuse a topology of another column, or one that leaves out a component of the log."""
    joined = [each for each in known.statements if each.kind == "joined"]
    if not joined:
        return
    column = joined[0].cause.partition(" = ")[0]
    asked = [each for each in joined if each.cause.partition(" = ")[0] == column]
    covered = np.unique(np.concatenate([types.matching(each.cause) for each in asked]))
    own = [n for n, name in enumerate(types.names) if name != RARE and not types.is_near[n]]
    left = np.setdiff1d(own, covered)
    if not len(covered):
        _refuse(known, asked[0], f"no event type has such a component in '{quoted(column)}'; {types.hint()}")
    if len(left):
        name = quoted(types.names[int(left[0])])
        _refuse(
            known, asked[0], f"the topology does not name the component of '{name}': join it, or give it a line of "
            "its own (twice the same name) where it is joined to nothing",
        )  # fmt: skip


def _why(said: list[tuple[Statement, Types, Types]], cause: int, effect: int) -> str:
    """Return what excludes a pair of types."""
    for each, causes, effects in said:
        if each.kind in ("forbidden", "tier") and cause in causes and effect in effects:
            return f"{each.place} forbids it" if each.kind == "forbidden" else f"the tiers ({each.place}) forbid it"
    return "nothing that is allowed holds it"


def _refuse(known: Knowledge, each: Statement, why: str) -> None:
    raise ConfigError(f"'{quoted(known.source)}', {each.place}: {why}")
