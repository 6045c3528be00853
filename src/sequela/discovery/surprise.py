"""Surprises of services in a window: five kinds of evidence, each a standardised shift against normal operation."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace

import polars as pl

from sequela.arguments import Number, setting
from sequela.discovery.shifts import Shift, pool, proportion, shifts
from sequela.errors import ConfigError
from sequela.events.traces import BETWEEN, Traces

KINDS = ("behaviour", "called", "arrival", "calling", "work")
"""Kinds of evidence: what a service did when called, which calls it made, how long callers waited beyond its own time,
how long it waited for all others, and its own time."""
_CONTEXT = ("service", "operation", "request", "called")
_EXAMPLES = 3
_LONGEST_ITEM = 110
_SHOWN_DIFFERENCES = 4


_POSITIVE = Number(0, above=True)


@dataclass(frozen=True)
class IncidentSettings:
    """How far healthy services move between two periods, and what counts.

    Attributes:
        kinds: Kinds of evidence that count.
        time_drift: Change of times, in natural logarithm.
        behaviour_drift: Change of the log odds of a behaviour.
        call_drift: The same of which calls a service makes, which depends more on what its users ask for.
        instance_drift: Difference of times between two instances of one service, in natural logarithm.
        instance_weight: The mean of an instance counts as much as its service's when it has so many calls.
        transport_floor: Milliseconds added to waiting times before the logarithm: changes below them are noise.
        work_floor: The same of own times.

    Example:
        >>> IncidentSettings(time_drift=0.3).call_drift
        3.0
    """

    kinds: tuple[str, ...] = KINDS
    time_drift: float = setting(0.2, _POSITIVE, "")
    behaviour_drift: float = setting(1.0, _POSITIVE, "")
    call_drift: float = setting(3.0, _POSITIVE, "")
    instance_drift: float = setting(0.4, _POSITIVE, "")
    instance_weight: float = setting(3.0, _POSITIVE, "")
    transport_floor: float = setting(2.0, _POSITIVE, "")
    work_floor: float = setting(0.2, _POSITIVE, "")

    def __post_init__(self) -> None:
        """Refuse what is not allowed."""
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            given = ", ".join(map(repr, self.kinds)) or "none"
            raise ConfigError(f"kinds must be some of {', '.join(KINDS)}; got {given}")
        for each in fields(self)[1:]:
            each.metadata["argument"].refuse(each.name, getattr(self, each.name))


@dataclass(frozen=True)
class Evidence:
    """One surprise of a service.

    Attributes:
        kind: One of `KINDS`.
        z: Standardised shift.
        sentence: What changed.
        examples: Traces that show it.
    """

    kind: str
    z: float
    sentence: str
    examples: list[str] = field(default_factory=list)


def surprises(normal: Traces, window: Traces, settings: IncidentSettings) -> dict[str, list[Evidence]]:
    """Return the evidence against each service, the strongest first; only shifts above zero.

    Args:
        normal: Normal operation.
        window: The incident.
        settings: What counts.
    """
    found: dict[str, list[Evidence]] = defaultdict(list)
    for kind in settings.kinds:
        for service, evidence in _STEPS[kind](normal, window, settings).items():
            if evidence.z > 0:
                found[service].append(evidence)
    return {service: sorted(all_of_it, key=lambda each: -each.z) for service, all_of_it in found.items()}


def _arrival(normal: Traces, window: Traces, settings: IncidentSettings) -> dict[str, Evidence]:
    """Waiting for a service, less what its caller waits more for its other callees: that is the caller's doing."""
    out = _by_caller(_edges(normal, window, settings))
    by_callee: dict[str, list[Shift]] = defaultdict(list)
    for edges in out.values():
        for edge in edges:
            by_callee[edge.key[1]].append(_without_caller(edge, [other for other in edges if other is not edge]))
    return {
        service: _timing("arrival", into, settings,
                         f"calls to {service} wait {{ratio:.1f}} times as long beyond its own time",
                         window, pl.col("service") == service, "transport")
        for service, into in by_callee.items()
    }  # fmt: skip


def _without_caller(edge: Shift, others: list[Shift]) -> Shift:
    if not others:
        return edge
    common, error = pool(others)
    if common <= 0:
        return edge
    return replace(edge, mean=edge.mean - common, variance=edge.variance + error**2)


