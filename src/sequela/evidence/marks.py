"""Marks: why a link is uncertain, or why a pair with a strong association is no link."""

from __future__ import annotations

import math

import polars as pl

_OWN_SHARE = 1 / 3
"""An edge that keeps less than this of its log lift when the other events are known is marked as uncertain."""

_TELLING_LIFT = 0.4
"""Least absolute log lift for that: without an association there is nothing to lose."""


_FAR_SHARE = 1 / 2
"""An edge that has this share of its strength beyond the horizon, or more, is marked: what lasts that long may be a
state that changes slowly and favours both types."""


def _log_lift(table: pl.DataFrame, nodes: pl.DataFrame) -> list[float]:
    """Return how much more often than by chance each effect stands at the pair's strongest lag (log ratio)."""
    count = dict(nodes.select("event", "count").iter_rows())
    total = sum(count.values())
    columns = table.select("cause", "effect", "places_there").iter_rows()
    return [math.log(places * total / (count[cause] * count[effect])) for cause, effect, places in columns]


def marks(table: pl.DataFrame, nodes: pl.DataFrame | None = None) -> pl.Series:
    """Say why an edge is uncertain, or why a strong and certain pair is none; null where nothing speaks against it.

    What the cause tells of the effect when the other events are known is set against their plain association. Where
    most of that goes with other events, a cause of both that the log holds only in part fits as well.

    Args:
        table: Pairs, with ``tied`` (share of its places within one time), ``is_backward``, ``is_refuted``,
            ``screened_by``, ``is_strong`` and ``placebo_nats``.
        nodes: ``event`` and ``count``.
    """
    lifts = [0.0] * len(table) if nodes is None else _log_lift(table, nodes)
    strength = {
        (cause, effect): value
        for cause, effect, value, edge in table.select("cause", "effect", "cmi_nats", "is_edge").iter_rows()
        if edge
    }
    found: list[str | None] = []
    columns = table.select(
        "cause", "effect", "tied", "is_edge", "pointwise_nats", "is_backward", "is_refuted", "screened_by",
        "is_strong", "placebo_nats",
    ).iter_rows()  # fmt: skip
    for row, lift in zip(columns, lifts, strict=True):
        cause, effect, tied, edge, pointwise, backward, refuted, third, strong, far = row
        own, back = strength.get((cause, effect)), strength.get((effect, cause))
        if not edge and not strong:
            found.append(None)
        elif backward:
            found.append("no link: the effect comes first at least as often")
        elif refuted:
            found.append("no link: they are together no more often than other events explain")
        elif not edge and third is not None:
            found.append(f"no link: nothing is left of it where {third} is not near")
        elif not edge or own is None:
            found.append(None)
        elif tied > 0.5:
            found.append("uncertain: most of its events share their time")
        elif back is not None and 0.5 <= own / back <= 2:
            found.append("uncertain: as strong in the other direction")
        elif far is not None and far >= _FAR_SHARE * own:
            found.append("uncertain: about as strong beyond the horizon")
        elif abs(lift) >= _TELLING_LIFT and pointwise / lift < _OWN_SHARE:
            found.append("uncertain: most of their association goes with other events")
        else:
            found.append(None)
    return pl.Series("mark", found, dtype=pl.String)
