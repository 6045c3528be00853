"""Worlds that are seen through an imperfect log: events added, lost or put into one tick.

The law underneath is exact (these worlds *are* the density of the clean sequence); the log is not clean, so no density
trained on the log can be that law. That gap is what they are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.density.base import Branches, Floats, Ids, Times
from sequela.errors import check_range
from sequela.events.sequences import SequenceSet
from sequela.worlds.base import TRUTH_SCHEMA, FiniteWorld, Simulation, World

_EPOCH_MS = 1_704_067_200_000  # 2024-01-01


class ObservedWorld(World):
    """A world whose `simulate` changes what it writes; everything else is the clean world underneath.

    Args:
        base: The clean world.
    """

    def __init__(self, base: FiniteWorld) -> None:
        self.base = base
        self.vocabulary, self.memory, self.horizon = base.vocabulary, base.memory, base.horizon

    def sample(self, n_cases: int, length: int | tuple[int, int], *, seed: int) -> SequenceSet:
        """Draw clean sequences; see `World.sample`."""
        return self.base.sample(n_cases, length, seed=seed)

    def truth(self, ids: Ids) -> Floats:
        """Return the truth of a clean sequence; see `World.truth`."""
        return self.base.truth(ids)

    def score_many(self, sequences: Sequence[Ids], times: Times = None) -> list[Floats]:
        """See `Density.score_many`."""
        return self.base.score_many(sequences)

    def score_branches_many(self, branches: Sequence[Branches]) -> list[Floats]:
        """See `Density.score_branches_many`."""
        return self.base.score_branches_many(branches)

    def conditional(self, ids: Ids, positions: NDArray[np.int64], times: Floats | None = None) -> Floats:
        """See `Density.conditional`."""
        return self.base.conditional(ids, positions)


class NoisyWorld(ObservedWorld):
    """A log with events that do not belong, and without some that do.

    Args:
        base: The clean world.
        insert: Share of the log that are inserted events, drawn from the frequencies of the clean log: they have no
            cause and no effect.
        delete: Share of the clean events that are lost.
        drop_mediators: Share of the events that are both an effect and a cause which are lost besides.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = NoisyWorld(SoftmaxWorld.random(5, seed=0), insert=0.0, delete=0.5)
        >>> 10 < world.simulate(1, 40, seed=1).log.height < 30
        True
    """

    def __init__(
        self, base: FiniteWorld, *, insert: float = 0.05, delete: float = 0.05, drop_mediators: float = 0.0
    ) -> None:
        super().__init__(base)
        check_range("insert", insert, low=0, high=0.9)
        check_range("delete", delete, low=0, high=0.9)
        check_range("drop_mediators", drop_mediators, low=0, high=1)
        self.insert, self.delete, self.drop_mediators = insert, delete, drop_mediators

    def simulate(
        self, n_cases: int, length: int | tuple[int, int], *, seed: int, delta: float = 0.05, with_truth: bool = True
    ) -> Simulation:
        """Draw a noisy log; see `World.simulate`.

        The truth is that of the clean sequence, in positions of the log. A lost event is bridged: where ``a`` caused
        it and it caused ``c``, the log's own truth is ``a -> c`` (the latent projection), with the weaker of the two
        strengths. Cases keep at least two events.
        """
        clean = self.sample(n_cases, length, seed=seed)
        needed = with_truth or self.drop_mediators > 0
        truth = self.true_edges(clean, delta=delta) if needed else pl.DataFrame(schema=TRUTH_SCHEMA)
        by_case = truth.partition_by("case", as_dict=True)
        frequency = np.bincount(clean.ids, minlength=self.vocabulary.n_types) / max(clean.n_events, 1)
        events, lengths, tables = [], [], []
        for index, case in enumerate(clean):
            generator = np.random.default_rng([seed, 3, index])
            edges = by_case.get((case.name,), pl.DataFrame(schema=TRUTH_SCHEMA))
            lost = generator.random(len(case.ids)) < self.delete
            chance = generator.random(len(case.ids))
            mediator = np.zeros(len(case.ids), dtype=bool)
            mediator[np.intersect1d(edges["cause_position"].to_numpy(), edges["effect_position"].to_numpy())] = True
            lost |= mediator & (chance < self.drop_mediators)
            lost[np.flatnonzero(lost)[: max(0, 2 - int((~lost).sum()))]] = False
            kept = np.flatnonzero(~lost)
            n_inserted = generator.binomial(len(kept), self.insert / (1 - self.insert)) if self.insert else 0
            # Each inserted event goes before a random kept one or to the end.
            slots = np.sort(generator.integers(len(kept) + 1, size=n_inserted))
            row = np.arange(len(kept)) + np.searchsorted(slots, np.arange(len(kept)), side="right")
            written = np.full(len(kept) + n_inserted, -1, dtype=np.int32)
            written[row] = case.ids[kept]
            written[written < 0] = generator.choice(len(frequency), size=n_inserted, p=frequency)
            position = np.full(len(case.ids), -1)
            position[kept] = row
            events.append(written)
            lengths.append(len(written))
            if with_truth:
                tables.append(_project(edges, position))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        noisy = SequenceSet(np.concatenate(events), offsets, clean.case_names)
        found = pl.concat([pl.DataFrame(schema=TRUTH_SCHEMA), *tables])
        return Simulation(self.to_log(noisy, seed=seed), noisy, found)


class _Link(NamedTuple):
    cause: int
    effect: int
    cmi: float


def _project(edges: pl.DataFrame, position: NDArray[np.int64]) -> pl.DataFrame:
    """Bridge lost events (position -1) and renumber the others."""
    links = {
        (a, b): _Link(a, b, c) for a, b, c in edges.select("cause_position", "effect_position", "cmi_nats").iter_rows()
    }
    types = dict(edges.select("cause_position", "cause").iter_rows()) | dict(
        edges.select("effect_position", "effect").iter_rows()
    )
    for lost in np.flatnonzero(position < 0):
        into = [link for link in links.values() if link.effect == lost]
        out = [link for link in links.values() if link.cause == lost]
        for one in into:
            for two in out:
                key = (one.cause, two.effect)
                strength = min(one.cmi, two.cmi)
                if key not in links or links[key].cmi < strength:
                    links[key] = _Link(*key, strength)
        for link in (*into, *out):
            links.pop((link.cause, link.effect), None)
    case = edges["case"][0] if edges.height else ""
    rows = [
        (case, int(position[a]), int(position[b]), types[a], types[b], int(position[b] - position[a]), cmi)
        for a, b, cmi in sorted(links.values())
    ]
    return pl.DataFrame(rows, schema=TRUTH_SCHEMA, orient="row")


class SimultaneousWorld(ObservedWorld):
    """A log whose clock is coarse: several events share a time, and within one tick the log lost their order.

    Args:
        base: The clean world; its order is the causal one.
        tick_size: Mean number of events in one tick (geometric, at least 1).
        shuffle: Write the events of a tick in random order; False keeps the causal order.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SimultaneousWorld(SoftmaxWorld.random(20, decay=0.2, seed=0), tick_size=3.0)
        >>> found = world.simulate(1, 60, seed=1)
        >>> bool((found.truth["lag"] < 0).any()), found.log["time"].n_unique() < 60
        (True, True)
    """

    def __init__(self, base: FiniteWorld, *, tick_size: float = 2.0, shuffle: bool = True) -> None:
        super().__init__(base)
        check_range("tick_size", tick_size, low=1)
        self.tick_size, self.shuffle = tick_size, shuffle

    def simulate(
        self, n_cases: int, length: int | tuple[int, int], *, seed: int, delta: float = 0.05, with_truth: bool = True
    ) -> Simulation:
        """Draw a log with ties; see `World.simulate`.

        In the truth ``lag`` is the difference of the rows: negative where the log wrote an effect before its cause.
        """
        clean = self.sample(n_cases, length, seed=seed)
        truth = self.true_edges(clean, delta=delta) if with_truth else pl.DataFrame(schema=TRUTH_SCHEMA)
        generator = np.random.default_rng([seed, 4])
        new_tick = generator.random(clean.n_events) < 1 / self.tick_size
        new_tick[clean.offsets[:-1]] = True
        tick = np.cumsum(new_tick)
        order = generator.random(clean.n_events) if self.shuffle else np.zeros(clean.n_events)
        written = np.lexsort((order, tick))  # row of the log -> clean event; stable where nothing is shuffled
        row = np.empty(clean.n_events, dtype=np.int64)
        row[written] = np.arange(clean.n_events)
        observed = SequenceSet(np.asarray(clean.ids)[written], clean.offsets, clean.case_names)
        log = self.to_log(observed, seed=seed)
        first = pl.Series("time", np.flatnonzero(new_tick))
        log = log.with_columns(log["time"].gather(first.gather(tick - 1)))
        start = dict(zip(clean.case_names.to_list(), clean.offsets[:-1].tolist(), strict=True))
        base = (
            truth["case"].replace_strict(start, return_dtype=pl.Int64).to_numpy() if truth.height else np.zeros(0, int)
        )
        cause = row[base + truth["cause_position"].to_numpy()] - base
        effect = row[base + truth["effect_position"].to_numpy()] - base
        moved = truth.with_columns(
            pl.Series("cause_position", cause),
            pl.Series("effect_position", effect),
            pl.Series("lag", effect - cause),
        )
        return Simulation(log, observed, moved)
