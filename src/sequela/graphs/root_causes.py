"""From causes to root causes: where in a sequence the chain that led to one event begins."""

from __future__ import annotations

import numpy as np
import polars as pl

from sequela.errors import check_range
from sequela.graphs.instance import InstanceGraph

ROOT_SCHEMA = pl.Schema({"position": pl.Int64, "event": pl.String, "share": pl.Float64, "n_steps": pl.Int64})
"""Columns of `root_causes`."""


def root_causes(graph: InstanceGraph, position: int) -> pl.DataFrame:
    """Rank the first causes of one event by how much of it they explain.

    Each event passes what is to be explained on to its direct causes, in proportion to how much more likely each made
    it (``pointwise_nats``; causes that made it *less* likely explain nothing of it). What arrives at an event that has
    no such causes stays there: it is a root. Shares are of what the graph explains, not of everything: an event without
    causes in the graph is its own root.

    Args:
        graph: Instance graph.
        position: Position of the event to explain (0-based).

    Returns:
        One row a root, largest ``share`` first (they sum to 1): ``position``, ``event``, ``share``, and ``n_steps``,
        the fewest edges between it and the event.

    Raises:
        ConfigError: There is no such position.

    Example:
        >>> from sequela.graphs.instance import INSTANCE_SCHEMA
        >>> rows = [(0, 1, "a", "b", 1, 0.4, 0.0, 1.0), (1, 2, "b", "c", 1, 0.6, 0.0, 2.0)]
        >>> edges = pl.DataFrame(rows, schema=INSTANCE_SCHEMA, orient="row")
        >>> root_causes(InstanceGraph("case", ("a", "b", "c"), edges), 2).rows()
        [(0, 'a', 1.0, 2)]
    """
    n_events = len(graph.events)
    check_range("position", position, low=0, high=n_events - 1, whole=True)
    into: dict[int, list[tuple[int, float]]] = {}
    rows = graph.edges.filter(pl.col("pointwise_nats") > 0)
    for cause, effect, nats in rows.select("cause_position", "effect_position", "pointwise_nats").iter_rows():
        into.setdefault(effect, []).append((cause, nats))
    share = np.zeros(n_events)
    steps = np.full(n_events, n_events)
    share[position], steps[position] = 1.0, 0
    roots = []
    for effect in range(position, -1, -1):  # causes come before their effects: one sweep sees each event complete
        if share[effect] == 0:
            continue
        causes = into.get(effect)
        if not causes:
            roots.append((effect, graph.events[effect], float(share[effect]), int(steps[effect])))
            continue
        total = sum(nats for _, nats in causes)
        for cause, nats in causes:
            share[cause] += share[effect] * nats / total
            steps[cause] = min(steps[cause], steps[effect] + 1)
    frame = pl.DataFrame(roots, schema=ROOT_SCHEMA, orient="row")
    return frame.sort([pl.col("share").round(12), "position"], descending=[True, False])
