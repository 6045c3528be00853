"""The cases of a result as flat arrays, and what each root explains of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from sequela.events.log import event_components
from sequela.graphs.summary import with_directed

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_NO_ATTRIBUTES = {"case", "position", "event", "time", "number"}
_EDGE_VALUES = (
    "lag", "cmi_nats", "presence_cmi_nats", "state_cmi_nats", "std_error", "pointwise_nats", "confidence", "directed",
)  # fmt: skip
"""Columns of edges that the page shows, where they are there."""


@dataclass(frozen=True)
class Traces:
    """Events and edges of all cases, case after case, and within a case by position.

    Attributes:
        names: Name of each case, ``[C]``.
        offsets: First event of each case, and the number of events, ``[C + 1]``.
        types: Type of each event, ``[N]``.
        times: Seconds of each event, ``[N]``, or None.
        cause: Row of the event that is the cause, ``[E]``; edges are sorted by effect, then cause.
        effect: Row of the event that is the effect, ``[E]``.
        values: Columns of the edge table, each ``[E]``.
        explains: Whether an edge can explain its effect, ``[E]``: it has a direction, the cause made the effect more
            likely, and it is in no cycle (of events at one time).
        has_evidence: Whether the link between the two types has evidence over cases, ``[E]``; true where none was
            gathered.
        attributes: Attributes of the log, each ``[N]``; with neighbours also where an event happened.
        is_usual: Whether an event went as usual, ``[N]``: in the most common state of what acted, where states decide
            the edges; none otherwise.
    """

    names: list[str]
    offsets: Ints
    types: Ints
    times: Floats | None
    cause: Ints
    effect: Ints
    values: dict[str, pl.Series]
    explains: Bools
    has_evidence: Bools
    attributes: dict[str, pl.Series]
    is_usual: Bools

    @classmethod
    def build(
        cls,
        events: pl.DataFrame,
        edges: pl.DataFrame,
        index: Mapping[str, int],
        links: set[tuple[int, int]] | None = None,
        states: bool = False,
    ) -> Traces:
        """Arrange the tables of a discovery.

        Args:
            events: ``case``, ``position``, ``event`` and, when there are times, ``time`` (seconds).
            edges: ``case`` and the columns of `InstanceGraph.edges`.
            index: Number of each event type.
            links: Pairs of types with evidence over cases; None where none was gathered: every edge counts.
            states: Whether the contrast of states decided which pairs are edges.
        """
        names = events["case"].unique(maintain_order=True)
        number = pl.DataFrame({"case": names, "number": np.arange(len(names))})
        events = events.join(number, on="case").sort("number", "position")
        edges = edges.join(number, on="case").sort("number", "effect_position", "cause_position")
        offsets = np.searchsorted(events["number"].to_numpy(), np.arange(len(names) + 1)).astype(np.int64)
        types = events["event"].replace_strict(index, return_dtype=pl.Int64).to_numpy()
        first = offsets[edges["number"].to_numpy()]
        cause, effect = first + edges["cause_position"].to_numpy(), first + edges["effect_position"].to_numpy()
        gain = edges["pointwise_nats"].fill_null(0).fill_nan(0).to_numpy()
        directed = with_directed(edges)["directed"].fill_null(True).to_numpy()
        return cls(
            names=names.to_list(),
            offsets=offsets,
            types=types,
            times=events["time"].to_numpy() if "time" in events.columns else None,
            cause=cause.astype(np.int64),
            effect=effect.astype(np.int64),
            values={name: edges[name] for name in _EDGE_VALUES if name in edges.columns},
            explains=_without_cycles(cause, effect, (gain > 0) & np.isfinite(gain) & directed, len(types)),
            has_evidence=_on_links(types[cause], types[effect], directed, links),
            attributes={name: events[name] for name in events.columns if name not in _NO_ATTRIBUTES},
            is_usual=_is_usual(types, index) if states else np.zeros(len(types), dtype=np.bool_),
        )

    @cached_property
    def counted(self) -> Bools:
        """Whether an edge counts: it can explain its effect and has evidence, ``[E]``."""
        return self.explains & self.has_evidence

    @cached_property
    def depth(self) -> Ints:
        """Edges of the longest chain that ends in each event, ``[N]``: larger for an effect than for its causes."""
        return _depth(self.cause[self.counted], self.effect[self.counted], len(self.types))

    @cached_property
    def case_of(self) -> Ints:
        """Number of the case of each event, ``[N]``."""
        return np.repeat(np.arange(len(self.names)), np.diff(self.offsets))

    @cached_property
    def edge_offsets(self) -> Ints:
        """First edge of each case, and the number of edges, ``[C + 1]``."""
        return np.searchsorted(self.effect, self.offsets).astype(np.int64)

    @cached_property
    def is_caused(self) -> Bools:
        """Whether an event has a cause that counts, ``[N]``."""
        found = np.zeros(len(self.types), dtype=np.bool_)
        found[self.effect[self.counted]] = True
        return found

    @cached_property
    def is_asked(self) -> Bools:
        """Whether an event is one that root causes are counted for, ``[N]``: it has a cause and did not go as usual."""
        found: Bools = self.is_caused & ~self.is_usual
        return found if found.any() else self.is_caused

    @cached_property
    def explained(self) -> Floats:
        """How many later events each root explains, ``[N]``; 0 for events that are no root.

        The same as the shares of `root_causes`, summed over all events asked for (`is_asked`): what an event has to
        explain (itself, and what its effects pass on to it) goes to its causes in proportion to their gains.
        """
        cause, effect = self.cause[self.counted], self.effect[self.counted]
        gain = self.values["pointwise_nats"].to_numpy()[self.counted]
        total = np.bincount(effect, gain, minlength=len(self.types))
        share = gain / total[effect]
        load = self.is_asked.astype(np.float64)
        depth = self.depth[effect]
        order = np.argsort(-depth, kind="stable")
        starts = np.flatnonzero(np.diff(depth[order], prepend=-1))
        for low, high in pairwise([*starts.tolist(), len(order)]):
            rows = order[low:high]  # effects of one depth: all that they must explain has arrived
            np.add.at(load, cause[rows], load[effect[rows]] * share[rows])
        as_usual = self.is_usual & ~self.is_usual[self.is_asked].any()  # explains nothing that did not go as usual
        return np.where(self.is_caused | as_usual, 0.0, load)

    @cached_property
    def strongest_cause(self) -> Ints:
        """Row of the cause with the largest gain of each event, the later of equal ones; -1 for events without one."""
        rows = np.flatnonzero(self.counted)
        gain = self.values["pointwise_nats"].to_numpy()[rows]
        order = rows[np.lexsort((self.cause[rows], gain, self.effect[rows]))]
        found = np.full(len(self.types), -1, dtype=np.int64)
        found[self.effect[order]] = self.cause[order]  # the last of each effect stays
        return found

    def roots_of_cases(self, most: int = 3) -> list[list[int]]:
        """Return for each case the types of its root causes, those that explain most first."""
        found: list[Counter[int]] = [Counter() for _ in self.names]
        for row in np.flatnonzero(self.explained):
            found[self.case_of[row]][int(self.types[row])] += float(self.explained[row])
        return [[kind for kind, _ in counter.most_common(most)] for counter in found]


def _is_usual(types: Ints, index: Mapping[str, int]) -> Bools:
    """Return whether each event is in the state in which what acted mostly ends (``[N]``)."""
    what = {number: tuple(event_components(name)[:-1]) or (name,) for name, number in index.items()}
    groups = {group: place for place, group in enumerate(dict.fromkeys(what.values()))}
    group = np.array([groups[what[number]] for number in range(len(what))], dtype=np.int64)
    counts, most = np.bincount(types, minlength=len(what)), np.zeros(len(groups), dtype=np.int64)
    np.maximum.at(most, group, counts)
    usual: Bools = (counts == most[group])[types]
    return usual


def _on_links(cause: Ints, effect: Ints, directed: Bools, links: set[tuple[int, int]] | None) -> Bools:
    """Return whether pairs of types are links with evidence; without a direction, either way round."""
    if links is None:
        return np.ones(len(cause), dtype=np.bool_)
    width = max((max(pair) for pair in links), default=0) + max(cause.max(initial=0), effect.max(initial=0)) + 1
    known = np.array(sorted(first * width + second for first, second in links), dtype=np.int64)
    forwards, backwards = np.isin(cause * width + effect, known), np.isin(effect * width + cause, known)
    return forwards | (backwards & ~directed)


def _without_cycles(cause: Ints, effect: Ints, wanted: Bools, n_events: int) -> Bools:
    """Return the wanted edges, without those inside a cycle: as `root_causes` does."""
    rows = np.flatnonzero(wanted)
    if not (cause[rows] > effect[rows]).any():  # along the positions: there is none
        return wanted
    links = csr_matrix((np.ones(len(rows)), (cause[rows], effect[rows])), shape=(n_events, n_events))
    _, knot = connected_components(links, connection="strong")
    between: Bools = knot[cause] != knot[effect]
    return wanted & between


def _depth(cause: Ints, effect: Ints, n_events: int) -> Ints:
    """Return the edges of the longest way to each event, ``[N]`` (Kahn 1962: an event is done when its causes are)."""
    order = np.argsort(cause, kind="stable")
    starts = np.searchsorted(cause[order], np.arange(n_events + 1))
    effects = effect[order]
    waiting = np.bincount(effect, minlength=n_events)
    depth = np.zeros(n_events, dtype=np.int64)
    done = np.flatnonzero(waiting == 0)
    while len(done):
        counts = starts[done + 1] - starts[done]
        first = np.repeat(starts[done] - np.append(0, np.cumsum(counts)[:-1]), counts)
        next_ones, n_causes = np.unique(effects[first + np.arange(counts.sum())], return_counts=True)
        depth[next_ones] = depth[done[0]] + 1
        waiting[next_ones] -= n_causes
        done = next_ones[waiting[next_ones] == 0]
    return depth
