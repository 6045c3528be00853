"""What is known beside the log: which pairs of event types can be cause and effect, and within which time.

A `Knowledge` holds statements over patterns; for the event types of a density it becomes `PairLimits`, which the scorer
asks before it scores. Reading it from a file is in `sequela.discovery.knowledge`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from sequela.errors import ConfigError
from sequela.events.patterns import TypeNames
from sequela.events.sequences import Case
from sequela.events.vocabulary import RARE

KINDS = ("allowed", "forbidden", "required", "max_delay", "joined", "tier")
"""``joined``: a pair of a topology, as ``allowed``; ``tier``: a pair against the order of tiers, as ``forbidden``."""
_ALLOW, _FORBID = ("allowed", "joined"), ("forbidden", "tier")
_MOST_CELLS = 1 << 26
_EXCLUDED = -1.0


class Statement(msgspec.Struct, frozen=True):
    """One thing that is known.

    Attributes:
        kind: One of `KINDS`.
        cause: Pattern of the cause.
        effect: Pattern of the effect.
        seconds: Of ``max_delay``: the longest time from cause to effect.
        place: Where it stands, for messages: ``"line 3"``.
    """

    kind: str
    cause: str
    effect: str
    seconds: float | None = None
    place: str = ""


@dataclass(frozen=True, eq=False)
class PairLimits:
    """Which pairs of event types are tested, and within which time.

    Attributes:
        cause_class: Class of each type as a cause (int32, ``[n_types]``): types of one class are limited alike.
        effect_class: Class of each type as an effect (int32, ``[n_types]``).
        longest: Seconds from a cause to an effect at most (float32, by class ``[C, E]``): infinite where nothing limits
            them, below 0 where the pair is excluded.
    """

    cause_class: NDArray[np.int32]
    effect_class: NDArray[np.int32]
    longest: NDArray[np.float32]

    @property
    def has_delays(self) -> bool:
        """Whether a pair is limited in time."""
        return bool((np.isfinite(self.longest) & (self.longest >= 0)).any())

    def seconds(self, causes: NDArray[Any], effects: NDArray[Any]) -> NDArray[np.float32]:
        """Return the longest time of pairs of types (float32; their shapes are broadcast), below 0: excluded."""
        found: NDArray[np.float32] = self.longest[self.cause_class[causes], self.effect_class[effects]]
        return found

    def excluded(self, causes: NDArray[Any], effects: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which pairs of types are excluded (bool; their shapes are broadcast)."""
        return self.seconds(causes, effects) < 0

    def untested(self, case: Case, horizon: int) -> NDArray[np.bool_]:
        """Return which pairs of positions are not tested (bool, ``[L, m]``): excluded, or too far apart in time.

        Raises:
            ConfigError: A pair is limited in time, and the case has no times.
        """
        effect = np.minimum(np.arange(len(case.ids))[:, None] + np.arange(1, horizon + 1), max(0, len(case.ids) - 1))
        longest = self.seconds(case.ids[:, None], case.ids[effect])
        if not self.has_delays:
            return longest < 0
        if case.times is None:
            raise ConfigError("max_delay needs times: name the time column (time=..., --time), or leave it out")
        late: NDArray[np.bool_] = case.times[effect] - case.times[:, None] > longest
        return late


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What a user knows of the pairs of event types of a log.

    Attributes:
        statements: In the order in which they were read.
        columns: Names of the event columns, for patterns as ``component = door``.
        source: Where it was read from.
    """

    statements: tuple[Statement, ...]
    columns: tuple[str, ...] = ()
    source: str = ""

    @property
    def fingerprint(self) -> str:
        """Hash of all statements, whatever their order and place."""
        said = sorted((each.kind, each.cause, each.effect, str(each.seconds)) for each in self.statements)
        return hashlib.blake2b(msgspec.json.encode([self.columns, said]), digest_size=8).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a file."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    @classmethod
    def of(cls, values: Any) -> Knowledge:
        """Return what `to_dict` gave; raise `ValueError` for anything else."""
        return msgspec.convert(values, cls)

    def required(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return the pairs of types that are required, sorted."""
        types = _types(tuple(names), self.columns)
        pairs = {
            (types.names[cause], types.names[effect])
            for each in self.statements
            if each.kind == "required"
            for cause in types.matching(each.cause).tolist()
            for effect in types.matching(each.effect).tolist()
        }
        return sorted(pairs)

    def limits(self, names: Sequence[str]) -> PairLimits:
        """Return which pairs of some event types are tested.

        Where something is allowed, nothing else is. What is forbidden is not tested whatever allows it. Of several
        delays of a pair the least counts. Nothing is known of ``<rare>``; of types at a neighbour only what names them.

        Raises:
            ConfigError: The statements tell too many types apart.

        Example:
            >>> known = Knowledge((Statement("forbidden", "a", "*"), Statement("max_delay", "b", "c", 60.0)))
            >>> limits = known.limits(["a", "b", "c"])
            >>> limits.seconds(np.array([0, 1, 2]), np.array([1, 2, 1])).tolist()
            [-1.0, 60.0, inf]
        """
        return _limits(self, tuple(names))


