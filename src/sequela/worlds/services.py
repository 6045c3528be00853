"""Traces of services: calls whose outcomes spread from callee to caller, along plans that the log does not hold.

An event is ``operation|outcome``, written when the call ends. What is called and in which order is the plan of a latent
request type; how it goes is what events do to each other. The truth is by intervention on outcomes: the same operation,
another outcome. The law of the next event is exact: a forward filter over plans and places in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.density.base import Branches, Density, Floats, Ids, Times, check_branches, check_sequence, n_targets
from sequela.errors import ConfigError, check_range
from sequela.events.sequences import SequenceSet
from sequela.worlds.call_plans import OUTCOMES, Mechanism, Move, Source, State
from sequela.worlds.divergence import divergence_from_mean
from sequela.worlds.parentage import EDGE_TRUTH_SCHEMA, CausalLog
from sequela.worlds.service_systems import draw_system
from sequela.worlds.softmax import named_vocabulary
from sequela.worlds.trace_filter import Parsed, TraceFilter

_EPOCH_MS = 1_704_067_200_000  # 2024-01-01
_ANY_TYPE = 0.02
"""Share of noise events that may be of any type, so that no past is impossible."""


class ServiceWorld(Density):
    """A system of services, as a density of its traces and as a simulator with exact truth.

    Attributes:
        mechanism: Operations, plans and influences.
        types: Event type of each ``(operation, outcome)``, both by number.
        noise: Probability that an event of something else comes next.
        filter: Follows a trace exactly.

    Args:
        mechanism: The laws.
        noise_law: How likely each operation is in a noise event (``[operations]``, normalised here; its outcome is the
            operation's own). One noise event in fifty is of any type.
        noise: Probability that an event of something else comes next.

    Raises:
        ConfigError: The laws do not fit together.

    Example:
        >>> world = ServiceWorld.random(seed=0)
        >>> world.vocabulary.n_types, len(world.mechanism.operations)
        (82, 30)
    """

    knows_hidden = True

    def __init__(self, mechanism: Mechanism, *, noise_law: Sequence[float] | None = None, noise: float = 0.05) -> None:
        mechanism.check()
        check_range("noise", noise, low=0, high=0.9, above=True)
        self.mechanism, self.noise = mechanism, float(noise)
        operations = mechanism.operations
        pairs = [(o, outcome) for o, operation in enumerate(operations) for outcome in operation.outcomes]
        self.types = {pair: index for index, pair in enumerate(pairs)}
        names = [f"{operations[o].name}|{OUTCOMES[outcome]}" for o, outcome in pairs]
        self.vocabulary = named_vocabulary(len(pairs), names)
        weight = np.ones(len(operations)) if noise_law is None else np.asarray(noise_law, dtype=np.float64)
        if weight.shape != (len(operations),) or not (weight >= 0).all() or not weight.sum() > 0:
            raise ConfigError(f"noise_law must be {len(operations)} numbers of at least 0, not all 0; got {noise_law}")
        own = np.concatenate([w * np.array(o.own) for w, o in zip(weight / weight.sum(), operations, strict=True)])
        law: Floats = (1 - _ANY_TYPE) * own + _ANY_TYPE / len(pairs)
        self.filter = TraceFilter(mechanism, self.types, self.noise, law)
        self._strength: dict[tuple[int, Move], list[tuple[Source, float]]] = {}

    @classmethod
    def random(
        cls, n_types: int = 82, *, n_operations: int | None = None, n_requests: int | None = None,
        max_calls: int = 20, noise: float = 0.05, retry: float = 0.8, optional: float = 0.25, parallel: float = 0.3,
        seed: int,
    ) -> ServiceWorld:  # fmt: skip
        """Draw a system of services.

        Args:
            n_types: Event types: operations times their outcomes; 82 or 310, say.
            n_operations: By default one for 2.7 types.
            n_requests: Latent request types; by default one for four operations.
            max_calls: Calls of a plan at most, before operations that no plan calls are added to some.
            noise: Probability that an event of something else comes next.
            retry: Probability that a failed call is repeated, where its operation may be.
            optional: Share of calls that are made in some requests of their plan only.
            parallel: Share of calls whose own calls end in random order.
            seed: Same seed, same system.

        Raises:
            ConfigError: An argument is out of range.

        Example:
            >>> ServiceWorld.random(310, seed=0).vocabulary.n_types
            310
        """
        mechanism, noise_law = draw_system(
            n_types, n_operations=n_operations, n_requests=n_requests, max_calls=max_calls, retry=retry,
            optional=optional, parallel=parallel, seed=seed,
        )  # fmt: skip
        return cls(mechanism, noise_law=noise_law, noise=noise)

    # -- the law of the next event -----------------------------------------------------------------------------------

    def score_many(self, sequences: Sequence[Ids], times: Times = None) -> list[Floats]:
        """See `Density.score_many`."""
        results = []
        for ids in sequences:
            check_sequence(ids, self.vocabulary)
            results.append(self.filter.follow(ids)[0])
        return results

    def score_branches_many(self, branches: Sequence[Branches]) -> list[Floats]:
        """See `Density.score_branches_many`."""
        return [self._branches(one) for one in branches]

    def conditional(self, ids: Ids, positions: NDArray[np.int64], times: Floats | None = None) -> Floats:
        """See `Density.conditional`. After a request has ended, only noise can follow."""
        _, beliefs = self.filter.follow(ids)
        with np.errstate(divide="ignore"):
            result: Floats = np.log(np.stack([self.filter.law(beliefs[int(place)]) for place in positions]))
        return result

    def _branches(self, branches: Branches) -> Floats:
        check_branches(branches, self.vocabulary)
        ids, starts, tails = branches.ids, branches.starts, branches.tails
        _, beliefs = self.filter.follow(ids)
        result, left = np.full(tails.shape, np.nan), n_targets(branches)
        for row, (start, n_steps) in enumerate(zip(starts.tolist(), left.tolist(), strict=True)):
            belief = beliefs[start]
            for step in range(n_steps):
                _, belief = self.filter.step(belief, int(tails[row, step]))
                target = int(ids[start + step + 1])
                result[row, step] = min(np.log(self.filter.chance(belief, target)), 0.0)
        return result

    # -- simulation and truth ----------------------------------------------------------------------------------------

    def simulate(self, n_cases: int = 1000, *, seed: int, delta: float = 0.05) -> CausalLog:
        """Draw traces, and which event changed the outcome of which.

        Args:
            n_cases: Requests.
            seed: Same seed, same log. A request depends on the seed and its number only.
            delta: Nats above which a pair is an edge; see `truth`.

        Returns:
            Log with the columns ``trace``, ``time`` (the end of the call), ``service``, ``operation``, ``outcome``, and
            its truth. Events have the columns ``plan`` (which request type), ``call`` (null: noise) and ``attempt``;
            edges ``cmi_nats`` and ``route`` (``call``: from callee to caller; ``order``: from an earlier call to one
            that depends on it; ``retry``: from a failed attempt to the next); links are those that edges of this log
            make, without self-loops.

        Raises:
            ConfigError: An argument is out of range.

        Example:
            >>> found = ServiceWorld.random(seed=0).simulate(5, seed=1)
            >>> found.log.columns
            ['trace', 'time', 'service', 'operation', 'outcome']
        """
        check_range("delta", delta, low=0)
        sequences, parsed = self._draw(n_cases, seed)
        names, n_events = self.vocabulary.names, sequences.n_events
        position = np.arange(n_events) - np.repeat(sequences.offsets[:-1], sequences.lengths)
        milliseconds = self._times(parsed, seed)
        every = [one for case in parsed for one in case]
        moves = [one.move for one in every]
        events = pl.DataFrame(
            {
                "case": sequences.case_names.gather(np.repeat(np.arange(n_cases), sequences.lengths)),
                "position": position,
                "tick": position,
                "time": pl.Series(milliseconds, dtype=pl.Int64).cast(pl.Datetime("ms")),
                "event": pl.Series(names, dtype=pl.String).gather(sequences.ids),
                "plan": pl.Series([one.plan for one in every], dtype=pl.Int64),
                "call": pl.Series([None if move is None else move.call for move in moves], dtype=pl.Int64),
                "attempt": pl.Series([None if move is None else move.attempt for move in moves], dtype=pl.Int64),
            }
        )
        split = pl.col("event").str.split_exact("|", 1).struct.rename_fields(["operation", "outcome"]).alias("split")
        log = events.select("event", trace="case", time="time").with_columns(split).unnest("split")
        service = pl.col("operation").str.split("/").list.first().alias("service")
        edges = self._edges(sequences, parsed, delta)
        links = edges.filter(pl.col("cause") != pl.col("effect")).group_by("cause", "effect").agg(
            pl.len().cast(pl.Int64).alias("n_events"), pl.col("cmi_nats").mean().alias("mean_cmi_nats")
        )  # fmt: skip
        return CausalLog(
            log.select("trace", "time", service, "operation", "outcome"),
            {"case": "trace", "event": ["operation", "outcome"], "time": "time"},
            events,
            edges,
            links.sort("cause", "effect"),
        )

    def sample(self, n_cases: int, *, seed: int) -> SequenceSet:
        """Draw independent requests, each until it ends.

        Example:
            >>> ServiceWorld.random(seed=0).sample(3, seed=1).n_cases
            3
        """
        return self._draw(n_cases, seed)[0]

    def truth(self, ids: Ids) -> Floats:
        """Return how much each event changed the outcome of each later one.

        The intervention is on the outcome of an event: the same operation, another outcome. The plan, the other events
        and whether other calls are made stay as they are. It acts directly on the caller, on a later call that depends
        on it, and on the next attempt (where it also decides whether there is one).

        Args:
            ids: Event ids of one request (int32, ``[L]``), whole or its beginning. Where several plans or places in a
                plan explain it, the most probable counts.

        Returns:
            Nats (float64, ``[L, L]``; cell ``[i, k]`` is the effect of ``i`` on ``i + k + 1``, NaN where there is
            none): ``KL(Ber(p) || Ber(q))``, ``p`` the probability of the outcome that was observed, given what it
            depends on, and ``q`` its mean over all outcomes of the cause's operation (even weights, the observed one
            included). 0 for events without direct effect.

        Source:
            `docs/method.md`, sections 6 and 10; Pearl (2009), Causality, 4.5 (controlled direct effect).

        Example:
            >>> world = ServiceWorld.random(seed=0)
            >>> ids = world.sample(1, seed=1).ids
            >>> world.truth(ids).shape == (len(ids), len(ids))
            True
        """
        check_sequence(ids, self.vocabulary)
        result = np.full((len(ids), len(ids)), np.nan)
        for cause in range(len(ids)):
            result[cause, : len(ids) - 1 - cause] = 0.0
        for cause, effect, nats, _ in self._effects(self.filter.parse(ids)):
            result[cause, effect - cause - 1] = nats
        return result

    def _draw(self, n_cases: int, seed: int) -> tuple[SequenceSet, list[list[Parsed]]]:
        check_range("n_cases", n_cases, low=1, whole=True)
        check_range("seed", seed, low=0, whole=True)
        plans = self.mechanism.plans
        weight = np.array([plan.weight for plan in plans])
        noise = self.filter.noise_law.cumsum()
        ids: list[int] = []
        offsets, parsed = [0], []
        for index in range(n_cases):
            generator = np.random.default_rng([seed, 11, index])
            plan = int(generator.choice(len(plans), p=weight / weight.sum()))
            state = self.filter.number(self.mechanism.start(plan))
            trace: list[Parsed] = []
            while self.filter.states[state].frames:
                moves = self.filter.explore(state)
                if generator.random() < self.noise:
                    event = int(np.searchsorted(noise, generator.random() * noise[-1], side="right"))
                    ids.append(min(event, len(noise) - 1))
                    trace.append(Parsed(plan, None))
                    continue
                chance = np.cumsum([move.chance for move in moves])
                move = moves[int(np.searchsorted(chance, generator.random() * chance[-1], side="right"))]
                ids.append(self.types[move.operation, move.outcome])
                trace.append(Parsed(plan, move))
                state = self.filter.number(move.after)
            parsed.append(trace)
            offsets.append(len(ids))
        digits = max(5, len(str(n_cases - 1)))
        names = pl.Series([f"trace-{i:0{digits}d}" for i in range(n_cases)], dtype=pl.String)
        return SequenceSet(np.array(ids, np.int32), np.array(offsets, np.int64), names), parsed

    def _times(self, parsed: list[list[Parsed]], seed: int) -> NDArray[np.int64]:
        """Return when each call ended: a call takes longer the worse it goes."""
        usual = np.array([20.0, 250.0, 40.0, 2000.0])  # milliseconds, of each outcome
        times = []
        for index, trace in enumerate(parsed):
            generator = np.random.default_rng([seed, 12, index])
            outcome = [0 if one.move is None else one.move.outcome for one in trace]
            took = usual[outcome] * np.exp(generator.normal(0.0, 0.5, len(outcome)))
            start = _EPOCH_MS + index * 30_000 + int(generator.integers(30_000))
            times.append(start + np.maximum(took, 1).astype(np.int64).cumsum())
        return np.concatenate(times)

    def _effects(self, trace: Sequence[Parsed]) -> list[tuple[int, int, float, str]]:
        """Return cause, effect, nats and route of every event that another depends on."""
        last: dict[int, int] = {}
        found = []
        for position, (plan, move) in enumerate(trace):
            if move is None:
                continue
            for source, nats in self._strengths(plan, move):
                found.append((last[source.call], position, nats, source.influence.route))
            last[move.call] = position
        return found

    def _strengths(self, plan: int, move: Move) -> list[tuple[Source, float]]:
        """Return how much each thing that a move depended on mattered, in nats."""
        key = (plan, move._replace(chance=0.0, after=State(plan, ())))
        if key not in self._strength:
            self._strength[key] = []
            for source in move.sources:
                chances = self.mechanism.effect(plan, move, source)
                outcomes = self.mechanism.operations[source.influence.source].outcomes
                seen = np.array([outcomes.index(source.outcome)], np.int32)
                with np.errstate(divide="ignore"):
                    log_p = np.minimum(np.log(chances), 0.0)[None]
                self._strength[key].append((source, float(divergence_from_mean(log_p, seen)[0])))
        return self._strength[key]

    def _edges(self, sequences: SequenceSet, parsed: list[list[Parsed]], delta: float) -> pl.DataFrame:
        names = self.vocabulary.names
        rows = [
            (case.name, a, b, names[case.ids[a]], names[case.ids[b]], b - a, a, b, False, nats, route)
            for case, trace in zip(sequences, parsed, strict=True)
            for a, b, nats, route in self._effects(trace)
            if nats > delta
        ]
        schema = {**EDGE_TRUTH_SCHEMA, "cmi_nats": pl.Float64(), "route": pl.String()}
        return pl.DataFrame(rows, schema=schema, orient="row")
