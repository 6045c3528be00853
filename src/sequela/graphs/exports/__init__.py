"""Graphs and annotated logs in the formats of other programs, one file a format.

Names come from logs that strangers wrote. Each writer makes them harmless in its own format: XML has no control
characters, DOT reads backslashes and entities, a spreadsheet runs cells that begin like a formula, a database runs what
follows a quote.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sequela.errors import ConfigError, check_choice
from sequela.graphs.exports.values import StrPath
from sequela.text import visible

GRAPH_WRITERS: dict[str, Callable[[Any, StrPath], None]] = {
    ".graphml": lambda graph, path: graph.to_graphml(path),
    ".gexf": lambda graph, path: graph.to_gexf(path),
    ".dot": lambda graph, path: graph.to_dot(path),
    ".gv": lambda graph, path: graph.to_dot(path),
    ".cypher": lambda graph, path: graph.to_cypher(path),
    ".json": lambda graph, path: graph.to_json(path),
    ".csv": lambda graph, path: graph.to_csv(path),
    ".xlsx": lambda graph, path: graph.to_xlsx(path),
    ".parquet": lambda graph, path: graph.to_parquet(path),
}
"""What writes a graph, by suffix; a new format is a function and a line here."""
LOG_WRITERS: dict[str, Callable[[Any, StrPath], None]] = {
    ".xes": lambda found, path: found.to_xes(path),
    ".jsonocel": lambda found, path: found.to_ocel(path),
    ".otlp.json": lambda found, path: found.to_otlp(path),
}
"""What writes a log with the causes of each event, by suffix."""


def export(found: Any, path: StrPath, *, hierarchy_level: int | None = None) -> Any:
    """Write a result in the format that the name of the file asks for.

    Args:
        found: A graph; or the discovery of a whole log, whose summary is written as a graph.
        path: ``.graphml``, ``.gexf``, ``.dot`` (``.gv``), ``.cypher``, ``.json``, ``.csv``, ``.xlsx`` or ``.parquet``:
            the graph; ``.xes``, ``.jsonocel`` or ``.otlp.json``: the log, each event with its causes (not for graphs
            over event types).
        hierarchy_level: The graph between types by their first 1, 2, … components, for types of several columns.

    Returns:
        What was written: the graph, or ``found`` where it is a log.

    Raises:
        ConfigError: The suffix is unknown, the result holds no log, or has no graph at that level.
    """
    known, name = [*GRAPH_WRITERS, *LOG_WRITERS], Path(path).name.lower()
    suffix = max((each for each in known if name.endswith(each)), key=len, default=Path(name).suffix)
    check_choice("suffix of the file", suffix, known)
    if suffix in LOG_WRITERS:
        if hierarchy_level is not None:
            raise ConfigError(f"hierarchy_level is for graphs over event types, not for a log ({suffix}): leave it out")
        if not hasattr(found, "to_xes"):
            raise ConfigError(
                f"a {type(found).__name__} holds no events, so there is no log to write as {suffix}; "
                f"allowed are {', '.join(GRAPH_WRITERS)}"
            )
        LOG_WRITERS[suffix](found, path)
        return found
    graph = found
    if hierarchy_level is not None:
        graph = at_level(found, hierarchy_level)
    elif not hasattr(found, "to_networkx"):
        graph = found.summary()
    GRAPH_WRITERS[suffix](graph, path)
    return graph


def what_was_written(written: Any) -> str:
    """Return what `export` wrote, in words."""
    kind = type(written).__name__
    if kind == "Discovery":
        return "the log with the causes of each event"
    name = {"InstanceGraph": "graph of case", "PopulationGraph": "graph of the population"}.get(kind, "summary graph")
    case = f" '{visible(written.case, longest=60)}'" if kind == "InstanceGraph" else ""
    return f"the {name}{case}, {written.edges.height:,} edges,"


def at_level(found: Any, hierarchy_level: int) -> Any:
    """Return the summary graph of any result between types by their first ``hierarchy_level`` components.

    Raises:
        ConfigError: `hierarchy_level` is below 1, no type has components, or the result is a population graph of
            another level.
    """
    if hasattr(found, "at_level"):  # a summary graph
        return found.at_level(hierarchy_level)
    if not hasattr(found, "summary"):
        raise ConfigError(
            "evidence for components of event types cannot be merged from that for whole types: make the population "
            "graph "
            f"at that level (discover_population(..., hierarchy_level={hierarchy_level}), sequela population "
            f"--hierarchy-level {hierarchy_level})"
        )
    return found.summary(hierarchy_level=hierarchy_level)
