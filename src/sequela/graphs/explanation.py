"""Why one event of a case happened: the chain from its root cause, and what speaks against it, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Protocol

import networkx as nx
import numpy as np
import polars as pl

from sequela.events.neighbours import AT_NEIGHBOUR
from sequela.events.times import seconds_to_datetime
from sequela.events.vocabulary import RARE
from sequela.graphs.root_causes import CaseGraph, causal_graph, columns_of, position_of, root_causes
from sequela.text import visible

_FIRST_DATE = 1e8
"""Times below (seconds) are taken as counted from the start of the log, not as dates."""
_MAIN_SHARE = 0.75
_WEAK = 0.8


class TimedCase(CaseGraph, Protocol):
    """What is asked of a graph to explain an event of it."""

    @property
    def case(self) -> str:
        """Name of the case."""
        ...

    @property
    def times(self) -> tuple[float, ...] | None:
        """Seconds of each event, or None."""
        ...

    @property
    def n_unknown(self) -> int:
        """Events of types that the density did not know."""
        ...


@dataclass(frozen=True)
class Step:
    """One step of a chain of causes.

    Attributes:
        cause_position: Position of the cause in the case, from 0.
        effect_position: Position of the effect.
        cause: Event type of the cause.
        effect: Event type of the effect.
        lag: Distance in time stamps (in events, where ties are ordered); 0 within one time stamp.
        cmi_nats: Size of the effect.
        pointwise_nats: How much more likely the cause made this effect (log ratio).
        confidence: Probability that the edge is one; None without a population.
        neighbour: The case at which the cause happened, where that is a neighbour; otherwise None.
    """

    cause_position: int
    effect_position: int
    cause: str
    effect: str
    lag: int
    cmi_nats: float
    pointwise_nats: float
    confidence: float | None
    neighbour: str | None = None

    @property
    def cause_text(self) -> str:
        """The cause, for people: its type, and at which neighbour it happened."""
        if self.neighbour is None:
            return visible(self.cause)
        return f"{visible(self.cause.removesuffix(AT_NEIGHBOUR))} (at the neighbour {visible(self.neighbour)})"


@dataclass(frozen=True)
class Explanation:
    """Why one event happened, as far as a graph says.

    Attributes:
        case: Name of the case.
        position: Position of the event, from 0.
        event: Its type.
        time: Its time in seconds, or None.
        sentence: The answer in one sentence.
        chain: From the main root cause to the event; empty where no cause was found.
        roots: All root causes, the main one first: ``position``, ``event``, ``share``, ``n_steps``.
        confidence: Of all steps of the chain together (their product); None without a chain or a population.
        doubts: What speaks against the answer, one sentence each.

    Example:
        >>> from sequela.graphs.instance import INSTANCE_SCHEMA, InstanceGraph
        >>> rows = [(0, 1, "a", "b", 1, True, 0.4, 0.0, 1.0), (1, 2, "b", "c", 1, True, 0.6, 0.0, 2.0)]
        >>> edges = pl.DataFrame(rows, schema=INSTANCE_SCHEMA, orient="row")
        >>> print(InstanceGraph("7", ("a", "b", "c"), edges).explain(-1).sentence)
        c was caused by a → b.
    """

    case: str
    position: int
    event: str
    time: float | None
    sentence: str
    chain: tuple[Step, ...]
    roots: pl.DataFrame
    confidence: float | None
    doubts: tuple[str, ...]

    @property
    def has_cause(self) -> bool:
        """Whether a cause was found."""
        return bool(self.chain)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        values = {name: getattr(self, name) for name in ("case", "position", "event", "time", "sentence", "confidence")}
        return values | {
            "has_cause": self.has_cause,
            "chain": [asdict(step) for step in self.chain],
            "roots": self.roots.to_dicts(),
            "doubts": list(self.doubts),
        }

    def __str__(self) -> str:
        lines = [f"case {visible(self.case)}: {self.sentence}" if self.case else self.sentence]
        for step in self.chain:
            sure = "" if step.confidence is None else f", confidence {sure_text(step.confidence)}"
            when = "at the same time" if step.lag == 0 else "next" if step.lag == 1 else f"{step.lag} later"
            lines.append(
                f"  {step.cause_text} [{step.cause_position}] → {visible(step.effect)} [{step.effect_position}]: "
                f"{times_likelier(step.pointwise_nats)}, {step.cmi_nats:.2f} nats{sure} ({when})"
            )
        return "\n".join([*lines, *(f"  but: {doubt}" for doubt in self.doubts)])


def sure_text(confidence: float) -> str:
    """Return a confidence to two digits, never as certain.

    Example:
        >>> sure_text(0.9999), sure_text(0.93)
        ('> 0.99', '0.93')
    """
    return "> 0.99" if confidence >= 0.995 else f"{confidence:.2f}"


def times_likelier(nats: float) -> str:
    """Return a log ratio in words.

    Example:
        >>> times_likelier(math.log(3)), times_likelier(20.0)
        ('3.0 times as likely', 'more than 1,000 times as likely')
    """
    ratio = math.exp(min(nats, 10.0))
    if ratio > 1000:
        return "more than 1,000 times as likely"
    return f"{ratio:,.0f} times as likely" if ratio >= 10 else f"{ratio:.1f} times as likely"


def explain_graph(graph: TimedCase, position: int | str = -1) -> Explanation:
    """Explain one event of a case; see `InstanceGraph.explain`."""
    place = position_of(graph.events, position)
    roots = root_causes(graph, place)
    chain = _main_chain(graph, place, int(roots["position"][0]))
    confidences = [step.confidence for step in chain if step.confidence is not None]
    confidence = math.prod(confidences) if chain and len(confidences) == len(chain) else None
    return Explanation(
        case=graph.case,
        position=place,
        event=graph.events[place],
        time=None if graph.times is None else graph.times[place],
        sentence=_sentence(graph, place, chain, roots, confidence),
        chain=chain,
        roots=roots,
        confidence=confidence,
        doubts=tuple(_doubts(graph, place, chain)),
    )


def _main_chain(graph: TimedCase, position: int, root: int) -> tuple[Step, ...]:
    """Return the way along which most of the root's share reaches an event: the same as the page shows."""
    causal = causal_graph(graph)
    behind = causal.subgraph(nx.ancestors(causal, position) | {position})
    reach = {root: 1.0}  # how much of an event comes from the root
    for node in nx.lexicographical_topological_sort(behind):
        causes = behind.pred[node]
        total = sum(edge["nats"] for edge in causes.values())
        if causes:
            reach[node] = sum(reach.get(cause, 0.0) * edge["nats"] / total for cause, edge in sorted(causes.items()))
    way = [position]
    while way[-1] != root:
        causes = behind.pred[way[-1]]
        way.append(max(sorted(causes), key=lambda cause: causes[cause]["nats"] * reach.get(cause, 0.0)))
    rows = {(row["cause_position"], row["effect_position"]): row for row in graph.edges.iter_rows(named=True)}
    return tuple(_step(graph, rows[cause, effect]) for effect, cause in pairwise(way))[::-1]


