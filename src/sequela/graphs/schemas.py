"""Every table that Sequela hands out: its columns, their types, units and meanings, and the check that a file fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from sequela.errors import LogFormatError
from sequela.text import visible

if TYPE_CHECKING:
    from polars.datatypes import DataTypeClass

    DataType = pl.DataType | DataTypeClass


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        kind: Its type.
        unit: Unit of its numbers; empty where they have none.
        meaning: What it says, in one sentence.
        optional: Whether tables may lack it.
        nullable: Whether values may be missing.
    """

    kind: DataType
    unit: str
    meaning: str
    optional: bool = False
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: What it is.
        columns: Its columns, in order.
    """

    name: str
    columns: Mapping[str, Column]

    @property
    def schema(self) -> pl.Schema:
        """Names and types of the columns that are always there."""
        return pl.Schema({name: each.kind for name, each in self.columns.items() if not each.optional})

    def check_schema(self, schema: Mapping[str, DataType], file: str) -> None:
        """Raise `LogFormatError` unless a table has these columns, of these types."""
        for name, column in self.columns.items():
            if name not in schema:
                if column.optional:
                    continue
                raise LogFormatError(f"{file} has no column '{name}': {column.meaning}")
            if schema[name] != column.kind:
                raise LogFormatError(f"{file}: the column '{name}' must be of type {column.kind}; got {schema[name]}")

    def check(self, table: pl.DataFrame, file: str) -> pl.DataFrame:
        """Return a table; raise `LogFormatError` where a column lacks, is of another type or has missing values."""
        self.check_schema(table.schema, file)
        for name, column in self.columns.items():
            if name in table.columns and not column.nullable and table[name].null_count():
                raise LogFormatError(f"{file}: the column '{name}' lacks {table[name].null_count():,} values")
        return table

    def markdown(self) -> str:
        """Return the columns as a table for the docs."""
        lines = [f"| {head} |" for head in ("column | type | unit | meaning", "---|---|---|---")]
        for name, each in self.columns.items():
            said = each.meaning + (" (only where it applies)" if each.optional else "")
            lines.append(f"| `{name}` | {str(each.kind).lower()} | {each.unit or '–'} | {said} |")
        return "\n".join(lines)


_CAUSE = Column(pl.String(), "", "Event type of the cause.")
_EFFECT = Column(pl.String(), "", "Event type of the effect.")
_CASE = Column(pl.String(), "", "Name of the case.")
_POSITION = "of the {}, counted from 0 in its case."

INSTANCE = Table(
    "edges of one case",
    {
        "cause_position": Column(pl.Int64(), "events", "Position " + _POSITION.format("cause")),
        "effect_position": Column(pl.Int64(), "events", "Position " + _POSITION.format("effect")),
        "cause": _CAUSE,
        "effect": _EFFECT,
        "lag": Column(
            pl.Int64(), "ticks", "Distance from cause to effect in time stamps (in events, where ties are ordered); 1 "
            "is the next, 0 the same.",
        ),
        "directed": Column(
            pl.Boolean(), "", "False where it is not known which came first: events at one time, unless a population "
            "told it.",
        ),
        "cmi_nats": Column(pl.Float64(), "nats", "Estimated conditional mutual information: the size of the effect."),
        "std_error": Column(pl.Float64(), "nats", "Monte Carlo standard error of it."),
        "pointwise_nats": Column(
            pl.Float64(), "nats", "How much likelier the cause made its effect (log ratio); below 0: less likely."
        ),
        "mean_of_kl_nats": Column(pl.Float64(), "nats", "The second statistic, where it was asked for.", optional=True),
        "confidence": Column(pl.Float64(), "", "Probability that the edge is one, with a population.", optional=True),
        "oriented_by": Column(
            pl.String(), "", "What told the direction of an edge within a tick: `population` or `knowledge`; else "
            "missing.",
            optional=True, nullable=True,
        ),
        "on_link": Column(
            pl.Boolean(), "", "Whether the types are a link of the population: root causes follow such edges only.",
            optional=True,
        ),
        "presence_cmi_nats": Column(
            pl.Float64(), "nats", "Effect against another event in the place of the cause.", optional=True,
            nullable=True,
        ),
        "state_cmi_nats": Column(
            pl.Float64(), "nats", "Effect on how the later event went, against the same event in another state.",
            optional=True, nullable=True,
        ),
        "presence_median_nats": Column(
            pl.Float64(), "nats", "As `presence_cmi_nats`, against the median replacement.", optional=True,
            nullable=True,
        ),
        "state_median_nats": Column(
            pl.Float64(), "nats", "As `state_cmi_nats`, against the median replacement.", optional=True, nullable=True
        ),
    },
)  # fmt: skip

EDGES = Table("edges of all cases (`edges.parquet`)", {"case": _CASE, **INSTANCE.columns})

EVENTS = Table(
    "events as the density read them (`events.parquet`)",
    {
        "case": _CASE,
        "position": Column(pl.Int64(), "events", "Position in the case, counted from 0."),
        "event": Column(pl.String(), "", "Event type; `<rare>` for types folded into one."),
        "time": Column(pl.Float64(), "seconds", "Since 1970, where the log has times.", optional=True),
        "neighbour": Column(
            pl.String(),
            "",
            "Where neighbours are given: the entity at which it happened, if not the case itself.",
            optional=True,
            nullable=True,
        ),
    },
)

NODES = Table(
    "event types (`nodes.parquet`)",
    {
        "event": Column(pl.String(), "", "Event type."),
        "count": Column(pl.Int64(), "events", "Its events in the log."),
    },
)

PLACES = Table(
    "places of each pair of event types (`places.parquet`)",
    {
        "cause": _CAUSE,
        "effect": _EFFECT,
        "n_places": Column(
            pl.Int64(),
            "places",
            "Pairs of positions of these types within the horizon; pairs within a tick count for "
            "the types in the order of their names, unless a population told directions.",
        ),
        "knowledge": Column(
            pl.String(),
            "",
            "What is known of the pair beside the log: `excluded` (its places were not tested) or "
            "`required`; else missing.",
            optional=True,
            nullable=True,
        ),
    },
)

SUMMARY = Table(
    "pairs of event types with an edge (`summary.parquet`)",
    {
        "cause": _CAUSE,
        "effect": _EFFECT,
        "n_edges": Column(pl.Int64(), "edges", "Edges between events of these types."),
        "n_cases": Column(pl.Int64(), "cases", "Cases with such an edge."),
        "mean_lag": Column(pl.Float64(), "events", "Mean distance over the edges."),
        "cmi_nats": Column(pl.Float64(), "nats", "Mean effect over the edges."),
        "cmi_nats_total": Column(pl.Float64(), "nats", "Sum of the effects of the edges."),
        "pointwise_nats": Column(
            pl.Float64(), "nats", "Mean log ratio over the edges: below 0, the cause makes the effect less likely."
        ),
        "n_undirected": Column(
            pl.Int64(), "edges", "Edges of unknown direction among them; they count for the types in the order of "
            "their names.",
        ),
        "directed": Column(pl.Boolean(), "", "Whether there are others."),
        "n_places": Column(
            pl.Int64(), "places", "Support: pairs of positions of these types within the horizon, edges or not.",
            nullable=True,
        ),
        "share": Column(pl.Float64(), "", "Share of these places that are edges.", nullable=True),
        "effect_nats": Column(
            pl.Float64(), "nats", "Mean effect over all these places, 0 where there is no edge.", nullable=True
        ),
        "is_link": Column(
            pl.Boolean(), "", "Whether the pair counts as a link: in two cases or more, and at more of its places than "
            "the rule for edges lets through by chance (one-sided binomial test at that same rate); with a population, "
            "also a link of it.",
        ),
    },
)  # fmt: skip

POPULATION = Table(
    "pairs of event types with their evidence (`population.parquet`)",
    {
        "cause": _CAUSE,
        "effect": _EFFECT,
        "support_cases": Column(pl.Int64(), "cases", "Cases that hold the pair (at one lag, the most)."),
        "support": Column(pl.Int64(), "places", "Pairs of positions that hold it, all lags."),
        "lag": Column(pl.Int64(), "events", "The lag at which it is strongest.", nullable=True),
        "cmi_nats": Column(pl.Float64(), "nats", "Mean effect at that lag."),
        "cmi_low_nats": Column(pl.Float64(), "nats", "Lower end of its 95 % interval over cases; the error of "
                               "the model is not in it."),
        "cmi_high_nats": Column(pl.Float64(), "nats", "Upper end of it."),
        "pointwise_nats": Column(pl.Float64(), "nats", "Mean log ratio there: above 0, the effect gets likelier."),
        "pointwise_low_nats": Column(
            pl.Float64(), "nats", "Lower end of a 95 % interval of the mean log ratio, with the error of the model; "
            "missing where nothing is left over to tell of it (ties without an order).", optional=True, nullable=True,
        ),
        "pointwise_high_nats": Column(pl.Float64(), "nats", "Upper end of it.", optional=True, nullable=True),
        "log10_e": Column(pl.Float64(), "log10", "Evidence: the e-value against no link."),
        "q_value": Column(pl.Float64(), "", "Least false discovery rate at which the pair is a link."),
        "corrected_nats": Column(
            pl.Float64(), "nats", "Mean effect, corrected by what forecasts leave over on held-out cases, at the lag "
            "where it is likeliest to reach delta; missing where that is not known.", optional=True, nullable=True,
        ),
        "probability": Column(
            pl.Float64(), "", "Probability that the effect is real and reaches delta; 0 where the effect comes first.",
            optional=True, nullable=True,
        ),
        "is_edge": Column(pl.Boolean(), "", "Whether it is strong and certain enough to be a link."),
        "direction_log10_e": Column(
            pl.Float64(), "log10", "Evidence that the two types come in one order, whichever: the e-value against fair "
            "coins; 1.3 and more counts as decided.", optional=True,
        ),
        "share_first": Column(
            pl.Float64(), "", "Share of the votes on the order that have the cause first; missing without votes.",
            optional=True, nullable=True,
        ),
        "sensitivity": Column(
            pl.Float64(), "", "E-value of VanderWeele and Ding: the risk ratio that a hidden cause must have with both "
            "to explain the effect away.", optional=True,
        ),
        "observed_sensitivity": Column(
            pl.Float64(), "", "The largest `sensitivity` of the other pairs with this effect: how strong its recorded "
            "causes are; missing where there is no other.", optional=True, nullable=True,
        ),
        "placebo_nats": Column(
            pl.Float64(), "nats", "Mean effect at its strongest lag beyond the horizon; missing where it was not asked "
            "for, or the model does not remember that far.", optional=True, nullable=True,
        ),
        "attributed": Column(
            pl.Float64(), "events", "Events of the effect that the cause brought about, by their times alone; missing "
            "where the objective is not `cascades`.", optional=True, nullable=True,
        ),
        "mark": Column(pl.String(), "", "Why a link is uncertain, or a strong pair no link; missing where nothing "
                       "speaks against it.", nullable=True),
    },
)  # fmt: skip

LAGS = Table(
    "strength of each pair by lag (`lags.parquet`)",
    {
        "cause": _CAUSE,
        "effect": _EFFECT,
        "lag": Column(pl.Int64(), "events", "Distance from cause to effect."),
        "support": Column(pl.Int64(), "places", "Pairs of positions at that lag."),
        "cmi_nats": Column(pl.Float64(), "nats", "Mean effect there."),
        "std_error": Column(pl.Float64(), "nats", "Its standard error over cases; infinite for one case."),
    },
)

ROOTS = Table(
    "root causes of one event",
    {
        "position": Column(pl.Int64(), "events", "Position " + _POSITION.format("root")),
        "event": Column(pl.String(), "", "Its event type."),
        "share": Column(pl.Float64(), "", "Share of what the graph explains of the event; they sum to 1."),
        "n_steps": Column(pl.Int64(), "edges", "Fewest edges from the root to the event."),
    },
)

CHANGED_LINKS = Table(
    "links of two results and how they changed (`Changes.links`)",
    {
        "cause": _CAUSE,
        "effect": _EFFECT,
        "change": Column(
            pl.String(), "", "`grew` or `fell` at the false discovery rate asked for, `appeared` or `vanished` where "
            "the weaker gain is within three standard errors of 0; `none` where no change was shown.",
        ),
        "gain_a_nats": Column(
            pl.Float64(), "nats", "What a cause adds to the log-odds of the effect in the first log, on average, all "
            "other links known.", nullable=True,
        ),
        "gain_b_nats": Column(pl.Float64(), "nats", "The same in the second log.", nullable=True),
        "std_error_a_nats": Column(pl.Float64(), "nats", "Standard error of the first gain, by case."),
        "std_error_b_nats": Column(pl.Float64(), "nats", "Standard error of the second gain, by case."),
        "p_value": Column(pl.Float64(), "", "Of no change in the effect; 1 where too few cases hold the pair."),
        "q_value": Column(pl.Float64(), "", "Least false discovery rate at which the link has changed."),
        "n_cases_a": Column(pl.Int64(), "cases", "Cases of the first log with an edge."),
        "n_cases_b": Column(pl.Int64(), "cases", "The same of the second."),
        "effect_a_nats": Column(
            pl.Float64(), "nats", "Mean effect over all places as the first result has it; see `summary.parquet`.",
            nullable=True,
        ),
        "effect_b_nats": Column(pl.Float64(), "nats", "The same of the second.", nullable=True),
        "is_link_a": Column(pl.Boolean(), "", "Whether it is a link of the first result."),
        "is_link_b": Column(pl.Boolean(), "", "Whether it is a link of the second."),
    },
)  # fmt: skip

CHANGED_TYPES = Table(
    "event types of two results and how they changed (`Changes.types`)",
    {
        "event": Column(pl.String(), "", "Event type."),
        "change": Column(
            pl.String(), "", "`new`, `vanished`, `more` or `fewer` events a case at the false discovery rate asked "
            "for; else `none`.",
        ),
        "root_change": Column(pl.String(), "", "The same of its events that no link explains."),
        "n_cases_a": Column(pl.Int64(), "cases", "Cases of the first log that hold it."),
        "n_cases_b": Column(pl.Int64(), "cases", "The same of the second."),
        "per_case_a": Column(pl.Float64(), "events", "Events a case in the first log."),
        "per_case_b": Column(pl.Float64(), "events", "The same in the second."),
        "q_value": Column(pl.Float64(), "", "Least false discovery rate at which that rate has changed."),
        "roots_per_case_a": Column(
            pl.Float64(), "events", "Events a case of the first log before which no linked cause stands within the "
            "horizon."
        ),
        "roots_per_case_b": Column(pl.Float64(), "events", "The same in the second."),
        "root_q_value": Column(pl.Float64(), "", "Least false discovery rate at which that rate has changed."),
    },
)  # fmt: skip

KNOWLEDGE = Table(
    "what is known beside a log (a CSV or Parquet file for `knowledge`)",
    {
        "cause": Column(pl.String(), "", "Pattern of the cause: a name with * and ?, or `column = pattern`."),
        "effect": Column(pl.String(), "", "Pattern of the effect."),
        "rule": Column(
            pl.String(),
            "",
            "`allowed`, `forbidden` or `required`; empty in a row of a delay alone.",
            optional=True,
            nullable=True,
        ),
        "max_delay": Column(
            pl.String(), "", "Longest time from cause to effect, as 90s, 10m, 2h.", optional=True, nullable=True
        ),
    },
)

_LABEL = Column(pl.String(), "", "Name of the label.")

OUTCOME_EFFECTS = Table(
    "effects of the events of one case on its labels (`explain_outcome`)",
    {
        "position": Column(pl.Int64(), "events", "Position of the event in its case, counted from 0."),
        "event": Column(pl.String(), "", "Its event type."),
        "label": _LABEL,
        "probability": Column(pl.Float64(), "", "Of the label, given all events."),
        "direct_effect": Column(
            pl.Float64(), "", "How much likelier the event made the label, all others as they were.", nullable=True
        ),
        "direct_std_error": Column(pl.Float64(), "", "Its standard error; 0 where all replacements were tried.",
                                   nullable=True),
        "total_effect": Column(
            pl.Float64(), "", "The same with all later events drawn anew, so that what it brought about counts.",
            nullable=True,
        ),
        "total_std_error": Column(pl.Float64(), "", "Its standard error over simulations.", nullable=True),
    },
)  # fmt: skip

OUTCOME_CAUSES = Table(
    "event types and labels (`OutcomeGraph.causes`)",
    {
        "event": Column(pl.String(), "", "Event type."),
        "label": _LABEL,
        "is_cause": Column(pl.Boolean(), "", "Whether effect and evidence suffice."),
        "effect": Column(
            pl.Float64(), "", "Mean difference of the label's probability, on cases with the type, against the same "
            "cases without it: the direct effect.",
        ),
        "effect_std_error": Column(pl.Float64(), "", "Its standard error over cases."),
        "n_cases": Column(pl.Int64(), "cases", "Cases that hold the type and were judged."),
        "n_affected": Column(pl.Int64(), "cases", "Those where the effect is at least `delta`, up or down."),
        "log10_e": Column(pl.Float64(), "log10", "Evidence: the e-value against no effect."),
        "q_value": Column(pl.Float64(), "", "Least false discovery rate at which it is a cause."),
    },
)  # fmt: skip

OUTCOME_SETS = Table(
    "sets of causes that suffice for a label (`OutcomeGraph.sets`)",
    {
        "label": _LABEL,
        "causes": Column(pl.List(pl.String()), "", "Event types of which none could be left out."),
        "n_cases": Column(
            pl.Int64(), "cases", "Cases with the label, made at least three times as likely by its causes, where this "
            "set suffices.",
        ),
        "probability": Column(pl.Float64(), "", "Mean probability of the label with these of its causes only."),
    },
)  # fmt: skip

OUTCOME_PAIRS = Table(
    "causes that act together (`OutcomeGraph.pairs`)",
    {
        "label": _LABEL,
        "cause_a": Column(pl.String(), "", "Event type."),
        "cause_b": Column(pl.String(), "", "Another."),
        "interaction": Column(
            pl.Float64(), "", "Effect of both less the sum of the effects of each alone, where both came: above 0 they "
            "need each other, below 0 one is enough.",
        ),
        "interaction_std_error": Column(pl.Float64(), "", "Its standard error over cases."),
        "n_cases": Column(pl.Int64(), "cases", "Cases that hold both."),
    },
)  # fmt: skip

TABLES = (
    INSTANCE, EDGES, EVENTS, NODES, PLACES, SUMMARY, POPULATION, LAGS, ROOTS, KNOWLEDGE, CHANGED_LINKS, CHANGED_TYPES,
    OUTCOME_EFFECTS, OUTCOME_CAUSES, OUTCOME_SETS, OUTCOME_PAIRS,
)  # fmt: skip


def attributes_of(events: pl.DataFrame) -> list[str]:
    """Return the columns of a table of events that are attributes of the log: those that are none of ours."""
    return [name for name in events.columns if name not in EVENTS.columns]


def attributes_of_cases(events: pl.DataFrame) -> list[str]:
    """Return the attributes that have one value in each case: they are of the case."""
    own = events if "neighbour" not in events.columns else events.filter(pl.col("neighbour").is_null())
    names = attributes_of(events)
    counts = own.group_by("case").agg(pl.col(names).n_unique()).select(pl.col(names).max() <= 1)
    return [name for name in names if counts.height and counts[name][0]]


def check_types(pairs: pl.DataFrame, nodes: pl.DataFrame, file: str) -> None:
    """Raise `LogFormatError` where a table of pairs names an event type that the nodes do not have."""
    known = nodes["event"].implode()
    for side in ("cause", "effect"):
        strange = pairs.filter(~pl.col(side).is_in(known))
        if strange.height:
            name = visible(str(strange[side][0]), longest=60)
            raise LogFormatError(f"{file}: the {side} '{name}' is not among the event types of nodes.parquet")