def _calling(normal: Traces, window: Traces, settings: IncidentSettings) -> dict[str, Evidence]:
    """Waiting for several others at once is the caller's: the strongest of its edges is left out."""
    found = {}
    for service, out in _by_caller(_edges(normal, window, settings)).items():
        rest = sorted(out, key=lambda edge: edge.mean)[:-1]
        if rest:
            sentence = f"{service} waits {{ratio:.1f}} times as long for each of {len(out)} others"
            found[service] = _timing(
                "calling", rest, settings, sentence, window, pl.col("caller") == service, "transport"
            )
    return found


def _by_caller(edges: list[Shift]) -> dict[str, list[Shift]]:
    out: dict[str, list[Shift]] = defaultdict(list)
    for edge in edges:
        out[edge.key[0]].append(edge)
    return out


def _edges(normal: Traces, window: Traces, settings: IncidentSettings) -> list[Shift]:
    def rows(traces: Traces) -> pl.DataFrame:
        return traces.calls.drop_nulls("transport").filter(pl.col("caller") != pl.col("service")).select(
            "caller", "service", instance=pl.col("caller_instance") + " " + pl.col("instance"),
            value=(pl.col("transport").clip(0.0) + settings.transport_floor).log(),
        )  # fmt: skip

    return shifts(rows(normal), rows(window), ["caller", "service"], settings.instance_weight)


def _work(normal: Traces, window: Traces, settings: IncidentSettings) -> dict[str, Evidence]:
    def rows(traces: Traces) -> pl.DataFrame:
        return traces.work.select("service", "operation", "instance", value=(pl.col("own") + settings.work_floor).log())

    by_service: dict[str, list[Shift]] = defaultdict(list)
    for shift in shifts(rows(normal), rows(window), ["service", "operation"], settings.instance_weight):
        by_service[shift.key[0]].append(shift)
    return {
        service: _timing("work", own, settings, f"the own operations of {service} take {{ratio:.1f}} times as long",
                         window, pl.col("service") == service, "duration")
        for service, own in by_service.items()
    }  # fmt: skip


def _timing(
    kind: str, parts: list[Shift], settings: IncidentSettings, sentence: str, window: Traces, who: pl.Expr, by: str
) -> Evidence:
    shift, error = pool(parts)
    n = sum(part.n for part in parts)
    unknown = sum(part.unknown * part.n for part in parts) / n
    drift = math.hypot(settings.time_drift, unknown * settings.instance_drift)
    z = shift / math.hypot(error, drift)
    examples: list[str] = []
    if z > 1:
        slowest = window.calls.filter(who).drop_nulls(by).sort(by, descending=True)
        examples = slowest["trace"].unique(maintain_order=True).head(_EXAMPLES).to_list()
    return Evidence(kind, z, f"{sentence.format(ratio=math.exp(shift))} ({n:,} in the window)", examples)


def _behaviour(normal: Traces, window: Traces, settings: IncidentSettings) -> dict[str, Evidence]:
    """Find what each service did more often than it used to, given how it was called and what it called in turn."""
    return _risen("behaviour", ("service", "operation", "request", "called"), normal, window, settings)


def _calls(normal: Traces, window: Traces, settings: IncidentSettings) -> dict[str, Evidence]:
    """Find which calls each service made as it never did, given how it was called, and which services are gone."""
    found = _risen("called", ("service", "operation", "request"), normal, window, settings)
    for service, gone in _absent(normal, window, settings).items():
        if service not in found or gone.z > found[service].z:
            found[service] = gone
    return found


def _absent(normal: Traces, window: Traces, settings: IncidentSettings) -> dict[str, Evidence]:
    """Find services that normal operation calls and the window never does."""
    n, n_normal = window.calls["trace"].n_unique(), normal.calls["trace"].n_unique()
    here = set(window.calls["service"])
    found = {}
    for service, using in normal.calls.group_by("service").agg(pl.col("trace").n_unique()).iter_rows():
        if service not in here:
            z = proportion(n, n, n_normal - using, n_normal, settings.call_drift)
            sentence = (
                f"{service} was not called in {n:,} requests; in normal operation {using:,} of {n_normal:,} call it"
            )
            found[service] = Evidence("called", z, sentence)
    return found