def _step(graph: TimedCase, row: Mapping[str, Any]) -> Step:
    names = [name for name in Step.__dataclass_fields__ if name not in ("confidence", "neighbour")]
    at = _neighbour(graph, row["cause_position"])
    return Step(**{name: row[name] for name in names}, confidence=row.get("confidence"), neighbour=at)


def _neighbour(graph: TimedCase, position: int) -> str | None:
    """Return the case at which an event happened, where that is a neighbour."""
    table: pl.DataFrame | None = getattr(graph, "attributes", None)
    if table is None or "neighbour" not in table.columns or not graph.events[position].endswith(AT_NEIGHBOUR):
        return None
    found: str | None = table["neighbour"][position]
    return found


def _sentence(
    graph: TimedCase, position: int, chain: tuple[Step, ...], roots: pl.DataFrame, confidence: float | None
) -> str:
    what = visible(graph.events[position]) + _time(graph, position)
    if not chain:
        return f"{what}: no cause found in this log."
    way = " → ".join(step.cause_text for step in chain)
    sure = "" if confidence is None else f" (confidence {sure_text(confidence)})"
    share, others = float(roots["share"][0]), roots.height - 1
    rest = ""
    if others and share < _MAIN_SHARE:
        rest = f", which explains {share:.0%}; {others} other root cause{'s' if others > 1 else ''} the rest"
    return f"{what} was caused by {way}{sure}{rest}."


