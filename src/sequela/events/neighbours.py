"""Events of neighbouring entities in a case: they can be causes of what happens in a case, and never effects of it.

Cases are often entities that influence each other: devices on a link, machines of a line. With a table of neighbours
every case also holds the events of its neighbours, in time order, under types of their own: ``link|down (at a
neighbour)``. A case is joined when it is encoded, one after the other; the joined log is never held as a table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.errors import ConfigError, LogFormatError
from sequela.events.readers import read_table
from sequela.text import quoted

AT_NEIGHBOUR = " (at a neighbour)"
"""What the name of a type ends with where its event happened at a neighbour of the case."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Who is beside whom, and the events of all entities.

    Attributes:
        pairs: ``entity`` and ``neighbour``, each pair in both directions, sorted.
        events: ``case``, ``event`` and ``time`` of the whole log, sorted by case and time.
        in_order: Whether events at one time have an order, that of the rows.
    """

    pairs: pl.DataFrame
    events: pl.DataFrame
    in_order: bool

    @property
    def fingerprint(self) -> str:
        """Hash of pairs and events."""
        digest = hashlib.blake2b(digest_size=8)
        for frame in (self.pairs, self.events.select("case", "event", "time")):
            digest.update(frame.hash_rows(seed=0).to_numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def _ranges(self) -> dict[str, tuple[int, int]]:
        """The rows of each entity."""
        runs = self.events["case"].rle().struct.unnest()
        ends = runs["len"].cum_sum().to_list()
        return dict(zip(runs["value"], zip([0, *ends[:-1]], ends, strict=True), strict=True))

    @cached_property
    def _beside(self) -> dict[str, list[str]]:
        grouped = self.pairs.group_by("entity", maintain_order=True).agg("neighbour")
        return dict(grouped.iter_rows())

    def n_events(self, cases: pl.Series) -> int:
        """Return the events of some cases, with those of their neighbours."""
        return sum(high - low for case in cases for low, high in self._parts(case))

    def _parts(self, case: str) -> list[tuple[int, int]]:
        """Return the rows of a case, and of each of its neighbours."""
        return [self._ranges[name] for name in (case, *self._beside.get(case, ())) if name in self._ranges]

    def rows(self, cases: pl.Series) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of `events` of each case in time order (int64); ``~row`` where it is a neighbour's."""
        times = self.events["time"].to_numpy()
        rank = self.events["event"].rank("dense").to_numpy().astype(np.int64)
        for case in cases:
            own, *others = self._parts(case)
            rows = np.concatenate([np.arange(*part) for part in (own, *others)])
            near = np.arange(len(rows)) >= own[1] - own[0]
            keys = (near, times[rows]) if self.in_order else (rank[rows], near, times[rows])
            order = np.lexsort(keys)
            yield np.where(near, ~rows, rows)[order]

    def counts(self, cases: pl.Series) -> pl.DataFrame:
        """Return ``event`` and ``len``: how often each type stands in some cases at a neighbour."""
        beside = self.pairs.filter(pl.col("entity").is_in(cases.unique().implode()))
        degree = beside.group_by("neighbour").agg(pl.len().alias("degree"))
        found = self.events.group_by("case", "event").len().join(degree, left_on="case", right_on="neighbour")
        named = (pl.col("event") + AT_NEIGHBOUR).alias("event")
        return found.group_by(named).agg((pl.col("len") * pl.col("degree")).sum().cast(pl.UInt32).alias("len"))


def read_neighbours(source: Any, events: pl.DataFrame, *, in_order: bool, name: str) -> Neighbours | None:
    """Read a table of neighbours.

    Args:
        source: A file or frame with two columns of entities: cases of the log. A pair is mutual, whichever comes first.
            Or an object-centric log, whose objects are related to each other. None where there are no neighbours.
        events: ``case``, ``event`` and ``time`` of the log, sorted.
        in_order: Whether events at one time have an order.
        name: Name of the log, for messages.

    Raises:
        LogFormatError: The table cannot be read, has not two columns, or names no case of the log.
        ConfigError: The log has no times.

    Example:
        >>> events = pl.DataFrame({"case": ["a", "b"], "event": ["x", "y"], "time": [1.0, 0.0]})
        >>> beside = pl.DataFrame({"entity": ["a"], "neighbour": ["b"]})
        >>> found = read_neighbours(beside, events, in_order=True, name="log")
        >>> [rows.tolist() for rows in found.rows(pl.Series(["a", "b"]))]
        [[-2, 0], [1, -1]]
    """
    if source is None:
        return None
    if "time" not in events.columns:
        raise ConfigError(
            "neighbours need times, to join their events in order: name the time column (time=..., --time)"
        )
    table = read_table(source)
    if table.pairs is not None:
        table = table._replace(frame=table.pairs, n_rows=None)
    columns = table.frame.collect_schema().names()
    if len(columns) != 2:
        raise LogFormatError(
            f"{table.name}: neighbours are two columns of entities; got {', '.join(map(quoted, columns))}"
        )
    one, other = columns
    try:
        pairs = table.frame.select(
            entity=pl.col(one).cast(pl.String), neighbour=pl.col(other).cast(pl.String)
        ).collect()
    except pl.exceptions.PolarsError as error:
        raise LogFormatError(f"{table.name} cannot be read: {quoted(error)}") from error
    if table.n_rows is not None and pairs.height != table.n_rows:
        raise LogFormatError(f"{table.name} has {table.n_rows:,} rows, of which {pairs.height:,} could be read")
    if empty := pairs.null_count().row(0)[0] + pairs.null_count().row(0)[1]:
        raise LogFormatError(f"{table.name}: {empty:,} cells are empty; each row names two entities")
    both = pl.concat([pairs, pairs.select(entity="neighbour", neighbour="entity")])
    known = events["case"].unique()
    both = both.filter((pl.col("entity") != pl.col("neighbour")) & pl.all_horizontal(pl.all().is_in(known.implode())))
    if both.is_empty():
        raise LogFormatError(
            f"{table.name} joins no two cases of {name}: its columns must hold names of cases, as '{quoted(known[0])}'"
        )
    return Neighbours(both.unique().sort("entity", "neighbour"), events, in_order)
