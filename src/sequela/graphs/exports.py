"""Graphs and annotated logs in the formats of other programs.

Names come from logs that strangers wrote. Each writer makes them harmless in its own format: XML has no control
characters, DOT reads backslashes and entities, a spreadsheet runs cells that begin like a formula.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sequela.errors import ConfigError, MissingExtraError, check_choice
from sequela.events.times import seconds_to_datetime
from sequela.files import whole_file, write_json
from sequela.text import visible

if TYPE_CHECKING:
    import networkx as nx

StrPath = str | os.PathLike[str]
_FORMULA = r"^[=+\-@\t\r]"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MORE_LIKELY, _LESS_LIKELY = "#1f6f8b", "#c8553d"
GRAPH_WRITERS: dict[str, Callable[[Any, StrPath], None]] = {
    ".graphml": lambda graph, path: graph.to_graphml(path),
    ".dot": lambda graph, path: graph.to_dot(path),
    ".gv": lambda graph, path: graph.to_dot(path),
    ".json": lambda graph, path: graph.to_json(path),
    ".csv": lambda graph, path: graph.to_csv(path),
    ".parquet": lambda graph, path: graph.to_parquet(path),
}
"""What writes a graph, by suffix; a new format is a function and a line here."""
LOG_WRITERS: dict[str, Callable[[Any, StrPath], None]] = {
    ".xes": lambda found, path: found.to_xes(path),
    ".jsonocel": lambda found, path: found.to_ocel(path),
}
"""What writes a log with the causes of each event, by suffix."""


def export(found: Any, path: StrPath, *, hierarchy_level: int | None = None) -> Any:
    """Write a result in the format that the name of the file asks for.

    Args:
        found: A graph; or the discovery of a whole log, whose summary is written as a graph.
        path: ``.graphml``, ``.dot`` (``.gv``), ``.json``, ``.csv`` or ``.parquet``: the graph; ``.xes`` or
            ``.jsonocel``: the log, each event with its causes (not for graphs over event types).
        hierarchy_level: The graph between types by their first 1, 2, … components, for types of several columns.

    Returns:
        What was written: the graph, or ``found`` where it is a log.

    Raises:
        ConfigError: The suffix is unknown, the result holds no log, or has no graph at that level.
    """
    suffix = Path(path).suffix.lower()
    check_choice("suffix of the file", suffix, [*GRAPH_WRITERS, *LOG_WRITERS])
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


def write_graphml(graph: nx.DiGraph[Any], path: StrPath) -> None:
    """Write GraphML with ``label`` on nodes and ``weight`` on edges, where Gephi, Cytoscape and yEd look for them."""
    import networkx as nx

    clean: nx.DiGraph[Any] = nx.DiGraph(**_xml_values(graph.graph))
    for node, data in graph.nodes(data=True):
        clean.add_node(_xml_text(node), label=_xml_text(str(data.get("event", node))), **_xml_values(data))
    for cause, effect, data in graph.edges(data=True):
        clean.add_edge(_xml_text(cause), _xml_text(effect), weight=_strength(data), **_xml_values(data))
    with whole_file(path) as temporary, temporary.open("wb") as file:
        nx.write_graphml(clean, file)


def write_dot(graph: nx.DiGraph[Any], path: StrPath) -> None:
    """Write DOT: width of an edge by strength, colour by sign, all numbers as attributes."""
    strongest = max((_strength(data) for *_, data in graph.edges(data=True)), default=1.0) or 1.0
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
        share = math.sqrt(_strength(data) / strongest)
        colour = _MORE_LIKELY if data.get("pointwise_nats", 0.0) >= 0 else _LESS_LIKELY
        drawn = f'label="{_strength(data):.3g}", penwidth="{0.6 + 3.4 * share:.2f}", color="{colour}"'
        lines.append(f"  {ids[cause]} -> {ids[effect]} [{drawn}{_dot_attributes(data)}];")
    with whole_file(path) as temporary:
        temporary.write_text("\n".join([*lines, "}", ""]), encoding="utf-8")


def write_node_link(graph: nx.DiGraph[Any], path: StrPath) -> None:
    """Write node-link JSON; numbers that JSON does not know (infinite, not a number) become null."""
    import networkx as nx

    data = nx.node_link_data(graph, edges="edges")
    for kind in ("nodes", "edges"):
        data[kind] = [{key: _finite(value) for key, value in row.items()} for row in data[kind]]
    write_json(path, data)


def write_csv(table: pl.DataFrame, path: StrPath, *, guard: bool = True) -> None:
    """Write CSV; with ``guard``, text that a spreadsheet would run as a formula gets an apostrophe in front.

    Source: OWASP, "CSV Injection".
    """
    if guard:
        text = pl.col(pl.String)
        table = table.with_columns(pl.when(text.str.contains(_FORMULA)).then("'" + text).otherwise(text).name.keep())
    with whole_file(path) as temporary:
        table.write_csv(temporary)


def write_parquet(table: pl.DataFrame, path: StrPath) -> None:
    """Write Parquet."""
    with whole_file(path) as temporary:
        table.write_parquet(temporary)


def annotate(events: pl.DataFrame, edges: pl.DataFrame) -> pl.DataFrame:
    """Say of every event what caused it.

    Args:
        events: ``case``, ``position``, ``event`` and perhaps ``time``.
        edges: ``case`` and the columns of `InstanceGraph.edges`.

    Returns:
        The events with ``n_causes``, ``n_effects``, ``causes`` (positions, strongest first, separated by spaces; empty
        where there is none), ``main_cause`` and ``main_cause_nats`` (type and CMI of the strongest; null where none).

    Example:
        >>> events = pl.DataFrame({"case": ["a"] * 3, "position": [0, 1, 2], "event": ["x", "y", "z"]})
        >>> edges = pl.DataFrame({"case": ["a", "a"], "cause_position": [0, 1], "effect_position": [2, 2],
        ...     "cause": ["x", "y"], "cmi_nats": [0.1, 0.3]})
        >>> annotate(events, edges).select("n_causes", "n_effects", "causes", "main_cause").rows()
        [(0, 1, '', None), (0, 1, '', None), (2, 0, '1 0', 'y')]
    """
    strongest = edges.sort(
        ["case", "effect_position", "cmi_nats", "cause_position"], descending=[False, False, True, True]
    )
    causes = strongest.group_by("case", pl.col("effect_position").alias("position"), maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("n_causes"),
        pl.col("cause_position").cast(pl.String).str.join(" ").alias("causes"),
        pl.col("cause").first().alias("main_cause"),
        pl.col("cmi_nats").first().alias("main_cause_nats"),
    )
    effects = edges.group_by("case", pl.col("cause_position").alias("position")).agg(
        pl.len().cast(pl.Int64).alias("n_effects")
    )
    key = ["case", "position"]
    return (
        events.join(causes, on=key, how="left", maintain_order="left")
        .join(effects, on=key, how="left", maintain_order="left")
        .with_columns(pl.col("n_causes", "n_effects").fill_null(0), pl.col("causes").fill_null(""))
        .select(*events.columns, "n_causes", "n_effects", "causes", "main_cause", "main_cause_nats")
    )


def write_xes(events: pl.DataFrame, edges: pl.DataFrame, path: StrPath) -> None:
    """Write an XES log whose events carry the columns of `annotate` as attributes ``sequela:…``.

    Raises:
        MissingExtraError: r4pm is not installed.
    """
    if importlib.util.find_spec("r4pm") is None:
        raise MissingExtraError("writing XES", "xes")
    import r4pm

    table = annotate(events, edges)
    names = {"case": "case:concept:name", "event": "concept:name", "time": "time:timestamp"}
    if "time" in table.columns:
        table = table.with_columns(seconds_to_datetime(table["time"]))
    table = table.with_columns(pl.col(pl.String).map_elements(_xml_text, return_dtype=pl.String)).rename(
        {name: names.get(name, f"sequela:{name}") for name in table.columns}
    )
    with whole_file(path) as temporary:
        named = temporary.with_suffix(".xes")  # r4pm chooses the format by the suffix
        try:
            r4pm.df.export_xes(table, str(named))
            os.replace(named, temporary)
        finally:
            named.unlink(missing_ok=True)


def write_ocel(events: pl.DataFrame, edges: pl.DataFrame, path: StrPath) -> None:
    """Write an object-centric log (OCEL 2.0, JSON).

    An event belongs to its object ``case``. Each edge is an object of type ``causal link`` with its numbers; the cause
    is related to it as ``cause``, the effect as ``effect``. Events also carry the columns of `annotate`.

    Raises:
        ConfigError: The log has no times, which OCEL demands.
    """
    if "time" not in events.columns:
        raise ConfigError("OCEL needs a time for every event, and this log has none; write XES instead (.xes)")
    numbers = {"lag": "integer", "cmi_nats": "float", "std_error": "float", "pointwise_nats": "float"}
    static = _EPOCH.isoformat()  # attributes that do not change
    related: dict[str, list[dict[str, str]]] = {}
    objects: list[dict[str, Any]] = [
        {"id": f"case:{case}", "type": "case", "attributes": [], "relationships": []}
        for case in events["case"].unique(maintain_order=True)
    ]
    for row in edges.iter_rows(named=True):
        case, ends = row["case"], (row["cause_position"], row["effect_position"])
        link = f"link:{case}/{ends[0]}-{ends[1]}"
        values = {name: _finite(row[name]) for name in numbers}
        objects.append(
            {
                "id": link,
                "type": "causal link",
                "attributes": [{"name": k, "time": static, "value": v} for k, v in values.items() if v is not None],
                "relationships": [{"objectId": f"case:{case}", "qualifier": "case"}],
            }
        )
        for qualifier, position in zip(("cause", "effect"), ends, strict=True):
            related.setdefault(f"{case}/{position}", []).append({"objectId": link, "qualifier": qualifier})
    noted = {"position": "integer", "n_causes": "integer", "n_effects": "integer", "causes": "string",
             "main_cause": "string", "main_cause_nats": "float"}  # fmt: skip
    written = []
    for row in annotate(events, edges).iter_rows(named=True):
        name = f"{row['case']}/{row['position']}"
        written.append(
            {
                "id": name,
                "type": row["event"],
                "time": (_EPOCH + timedelta(seconds=row["time"])).isoformat(),
                "attributes": [{"name": key, "value": row[key]} for key in noted if row[key] is not None],
                "relationships": [{"objectId": f"case:{row['case']}", "qualifier": "case"}, *related.get(name, [])],
            }
        )
    log = {
        "objectTypes": [
            {"name": "case", "attributes": []},
            {"name": "causal link", "attributes": [{"name": k, "type": v} for k, v in numbers.items()]},
        ],
        "eventTypes": [
            {"name": name, "attributes": [{"name": k, "type": v} for k, v in noted.items()]}
            for name in events["event"].unique().sort()
        ],
        "objects": objects,
        "events": written,
    }
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(log, file, ensure_ascii=False, allow_nan=False)


class AnnotatedLog:
    """A result that knows the events its edges connect, and can write them as a log with causes."""

    def _log(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the events, and the edges with their ``case``."""
        raise NotImplementedError

    def to_xes(self, path: StrPath) -> None:
        """Write an XES log for process-mining tools, each event with its causes (extra ``xes``).

        Attributes of an event: ``sequela:position``, ``sequela:n_causes``, ``sequela:n_effects``, ``sequela:causes``
        (positions, strongest first), ``sequela:main_cause`` (its type), ``sequela:main_cause_nats``.

        Raises:
            MissingExtraError: r4pm is not installed.
        """
        write_xes(*self._log(), path)

    def to_ocel(self, path: StrPath) -> None:
        """Write an object-centric log (OCEL 2.0, JSON): cases and causal links are its objects.

        Raises:
            ConfigError: The log has no times, which OCEL demands.
        """
        write_ocel(*self._log(), path)


def _strength(data: Mapping[str, Any]) -> float:
    """Return what the picture of an edge is scaled by: the total of a summary, the CMI of other graphs."""
    return float(data.get("cmi_nats_total", data.get("cmi_nats", 0.0)))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _xml_text(value: Any) -> Any:
    """XML 1.0 has no control characters; show them spelled out."""
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(c if c in "\t\n" else visible(c) for c in value)


def _xml_values(data: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what GraphML has no number for; a truth value is 1 or 0, which all readers take."""
    shown = {key: value for key, value in data.items() if _finite(value) is not None}
    return {key: int(value) if isinstance(value, bool) else _xml_text(value) for key, value in shown.items()}


def _dot_text(text: str) -> str:
    """Escape text for a quoted label: it is read for backslashes, then for entities."""
    lines = (visible(line) for line in text.split("\n"))
    escaped = (line.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return "\\n".join(escaped)


def _dot_attributes(data: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in data.items() if key != "event" and _finite(value) is not None}
    return "".join(f', {key}="{_dot_text(str(value))}"' for key, value in shown.items())