def _time(graph: TimedCase, position: int) -> str:
    if graph.times is None:
        return ""
    seconds = graph.times[position]
    if seconds < _FIRST_DATE:
        return f" (at {seconds:g} s)"
    return f" ({seconds_to_datetime(pl.Series([seconds]))[0]:%Y-%m-%d %H:%M:%S})"


def _doubts(graph: TimedCase, position: int, chain: tuple[Step, ...]) -> list[str]:
    """Say what speaks against a chain, the most important first."""
    found = []
    weighed = "confidence" in graph.edges.columns
    if chain and not weighed:
        found.append("this is one case alone: nobody has asked whether its links hold in others (no population given)")
    weak = [step for step in chain if step.confidence is not None and step.confidence < _WEAK]
    found += [
        f"weak evidence for {step.cause_text} → {visible(step.effect)} (confidence {step.confidence:.2f})"
        for step in weak
    ]
    tied = [step for step in chain if step.lag == 0]
    if tied:
        found.append(
            f"{len(tied)} of the {len(chain)} steps {'is' if len(tied) == 1 else 'are'} between events at one time: "
            "the direction comes from the other cases, not from this one"
        )
    beside = _beside(graph, position)
    if beside:
        found.append(f"linked at the same time, direction not known: {', '.join(map(visible, beside))}")
    involved = {position, *(step.cause_position for step in chain)}
    rare = sum(graph.events[place] == RARE for place in involved)
    if rare:
        found.append(
            f"{rare} of these events {'is' if rare == 1 else 'are'} of a type the model does not know ({RARE})"
        )
    if graph.n_unknown:
        found.append(
            f"{graph.n_unknown} of the {len(graph.events)} events of the case "
            f"{'is' if graph.n_unknown == 1 else 'are'} of a type the model has never seen"
        )
    if not chain:
        found += _without_cause(graph, position)
    at = _neighbour(graph, chain[0].cause_position if chain else position)
    if at is not None:
        first = chain[0].cause_text if chain else "it"
        found.append(f"{first} happened in another case: what caused it is told by {visible(at)}")
    return found


def _beside(graph: TimedCase, position: int) -> list[str]:
    """Return the types of the events that an event is linked with where the direction is not known."""
    rows = columns_of(graph.edges, "cause_position", "effect_position", "directed", "on_link")
    return [
        graph.events[cause if effect == position else effect]
        for cause, effect, directed, on_link in rows
        if position in (cause, effect) and directed is False and on_link
    ]


def _without_cause(graph: TimedCase, position: int) -> list[str]:
    """Say what there is beside causes: edges without evidence over cases, and causes that made it less likely."""
    found = []
    into = graph.edges.filter((pl.col("effect_position") == position) & pl.col("directed"))
    if "on_link" in into.columns:
        alone = into.filter(~pl.col("on_link") & (pl.col("pointwise_nats") > 0))
        if alone.height:
            names = ", ".join(visible(name) for name in alone["cause"].unique(maintain_order=True).to_list()[:3])
            found.append(f"without evidence in other cases: {names}")
    left_out = _excluded(graph, position)
    if left_out:
        names = ", ".join(map(visible, left_out[:3])) + (", …" if len(left_out) > 3 else "")
        found.append(f"excluded by what is known beside the log: {names}")
    for side in ("causes", "effects"):
        pattern = getattr(getattr(graph, "settings", None), side, None)
        if pattern is not None:
            found.append(f"only {side} of these types were asked for: {visible(pattern)}")
    rarer = into.filter(pl.col("pointwise_nats") <= 0).height
    if rarer:
        found.append(f"{rarer} earlier event{'s' if rarer > 1 else ''} made it less likely: no cause of it")
    if not position:
        found.append("it is the first event of its case: what came before is not in the log")
    return found


def _excluded(graph: TimedCase, position: int) -> list[str]:
    """Return the types of the events within the horizon before an event that knowledge excludes as causes of it."""
    known = getattr(graph, "knowledge", None)
    if known is None or not position:
        return []
    horizon = getattr(getattr(graph, "settings", None), "horizon", None) or position
    names = list(dict.fromkeys(graph.events[max(0, position - horizon) : position]))
    limits = known.limits([*names, graph.events[position]])
    excluded = limits.excluded(np.arange(len(names)), np.array(len(names)))
    return [name for name, out in zip(names, excluded, strict=True) if out]
