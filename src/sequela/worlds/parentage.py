"""Logs whose every event knows which event caused it: what simulators of branching processes hand out.

These simulators are no densities: events may share a time stamp, and the order of the rows inside one is lost. Their
truth is exact all the same, because it is the parentage of the simulation itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

EVENT_TRUTH_SCHEMA = {
    "case": pl.String(),
    "position": pl.Int64(),
    "tick": pl.Int64(),
    "time": pl.Datetime("ms"),
    "event": pl.String(),
    "kind": pl.String(),
    "cause_position": pl.Int64(),
    "root_position": pl.Int64(),
    "depth": pl.Int64(),
}
"""Columns of `CausalLog.events`. ``position`` and ``tick`` (time stamps of the case) count from 0; ``root_position`` is
the event's own where nothing caused it; ``depth`` is how many causes lie between the root and the event."""

EDGE_TRUTH_SCHEMA = {
    "case": pl.String(),
    "cause_position": pl.Int64(),
    "effect_position": pl.Int64(),
    "cause": pl.String(),
    "effect": pl.String(),
    "lag": pl.Int64(),
    "cause_tick": pl.Int64(),
    "effect_tick": pl.Int64(),
    "same_tick": pl.Boolean(),
}
"""Columns of `CausalLog.edges`. ``lag`` counts ticks: 0 within one."""

_EPOCH_MS = 1_704_067_200_000  # 2024-01-01


class Occurrence(NamedTuple):
    """One simulated event: seconds since the case began, type, index of its cause in the case or -1, and its kind."""

    seconds: float
    kind_of_event: int
    parent: int
    kind: str


@dataclass(frozen=True)
class CausalLog:
    """A log that a user could have, with the cause of each of its events.

    Attributes:
        log: The table as it would be written. Rows with one time stamp stand in random order.
        columns: How to read it: the arguments ``case``, ``event`` and ``time`` of `read_log`.
        events: All events in canonical order (case, time, type name), at least ``case``, ``position``, ``tick``,
            ``event``. Two events of one case, time and type cannot be told apart in the log; which of them comes first
            here means nothing.
        edges: True edges between events, at least the columns of `EDGE_TRUTH_SCHEMA`.
        links: The links between types that the simulator has: ``cause``, ``effect``, ``n_events`` (effects in this log
            that came so) and what else it knows of them.
        known: Tables that a user could have beside the log, by name: which component can reach which, say.
    """

    log: pl.DataFrame
    columns: Mapping[str, Any]
    events: pl.DataFrame
    edges: pl.DataFrame
    links: pl.DataFrame
    known: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    @property
    def tied_share(self) -> float:
        """Share of the events that have the time stamp of the event before them in their case."""
        n_ticks = self.events.select("case", "tick").n_unique()
        return 1.0 - n_ticks / max(self.events.height, 1)


def caused_edges(events: pl.DataFrame) -> pl.DataFrame:
    """Return the edges (columns `EDGE_TRUTH_SCHEMA`) that events (columns `EVENT_TRUTH_SCHEMA`) know of.

    Example:
        >>> caused_edges(pl.DataFrame(schema=EVENT_TRUTH_SCHEMA)).height
        0
    """
    caused = events.filter(pl.col("cause_position").is_not_null())
    causes = events.select("case", cause_position="position", cause="event", cause_tick="tick")
    joined = caused.join(causes, on=["case", "cause_position"], how="left", maintain_order="left")
    named = joined.rename({"position": "effect_position", "event": "effect", "tick": "effect_tick"})
    lag = pl.col("effect_tick") - pl.col("cause_tick")
    return named.with_columns(lag=lag, same_tick=lag == 0).select(list(EDGE_TRUTH_SCHEMA))


