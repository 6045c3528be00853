"""Population graphs: which event types cause which over many cases, with evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from sequela.display import TOP_ROWS
from sequela.effects.knowledge import Knowledge
from sequela.files import whole_folder
from sequela.graphs.base import Graph, direction_column
from sequela.graphs.records import FORMAT, MARKER, RunRecord, save_knowledge
from sequela.graphs.schemas import LAGS, POPULATION

POPULATION_SCHEMA, LAG_SCHEMA = POPULATION.schema, LAGS.schema

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, repr=False, eq=False)
class PopulationGraph(Graph):
    """Which event types cause which in a population of cases.

    Attributes:
        pairs: One row an ordered pair of types that occurs within the horizon, edges first, strongest first; columns
            `sequela.graphs.schemas.POPULATION`.
        nodes: ``event`` and ``count`` over the cases that were used.
        run: The record of the run (its plain values may be given).
        lags: Strength of each pair at each lag, columns `sequela.graphs.schemas.LAGS`; empty where it is not known.
        knowledge: What was known beside the log; None where nothing was.
        places: With knowledge, the places of each pair, columns `sequela.graphs.schemas.PLACES`.
    """

    pairs: pl.DataFrame
    nodes: pl.DataFrame
    run: RunRecord = RunRecord(kind="population")
    lags: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LAGS.schema))
    knowledge: Knowledge | None = None
    places: pl.DataFrame | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "run", RunRecord.of(self.run))

    @property
    def edges(self) -> pl.DataFrame:  # type: ignore[override]
        """The pairs that are edges."""
        return self.pairs.filter("is_edge")

    @property
    def known(self) -> pl.DataFrame | None:
        """Pairs that knowledge excludes or requires, with their evidence; None without knowledge.

        Columns ``cause``, ``effect``, ``knowledge``, ``n_places``, ``cmi_nats``, ``log10_e``, ``q_value`` and
        ``is_edge``: missing of what is excluded, since it was not tested.
        """
        if self.places is None:
            return None
        evidence = self.pairs.select("cause", "effect", "cmi_nats", "log10_e", "q_value", "is_edge")
        known = self.places.filter(pl.col("knowledge").is_not_null()).select("cause", "effect", "knowledge", "n_places")
        return known.join(evidence, on=["cause", "effect"], how="left", maintain_order="left")

    def mark_edges(self, edges: pl.DataFrame) -> pl.DataFrame:
        """Return edges between events with the column ``on_link``: whether their types are linked here.

        An edge without direction is on a link where either direction is one.

        Args:
            edges: Columns ``cause``, ``effect`` and ``directed``, in any number of cases.

        Example:
            >>> nodes = pl.DataFrame({"event": ["a", "b"], "count": [1, 1]})
            >>> pairs = pl.DataFrame({"cause": ["a"], "effect": ["b"], "is_edge": [True]})
            >>> edges = pl.DataFrame({"cause": ["a", "b"], "effect": ["b", "a"], "directed": [True, True]})
            >>> PopulationGraph(pairs, nodes).mark_edges(edges)["on_link"].to_list()
            [True, False]
        """
        links = self.edges.select("cause", "effect", there=pl.lit(True))
        back = links.rename({"cause": "effect", "effect": "cause", "there": "back"})
        marked = edges.join(links, on=["cause", "effect"], how="left", maintain_order="left")
        marked = marked.join(back, on=["cause", "effect"], how="left", maintain_order="left")
        there, either = pl.col("there").fill_null(False), pl.col("back").fill_null(False) & ~pl.col("directed")
        return marked.with_columns(on_link=there | either).drop("there", "back")

    def to_networkx(self) -> nx.DiGraph[Any]:
        """Return a networkx graph: nodes are event types with ``count``, edges carry the columns."""
        import networkx as nx

        graph: nx.DiGraph[Any] = nx.DiGraph()
        graph.add_nodes_from((row["event"], {"count": row["count"]}) for row in self.nodes.iter_rows(named=True))
        for row in self.edges.iter_rows(named=True):
            graph.add_edge(row.pop("cause"), row.pop("effect"), **row)
        return graph

    def save(self, out: str | Path, *, overwrite: bool = False) -> None:
        """Write a folder: ``population.parquet`` (all pairs), ``lags.parquet``, ``nodes.parquet``, ``run.json``."""
        with whole_folder(out, marker=MARKER, overwrite=overwrite) as folder:
            self.pairs.write_parquet(folder / "population.parquet")
            self.nodes.write_parquet(folder / "nodes.parquet")
            self.lags.write_parquet(folder / "lags.parquet")
            if self.knowledge is not None:
                save_knowledge(self.knowledge, folder)
            if self.places is not None:
                self.places.write_parquet(folder / "places.parquet")
            msgspec.structs.replace(self.run, format=FORMAT, kind="population").write(folder)

    def _content(self) -> tuple[Any, ...]:
        return self.nodes, self.pairs, self.lags

    def _top_rows(self) -> pl.DataFrame:
        columns = ["cause", "effect", "support_cases", "lag", "cmi_nats", "cmi_low_nats", "cmi_high_nats"]
        return self.edges.head(TOP_ROWS).select(*columns, direction_column(), "q_value", "mark")

    def __repr__(self) -> str:
        return f"PopulationGraph({self.nodes.height:,} event types, {len(self):,} edges of {self.pairs.height:,} pairs)"
