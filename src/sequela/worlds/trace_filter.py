"""The exact law of traces of services: a forward filter over plans and places in them, and the most probable parse."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sequela.density.base import Floats, Ids
from sequela.worlds.call_plans import Mechanism, Move, State

_NEGLIGIBLE = 1e-12
"""Share of the belief below which an explanation of the past is given up."""

Belief = dict[int, float]
"""Probability of each state (by its number) given the past."""


class Parsed(NamedTuple):
    """One event as the plan of its request sees it; the move is None for noise."""

    plan: int
    move: Move | None


class TraceFilter:
    """Follows a trace: which plan it may be, and where in it.

    States and what can follow them are found as they are needed, and kept.

    Attributes:
        mechanism: The laws.
        types: Event type of each ``(operation, outcome)``.
        noise: Probability that an event of something else comes next.
        noise_law: Its law (``[n_types]``, all above 0).
        start: Belief before the first event.
        states: States by number.
    """

    def __init__(
        self, mechanism: Mechanism, types: dict[tuple[int, int], int], noise: float, noise_law: Floats
    ) -> None:
        self.mechanism, self.types, self.noise, self.noise_law = mechanism, types, noise, noise_law
        self.states: list[State] = []
        self._numbers: dict[State, int] = {}
        self._moves: list[list[Move] | None] = []
        self._nexts: list[dict[int, list[tuple[int, float]]]] = []
        self._laws: list[Floats] = []
        total = sum(plan.weight for plan in mechanism.plans)
        self.start: Belief = {
            self.number(mechanism.start(index)): plan.weight / total for index, plan in enumerate(mechanism.plans)
        }
        for state in self.start:
            self.explore(state)

    def follow(self, ids: Ids) -> tuple[Floats, list[Belief]]:
        """Return the score of each event (``[L]``) and the belief before each place (``L + 1``)."""
        scores, beliefs = np.full(len(ids), np.nan), [self.start]
        for place, event in enumerate(ids.tolist()):
            p, after = self.step(beliefs[-1], event)
            beliefs.append(after)
            if event < len(self.noise_law):
                scores[place] = min(np.log(p), 0.0)
        return scores, beliefs

    def step(self, belief: Belief, event: int) -> tuple[float, Belief]:
        """Return the probability of an event and the belief after it; a hidden event is summed over."""
        hidden = event >= len(self.noise_law)
        after: Belief = {}
        for state, weight in belief.items():
            noise = self.noise_at(state)
            stays = weight * noise * (1.0 if hidden else float(self.noise_law[event]))
            after[state] = after.get(state, 0.0) + stays
            nexts = self._nexts[state]
            for moved in nexts.values() if hidden else (nexts.get(event, ()),):
                for following, chance in moved:
                    after[following] = after.get(following, 0.0) + weight * (1 - noise) * chance
        total = sum(after.values())
        kept = {state: weight / total for state, weight in after.items() if weight > _NEGLIGIBLE * total}
        for state in kept:
            self.explore(state)
        return total, kept

    def chance(self, belief: Belief, event: int) -> float:
        """Return the probability that this event comes next."""
        return sum(weight * float(self._laws[state][event]) for state, weight in belief.items())

    def law(self, belief: Belief) -> Floats:
        """Return the law of the next event (``[n_types]``)."""
        law: Floats = np.zeros(len(self.noise_law))
        for state, weight in belief.items():
            law += weight * self._laws[state]
        return law

    def noise_at(self, state: int) -> float:
        """Return the probability of noise in a state: 1 where the request has ended."""
        return self.noise if self.states[state].frames else 1.0

    def number(self, state: State) -> int:
        """Return the number of a state; the states after it are found when it is explored."""
        if state not in self._numbers:
            self._numbers[state] = len(self.states)
            self.states.append(state)
            self._moves.append(None)
            self._nexts.append({})
            self._laws.append(np.zeros(0))
        return self._numbers[state]

    def explore(self, state: int) -> list[Move]:
        """Return what can come next in a state."""
        known = self._moves[state]
        if known is not None:
            return known
        moves = self.mechanism.moves(self.states[state])
        law = self.noise_at(state) * self.noise_law
        for move in moves:
            event = self.types[move.operation, move.outcome]
            self._nexts[state].setdefault(event, []).append((self.number(move.after), move.chance))
            law[event] += (1 - self.noise_at(state)) * move.chance
        self._moves[state], self._laws[state] = moves, law
        return moves

    def parse(self, ids: Ids) -> list[Parsed]:
        """Return the most probable explanation of a request (Viterbi 1967)."""
        best = {state: np.log(weight) for state, weight in self.start.items()}
        steps: list[dict[int, tuple[int, Move | None]]] = []
        for event in ids.tolist():
            after: dict[int, float] = {}
            came: dict[int, tuple[int, Move | None]] = {}
            for state, score in best.items():
                stays = score + float(np.log(self.noise_at(state) * self.noise_law[event]))
                ways: list[tuple[int, float, Move | None]] = [(state, stays, None)]
                for move in self.explore(state):
                    if self.types[move.operation, move.outcome] == event:
                        gain = float(np.log((1 - self.noise_at(state)) * move.chance))
                        ways.append((self.number(move.after), score + gain, move))
                for following, value, taken in ways:
                    if value > after.get(following, -np.inf):
                        after[following], came[following] = value, (state, taken)
            top = max(after.values())
            best = {state: value for state, value in after.items() if value > top + np.log(_NEGLIGIBLE)}
            steps.append(came)
        state = max(best, key=lambda one: best[one])
        found = []
        for came in reversed(steps):
            before, way = came[state]
            found.append(Parsed(self.states[state].plan, way))
            state = before
        return found[::-1]
