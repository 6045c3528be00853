"""What discovery hands back for a whole log, and the tables it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sequela.density.base import Density
from sequela.display import Shown
from sequela.effects.contrasts import COLUMNS as CONTRAST_COLUMNS
from sequela.effects.settings import Settings
from sequela.errors import LogFormatError, nearest
from sequela.events.sequences import SequenceSet
from sequela.graphs.exports import AnnotatedLog
from sequela.graphs.instance import INSTANCE_SCHEMA, InstanceGraph, SummaryGraph, summarise, to_pandas

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Discovery(Shown, AnnotatedLog):
    """Graphs of all cases of a log.

    Attributes:
        edges: One row an edge of any case: ``case`` and the columns of `InstanceGraph.edges`.
        nodes: ``event`` and ``count`` over the log.
        run: Arguments, seed, versions and counts, as plain values.
        events: One row an event as the density read it: ``case``, ``position`` (0-based), ``event`` and, when the log
            has times, ``time`` (seconds); None when they are not known.
    """

    edges: pl.DataFrame
    nodes: pl.DataFrame
    run: dict[str, Any]
    events: pl.DataFrame | None = None

    def summary(self, *, self_loops: bool = False, hierarchy_level: int | None = None) -> SummaryGraph:
        """Return which event types caused which, over all cases; see `InstanceGraph.summary`."""
        return summarise(self.edges, self.nodes, self_loops=self_loops, hierarchy_level=hierarchy_level)

    def case(self, name: str) -> InstanceGraph:
        """Return the graph of one case, as `discover` gives it (what was clamped is known for the whole run only).

        Args:
            name: Case name; numbers are taken as their text.

        Raises:
            LogFormatError: There is no such case, or the events are not known.

        Example:
            >>> from sequela.worlds.softmax import SoftmaxWorld
            >>> from sequela import discover_log, read_log
            >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
            >>> found = discover_log(world, read_log(world.to_log(world.sample(3, 6, seed=1))), progress=False)
            >>> len(found.case("case-00001").events)
            6
        """
        events = None if self.events is None else self.events.lazy()
        return case_graph(name, self.edges.lazy(), events, self.run, source="the discovery")

    @cached_property
    def n_cases(self) -> int:
        """Cases with at least one edge."""
        return self.edges["case"].n_unique()

    def to_pandas(self) -> pd.DataFrame:
        """Return all edges as a pandas frame (extra ``pandas``)."""
        return to_pandas(self.edges)

    def _log(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        if self.events is None:
            raise LogFormatError("the discovery does not hold the events of its cases; run discover again")
        return self.events, self.edges

    def _top_rows(self) -> pl.DataFrame:
        return self.summary()._top_rows()

    def __repr__(self) -> str:
        return f"Discovery({self.edges.height:,} edges in {self.n_cases:,} cases)"


def empty_edges(settings: Settings) -> pl.DataFrame:
    """Return an empty edge table of many cases, with the columns these settings give."""
    has_other = settings.statistic in ("mean_of_kl", "both")
    extra: dict[str, type[pl.DataType]] = {"mean_of_kl_nats": pl.Float64} if has_other else {}
    extra |= {} if settings.contrast is None else dict.fromkeys(CONTRAST_COLUMNS, pl.Float64)
    if settings.population is not None:
        extra |= {"confidence": pl.Float64, "oriented_by": pl.String}
    return pl.DataFrame(schema={"case": pl.String, **INSTANCE_SCHEMA, **extra})


def log_nodes(density: Density, sequences: SequenceSet) -> pl.DataFrame:
    """Return ``event`` and ``count`` of the types that occur."""
    counts = np.bincount(sequences.ids, minlength=density.vocabulary.n_types)
    nodes = pl.DataFrame({"event": density.vocabulary.names, "count": counts.astype(np.int64)})
    return nodes.filter(pl.col("count") > 0).sort("event")


def log_events(density: Density, sequences: SequenceSet) -> pl.DataFrame:
    """Return ``case``, ``position``, ``event`` and, when there are any, ``time`` of all events."""
    lengths = sequences.lengths
    names = pl.Series("event", density.vocabulary.names, dtype=pl.String)
    case = np.repeat(np.arange(sequences.n_cases), lengths)
    columns = {
        "case": sequences.case_names.rename("case").gather(case),
        "position": pl.Series(np.arange(sequences.n_events) - np.repeat(sequences.offsets[:-1], lengths)),
        "event": names.gather(sequences.ids),
    }
    if sequences.times is not None:
        columns["time"] = pl.Series(sequences.times)
    return pl.DataFrame(columns)


def case_graph(
    name: str, edges: pl.LazyFrame, events: pl.LazyFrame | None, run: Mapping[str, Any], *, source: str
) -> InstanceGraph:
    """Put the graph of one case together from the tables of many.

    Raises:
        LogFormatError: There is no such case, or no table of events.
    """
    if events is None:
        raise LogFormatError(f"{source} does not hold the events of its cases; run discover again")
    wanted = pl.col("case") == str(name)
    own = events.filter(wanted).sort("position").collect()
    if own.is_empty():
        some = events.select("case").unique().head(10_000).collect()["case"].to_list()
        raise LogFormatError(f"{source} has no case '{name}'{nearest(str(name), some)}")
    arguments = run["arguments"]
    causes = np.arange(min(int(arguments["context"]), own.height), own.height)
    return InstanceGraph(
        case=str(name),
        events=tuple(own["event"]),
        edges=edges.filter(wanted).drop("case").collect(),
        times=tuple(own["time"]) if "time" in own.columns else None,
        n_tested=int(np.minimum(own.height - 1 - causes, int(arguments["horizon"])).sum()),
        settings=dict(arguments),
    )
