"""What the page is given: results as plain values, one list a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import polars as pl

from sequela.errors import ConfigError, LogFormatError, nearest
from sequela.events.log import event_at_level, event_components
from sequela.events.neighbours import AT_NEIGHBOUR
from sequela.events.readers.frames import NAME as UNNAMED
from sequela.evidence.words import link_sentence
from sequela.graphs.exports import at_level
from sequela.graphs.instance import InstanceGraph
from sequela.graphs.population import PopulationGraph
from sequela.graphs.results import Discovery
from sequela.graphs.summary import SummaryGraph
from sequela.reports.casedata import embedded, plain
from sequela.reports.findings import findings
from sequela.reports.traces import Traces
from sequela.reports.words import ASSUMPTIONS, badge, made_by, trust

Result = InstanceGraph | SummaryGraph | PopulationGraph | Discovery

MAX_CANDIDATES = 1_000
"""Most pairs without evidence that are in the page all the same."""
MAX_FINDINGS = 100


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
    Column("cmi_nats", "strength (nats)", "How much the cause changes the probability of the effect, on average."),
    Column("cmi_nats_total", "total strength (nats)", "Strength summed over all edges."),
    Column("presence_cmi_nats", "presence (nats)", "How much of it comes from whether the cause is there."),
    Column("state_cmi_nats", "state (nats)", "How much of it comes from the state of the cause."),
    Column("pointwise_nats", "gain (nats)", "Change of the effect's log-probability: +0.69 is twice as likely."),
    Column("pointwise_low_nats", "gain, low", "Lower end of its 95 % interval, with the error of the model."),
    Column("pointwise_high_nats", "gain, high", "Upper end of its 95 % interval, with the error of the model."),
    Column("lag", "lag (ticks)", "Ticks (distinct times) from cause to effect where the link is strongest."),
    Column("mean_lag", "lag (ticks)", "Ticks (distinct times) from cause to effect, on average."),
    Column("n_cases", "cases with an edge", "Cases in which an event of one type caused one of the other."),
    Column("support_cases", "cases with both", "Cases that hold the pair within the horizon."),
    Column("n_edges", "edges", "Edges between events of these types."),
    Column("n_undirected", "without direction", "Edges between events at one time, whose direction is not known."),
    Column("support", "places", "Pairs of events of these types within the horizon."),
    Column("cmi_low_nats", "low (nats)", "Lower end of the strength's 95 % interval."),
    Column("cmi_high_nats", "high (nats)", "Upper end of the strength's 95 % interval."),
    Column("log10_e", "log10 e", "Evidence: 10 to this power to 1 against there being no link."),
    Column("q_value", "q", "Share of false links expected among all that have at most this q."),
    Column("confidence", "confidence", "Probability that the link is true, as far as the model is right."),
    Column(
        "sensitivity", "sensitivity", "Risk ratio that a hidden cause must have with both to explain the link away."
    ),
    Column(
        "observed_sensitivity",
        "sensitivity of others",
        "The largest such ratio of another recorded cause of the effect: a yardstick for the one before.",
    ),
    Column("attributed", "attributed", "Events of the effect that the cause brought about, by their times alone."),
    Column("directed", "directed", "Whether the direction is known; it is not where the two events share their time."),
    Column("is_edge", "evidence", "Whether the link is strong enough and has evidence over cases."),
    Column("mark", "remark", "Why it is uncertain."),
)


def page_data(
    result: Result,
    *,
    population: PopulationGraph | None = None,
    cases: Sequence[str] | None = None,
    title: str | None = None,
    max_links: int = 20_000,
    max_megabytes: float = 10.0,
    hierarchy_level: int | None = None,
    anonymise: bool = False,
) -> dict[str, Any]:
    """Return everything the page shows, as plain values.

    Args:
        result: What to show.
        population: Evidence over cases for the links between types, for a result that has none itself.
        cases: Names of the cases to embed; by default as many as fit.
        title: Heading; by default the name of the log.
        max_links: The strongest so many links are in the page.
        max_megabytes: Size of the embedded cases.
        hierarchy_level: Event types by their first 1, 2, … components; None for whole types.
        anonymise: Replace case names by numbers, let the log begin at time 0, leave its name out.

    Raises:
        ConfigError: Cases are asked of a graph that has none, there is no such level, or the population graph
            is not one of this log.
        LogFormatError: There is no such case, or its events are not known.
    """
    if isinstance(result, PopulationGraph):
        if population is not None:
            raise ConfigError("result is a population graph already: leave population out")
        population = result
    summary = _summary(result, hierarchy_level)
    evidence = None if population is None else _population_at(population, hierarchy_level)
    nodes = _nodes(summary, evidence)
    index = _index(result, population, nodes, hierarchy_level)
    links, n_links = _cut(_join(summary, evidence), max_links)
    run = _run(result)
    traces, case_names = _traces(result, index, evidence, anonymise=anonymise)
    known = getattr(result if population is None else population, "known", None)
    beside = None if population is result else _run(population)
    data = {
        "title": title or ("Event log" if anonymise else _title(result, run)),
        "anonymised": anonymise,
        "counts": _counts(result, traces, nodes, n_links, run, evidence),
        "trust": [asdict(sentence) for sentence in trust(run, beside, known)],
        "assumptions": list(ASSUMPTIONS),
        "made_by": made_by(run),
        "types": {
            "names": nodes["event"].to_list(),
            "counts": nodes["count"].to_list(),
            "n_components": _n_components(nodes),
        },
        "links": _links(links, index, n_links),
        "findings": None,
        "outcomes": None,
        "cases": [],
    }
    data["badge"] = asdict(badge(run, beside, evidence is not None))
    if traces is None:
        if cases:
            raise ConfigError("cases can be shown only of what `discover` found, not of a summary or population graph")
        return data
    wanted = None if cases is None or isinstance(result, InstanceGraph) else _numbers(cases, case_names)
    return data | _stories(traces, evidence, index, wanted, max_megabytes * 1e6)


def _stories(
    traces: Traces,
    evidence: PopulationGraph | None,
    index: Mapping[str, int],
    wanted: Sequence[int] | None,
    max_bytes: float,
) -> dict[str, Any]:
    """Return the findings and the embedded cases."""
    known = None if evidence is None else {
        (index[row["cause"]], index[row["effect"]]): row for row in evidence.edges.iter_rows(named=True)
    }  # fmt: skip
    found = findings(traces, known, MAX_FINDINGS)
    examples = [int(traces.case_of[row]) for root in found["roots"][:20] for row in root["examples"]]
    shown, place = embedded(traces, wanted=wanted, first=examples, max_bytes=max_bytes)
    for root in found["roots"]:  # examples as [case in the page, position]
        numbers = [(row, int(traces.case_of[row])) for row in root["examples"]]
        root["examples"] = [
            [place[number], int(row - traces.offsets[number])] for row, number in numbers if number in place
        ]
    return {"findings": found, "cases": shown}


def _summary(result: Result, hierarchy_level: int | None) -> SummaryGraph | None:
    """Return the graph over event types of a result; None for a population graph."""
    if isinstance(result, PopulationGraph):
        return None
    if hierarchy_level is not None:
        merged = at_level(result, hierarchy_level)
        return SummaryGraph(merged.edges, merged.nodes)
    if isinstance(result, SummaryGraph):
        return result
    return result.summary(self_loops=True) if isinstance(result, InstanceGraph) else result.summary()


def _population_at(population: PopulationGraph, hierarchy_level: int | None) -> PopulationGraph:
    """Return the population graph if it is of this level."""
    names = population.nodes["event"]
    if hierarchy_level is not None and any(event_at_level(name, hierarchy_level) != name for name in names):
        at_level(population, hierarchy_level)  # says why that cannot be
    return population


def _nodes(summary: SummaryGraph | None, evidence: PopulationGraph | None) -> pl.DataFrame:
    """Return ``event`` and ``count`` of all types; those of the population only count 0 in this log."""
    if summary is None:
        assert evidence is not None
        return evidence.nodes.select("event", "count")
    nodes = summary.nodes.select("event", "count")
    if evidence is None:
        return nodes
    extra = evidence.nodes.join(nodes, on="event", how="anti")
    if nodes.height and extra.height == evidence.nodes.height and evidence.nodes.height:
        raise ConfigError(
            "the population graph and the result have no event type in common "
            f"('{evidence.nodes['event'][0]}' and '{nodes['event'][0]}' …): they must be of one log, at one level"
        )
    return pl.concat([nodes, extra.select("event", pl.lit(0, dtype=nodes.schema["count"]).alias("count"))])


def _index(
    result: Result, population: PopulationGraph | None, nodes: pl.DataFrame, hierarchy_level: int | None
) -> dict[str, int]:
    """Return the number of each event type, under its own name and under that of every type merged into it."""
    index = {name: i for i, name in enumerate(nodes["event"])}
    if hierarchy_level is None:
        return index
    whole = [each.nodes["event"] for each in (result, population) if each is not None and hasattr(each, "nodes")]
    if isinstance(result, InstanceGraph):
        whole.append(pl.Series(result.events, dtype=pl.String).unique())
    merged = {own: event_at_level(own, hierarchy_level) for names in whole for own in names}
    return {own: index[name] for own, name in merged.items()} | index


def _join(summary: SummaryGraph | None, evidence: PopulationGraph | None) -> pl.DataFrame:
    """Return one table of links: those with evidence, and what was found in single cases."""
    if evidence is None:
        assert summary is not None
        return summary.edges
    pairs = evidence.pairs
    if evidence.run.arguments.objective not in (None, "rate"):  # the probability decided, not the rate
        pairs = pairs.with_columns(confidence=pl.col("probability"))
    if summary is None:
        return pairs
    own = [name for name in ("n_undirected", "directed") if name in summary.edges.columns]
    own = [name for name in own if name not in pairs.columns]
    single = summary.edges.select(
        "cause", "effect", "n_cases", "n_edges", *own, pl.col("cmi_nats", "pointwise_nats").name.prefix("single_")
    )
    both = pairs.join(single, on=["cause", "effect"], how="full", coalesce=True)
    return (
        both.with_columns(
            pl.coalesce(pl.col(name).fill_nan(None), f"single_{name}").alias(name)
            for name in ("cmi_nats", "pointwise_nats")
        )
        .with_columns(pl.col("is_edge").fill_null(False))
        .drop("single_cmi_nats", "single_pointwise_nats")
    )


def _run(result: Any) -> dict[str, Any]:
    if isinstance(result, InstanceGraph):
        counts = {"n_cases": 1, "n_unknown_events": result.n_unknown, "n_clamped": result.n_clamped}
        return {"arguments": result.settings.to_dict(), "counts": counts}
    return result.run.to_dict() if isinstance(result, Discovery | PopulationGraph) else {}


def _traces(
    result: Result, index: Mapping[str, int], evidence: PopulationGraph | None, *, anonymise: bool
) -> tuple[Traces | None, list[str]]:
    """Return the cases of a result, None where it has none, and their names in the log."""
    if isinstance(result, SummaryGraph | PopulationGraph):
        return None, []
    if not isinstance(result, InstanceGraph) and result.events is None:
        return None, []
    events, edges = result._log()
    names = events["case"].unique(maintain_order=True).to_list()
    if anonymise:
        new = {name: f"case {number}" for number, name in enumerate(names, 1)}
        events, edges = (
            table.with_columns(pl.col("case").replace_strict(new, return_dtype=pl.String)) for table in (events, edges)
        )
        events = events.select(name for name in events.columns if name in ("case", "position", "event", "time"))
        if "time" in events.columns:
            events = events.with_columns(pl.col("time") - pl.col("time").min())
    links = None
    if evidence is not None:
        pairs = evidence.edges.filter(pl.col("pointwise_nats").fill_nan(0).fill_null(0) >= 0).select("cause", "effect")
        links = {(index[cause], index[effect]) for cause, effect in pairs.iter_rows()}
    states = _run(result)["arguments"].get("contrast") == "state"
    return Traces.build(events, edges, index, links, states), names


def _numbers(cases: Sequence[str], names: list[str]) -> list[int]:
    place = {name: number for number, name in enumerate(names)}
    for case in cases:
        if str(case) not in place:
            raise LogFormatError(f"the result has no case '{case}'{nearest(str(case), names[:10_000])}")
    return [place[str(case)] for case in cases]


def _title(result: Result, run: dict[str, Any]) -> str:
    if isinstance(result, InstanceGraph):
        return f"Case {result.case}" if result.case else "One case"
    source = str(run.get("log", {}).get("source") or "")
    return "What causes what" if source in ("", UNNAMED) else source


def _counts(
    result: Result,
    traces: Traces | None,
    nodes: pl.DataFrame,
    n_links: int,
    run: Mapping[str, Any],
    evidence: PopulationGraph | None,
) -> dict[str, Any]:
    """Count what the heading names."""
    return {
        "n_cases": len(traces.names) if traces is not None else run.get("counts", {}).get("n_cases"),
        "n_events": int(nodes.filter(~pl.col("event").str.ends_with(AT_NEIGHBOUR))["count"].sum()),
        "n_types": int((nodes["count"] > 0).sum()),
        "n_links": n_links,
        "n_edges": None if traces is None else len(traces.cause),
        "has_evidence": evidence is not None,
        "is_one_case": isinstance(result, InstanceGraph),
    }


def _cut(links: pl.DataFrame, max_links: int) -> tuple[pl.DataFrame, int]:
    """Return the rows that go into the page, and how many links there are in all."""
    if "is_edge" not in links.columns:
        return links.head(max_links), links.height
    edges = links.filter("is_edge")
    others = links.filter(~pl.col("is_edge") & pl.col("cmi_nats").is_not_null() & pl.col("cmi_nats").is_not_nan())
    if "n_edges" in links.columns:
        order = [pl.col("n_edges").fill_null(0), pl.col("cmi_nats").round(9), pl.col("cause"), pl.col("effect")]
        others = others.sort(order, descending=[True, True, False, False])
    return pl.concat([edges.head(max_links), others.head(MAX_CANDIDATES)]), edges.height


def _n_components(nodes: pl.DataFrame) -> int:
    """Return how many components every event type has (``ecu|code`` has 2)."""
    counts = {len(event_components(name)) for name in nodes["event"] if not name.startswith("<")}
    return counts.pop() if len(counts) == 1 else 1


def _says_nothing(links: pl.DataFrame, key: str) -> bool:
    """Return whether a column of directions has nothing to tell: all of them are known."""
    values = links[key]
    return (key == "n_undirected" and not values.sum()) or (key == "directed" and bool(values.fill_null(True).all()))


def _sentences(links: pl.DataFrame) -> list[str | None] | None:
    """Say each link with evidence in words; None for what was found in single cases only."""
    if "log10_e" not in links.columns:
        return None
    weighed = pl.col("log10_e", "pointwise_nats").is_finite(), pl.col("support_cases").is_not_null()
    known = links.select(pl.all_horizontal(*weighed).fill_null(False)).to_series()
    return [link_sentence(row) if one else None for row, one in zip(links.iter_rows(named=True), known, strict=True)]


def _links(links: pl.DataFrame, index: Mapping[str, int], n_links: int) -> dict[str, Any]:
    columns = [column for column in COLUMNS if column.key in links.columns and not _says_nothing(links, column.key)]
    has_total = "cmi_nats_total" in links.columns
    return {
        "columns": [{**column._asdict(), "numeric": links.schema[column.key].is_numeric()} for column in columns],
        "cause": [index[name] for name in links["cause"]],
        "effect": [index[name] for name in links["effect"]],
        "values": {column.key: plain(links[column.key]) for column in columns},
        "sentences": _sentences(links),
        "measures": ["cmi_nats_total", "cmi_nats"] if has_total else ["cmi_nats"],
        "weight": "n_edges" if has_total else "support",
        "support": "n_cases" if has_total else "support_cases",
        "lag": "mean_lag" if has_total else "lag",
        "q": "q_value" if "q_value" in links.columns else None,
        "n_links": n_links,
    }