def _risen(
    kind: str, context: tuple[str, ...], normal: Traces, window: Traces, settings: IncidentSettings
) -> dict[str, Evidence]:
    """Compare how often a service did what, in calls whose callees did nothing new.

    What is most common in normal operation cannot be a surprise: that it became commoner is no evidence.
    """
    before, after = _counted(normal, context, kind), _counted(window, context, kind)
    explained = _explained(window, _counted(normal, _CONTEXT, "behaviour"))
    drift = settings.call_drift if kind == "called" else settings.behaviour_drift
    found: dict[str, Evidence] = {}
    for where, all_names in after.items():
        usual = before.get(where)
        if usual is None:
            continue
        names = {name: [call for call in rows if call not in explained] for name, rows in all_names.items()}
        n, n_normal = sum(map(len, names.values())), sum(map(len, usual.values()))
        common = max(usual, key=lambda name: (len(usual[name]), name))
        for name, rows in names.items():
            known = len(usual.get(name, ()))
            usual_enough = name == common or (kind == "called" and known)
            z = 0.0 if usual_enough else proportion(len(rows), n, known, n_normal, drift)
            if z <= 0:
                continue
            suspect = where[0]
            if kind == "called":
                suspect = _unanswered(name, common, rows, window, usual[common], normal) or suspect
            if suspect not in found or z > found[suspect].z:
                sentence = _difference(where, name, common, (len(rows), n, known, n_normal))
                found[suspect] = Evidence(kind, z, sentence, _traces(window, rows))
    return found


def _unanswered(name: str, common: str, rows: list[int], window: Traces, usual: list[int], normal: Traces) -> str:
    """Return the service that was called and did not answer; empty where the caller made other spans than it used to.

    The client's span of a call is the caller's: where it is as usual and nothing handled it, the callee is missing.
    """
    gone = Counter(common.split(BETWEEN)) - Counter(name.split(BETWEEN))
    services = {item.split(" ")[2] for item in gone if item}
    if len(services) != 1 or Counter(name.split(BETWEEN)) - Counter(common.split(BETWEEN)):
        return ""
    same = _spans(window, rows) & _spans(normal, usual)
    return services.pop() if same else ""


def _spans(traces: Traces, calls: list[int]) -> set[tuple[str, ...]]:
    """Return the sets of own spans of calls, without their log lines."""
    texts = traces.calls.filter(pl.col("call").is_in(calls))["behaviour"].unique()
    return {tuple(item for item in text.split(BETWEEN) if " span " in item) for text in texts}


def _counted(traces: Traces, context: tuple[str, ...], kind: str) -> dict[tuple[str, ...], dict[str, list[int]]]:
    """Return for each context what was done in it, and by which calls."""
    counted: dict[tuple[str, ...], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for *where, name, call in traces.calls.select(*context, kind, "call").iter_rows():
        counted[tuple(where)][name].append(call)
    return counted


def _explained(window: Traces, usual: Mapping[tuple[str, ...], Mapping[str, list[int]]]) -> set[int]:
    """Return the calls with a call below them that did, in a known context, what no call did in normal operation."""
    parents, novel = {}, []
    for call, parent, behaviour, *where in window.calls.select(
        "call", "parent_call", "behaviour", *_CONTEXT
    ).iter_rows():
        parents[call] = parent
        known = usual.get(tuple(where))
        if known is not None and behaviour not in known:
            novel.append(call)
    explained: set[int] = set()
    for call in novel:
        above = parents[call]
        while above is not None and above not in explained:
            explained.add(above)
            above = parents.get(above)
    return explained


def _difference(context: tuple[str, ...], name: str, common: str, counts: tuple[int, int, int, int]) -> str:
    old, new = Counter(common.split(BETWEEN)), Counter(name.split(BETWEEN))
    signs = [f"+ {each[:_LONGEST_ITEM]}" for each in (new - old) if each]
    signs += [f"- {each[:_LONGEST_ITEM]}" for each in (old - new) if each]
    k1, n1, k0, n0 = counts
    what = "; ".join(signs[:_SHOWN_DIFFERENCES]) or "its usual behaviour"
    return f"{context[0]} {context[1]}: {k1} of {n1} calls, {k0} of {n0} in normal operation, show {what}"


def _traces(window: Traces, calls: Iterable[int]) -> list[str]:
    rows = window.calls.filter(pl.col("call").is_in(list(calls)))
    return rows["trace"].unique(maintain_order=True).head(_EXAMPLES).to_list()


Step = Callable[[Traces, Traces, IncidentSettings], dict[str, Evidence]]
_STEPS: dict[str, Step] = {
    "behaviour": _behaviour, "called": _calls, "arrival": _arrival, "calling": _calling, "work": _work,
}  # fmt: skip
