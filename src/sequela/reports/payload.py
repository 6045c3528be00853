"""What the page is given: results as plain values, one list a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from sequela.errors import ConfigError
from sequela.events.log import COMPONENT_SEPARATOR
from sequela.graphs.exports import at_level
from sequela.graphs.instance import InstanceGraph
from sequela.graphs.population import PopulationGraph
from sequela.graphs.results import Discovery
from sequela.graphs.summary import SummaryGraph, names_at_level
from sequela.reports.words import ASSUMPTIONS, made_by, trust

Result = InstanceGraph | SummaryGraph | PopulationGraph | Discovery

MAX_CANDIDATES = 1_000
"""Most pairs of a population that are not links and are in the page all the same."""
MAX_CASE_EVENTS = 1_500
MAX_CASE_EDGES = 4_000
DEFAULT_CASES = 12
_DIGITS = 4


class Column(NamedTuple):
    """One column of the table of links.

    Attributes:
        key: Its name in the frame.
        label: What people read.
        help: One sentence.
    """

    key: str
    label: str
    help: str


COLUMNS = (
    Column("cmi_nats", "strength", "How much the cause changes the probability of the effect, in the mean (nats)."),
    Column("cmi_nats_total", "total strength", "Strength summed over all places (nats)."),
    Column("pointwise_nats", "gain", "Change of the effect's log-probability (nats): +0.69 is twice as likely."),
    Column("lag", "lag", "Events from cause to effect where the link is strongest."),
    Column("mean_lag", "lag", "Events from cause to effect, in the mean."),
    Column("n_cases", "cases", "Cases with such an edge."),
    Column("support_cases", "cases", "Cases that hold the pair."),
    Column("n_edges", "edges", "Edges between events of these types."),
    Column("support", "places", "Pairs of events of these types within the horizon."),
    Column("cmi_low_nats", "low", "Lower end of the strength's 95 % interval (nats)."),
    Column("cmi_high_nats", "high", "Upper end of the strength's 95 % interval (nats)."),
    Column("log10_e", "log10 e", "Evidence: 10 to this power to 1 against there being nothing."),
    Column("q_value", "q", "Share of false links expected among all that have at most this q."),
    Column("is_edge", "link", "Whether it is strong and certain enough."),
    Column("mark", "remark", "Why it is uncertain."),
)


def page_data(
    result: Result,
    *,
    cases: Sequence[str] | None = None,
    title: str | None = None,
    max_links: int = 20_000,
    hierarchy_level: int | None = None,
) -> dict[str, Any]:
    """Return everything the page shows, as plain values.

    Args:
        result: What to show.
        cases: Names of cases to show as timelines; by default the `DEFAULT_CASES` with the most edges.
        title: Heading; by default the name of the log.
        max_links: The strongest so many links are in the page.
        hierarchy_level: Event types by their first 1, 2, … parts; None for whole types.

    Raises:
        ConfigError: Cases are asked of a graph that has none, or there is no such level.
        LogFormatError: There is no such case, or its events are not known.
    """
    graphs = _cases(result, cases)
    run = result.run.to_dict() if isinstance(result, Discovery | PopulationGraph) else {}
    if isinstance(result, InstanceGraph):
        links, nodes = result.summary(self_loops=True).edges, result.summary().nodes
        run = {
            "arguments": result.settings.to_dict(),
            "counts": {"n_cases": 1, "n_unknown_events": result.n_unknown, "n_clamped": result.n_clamped},
        }
    elif isinstance(result, PopulationGraph):
        links, nodes = result.pairs, result.nodes
    elif isinstance(result, SummaryGraph):
        links, nodes = result.edges, result.nodes
    else:
        summary = result.summary()
        links, nodes = summary.edges, summary.nodes
    if hierarchy_level is None:
        index = {name: i for i, name in enumerate(nodes["event"])}
    else:
        names = names_at_level(nodes["event"], hierarchy_level)
        merged = at_level(result, hierarchy_level)
        links, nodes = merged.edges, merged.nodes
        place = {name: i for i, name in enumerate(nodes["event"])}
        index = {name: place[own] for name, own in names.items()} | place
    found, n_links = _cut(links, max_links)
    return {
        "title": title or _title(result, run),
        "lead": _lead(result, run, nodes, n_links),
        "trust": [asdict(sentence) for sentence in trust(run)],
        "assumptions": list(ASSUMPTIONS),
        "made_by": made_by(run),
        "types": {"names": nodes["event"].to_list(), "counts": nodes["count"].to_list(), "parts": _parts(nodes)},
        "links": _links(found, index, n_links),
        "cases": [_case(graph, index) for graph in graphs],
    }


def _cases(result: Result, names: Sequence[str] | None) -> list[InstanceGraph]:
    """Return the graphs of the cases to show."""
    if isinstance(result, InstanceGraph):
        return [result]
    if isinstance(result, SummaryGraph | PopulationGraph):
        if names:
            raise ConfigError("cases can be shown only of what `discover` found, not of a summary or population graph")
        return []
    if names is None:
        if result.scan_events() is None:
            return []
        counts = result.scan().group_by("case").len().sort(["len", "case"], descending=[True, False])
        names = counts.head(DEFAULT_CASES).collect()["case"].to_list()
    return [result.case(name) for name in names]


def _title(result: Result, run: dict[str, Any]) -> str:
    if isinstance(result, InstanceGraph):
        return f"Case {result.case}" if result.case else "One case"
    return str(run.get("log", {}).get("source") or "What causes what")


def _lead(result: Result, run: dict[str, Any], nodes: pl.DataFrame, n_links: int) -> str:
    """Say in one sentence what was found."""
    if isinstance(result, InstanceGraph):
        return (
            f"{len(result.events):,} events of one case; {len(result):,} of {result.n_tested:,} pairs of events are "
            "cause and effect."
        )
    n_events, counts = int(nodes["count"].sum()), run.get("counts", {})
    cases = f" of {counts['n_cases']:,} cases" if "n_cases" in counts else ""
    edges = f" from {counts['n_edges']:,} edges between single events" if counts.get("n_edges") else ""
    return f"{n_events:,} events{cases}, {nodes.height:,} event types: {n_links:,} links between types{edges}."


def _cut(links: pl.DataFrame, max_links: int) -> tuple[pl.DataFrame, int]:
    """Return the rows that go into the page, and how many links there are in all."""
    if "is_edge" not in links.columns:
        return links.head(max_links), links.height
    edges = links.filter("is_edge")
    others = links.filter(~pl.col("is_edge") & pl.col("cmi_nats").is_not_nan()).head(MAX_CANDIDATES)
    return pl.concat([edges.head(max_links), others]), edges.height


def _parts(nodes: pl.DataFrame) -> int:
    """Return how many parts every event type has (``component|code`` has 2)."""
    counts = {name.count(COMPONENT_SEPARATOR) + 1 for name in nodes["event"] if not name.startswith("<")}
    return counts.pop() if len(counts) == 1 else 1


def _links(links: pl.DataFrame, index: dict[str, int], n_links: int) -> dict[str, Any]:
    columns = [column for column in COLUMNS if column.key in links.columns]
    has_total = "cmi_nats_total" in links.columns
    return {
        "columns": [{**column._asdict(), "numeric": links.schema[column.key].is_numeric()} for column in columns],
        "cause": [index[name] for name in links["cause"]],
        "effect": [index[name] for name in links["effect"]],
        "values": {column.key: _plain(links[column.key]) for column in columns},
        "measures": ["cmi_nats_total", "cmi_nats"] if has_total else ["cmi_nats"],
        "weight": "n_edges" if has_total else "support",
        "support": "n_cases" if has_total else "support_cases",
        "lag": "mean_lag" if has_total else "lag",
        "q": "q_value" if "q_value" in links.columns else None,
        "n_links": n_links,
    }


def _case(graph: InstanceGraph, index: dict[str, int]) -> dict[str, Any]:
    """Return one case; of a very long one the first events, of very many edges the strongest."""
    n_shown = min(len(graph.events), MAX_CASE_EVENTS)
    edges = graph.edges.filter(pl.col("effect_position") < n_shown)
    n_here = edges.height
    strongest = edges.with_row_index("row").sort(["cmi_nats", "row"], descending=[True, False]).head(MAX_CASE_EDGES)
    edges = strongest.sort("row")
    return {
        "name": graph.case,
        "events": [index[name] for name in graph.events[:n_shown]],
        "times": None if graph.times is None else [round(time, 3) for time in graph.times[:n_shown]],
        "n_events": len(graph.events),
        "n_edges": len(graph),
        "n_edges_here": n_here,
        "cause": edges["cause_position"].to_list(),
        "effect": edges["effect_position"].to_list(),
        "cmi_nats": _plain(edges["cmi_nats"]),
        "std_error": _plain(edges["std_error"]),
        "pointwise_nats": _plain(edges["pointwise_nats"]),
    }


def _plain(values: pl.Series) -> list[Any]:
    """Return a column for JSON: four significant digits, nothing that is not a number."""
    if not values.dtype.is_float():
        return values.to_list()
    numbers = values.to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where((numbers == 0) | ~np.isfinite(numbers), 0, np.floor(np.log10(np.abs(numbers))))
    return [
        None if value is None or not np.isfinite(value) else round(float(value), int(_DIGITS - 1 - digits))
        for value, digits in zip(numbers.tolist(), size.tolist(), strict=True)
    ]