@functools.lru_cache(maxsize=8)
def _types(names: tuple[str, ...], columns: tuple[str, ...]) -> TypeNames:
    return TypeNames(names, columns)


@functools.lru_cache(maxsize=8)
def _limits(known: Knowledge, names: tuple[str, ...]) -> PairLimits:
    types = _types(names, known.columns)
    said = [(each, types.matching(each.cause), types.matching(each.effect)) for each in known.statements]
    special = np.array([2 * (name == RARE) + near for name, near in zip(names, types.is_near, strict=True)])
    cause_class, causes = _classes(special, ((each.cause, numbers) for each, numbers, _ in said))
    effect_class, effects = _classes(special, ((each.effect, numbers) for each, _, numbers in said))
    if len(causes) * len(effects) > _MOST_CELLS:
        raise ConfigError(
            f"the knowledge of '{known.source}' tells {len(causes):,} kinds of causes from {len(effects):,} kinds of "
            "effects, more than can be held: say it by patterns of components instead of single types"
        )
    longest = np.full((len(causes), len(effects)), np.inf, np.float32)
    for near in (0, 1):  # what is allowed within an entity says nothing of causes at its neighbours
        if any(each.kind in _ALLOW and (types.is_near[cause] == near).any() for each, cause, _ in said):
            longest[np.ix_(special[causes] == near, special[effects] == 0)] = _EXCLUDED
    for kinds in (_ALLOW, ("max_delay",), _FORBID):
        for each, cause, effect in said:
            if each.kind in kinds and len(cause) and len(effect):
                cells = np.ix_(np.unique(cause_class[cause]), np.unique(effect_class[effect]))
                if each.kind == "max_delay":
                    longest[cells] = np.minimum(longest[cells], np.float32(each.seconds))
                else:
                    longest[cells] = np.inf if each.kind in _ALLOW else _EXCLUDED
    return PairLimits(cause_class, effect_class, longest)


def _classes(
    special: NDArray[np.int64], patterns: Iterable[tuple[str, NDArray[np.int64]]]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the class of each type (types that the same patterns match), and one type of each class."""
    key = special.astype(np.uint64)
    for pattern, numbers in dict(patterns).items():
        key[numbers] += np.uint64(int.from_bytes(hashlib.blake2b(pattern.encode(), digest_size=8).digest(), "little"))
    _, first, classes = np.unique(key, return_index=True, return_inverse=True)
    return classes.astype(np.int32), first


def asked(
    names: Sequence[str], columns: Sequence[str], causes: str | None, effects: str | None, *, strict: bool = True
) -> PairLimits | None:
    """Return the limits of a question that is about some causes or effects only; None where it is about all.

    Events at a neighbour are never effects. With ``strict`` a pattern that matches nothing is an error.

    Raises:
        ConfigError: A pattern matches no event type.
    """
    types = _types(tuple(names), tuple(columns))
    masks = []
    for argument, pattern in (("causes", causes), ("effects", effects)):
        mask = np.ones(len(types.names), bool)
        if pattern is not None:
            mask[:] = False
            mask[types.matching(pattern)] = True
            if strict and not mask.any():
                raise ConfigError(f"{argument}='{pattern}' matches no event type; {types.hint()}")
        masks.append(mask)
    masks[1] &= ~types.is_near
    if all(mask.all() for mask in masks):
        return None
    cause, effect = (mask.astype(np.int32) for mask in masks)
    longest = np.array([[_EXCLUDED, _EXCLUDED], [_EXCLUDED, np.inf]], np.float32)
    return PairLimits(cause, effect, longest)


def both(one: PairLimits | None, other: PairLimits | None) -> PairLimits | None:
    """Return the limits of two together."""
    if one is None or other is None:
        return one or other
    classes = []
    for first, second in ((one.cause_class, other.cause_class), (one.effect_class, other.effect_class)):
        code = first.astype(np.int64) * (int(second.max()) + 1) + second
        _, at, joined = np.unique(code, return_index=True, return_inverse=True)
        classes.append((joined.astype(np.int32), at))
    (cause, some), (effect, others) = classes
    longest = np.minimum(one.seconds(some[:, None], others), other.seconds(some[:, None], others))
    return PairLimits(cause, effect, longest)
