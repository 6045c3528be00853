"""GEXF, for Gephi."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sequela.files import whole_file
from sequela.graphs.exports.values import StrPath, labelled

if TYPE_CHECKING:
    import networkx as nx


def write_gexf(graph: nx.DiGraph[Any], path: StrPath) -> None:
    """Write GEXF 1.2, with labels on nodes and weights on edges."""
    from networkx.readwrite.gexf import GEXFWriter

    written = GEXFWriter(encoding="utf-8", prettyprint=True, version="1.2draft")
    written.add_graph(labelled(graph))
    for meta in written.xml.iter("meta"):
        meta.attrib.clear()  # the day of writing: the same graph is the same file
    with whole_file(path) as temporary, temporary.open("wb") as file:
        written.write(file)
