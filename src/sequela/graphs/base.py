"""What all graphs share: exports, how they show themselves, and when two are the same."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import polars as pl

from sequela.display import Shown
from sequela.errors import MissingExtraError
from sequela.graphs.exports.cypher import write_cypher
from sequela.graphs.exports.dot import write_dot
from sequela.graphs.exports.gexf import write_gexf
from sequela.graphs.exports.graphml import write_graphml
from sequela.graphs.exports.node_link import write_node_link
from sequela.graphs.exports.tables import write_csv, write_parquet
from sequela.graphs.exports.values import StrPath
from sequela.graphs.exports.xlsx import write_xlsx

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd


class Graph(Shown):
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
        write_graphml(self.to_networkx(), path)

    def to_gexf(self, path: StrPath) -> None:
        """Write GEXF (Gephi), as `to_graphml` does."""
        write_gexf(self.to_networkx(), path)

    def to_cypher(self, path: StrPath) -> None:
        """Write Cypher statements (Neo4j) that merge the graph into a database; they may be run again.

        Nodes are ``EventType {name}``, edges ``CAUSES``; those of one case ``Event {case_name, position}`` and
        ``CAUSED``. All columns are properties; numbers that are infinite or missing are left out.
        """
        write_cypher(self.to_networkx(), path, case=getattr(self, "case", None))

    def to_dot(self, path: StrPath) -> None:
        """Write DOT for Graphviz: width of an edge by its strength, colour by its sign, all columns as attributes."""
        write_dot(self.to_networkx(), path)

    def to_json(self, path: StrPath) -> None:
        """Write node-link JSON (``networkx.node_link_graph(..., edges="edges")`` reads it).

        Numbers that JSON does not know (infinite, not a number) become null.
        """
        write_node_link(self.to_networkx(), path)

    def to_csv(self, path: StrPath, *, guard: bool = True) -> None:
        """Write the edge table as CSV.

        Args:
            path: File.
            guard: Put an apostrophe before text that begins with ``= + - @``, a tab or a carriage return: a
                spreadsheet would run it as a formula. Switch it off where a program reads the names back.
        """
        write_csv(self.edges, path, guard=guard)

    def to_xlsx(self, path: StrPath) -> None:
        """Write an Excel workbook: the edge table, with text that is never run as a formula (extra ``xlsx``).

        Raises:
            ConfigError: Excel does not take so many rows, or names so long.
            MissingExtraError: XlsxWriter is not installed.
        """
        write_xlsx({"edges": self.edges}, path)

    def to_parquet(self, path: StrPath) -> None:
        """Write the edge table as Parquet."""
        write_parquet(self.edges, path)

    def __len__(self) -> int:
        """Return the number of edges: the rows of the edge table."""
        return self.edges.height

    def __bool__(self) -> bool:
        """Return True, also without edges: ask ``len(graph)`` for these."""
        return True

    def __eq__(self, other: object) -> bool:
        """Return whether the other is the same graph: same kind, nodes and edges, to the last bit."""
        if not isinstance(other, Graph) or type(other) is not type(self):
            return NotImplemented
        return all(map(_same, self._content(), other._content()))

    def __hash__(self) -> int:
        return hash((type(self), *(each.shape if isinstance(each, pl.DataFrame) else each for each in self._content())))

    def _content(self) -> tuple[Any, ...]:
        """Return what makes two graphs the same: tables, and values with a hash."""
        raise NotImplementedError


def _same(one: Any, other: Any) -> bool:
    return one.equals(other) if isinstance(one, pl.DataFrame) else bool(one == other)


def to_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    """Return a pandas frame.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    if importlib.util.find_spec("pandas") is None:
        raise MissingExtraError("to_pandas", "pandas")
    return frame.to_pandas()


def direction_column() -> pl.Expr:
    """Return the sign of an edge in words: a cause makes its effect likelier or rarer."""
    return pl.when(pl.col("pointwise_nats") >= 0).then(pl.lit("likelier")).otherwise(pl.lit("rarer")).alias("direction")
