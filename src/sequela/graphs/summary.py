"""Summary graphs: which event types caused which, from the edges between single events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
from scipy.stats import binom

from sequela.display import TOP_ROWS
from sequela.errors import ConfigError, check_range
from sequela.events.log import event_at_level, event_components
from sequela.graphs.base import Graph, direction_column

if TYPE_CHECKING:
    import networkx as nx

CHANCE = 0.05
"""Share of places without an effect that may be edges, where the rule for edges does not say."""


@dataclass(frozen=True, repr=False, eq=False)
class SummaryGraph(Graph):
    """Which event types caused which.

    Attributes:
        edges: One row a pair of types that has an edge between events, largest sum of effects first; columns
            `sequela.graphs.schemas.SUMMARY`.
        nodes: ``event`` and ``count`` of every type that occurred.
    """

    edges: pl.DataFrame
    nodes: pl.DataFrame

    @property
    def links(self) -> pl.DataFrame:
        """The pairs that count as links; the others have an edge somewhere, which chance or one case may explain."""
        return self.edges.filter("is_link") if "is_link" in self.edges.columns else self.edges

    def at_level(self, hierarchy_level: int, *, self_loops: bool = False) -> SummaryGraph:
        """Merge types that share their first components (``engine|P0A`` and ``engine|P0B`` at level 1).

        How many cases hold a merged pair cannot be told from the summary alone: ``n_cases`` is the largest of the pairs
        it is made of, so at least so many; ``n_places`` is not known. The ``summary(hierarchy_level=...)`` of graphs
        and discoveries counts both.

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

    def _content(self) -> tuple[Any, ...]:
        return self.nodes, self.edges

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
    edges: pl.DataFrame,
    counts: pl.DataFrame,
    *,
    places: pl.DataFrame | None = None,
    chance: float = CHANCE,
    least_cases: int = 2,
    self_loops: bool = False,
    hierarchy_level: int | None = None,
) -> SummaryGraph:
    """Group instance edges by their pair of event types.

    Args:
        edges: Instance edges of one or many cases, with a column ``case``.
        counts: ``event`` and ``count`` of the sequences they come from.
        places: Columns `sequela.graphs.schemas.PLACES`; None where they are not known.
        chance: See `finish_pairs`.
        least_cases: See `finish_pairs`.
        self_loops: Keep ``u -> u``.
        hierarchy_level: Types by their first 1, 2, … components; None for whole types.

    Raises:
        ConfigError: `hierarchy_level` is below 1, or no type has components.
    """
    if hierarchy_level is not None:
        names = names_at_level(counts["event"], hierarchy_level)
        edges, counts = _renamed(edges, names), merge_nodes(counts, hierarchy_level)
        if places is not None:
            places = _renamed(places, names).group_by("cause", "effect").agg(pl.col("n_places").sum())
    pairs = finish_pairs(pair_sums(edges), places, chance=chance, least_cases=least_cases, self_loops=self_loops)
    return SummaryGraph(pairs, counts.sort("event"))


def with_directed(edges: pl.DataFrame) -> pl.DataFrame:
    """Return an edge table that has the column ``directed``: true where it was not there, as in a table of truth."""
    return edges if "directed" in edges.columns else edges.with_columns(directed=pl.lit(True))


def pair_sums(edges: pl.DataFrame) -> pl.DataFrame:
    """Return sums per pair of types. Those of disjoint cases can be concatenated and added up."""
    on_link = pl.col("on_link") if "on_link" in edges.columns else pl.lit(True)
    return (
        with_directed(edges)
        .with_columns(on_link=on_link)
        .group_by("cause", "effect", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("n_edges"),
            pl.col("case").n_unique().cast(pl.Int64).alias("n_cases"),
            pl.col("lag", "cmi_nats", "pointwise_nats").sum(),
            (~pl.col("directed")).sum().cast(pl.Int64).alias("n_undirected"),
            pl.col("on_link").sum().cast(pl.Int64).alias("n_on_link"),
        )
    )


def finish_pairs(
    sums: pl.DataFrame,
    places: pl.DataFrame | None = None,
    *,
    chance: float = CHANCE,
    least_cases: int = 2,
    self_loops: bool,
) -> pl.DataFrame:
    """Add up `pair_sums` and turn them into the columns of `SummaryGraph.edges`.

    A pair is a *link* when edges lie at more of its places than chance explains. The rule for edges lets a place
    without an effect through with a probability of ``chance``. If no place of a pair has an effect, the number of its
    edges is at most binomial with that rate: a pair is a link when so many edges have a probability of at most
    ``chance`` then, and when they come from ``least_cases`` cases, since places of one case are not independent. Where
    the number of places is not known, only the second is asked for. Where edges were weighed by a population, the pair
    must also be one of its links.

    Args:
        sums: From `pair_sums`.
        places: Columns `sequela.graphs.schemas.PLACES`; None where they are not known.
        chance: Share of places without an effect that the rule for edges lets through.
        least_cases: Cases that a link needs.
        self_loops: Keep ``u -> u``.
    """
    if not self_loops:
        sums = sums.filter(pl.col("cause") != pl.col("effect"))
    if "n_on_link" not in sums.columns:
        sums = sums.with_columns(n_on_link=pl.col("n_edges"))
    mean = {name: (pl.col(name) / pl.col("n_edges")) for name in ("lag", "cmi_nats", "pointwise_nats")}
    pairs = (
        sums.group_by("cause", "effect", maintain_order=True)
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
            "n_on_link",
            directed=pl.col("n_undirected") < pl.col("n_edges"),
        )
        # Rounded for the order only: sums in another order differ in the last bits.
        .sort([pl.col("cmi_nats_total").round(9), "cause", "effect"], descending=[True, False, False])
    )
    if places is None:
        pairs = pairs.with_columns(n_places=pl.lit(None, pl.Int64))
    else:
        pairs = pairs.join(
            places.select("cause", "effect", "n_places"), on=["cause", "effect"], how="left", maintain_order="left"
        )
    return pairs.with_columns(
        share=pl.col("n_edges") / pl.col("n_places"),
        effect_nats=pl.col("cmi_nats_total") / pl.col("n_places"),
        is_link=(pl.col("n_cases") >= least_cases) & _beyond_chance(pairs, chance) & (pl.col("n_on_link") > 0),
    ).drop("n_on_link")


def _beyond_chance(pairs: pl.DataFrame, chance: float) -> pl.Series:
    """Return whether so many edges among so many places are improbable by chance (bool; True if unknown)."""
    n_edges, n_places = pairs["n_edges"].to_numpy(), pairs["n_places"].fill_null(0).to_numpy()
    improbable = binom.sf(n_edges - 1, n_places, chance) <= chance
    return pl.Series(improbable | (n_places == 0), dtype=pl.Boolean)
