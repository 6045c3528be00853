"""Cypher statements, for Neo4j and other graph databases that speak openCypher.

Each statement stands on a line of its own and may be run again: nodes and edges are merged, not added twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sequela.files import whole_file
from sequela.graphs.exports.values import StrPath, finite
from sequela.text import visible

if TYPE_CHECKING:
    import networkx as nx

_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def write_cypher(graph: nx.DiGraph[Any], path: StrPath, *, case: str | None = None) -> None:
    """Write Cypher statements that merge the graph into a database.

    Args:
        graph: Between event types, or between the events of one case.
        path: File.
        case: The case, where the nodes are its events.
    """
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in _statements(graph, case))


def _statements(graph: nx.DiGraph[Any], case: str | None) -> Iterator[str]:
    label, edge = ("EventType", "CAUSES") if case is None else ("Event", "CAUSED")
    key = ("name",) if case is None else ("case_name", "position")

    def name(node: Any) -> dict[str, Any]:
        return dict(zip(key, (node,) if case is None else (case, node), strict=True))

    unique = ", ".join(f"n.{each}" for each in key)
    yield f"CREATE CONSTRAINT sequela_{label} IF NOT EXISTS FOR (n:{label}) REQUIRE ({unique}) IS UNIQUE;"
    for node, data in graph.nodes(data=True):
        yield f"MERGE (n:{label} {_map(name(node))}){_set('n', data)};"
    for cause, effect, data in graph.edges(data=True):
        ends = f"(a:{label} {_map(name(cause))}), (b:{label} {_map(name(effect))})"
        yield f"MATCH {ends} MERGE (a)-[r:{edge}]->(b){_set('r', data)};"


def _set(variable: str, data: Mapping[str, Any]) -> str:
    """Return what sets the properties that are known; their names are our own columns."""
    known = {name: value for name, value in data.items() if finite(value) is not None}
    return (
        " SET " + ", ".join(f"{variable}.{name} = {literal(value)}" for name, value in known.items()) if known else ""
    )


def _map(values: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {literal(value)}" for name, value in values.items()) + "}"


def literal(value: Any) -> str:
    r"""Return a value as Cypher reads it.

    Quotes and backslashes of a text are escaped, control characters spelled out. A text is cut between a backslash and
    a ``u``: where ``\uXXXX`` is read before quotes are looked for, ``\u0027`` in a name would end the text.

    Example:
        >>> print(literal("it's"), literal(r"a\u0027"), literal(True), literal(0.5))
        'it\'s' 'a\\' + 'u0027' true 0.5
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = "".join(c if c in "\n\r\t" else visible(c) for c in str(value))
    text = "".join(_ESCAPES.get(c, c) for c in text)
    return "'" + text.replace(r"\\u", r"\\' + 'u") + "'"