def canonical_events(
    histories: Sequence[Sequence[Occurrence]],
    *,
    case_names: Sequence[str],
    type_names: Sequence[str],
    starts_ms: NDArray[np.int64],
    tick_ms: int,
) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Put simulated events into canonical order and count their positions, ticks, roots and depths.

    Args:
        histories: Events of each case, each after its cause.
        case_names: One a case.
        type_names: Event types.
        starts_ms: When each case begins, milliseconds since 2024 (``[n_cases]``).
        tick_ms: Times are rounded down to multiples of this many milliseconds since the start of the case.

    Returns:
        Table with the columns of `EVENT_TRUTH_SCHEMA`, and the number of the type of each row.

    Example:
        >>> history = [Occurrence(0.0, 1, -1, "root"), Occurrence(0.4, 0, 0, "caused"), Occurrence(2.0, 1, 1, "caused")]
        >>> events, _ = canonical_events(
        ...     [history], case_names=["a"], type_names=["x", "y"], starts_ms=np.array([0]), tick_ms=1000
        ... )
        >>> events.select("position", "tick", "event", "cause_position", "root_position", "depth").rows()
        [(0, 0, 'x', 1, 1, 1), (1, 0, 'y', None, 1, 0), (2, 1, 'y', 0, 1, 2)]
    """
    lengths = [len(history) for history in histories]
    first = np.repeat(np.concatenate([[0], np.cumsum(lengths)])[:-1], lengths).astype(np.int64)
    flat = [one for history in histories for one in history]
    case = np.repeat(np.arange(len(histories)), lengths)
    stamp = np.array([int(one.seconds * 1000) // tick_ms * tick_ms for one in flat], dtype=np.int64)
    kind = np.array([one.kind_of_event for one in flat], dtype=np.int64)
    parent = np.array([one.parent for one in flat], dtype=np.int64)
    number = number_events(case, stamp, kind, np.where(parent >= 0, parent + first, -1), type_names)
    order = number.order
    cause = pl.Series(number.cause[order], dtype=pl.Int64)
    columns = {
        "case": pl.Series(list(case_names), dtype=pl.String).gather(case[order]),
        "position": number.position[order],
        "tick": number.tick[order],
        "time": pl.Series(_EPOCH_MS + starts_ms[case[order]] + stamp[order], dtype=pl.Int64).cast(pl.Datetime("ms")),
        "event": pl.Series(list(type_names), dtype=pl.String).gather(kind[order]),
        "kind": pl.Series([flat[i].kind for i in order], dtype=pl.String),
        "cause_position": pl.Series(number.position[cause.to_numpy()] if len(cause) else [], dtype=pl.Int64),
        "root_position": number.position[number.root[order]],
        "depth": number.depth[order],
    }
    events = pl.DataFrame(columns, schema=EVENT_TRUTH_SCHEMA)
    return events.with_columns(pl.when(cause >= 0).then("cause_position")), kind[order]


class Numbering(NamedTuple):
    """Places of simulated events in canonical order; every array has one entry an event, as simulated, but `order`.

    Attributes:
        order: Which event stands in each row of the canonical table.
        position: Row within the case.
        tick: Time stamp within the case.
        cause: The event that caused it, -1 for none.
        root: The event that its chain of causes begins with: itself where nothing caused it.
        depth: Causes between the root and it.
    """

    order: NDArray[np.int64]
    position: NDArray[np.int64]
    tick: NDArray[np.int64]
    cause: NDArray[np.int64]
    root: NDArray[np.int64]
    depth: NDArray[np.int64]


def number_events(
    case: NDArray[np.int64],
    stamp: NDArray[np.int64],
    kind: NDArray[np.int64],
    cause: NDArray[np.int64],
    type_names: Sequence[str],
) -> Numbering:
    """Sort events by case, time stamp and type name, and count positions, ticks, roots and depths.

    Args:
        case: Number of the case (``[n]``, as the other arrays).
        stamp: Time stamp, equal within a tick.
        kind: Number of the type.
        cause: Index of the event that caused it, in any case and before it in these arrays; -1 for none.
        type_names: Event types.

    Example:
        >>> one = number_events(np.zeros(2, int), np.array([5, 5]), np.array([1, 0]), np.array([-1, 0]), ["a", "b"])
        >>> one.position.tolist(), one.tick.tolist(), one.root.tolist(), one.depth.tolist()
        ([1, 0], [0, 0], [0, 0], [0, 1])
    """
    n = len(case)
    alphabetic = np.argsort(np.argsort(np.array(type_names, dtype=object)))
    order = np.lexsort((np.arange(n), alphabetic[kind], stamp, case)).astype(np.int64)
    new_case = np.diff(case[order], prepend=-1) != 0
    first = np.flatnonzero(new_case)[np.cumsum(new_case) - 1] if n else np.zeros(0, dtype=np.int64)
    new_tick = new_case | (np.diff(stamp[order], prepend=0) != 0)
    ticks = np.cumsum(new_tick) - 1
    position, tick = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    position[order] = np.arange(n) - first
    tick[order] = ticks - ticks[first]
    root, depth = np.arange(n), np.zeros(n, dtype=np.int64)
    for index, before in enumerate(cause.tolist()):
        if before >= 0:
            root[index], depth[index] = root[before], depth[before] + 1
    return Numbering(order, position, tick, cause, root, depth)


def shuffled_rows(events: pl.DataFrame, *, seed: int) -> NDArray[np.int64]:
    """Return row numbers of canonical events in an order as a log has it: time order, random within a time stamp.

    Example:
        >>> frame = pl.DataFrame({"case": ["a"] * 3, "tick": [0, 0, 1]})
        >>> shuffled_rows(frame, seed=0)[2]
        np.int64(2)
    """
    case = events["case"].rle_id().to_numpy()
    order = np.random.default_rng([seed, 6]).random(events.height)
    rows: NDArray[np.int64] = np.lexsort((order, events["tick"].to_numpy(), case)).astype(np.int64)
    return rows
