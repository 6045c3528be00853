"""GraphML, for Gephi, Cytoscape and yEd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sequela.files import whole_file
from sequela.graphs.exports.values import StrPath, labelled

if TYPE_CHECKING:
    import networkx as nx


def write_graphml(graph: nx.DiGraph[Any], path: StrPath) -> None:
    """Write GraphML with ``label`` on nodes and ``weight`` on edges, where Gephi, Cytoscape and yEd look for them."""
    import networkx as nx

    with whole_file(path) as temporary, temporary.open("wb") as file:
        nx.write_graphml(labelled(graph), file)
