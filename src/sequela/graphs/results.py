"""What discovery hands back for a whole log, in memory or on disk, and the tables it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from sequela.density.base import Density
from sequela.display import Shown
from sequela.effects.contrasts import COLUMNS as CONTRAST_COLUMNS
from sequela.effects.knowledge import Knowledge, asked, both
from sequela.effects.settings import Settings
from sequela.errors import LogFormatError, nearest_spelling
from sequela.events.log import EventLog
from sequela.events.sequences import Case, SequenceSet
from sequela.files import whole_folder
from sequela.graphs.base import to_pandas
from sequela.graphs.exports.log import AnnotatedLog
from sequela.graphs.exports.values import StrPath
from sequela.graphs.instance import InstanceGraph
from sequela.graphs.records import FORMAT, MARKER, RunRecord, check_same_run, load_knowledge, save_knowledge
from sequela.graphs.schemas import EDGES, EVENTS, PLACES
from sequela.graphs.summary import SummaryGraph, summarise
from sequela.text import quoted, visible

if TYPE_CHECKING:
    import pandas as pd


class Discovery(Shown, AnnotatedLog):
    """Graphs of all cases of a log.

    In memory, as `discover_log` gives it, or on disk, as `discover_to` and `load_discovery` give it: then edges and
    events stay in their files until they are asked for. `scan` reads only what a query needs, in both.

    Args:
        edges: One row an edge of any case, columns `sequela.graphs.schemas.EDGES`.
        nodes: ``event`` and ``count`` over the log.
        run: The record of the run, or its plain values.
        events: One row an event as the density read it, columns `sequela.graphs.schemas.EVENTS`; None where they are
            not known.
        places: How often each pair of types was tested, columns `sequela.graphs.schemas.PLACES`; None where that is
            not known.
        knowledge: What was known beside the log; None where nothing was.

    Attributes:
        nodes: As given.
        run: The record of the run.
        folder: Where the result lies on disk; None in memory.
    """

    def __init__(
        self,
        edges: pl.DataFrame,
        nodes: pl.DataFrame,
        run: RunRecord | Mapping[str, Any] = RunRecord(),
        events: pl.DataFrame | None = None,
        places: pl.DataFrame | None = None,
        knowledge: Knowledge | None = None,
    ) -> None:
        self._knowledge = knowledge
        self.nodes = nodes
        self.run = RunRecord.of(run)
        self.folder: Path | None = None
        self._tables = {"edges": edges, "events": events, "places": places}
        self._summary: SummaryGraph | None = None

    @classmethod
    def on_disk(cls, folder: Path, summary: SummaryGraph, run: RunRecord) -> Discovery:
        """Return a result whose edges and events stay in their files; `load_discovery` checks them first."""
        found = cls.__new__(cls)
        found.nodes, found.run, found.folder, found._summary = summary.nodes, run, folder, summary
        found._tables, found._knowledge = {}, None
        return found

    @property
    def edges(self) -> pl.DataFrame:
        """One row an edge of any case; read when first asked for (`scan` reads less)."""
        table = self._table("edges")
        assert table is not None
        return table

    @property
    def events(self) -> pl.DataFrame | None:
        """One row an event as the density read it; None where they are not known."""
        return self._table("events")

    @property
    def places(self) -> pl.DataFrame | None:
        """How often each pair of types was tested; None where that is not known."""
        return self._table("places")

    def scan(self) -> pl.LazyFrame:
        """Return the edges as a lazy frame, which reads no more than a query needs.

        Example:
            >>> from sequela.worlds.softmax import SoftmaxWorld
            >>> from sequela import discover_log, read_log
            >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
            >>> found = discover_log(world, read_log(world.to_log(world.sample(3, 6, seed=1))), progress=False)
            >>> found.scan().filter(pl.col("lag") == 1).collect().equals(found.edges.filter(pl.col("lag") == 1))
            True
        """
        edges = self._scan("edges")
        assert edges is not None
        return edges

    def scan_events(self) -> pl.LazyFrame | None:
        """Return the events as a lazy frame; None where they are not known."""
        return self._scan("events")

    def summary(self, *, self_loops: bool | None = None, hierarchy_level: int | None = None) -> SummaryGraph:
        """Return which event types caused which, over all cases.

        Args:
            self_loops: Keep ``u -> u``; by default as the run was asked.
            hierarchy_level: Types by their first 1, 2, … components, for types of several columns; None for whole
                types.

        Raises:
            ConfigError: `hierarchy_level` is below 1, or no type has components.
        """
        asked = self.run.arguments.self_loops
        if self._summary is not None and hierarchy_level is None and self_loops in (None, asked):
            return self._summary
        columns = ["case", "cause", "effect", "lag", "cmi_nats", "pointwise_nats", "directed"]
        edges = self.scan()
        columns += [name for name in ("on_link",) if name in edges.collect_schema().names()]
        rows = edges.select(columns).collect()
        self.check_same()
        return summarise(
            rows,
            self.nodes,
            places=None if self.places is None else tested(self.places),
            chance=self.run.arguments.chance,
            least_cases=least_cases(self.run.counts.n_cases),
            self_loops=asked if self_loops is None else self_loops,
            hierarchy_level=hierarchy_level,
        )

    @property
    def knowledge(self) -> Knowledge | None:
        """What was known beside the log; None where nothing was."""
        if self._knowledge is None and self.folder is not None and self.run.arguments.knowledge is not None:
            self._knowledge = load_knowledge(self.folder)
        return self._knowledge

    @property
    def known(self) -> pl.DataFrame | None:
        """Pairs of types that knowledge excludes or requires, with what was found of them; None without knowledge.

        Columns ``cause``, ``effect``, ``knowledge``, ``n_places``, ``n_edges``, ``cmi_nats`` and ``is_link``: no edges
        of what is excluded, since it was not tested.
        """
        places = self.places
        if places is None or "knowledge" not in places.columns:
            return None
        found = self.summary(self_loops=True).edges.select("cause", "effect", "n_edges", "cmi_nats", "is_link")
        known = places.filter(pl.col("knowledge").is_not_null()).select("cause", "effect", "knowledge", "n_places")
        known = known.join(found, on=["cause", "effect"], how="left", maintain_order="left")
        return known.with_columns(pl.col("n_edges").fill_null(0), pl.col("is_link").fill_null(False))

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
        source = "the discovery" if self.folder is None else f"'{self.folder}'"
        causes = None if self.places is None or not self.run.arguments.needs_alternative else self.places["cause"]
        found = case_graph(
            name, self.scan(), self.scan_events(), self.run, source=source, knowledge=self.knowledge, causes=causes
        )
        self.check_same()
        return found

    def save(self, out: StrPath, *, overwrite: bool = False) -> Path:
        """Write the folder that `load_discovery` opens and ``sequela discover`` writes.

        Args:
            out: Folder to make.
            overwrite: Replace an earlier result.

        Returns:
            The folder.

        Raises:
            ConfigError: The folder may not be written.
        """
        summary = self.summary()
        with whole_folder(out, marker=MARKER, overwrite=overwrite) as folder:
            for name in ("edges", "events", "places"):
                table = self._scan(name)
                if table is not None:
                    table.sink_parquet(folder / f"{name}.parquet", compression="zstd")
            summary.edges.write_parquet(folder / "summary.parquet")
            self.nodes.write_parquet(folder / "nodes.parquet")
            if self.knowledge is not None:
                save_knowledge(self.knowledge, folder)
            self.check_same()
            counts = msgspec.structs.replace(self.run.counts, n_edges=self.n_edges)
            record = msgspec.structs.replace(self.run, format=FORMAT, kind="discovery", counts=counts)
            record.write(folder)
        return Path(out)

    @cached_property
    def n_cases(self) -> int:
        """Cases with at least one edge."""
        return int(self.scan().select(pl.col("case").n_unique()).collect().item())

    @cached_property
    def n_edges(self) -> int:
        """Edges of all cases."""
        return int(self.scan().select(pl.len()).collect().item())

    def to_pandas(self) -> pd.DataFrame:
        """Return all edges as a pandas frame (extra ``pandas``)."""
        return to_pandas(self.edges)

    def __len__(self) -> int:
        """Return the number of edges: the rows of the edge table."""
        return self.n_edges

    def __bool__(self) -> bool:
        """Return True, also without edges: ask ``len(found)`` for these."""
        return True

    def __eq__(self, other: object) -> bool:
        """Return whether the other has the same nodes, events and edges, to the last bit, in memory or on disk."""
        if not isinstance(other, Discovery):
            return NotImplemented
        if self.run.arguments != other.run.arguments or not self.nodes.equals(other.nodes):
            return False
        events, others = self.events, other.events
        same = events is others if events is None or others is None else events.equals(others)
        return same and self.edges.equals(other.edges)

    def __hash__(self) -> int:
        return hash((type(self), self.nodes.shape, self.n_edges))

    def check_same(self) -> None:
        """Raise `LogFormatError` where another result has taken the place of this one on disk since it was opened."""
        if self.folder is not None:
            check_same_run(self.folder, self.run)

    def _log(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        events = self.events
        if events is None:
            raise LogFormatError("the discovery does not hold the events of its cases; run discover again")
        return events, self.edges

    def _table(self, name: str) -> pl.DataFrame | None:
        if name not in self._tables:
            lazy = self._scan(name)
            try:
                table = None if lazy is None else lazy.collect()
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                raise LogFormatError(f"'{self.folder}': {name}.parquet is damaged: {quoted(error)}") from None
            self.check_same()
            self._tables[name] = table
        return self._tables[name]

    def _scan(self, name: str) -> pl.LazyFrame | None:
        table = self._tables.get(name)
        if table is not None or self.folder is None:
            return None if table is None else table.lazy()
        self.check_same()
        path = self.folder / f"{name}.parquet"
        return pl.scan_parquet(path) if path.is_file() else None

    def _top_rows(self) -> pl.DataFrame:
        return self.summary()._top_rows()

    def __repr__(self) -> str:
        where = "" if self.folder is None else f", in '{self.folder}'"
        return f"Discovery({self.n_edges:,} edges in {self.n_cases:,} cases{where})"


def tested(places: pl.DataFrame) -> pl.DataFrame:
    """Return the places that were tested, without those of excluded pairs."""
    return places.filter(pl.col("knowledge").ne_missing("excluded")) if "knowledge" in places.columns else places


def least_cases(n_cases: int) -> int:
    """Return how many cases a link needs: two, where there are two (0: not known)."""
    return 1 if n_cases == 1 else 2


def empty_edges(settings: Settings) -> pl.DataFrame:
    """Return an empty edge table of many cases, with the columns these settings give."""
    extra = ["mean_of_kl_nats"] if settings.statistic in ("mean_of_kl", "both") else []
    extra += [] if settings.contrast is None else CONTRAST_COLUMNS
    extra += [] if settings.population is None else ["confidence"]
    extra += [] if settings.population is None and settings.knowledge is None else ["oriented_by"]
    return pl.DataFrame(schema=dict(EDGES.schema) | {name: EDGES.columns[name].kind for name in extra})


def log_nodes(density: Density, sequences: SequenceSet) -> pl.DataFrame:
    """Return ``event`` and ``count`` of the types that occur."""
    counts = np.bincount(sequences.ids, minlength=density.vocabulary.n_types)
    nodes = pl.DataFrame({"event": density.vocabulary.names, "count": counts.astype(np.int64)})
    return nodes.filter(pl.col("count") > 0).sort("event")


def log_events(density: Density, sequences: SequenceSet, log: EventLog, first: int = 0) -> pl.DataFrame:
    """Return ``case``, ``position``, ``event``, when there are any ``time``, and the attributes of all events.

    Args:
        density: Knows the names of the types.
        sequences: Cases, as the density reads them.
        log: The log they are of.
        first: Row of the log that the first of them begins at, where they are a part of it.
    """
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
    events = pl.DataFrame(columns)
    if sequences.rows is None or log.neighbours is None:
        return events.hstack(log.frame[first : first + events.height].select(log.attributes))
    near, rows = sequences.rows < 0, np.where(sequences.rows < 0, ~sequences.rows, sequences.rows)
    source = log.neighbours.events[rows]
    at = pl.when(pl.Series(near)).then(source["case"]).alias("neighbour")
    return events.with_columns(at).hstack(source.select(log.attributes))


def case_graph(
    name: str,
    edges: pl.LazyFrame,
    events: pl.LazyFrame | None,
    run: RunRecord,
    *,
    source: str,
    knowledge: Knowledge | None = None,
    causes: pl.Series | None = None,
) -> InstanceGraph:
    """Put the graph of one case together from the tables of many; ``causes`` are the types tested, None for all.

    Raises:
        LogFormatError: There is no such case, or no table of events.
    """
    if events is None:
        raise LogFormatError(f"{source} does not hold the events of its cases; run discover again")
    wanted = pl.col("case") == str(name)
    own = events.filter(wanted).sort("position").collect()
    if own.is_empty():
        known = events.select("case").unique(maintain_order=True).collect()["case"].to_list()
        raise LogFormatError(f"{source} has no case '{visible(str(name), longest=60)}'{nearest_spelling(name, known)}")
    arguments = run.arguments
    times = own["time"].to_numpy() if "time" in own.columns else None
    return InstanceGraph(
        case=str(name),
        events=tuple(own["event"]),
        edges=edges.filter(wanted).drop("case").collect(),
        times=None if times is None else tuple(times.tolist()),
        n_tested=_n_tested(own["event"], times, run, knowledge, causes),
        settings=arguments,
        knowledge=knowledge,
        attributes=attributes
        if (attributes := own.drop("case", "position", "event", "time", strict=False)).width
        else None,
    )


def _n_tested(own: pl.Series, times: Any, run: RunRecord, knowledge: Knowledge | None, causes: pl.Series | None) -> int:
    """Return how many pairs of positions of a case are tested."""
    events, arguments = own.to_list(), run.arguments
    n = len(events)
    horizon, seconds = min(arguments.horizon or 1, max(1, n - 1)), arguments.horizon_seconds
    cause = np.arange(min(arguments.context, n), n)
    effect = np.minimum(cause[:, None] + np.arange(1, horizon + 1), n)
    tested = effect < n
    if seconds is not None and times is not None:
        tested &= np.append(times, np.inf)[effect] - times[cause][:, None] <= seconds
    if causes is not None:
        tested &= own.is_in(causes.unique().to_list()).to_numpy()[cause, None]
    names = sorted(set(events))
    limits = asked(names, run.log.event_columns, arguments.causes, arguments.effects, strict=False)
    limits = both(limits, None if knowledge is None else knowledge.limits(names))
    if limits is not None:
        ids = np.searchsorted(np.array(names), np.array(events)).astype(np.int32)
        tested &= ~limits.untested(Case("", ids, times), horizon)[cause]
    return int(tested.sum())


FILES = {"edges": EDGES, "events": EVENTS, "places": PLACES}
"""Tables of a result that stay on disk."""
