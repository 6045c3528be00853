"""DOT, for Graphviz."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sequela.files import whole_file
from sequela.graphs.exports.values import StrPath, finite, strength
from sequela.text import visible

if TYPE_CHECKING:
    import networkx as nx

_MORE_LIKELY, _LESS_LIKELY = "#1f6f8b", "#c8553d"


def write_dot(graph: nx.DiGraph[Any], path: StrPath) -> None:
    """Write DOT: width of an edge by strength, colour by sign, all numbers as attributes."""
    strongest = max((strength(data) for *_, data in graph.edges(data=True)), default=1.0) or 1.0
    ids = {node: f"n{number}" for number, node in enumerate(graph)}
    lines = [
        "digraph {",
        '  graph [rankdir="LR", charset="UTF-8"];',
        '  node [shape="box", style="rounded", fontname="Helvetica", fontsize="10"];',
        '  edge [fontname="Helvetica", fontsize="8"];',
    ]
    for node, data in graph.nodes(data=True):
        own = _dot_text(str(data["event"])) + f"\\n{node}" if "event" in data else _dot_text(str(node))
        lines.append(f'  {ids[node]} [label="{own}"{_dot_attributes(data)}];')
    for cause, effect, data in graph.edges(data=True):
        share = math.sqrt(strength(data) / strongest)
        colour = _MORE_LIKELY if data.get("pointwise_nats", 0.0) >= 0 else _LESS_LIKELY
        drawn = f'label="{strength(data):.3g}", penwidth="{0.6 + 3.4 * share:.2f}", color="{colour}"'
        lines.append(f"  {ids[cause]} -> {ids[effect]} [{drawn}{_dot_attributes(data)}];")
    with whole_file(path) as temporary:
        temporary.write_text("\n".join([*lines, "}", ""]), encoding="utf-8")


def _dot_text(text: str) -> str:
    """Escape text for a quoted label: it is read for backslashes, then for entities."""
    lines = (visible(line) for line in text.split("\n"))
    escaped = (line.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return "\\n".join(escaped)


def _dot_attributes(data: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in data.items() if key != "event" and finite(value) is not None}
    return "".join(f', {key}="{_dot_text(str(value))}"' for key, value in shown.items())
