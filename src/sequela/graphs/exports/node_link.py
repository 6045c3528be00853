"""Node-link JSON, for networkx and D3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sequela.files import write_json
from sequela.graphs.exports.values import StrPath, finite

if TYPE_CHECKING:
    import networkx as nx


def write_node_link(graph: nx.DiGraph[Any], path: StrPath) -> None:
    """Write node-link JSON; numbers that JSON does not know (infinite, not a number) become null."""
    import networkx as nx

    data = nx.node_link_data(graph, edges="edges")
    for kind in ("nodes", "edges"):
        data[kind] = [{key: finite(value) for key, value in row.items()} for row in data[kind]]
    write_json(path, data)
