"""Causal graphs: of one sequence over its positions, and its summary over event types."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.display import TOP_ROWS, Shown
from sequela.effects.cmi import CMIEstimate
from sequela.errors import ConfigError, MissingExtraError, check_range
from sequela.events.log import event_at_level, event_components
from sequela.events.sequences import Case
from sequela.events.vocabulary import Vocabulary
from sequela.graphs import exports
from sequela.graphs.exports import AnnotatedLog, StrPath

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

INSTANCE_SCHEMA = pl.Schema(
    {
        "cause_position": pl.Int64,
        "effect_position": pl.Int64,
        "cause": pl.String,
        "effect": pl.String,
        "lag": pl.Int64,
        "directed": pl.Boolean,
        "cmi_nats": pl.Float64,
        "std_error": pl.Float64,
        "pointwise_nats": pl.Float64,
    }
)
"""Columns of an instance edge table; positions are 0-based. ``lag`` counts ticks: 0 is an edge between two events at
the same time, whose direction is not known (``directed`` is false) unless a population tells it."""


class _Graph(Shown):
    """What all graphs share: exports, and how they show themselves."""

    edges: pl.DataFrame

    def to_networkx(self) -> nx.DiGraph[Any]:
        """Return a networkx graph with all columns as attributes."""
        raise NotImplementedError

    def to_pandas(self) -> pd.DataFrame:
        """Return the edge table as a pandas frame (extra ``pandas``)."""
        return to_pandas(self.edges)

    def to_graphml(self, path: StrPath) -> None:
        """Write GraphML (Gephi, Cytoscape, yEd): all columns, ``label`` on nodes, ``weight`` on edges.

        ``weight`` is ``cmi_nats_total`` of a summary, ``cmi_nats`` of other graphs. Numbers that are infinite or
        missing are left out, control characters in names are spelled out.
        """
        exports.write_graphml(self.to_networkx(), path)

    def to_dot(self, path: StrPath) -> None:
        """Write DOT for Graphviz: width of an edge by its strength, colour by its sign, all columns as attributes."""
        exports.write_dot(self.to_networkx(), path)

    def to_json(self, path: StrPath) -> None:
        """Write node-link JSON (``networkx.node_link_graph(..., edges="edges")`` reads it).

        Numbers that JSON does not know (infinite, not a number) become null.
        """
        exports.write_node_link(self.to_networkx(), path)

    def to_csv(self, path: StrPath, *, guard: bool = True) -> None:
        """Write the edge table as CSV.

        Args:
            path: File.
            guard: Put an apostrophe before text that begins with ``= + - @``, a tab or a carriage return: a
                spreadsheet would run it as a formula. Switch it off where a program reads the names back.
        """
        exports.write_csv(self.edges, path, guard=guard)

    def to_parquet(self, path: StrPath) -> None:
        """Write the edge table as Parquet."""
        exports.write_parquet(self.edges, path)

    def __len__(self) -> int:
        return self.edges.height


def to_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    """Return a pandas frame.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    if importlib.util.find_spec("pandas") is None:
        raise MissingExtraError("to_pandas", "pandas")
    return frame.to_pandas()


