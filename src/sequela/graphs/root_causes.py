"""From causes to root causes: where in a sequence the chain that led to one event begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import networkx as nx
import polars as pl

from sequela.arguments import TEXT, Either, Kind, Number, checks, public
from sequela.errors import ConfigError, nearest
from sequela.events.neighbours import AT_NEIGHBOUR
from sequela.graphs.schemas import ROOTS
from sequela.text import visible

_MOST_LISTED = 10


class CaseGraph(Protocol):
    """What is asked of a graph: the events of a case and the edges between them."""

    @property
    def events(self) -> tuple[str, ...]:
        """Event types, in order."""
        ...

    @property
    def edges(self) -> pl.DataFrame:
        """Edges, columns `sequela.graphs.schemas.INSTANCE`."""
        ...


@public(
    checks(
        graph=Kind("an instance graph (from discover)", "sequela.graphs.instance:InstanceGraph"),
        position=Either((Number(whole=True), TEXT)),
    )
)
def root_causes(graph: CaseGraph, position: int | str = -1) -> pl.DataFrame:
    """Rank the first causes of one event by how much of it they explain.

    Each event passes what is to be explained on to its direct causes, in proportion to how much more likely each made
    it (``pointwise_nats``; causes that made it *less* likely explain nothing of it). What arrives at an event that has
    no such causes stays there: it is a root. Shares are of what the graph explains, not of everything: an event without
    causes in the graph is its own root. Where a population was given, only edges on its links count (``on_link``).

    Args:
        graph: Instance graph.
        position: Position of the event to explain, from 0 (from the end where negative); or its type, where that
            occurs once.

    Returns:
        One row a root, largest ``share`` first (they sum to 1): ``position``, ``event``, ``share``, and ``n_steps``,
        the fewest edges between it and the event.

    Raises:
        ConfigError: There is no such event, or several are of that type.

    Example:
        >>> from sequela.graphs.instance import INSTANCE_SCHEMA, InstanceGraph
        >>> rows = [(0, 1, "a", "b", 1, True, 0.4, 0.0, 1.0), (1, 2, "b", "c", 1, True, 0.6, 0.0, 2.0)]
        >>> edges = pl.DataFrame(rows, schema=INSTANCE_SCHEMA, orient="row")
        >>> root_causes(InstanceGraph("case", ("a", "b", "c"), edges), 2).rows()
        [(0, 'a', 1.0, 2)]
    """
    n_events = len(graph.events)
    position = position_of(graph.events, position)
    causal = causal_graph(graph)
    behind = causal.subgraph(nx.ancestors(causal, position) | {position})
    share, steps = dict.fromkeys(behind, 0.0), dict.fromkeys(behind, n_events)
    share[position], steps[position] = 1.0, 0
    roots = []
    # After everything it causes: one sweep sees what arrives at each event as a whole.
    for effect in nx.lexicographical_topological_sort(behind.reverse(), key=lambda node: -node):
        causes = behind.pred[effect]
        if not causes:
            roots.append((effect, graph.events[effect], share[effect], steps[effect]))
            continue
        total = sum(edge["nats"] for edge in causes.values())
        for cause, edge in sorted(causes.items()):
            share[cause] += share[effect] * (edge["nats"] / total)
            steps[cause] = min(steps[cause], steps[effect] + 1)
    frame = pl.DataFrame(roots, schema=ROOTS.schema, orient="row")
    return frame.sort([pl.col("share").round(12), "position"], descending=[True, False])


def causal_graph(graph: CaseGraph) -> nx.DiGraph[int]:
    """Return the edges that can explain their effect, without cycles: ``nats`` is how much likelier they made it.

    They have a direction, make their effect more likely and, where a population was given, are on one of its links. A
    cycle can only arise within one tick, where a population told the directions; its edges there are left out.
    """
    causal: nx.DiGraph[int] = nx.DiGraph()
    causal.add_nodes_from(range(len(graph.events)))
    for cause, effect, nats, lag, directed, on_link in columns_of(
        graph.edges, "cause_position", "effect_position", "pointwise_nats", "lag", "directed", "on_link"
    ):
        if directed and on_link and nats is not None and nats > 0:
            causal.add_edge(cause, effect, nats=nats, tied=lag == 0)
    for knot in [knot for knot in nx.strongly_connected_components(causal) if len(knot) > 1]:
        inside = causal.subgraph(knot)
        within = [(cause, effect) for cause, effect in inside.edges if inside[cause][effect]["tied"]]
        causal.remove_edges_from(within)
    return causal


def columns_of(edges: pl.DataFrame, *names: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of some columns, True where there is no such column: for a few rows much faster than queries.

    Example:
        >>> list(columns_of(pl.DataFrame({"lag": [1, 2]}), "lag", "on_link"))
        [(1, True), (2, True)]
    """
    values = [edges[name].to_list() if name in edges.columns else [True] * edges.height for name in names]
    yield from zip(*values, strict=True)


def position_of(events: Sequence[str], wanted: int | str) -> int:
    """Return the position of an event that is named by its position or by its type.

    Raises:
        ConfigError: There is no such event, or several are of that type.

    Example:
        >>> position_of(("a", "b", "a"), -1), position_of(("a", "b", "a"), "b")
        (2, 1)
    """
    if isinstance(wanted, str):
        found = [place for place, event in enumerate(events) if event == wanted]
        if len(found) == 1:
            return found[0]
        name = visible(wanted, longest=60)
        if not found:
            raise ConfigError(f"the case has no event '{name}'{nearest(wanted, set(events))}")
        places = ", ".join(map(str, found[:_MOST_LISTED])) + ("…" if len(found) > _MOST_LISTED else "")
        raise ConfigError(f"the case has {len(found)} events '{name}': name one by its position, of {places}")
    n_events = len(events)
    if isinstance(wanted, bool) or not hasattr(wanted, "__index__") or not -n_events <= wanted < n_events:
        raise ConfigError(
            f"position must be a whole number from {-n_events} to {n_events - 1} (the case has {n_events} events), or "
            f"the type of an event; got {wanted!r}"
        )
    if wanted < 0:  # from the end: events at neighbours are never explained
        own = [place for place, event in enumerate(events) if not event.endswith(AT_NEIGHBOUR)]
        return own[max(int(wanted), -len(own))] if own else int(wanted) % n_events
    return int(wanted)
