"""Values of strangers' logs as the formats of other programs take them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sequela.text import visible

if TYPE_CHECKING:
    import networkx as nx

StrPath = str | os.PathLike[str]


def strength(data: Mapping[str, Any]) -> float:
    """Return what the picture of an edge is scaled by: the total of a summary, the CMI of other graphs."""
    return float(data.get("cmi_nats_total", data.get("cmi_nats", 0.0)))


def finite(value: Any) -> Any:
    """Return None for a number that is infinite or missing, else the value."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def xml_text(value: Any) -> Any:
    """XML 1.0 has no control characters; show them spelled out."""
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(c if c in "\t\n" else visible(c) for c in value)


def labelled(graph: nx.DiGraph[Any]) -> nx.DiGraph[Any]:
    """Return a graph for formats in XML: ``label`` on nodes, ``weight`` on edges, where other programs look for them.

    What has no number there is left out; a truth value is 1 or 0, which all readers take.
    """
    import networkx as nx

    clean: nx.DiGraph[Any] = nx.DiGraph(**_xml_values(graph.graph))
    for node, data in graph.nodes(data=True):
        clean.add_node(xml_text(node), label=xml_text(str(data.get("event", node))), **_xml_values(data))
    for cause, effect, data in graph.edges(data=True):
        clean.add_edge(xml_text(cause), xml_text(effect), weight=strength(data), **_xml_values(data))
    return clean


def _xml_values(data: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in data.items() if finite(value) is not None}
    return {key: int(value) if isinstance(value, bool) else xml_text(value) for key, value in shown.items()}