@dataclass(frozen=True, repr=False)
class InstanceGraph(_Graph, AnnotatedLog):
    """Which events of one sequence caused which.

    Attributes:
        case: Name of the case.
        events: Event type at each position, as the density knows it (``<rare>`` for folded types).
        edges: One row an edge, columns `INSTANCE_SCHEMA`, sorted by effect, then cause; with a population also
            ``confidence``.
        times: Seconds of each event, or None.
        n_tested: Pairs of positions that were tested.
        n_clamped: Log-probabilities that had to be clamped.
        n_unknown: Events whose type the density did not know (treated as ``<rare>``).
        settings: How the graph was found.
        counts: What the design counted on the way, by name.
    """

    case: str
    events: tuple[str, ...]
    edges: pl.DataFrame
    times: tuple[float, ...] | None = None
    n_tested: int = 0
    n_clamped: int = 0
    n_unknown: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_estimate(
        cls,
        case: Case,
        vocabulary: Vocabulary,
        estimate: CMIEstimate,
        edges: NDArray[np.bool_],
        *,
        confidence: NDArray[np.float64] | None = None,
        directions: NDArray[np.int64] | None = None,
        n_unknown: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> InstanceGraph:
        """Build a graph.

        Args:
            case: The case.
            vocabulary: Names of its ids.
            estimate: Its estimate.
            edges: The pairs that are edges (bool, ``[L, m]``).
            confidence: Probability of each (float64, ``[L, m]``).
            directions: 1, or -1 where the later position causes the earlier, 0 where that is not known (int64,
                ``[L, m]``); by default 1, and 0 within a tick.
            n_unknown: Events of unknown types.
            settings: How the graph was found.
        """
        row, column = np.nonzero(edges)
        lag = column + 1 if estimate.lags is None else estimate.lags[row, column]
        towards = np.sign(lag) if directions is None else directions[row, column]
        first, second = row, row + column + 1
        cause, effect = np.where(towards < 0, second, first), np.where(towards < 0, first, second)
        order = np.lexsort((cause, effect))
        row, column, lag, towards = row[order], column[order], lag[order], towards[order]
        cause, effect = cause[order], effect[order]
        names = np.array(vocabulary.names, dtype=object)
        columns: dict[str, Any] = {
            "cause_position": cause,
            "effect_position": effect,
            "cause": pl.Series(names[case.ids[cause]].tolist(), dtype=pl.String),
            "effect": pl.Series(names[case.ids[effect]].tolist(), dtype=pl.String),
            "lag": lag,
            "directed": towards != 0,
            "cmi_nats": estimate.cmi[row, column],
            "std_error": estimate.std_error[row, column],
            "pointwise_nats": estimate.pointwise[row, column],
        }
        schema = dict(INSTANCE_SCHEMA)
        if estimate.mean_of_kl is not None:
            columns["mean_of_kl_nats"] = estimate.mean_of_kl[row, column]
            schema["mean_of_kl_nats"] = pl.Float64()
        for name, values in estimate.columns.items():
            columns[name], schema[name] = values[row, column], pl.Float64()
        if confidence is not None:
            columns["confidence"] = confidence[row, column]
            columns["oriented_by"] = ["population" if told else None for told in (lag == 0) & (towards != 0)]
            schema |= {"confidence": pl.Float64(), "oriented_by": pl.String()}
        return cls(
            case=case.name,
            events=tuple(names[case.ids].tolist()),
            edges=pl.DataFrame(columns, schema=schema),
            times=None if case.times is None else tuple(case.times.tolist()),
            n_tested=estimate.n_tested,
            n_clamped=estimate.n_clamped,
            n_unknown=n_unknown,
            settings=dict(settings or {}),
            counts=dict(estimate.counts),
        )

    def summary(self, *, self_loops: bool = False, hierarchy_level: int | None = None) -> SummaryGraph:
        """Project onto event types: ``u -> v`` when some position holding u causes a later one holding v.

        Args:
            self_loops: Keep ``u -> u``.
            hierarchy_level: Types by their first 1, 2, … components, for types of several columns; None for whole
                types.
        """
        counts = pl.Series("event", self.events, dtype=pl.String).to_frame().group_by("event").len("count")
        edges = self.edges.with_columns(pl.lit(self.case).alias("case"))
        return summarise(edges, counts, self_loops=self_loops, hierarchy_level=hierarchy_level)

    def to_networkx(self) -> nx.DiGraph[Any]:
        """Return a networkx graph: nodes are positions with ``event`` (and ``time``), edges carry the columns."""
        import networkx as nx

        graph: nx.DiGraph[Any] = nx.DiGraph(case=self.case)
        for position, event in enumerate(self.events):
            graph.add_node(position, event=event, **({} if self.times is None else {"time": self.times[position]}))
        for row in self.edges.drop("cause", "effect").iter_rows(named=True):
            graph.add_edge(row.pop("cause_position"), row.pop("effect_position"), **row)
        return graph

    def _log(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        columns: dict[str, Any] = {"position": range(len(self.events)), "event": list(self.events)}
        if self.times is not None:
            columns["time"] = list(self.times)
        kinds = {"position": pl.Int64, "event": pl.String, "time": pl.Float64}
        events = pl.DataFrame(columns, schema={name: kinds[name] for name in columns})
        case = pl.lit(self.case).alias("case")
        return events.select(case, pl.all()), self.edges.select(case, pl.all())

    def _top_rows(self) -> pl.DataFrame:
        columns = ["cause_position", "cause", "effect_position", "effect", "lag", "cmi_nats", "std_error"]
        order = [pl.col("cmi_nats").round(9), pl.col("effect_position"), pl.col("cause_position")]
        return (
            self.edges.sort(order, descending=[True, False, False]).head(TOP_ROWS).select(*columns, direction_column())
        )

    def __repr__(self) -> str:
        return (
            f"InstanceGraph(case '{self.case}': {len(self.events)} events, {len(self)} edges of {self.n_tested} tested)"
        )


@dataclass(frozen=True, repr=False)
class SummaryGraph(_Graph):
    """Which event types caused which.

    Attributes:
        edges: One row a pair of types, strongest first: ``cause``, ``effect``, ``n_edges`` (instance edges),
            ``n_cases``, ``mean_lag``, ``cmi_nats`` (mean over the edges), ``cmi_nats_total``, ``pointwise_nats``
            (mean), ``n_undirected`` (edges between events at the same time, of unknown direction; they count for the
            pair in the order of names) and ``directed`` (whether there are others).
        nodes: ``event`` and ``count`` of every type that occurred.
    """

    edges: pl.DataFrame
    nodes: pl.DataFrame

    def at_level(self, hierarchy_level: int, *, self_loops: bool = False) -> SummaryGraph:
        """Merge types that share their first components (``engine|P0A`` and ``engine|P0B`` at level 1).

        How many cases hold a merged pair cannot be told from the summary alone: ``n_cases`` is the largest of the pairs
        it is made of, so at least so many. The ``summary(hierarchy_level=...)`` of graphs and discoveries counts cases.

        Args:
            hierarchy_level: Leading components that are kept. Types with fewer stay as they are.
            self_loops: Keep edges within a merged type, as far as this summary has them.

        Raises:
            ConfigError: `hierarchy_level` is below 1, or no type has components.

        Example:
            >>> pair = {"cause": "engine|P0A", "effect": "door|D1", "n_edges": 2, "n_cases": 1, "mean_lag": 1.5}
            >>> nats = {"cmi_nats": 0.2, "cmi_nats_total": 0.4, "pointwise_nats": 1.0, "n_undirected": 0}
            >>> nodes = pl.DataFrame({"event": ["door|D1", "engine|P0A"], "count": [3, 4]})
            >>> merged = SummaryGraph(pl.DataFrame([pair | nats]), nodes).at_level(1)
            >>> merged.edges.select("cause", "effect", "n_edges").rows()
            [('engine', 'door', 2)]
        """
        weight = pl.col("n_edges")
        sums = self.edges.select(
            "cause", "effect", "n_edges", "n_cases", lag=pl.col("mean_lag") * weight,
            cmi_nats=pl.col("cmi_nats_total"), pointwise_nats=pl.col("pointwise_nats") * weight,
            n_undirected="n_undirected",
        )  # fmt: skip
        names = names_at_level(self.nodes["event"], hierarchy_level)
        merged = (
            _renamed(sums, names)
            .group_by("cause", "effect")
            .agg(pl.col("n_edges", "lag", "cmi_nats", "pointwise_nats", "n_undirected").sum(), pl.col("n_cases").max())
        )
        columns = ["cause", "effect", "n_edges", "n_cases", "lag", "cmi_nats", "pointwise_nats", "n_undirected"]
        edges = finish_pairs(merged.select(columns), self_loops=self_loops)
        return SummaryGraph(edges, merge_nodes(self.nodes, hierarchy_level))

    def to_networkx(self) -> nx.DiGraph[Any]:
        """Return a networkx graph: nodes are event types with ``count``, edges carry the columns."""
        import networkx as nx

        graph: nx.DiGraph[Any] = nx.DiGraph()
        graph.add_nodes_from((row["event"], {"count": row["count"]}) for row in self.nodes.iter_rows(named=True))
        for row in self.edges.iter_rows(named=True):
            graph.add_edge(row.pop("cause"), row.pop("effect"), **row)
        return graph

    def _top_rows(self) -> pl.DataFrame:
        columns = ["cause", "effect", "n_edges", "n_cases", "mean_lag", "cmi_nats"]
        return self.edges.head(TOP_ROWS).select(*columns, direction_column())

    def __repr__(self) -> str:
        return f"SummaryGraph({self.nodes.height} event types, {len(self)} edges)"


def names_at_level(events: pl.Series, hierarchy_level: int) -> dict[str, str]:
    """Return the name of each event type at a level: its first ``hierarchy_level`` components.

    Raises:
        ConfigError: `hierarchy_level` is below 1, or no type has components.
    """
    check_range("hierarchy_level", hierarchy_level, low=1, whole=True)
    if len(events) and all(len(event_components(name)) == 1 for name in events):
        raise ConfigError(
            f"hierarchy_level={hierarchy_level} needs event types made of several columns (event=[...], --event "
            "repeated); these have none"
        )
    return {name: event_at_level(name, hierarchy_level) for name in events}


def merge_nodes(nodes: pl.DataFrame, hierarchy_level: int) -> pl.DataFrame:
    """Return ``event`` and ``count`` of the types at a level."""
    names = names_at_level(nodes["event"], hierarchy_level)
    merged = nodes.with_columns(pl.col("event").replace_strict(names, return_dtype=pl.String))
    return merged.group_by("event").agg(pl.col("count").sum()).sort("event")


def _renamed(pairs: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    return pairs.with_columns(pl.col("cause", "effect").replace_strict(names, return_dtype=pl.String))


def summarise(
    edges: pl.DataFrame, counts: pl.DataFrame, *, self_loops: bool = False, hierarchy_level: int | None = None
) -> SummaryGraph:
    """Group instance edges by their pair of event types.

    Args:
        edges: Instance edges of one or many cases, with a column ``case``.
        counts: ``event`` and ``count`` of the sequences they come from.
        self_loops: Keep ``u -> u``.
        hierarchy_level: Types by their first 1, 2, … components; None for whole types.

    Raises:
        ConfigError: `hierarchy_level` is below 1, or no type has components.
    """
    if hierarchy_level is not None:
        edges, counts = (
            _renamed(edges, names_at_level(counts["event"], hierarchy_level)),
            merge_nodes(counts, hierarchy_level),
        )
    return SummaryGraph(finish_pairs(pair_sums(edges), self_loops=self_loops), counts.sort("event"))


def with_directed(edges: pl.DataFrame) -> pl.DataFrame:
    """Return an edge table that has the column ``directed``: true where it was not there, as in a table of truth."""
    return edges if "directed" in edges.columns else edges.with_columns(directed=pl.lit(True))


def pair_sums(edges: pl.DataFrame) -> pl.DataFrame:
    """Return sums per pair of types. Those of disjoint cases can be concatenated and added up."""
    return (
        with_directed(edges)
        .group_by("cause", "effect")
        .agg(
            pl.len().cast(pl.Int64).alias("n_edges"),
            pl.col("case").n_unique().cast(pl.Int64).alias("n_cases"),
            pl.col("lag", "cmi_nats", "pointwise_nats").sum(),
            (~pl.col("directed")).sum().cast(pl.Int64).alias("n_undirected"),
        )
    )


def finish_pairs(sums: pl.DataFrame, *, self_loops: bool) -> pl.DataFrame:
    """Add up `pair_sums` and turn them into the columns of `SummaryGraph.edges`."""
    if not self_loops:
        sums = sums.filter(pl.col("cause") != pl.col("effect"))
    mean = {name: (pl.col(name) / pl.col("n_edges")) for name in ("lag", "cmi_nats", "pointwise_nats")}
    return (
        sums.group_by("cause", "effect")
        .agg(pl.all().sum())
        .select(
            "cause",
            "effect",
            "n_edges",
            "n_cases",
            mean["lag"].alias("mean_lag"),
            mean["cmi_nats"],
            pl.col("cmi_nats").alias("cmi_nats_total"),
            mean["pointwise_nats"],
            "n_undirected",
            directed=pl.col("n_undirected") < pl.col("n_edges"),
        )
        # Rounded for the order only: sums in another order differ in the last bits.
        .sort([pl.col("cmi_nats_total").round(9), "cause", "effect"], descending=[True, False, False])
    )


def direction_column() -> pl.Expr:
    """Return the sign of an edge in words: a cause makes its effect likelier or rarer."""
    return pl.when(pl.col("pointwise_nats") >= 0).then(pl.lit("likelier")).otherwise(pl.lit("rarer")).alias("direction")
