"""How a request runs through services: plans of calls, outcomes that spread, retries; one step at a time.

A plan is a tree of calls. A call ends after its callees, so events come callee before caller. The outcome of a call is
the worst of what its sources propose (a noisy maximum; Díez 1993): the operation itself, each callee, an earlier call
it depends on, and its own failed attempt before. All of it is a Markov chain over `State`, found as it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sequela.density.base import Floats
from sequela.errors import ConfigError, check_range

OUTCOMES = ("ok", "slow", "error", "timeout")
"""From good to bad; an outcome from `FAILED` on is a failure, which may be tried again."""
FAILED = 2


class Operation(NamedTuple):
    """What a service can be asked.

    Attributes:
        name: ``service/operation``.
        outcomes: Which of `OUTCOMES` it can have (their numbers, ascending, 0 among them).
        own: Probability of each of them when nothing else is wrong (they sum to 1).
        attempts: How often it is tried at most; only a call without callees is repeated.
        retry: Probability that a failed attempt is repeated.
    """

    name: str
    outcomes: tuple[int, ...]
    own: tuple[float, ...]
    attempts: int = 1
    retry: float = 0.0


class Call(NamedTuple):
    """One call of a plan.

    Attributes:
        operation: Number of the operation.
        calls: Numbers of the calls it makes, in order.
        after: An earlier call of the same caller whose outcome it depends on, or -1.
        chance: Probability that the call is made at all (with all it calls).
        parallel: Whether its own calls end in random order.
    """

    operation: int
    calls: tuple[int, ...] = ()
    after: int = -1
    chance: float = 1.0
    parallel: bool = False


class Plan(NamedTuple):
    """A latent request type: how often it comes, and its calls; call 0 is the request itself."""

    weight: float
    calls: tuple[Call, ...]


class Influence(NamedTuple):
    """What a source proposes: key ``(route, operation, operation of the source)`` of `Mechanism.influences`.

    ``route`` is ``"call"`` (a callee on its caller), ``"order"`` (an earlier call on a later one) or ``"retry"``.
    """

    route: str
    operation: int
    source: int


class Frame(NamedTuple):
    """A call that has begun: calls left, outcomes of calls done, the attempt, and the outcome of the one before."""

    call: int
    left: tuple[int, ...]
    done: tuple[tuple[int, int], ...]
    attempt: int = 1
    before: int = 0


class State(NamedTuple):
    """Where a request is: its plan and the calls that have begun, the request first; none when it has ended."""

    plan: int
    frames: tuple[Frame, ...]


class Source(NamedTuple):
    """What an outcome depended on: the call that ended so, its outcome, and how it acts."""

    call: int
    outcome: int
    influence: Influence


class Move(NamedTuple):
    """One possible next event: the call that ends, which attempt, its outcome, what that depended on, the state after.

    ``chance`` is that of the event and of what follows it at once (whether it is tried again).
    """

    chance: float
    call: int
    attempt: int
    operation: int
    outcome: int
    sources: tuple[Source, ...]
    after: State


@dataclass(frozen=True)
class Mechanism:
    """The laws of a system of services.

    Attributes:
        operations: All operations.
        plans: Request types.
        influences: For each source that acts, ``[outcomes of the source, outcomes of the operation]``: what it proposes
            (rows sum to 1). A source without an entry does nothing.
    """

    operations: tuple[Operation, ...]
    plans: tuple[Plan, ...]
    influences: Mapping[Influence, Floats]

    def check(self) -> None:
        """Raise `ConfigError` where the laws do not fit together."""
        for operation in self.operations:
            name, outcomes, own, attempts, retry = operation
            if list(outcomes) != sorted(set(outcomes)) or not outcomes or outcomes[0] != 0 or outcomes[-1] > 3:
                raise ConfigError(f"outcomes of {name} must ascend from 0 and be at most 3; got {outcomes}")
            if len(own) != len(outcomes) or min(own) < 0 or abs(sum(own) - 1) > 1e-9:
                raise ConfigError(f"own of {name} must be {len(outcomes)} probabilities that sum to 1; got {own}")
            check_range(f"attempts of {name}", attempts, low=1, whole=True)
            check_range(f"retry of {name}", retry, low=0, high=1)
        if not self.plans:
            raise ConfigError("plans must hold at least one request type")
        for number, plan in enumerate(self.plans):
            self._check_plan(number, plan)
        for key, matrix in self.influences.items():
            shape = tuple(len(self.operations[i].outcomes) for i in (key.source, key.operation))
            if matrix.shape != shape or (matrix < 0).any() or not np.allclose(matrix.sum(axis=1), 1):
                raise ConfigError(f"the influence {tuple(key)} must be {shape} probabilities, rows that sum to 1")

    def _check_plan(self, number: int, plan: Plan) -> None:
        check_range(f"weight of plan {number}", plan.weight, low=0, above=True)
        called = [one for call in plan.calls for one in call.calls]
        if sorted(called) != list(range(1, len(plan.calls))):
            raise ConfigError(f"every call of plan {number} but call 0 must be made by exactly one other; got {called}")
        for index, call in enumerate(plan.calls):
            check_range("chance of a call", call.chance, low=0, high=1)
            if any(one <= index for one in call.calls):
                raise ConfigError(f"call {index} of plan {number} must come before the calls it makes: {call.calls}")
            if not 0 <= call.operation < len(self.operations):
                raise ConfigError(f"call {index} of plan {number} has no such operation: {call.operation}")
            for place, one in enumerate(call.calls):
                earlier = () if call.parallel else call.calls[:place]
                if plan.calls[one].after not in (-1, *earlier):
                    raise ConfigError(f"call {one} of plan {number} must depend on an earlier call of the same caller")

    def start(self, plan: int) -> State:
        """Return the state of a request of this plan before its first event."""
        return State(plan, (Frame(0, self.plans[plan].calls[0].calls, ()),))

    def moves(self, state: State) -> list[Move]:
        """Return every possible next event; none where the request has ended."""
        found: dict[tuple[int, int, State], Move] = {}
        for chance, frames in self._ready(state.plan, state.frames):
            for move in self._ends(state.plan, frames):
                key = (move.call, move.outcome, move.after)
                known = found[key].chance if key in found else 0.0
                found[key] = move._replace(chance=known + chance * move.chance)
        return list(found.values())

    def _ready(self, plan: int, frames: tuple[Frame, ...]) -> Iterator[tuple[float, tuple[Frame, ...]]]:
        """Yield which call may end next: begin calls until one has nothing left to call."""
        if not frames:
            return
        top = frames[-1]
        if not top.left:
            yield 1.0, frames
            return
        calls = self.plans[plan].calls
        nexts = top.left if calls[top.call].parallel else top.left[:1]
        for one in nexts:
            rest = (*frames[:-1], top._replace(left=tuple(c for c in top.left if c != one)))
            made = calls[one].chance
            if made > 0:
                begun = (*rest, Frame(one, calls[one].calls, ()))
                for chance, ready in self._ready(plan, begun):
                    yield chance * made / len(nexts), ready
            if made < 1:
                for chance, ready in self._ready(plan, rest):
                    yield chance * (1 - made) / len(nexts), ready

    def _ends(self, plan: int, frames: tuple[Frame, ...]) -> Iterator[Move]:
        """Yield how the last call that has begun may end."""
        top, calls = frames[-1], self.plans[plan].calls
        call = calls[top.call]
        operation = self.operations[call.operation]
        sources = self.sources(plan, frames)
        for chance, outcome in zip(self.law(call.operation, sources), operation.outcomes, strict=True):
            if chance <= 0:
                continue
            again = self.retries(plan, top.call, top.attempt, outcome)
            ending = (top.call, top.attempt, call.operation, outcome, sources)
            if again > 0:
                retried = (*frames[:-1], Frame(top.call, (), (), top.attempt + 1, outcome))
                yield Move(chance * again, *ending, State(plan, retried))
            if again < 1:
                after = frames[:-1]
                if after:
                    done = tuple(sorted((*after[-1].done, (top.call, outcome))))
                    after = (*after[:-1], after[-1]._replace(done=done))
                yield Move(chance * (1 - again), *ending, State(plan, after))

    def sources(self, plan: int, frames: tuple[Frame, ...]) -> tuple[Source, ...]:
        """Return what the outcome of the last call that has begun depends on."""
        top, calls = frames[-1], self.plans[plan].calls
        call = calls[top.call]
        every = [(one, outcome, "call") for one, outcome in top.done]
        if call.after >= 0:
            every += [(one, outcome, "order") for one, outcome in frames[-2].done if one == call.after]
        if top.attempt > 1:
            every.append((top.call, top.before, "retry"))
        acts = [(one, outcome, Influence(route, call.operation, calls[one].operation)) for one, outcome, route in every]
        return tuple(Source(*act) for act in acts if act[2] in self.influences)

    def law(self, operation: int, sources: Sequence[Source]) -> Floats:
        """Return the probability of each outcome of an operation under these sources (``[outcomes]``)."""
        at_most = np.cumsum(self.operations[operation].own)
        for source in sources:
            row = self.operations[source.influence.source].outcomes.index(source.outcome)
            at_most = at_most * np.cumsum(self.influences[source.influence][row])
        at_most[-1] = 1.0
        result: Floats = np.diff(at_most, prepend=0.0)
        return result

    def retries(self, plan: int, call: int, attempt: int, outcome: int) -> float:
        """Return the probability that this attempt is repeated."""
        made = self.plans[plan].calls[call]
        operation = self.operations[made.operation]
        if outcome < FAILED or attempt >= operation.attempts or made.calls:
            return 0.0
        return operation.retry

    def effect(self, plan: int, move: Move, source: Source) -> Floats:
        """Return how likely a move's event is under each outcome of one of its sources, all else as it was.

        Args:
            plan: The plan.
            move: The event.
            source: The one that is changed.

        Returns:
            ``[outcomes of the source's operation]``. For a retry the probability that it is made is part of it.
        """
        place = self.operations[move.operation].outcomes.index(move.outcome)
        found = []
        for outcome in self.operations[source.influence.source].outcomes:
            changed = [one._replace(outcome=outcome) if one == source else one for one in move.sources]
            chance = float(self.law(move.operation, changed)[place])
            if source.influence.route == "retry":
                chance *= self.retries(plan, move.call, move.attempt - 1, outcome)
            found.append(chance)
        return np.array(found)
