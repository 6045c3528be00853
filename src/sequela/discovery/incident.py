"""Where did an incident begin? Services ranked by what is surprising in a window against normal operation.

Four kinds of evidence, each a shift ``d`` against normal operation with its standard error, on one scale: ``z = d /
sqrt(error² + drift²)``, where ``drift`` is how far a healthy service moves between two periods. A service's score is
the root of the sum of its squared ``z`` (those above zero): a log-likelihood ratio of normal shifts.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from sequela.discovery.shifts import Shift, pool, proportion, shifts
from sequela.errors import ConfigError
from sequela.events.traces import Traces

KINDS = ("behaviour", "arrival", "calling", "work")
"""Kinds of evidence: what a service does when called, waiting for it, its waiting for others, its own time."""
_EXAMPLES = 3
_LONGEST_ITEM = 110


@dataclass(frozen=True)
class IncidentSettings:
    """How far healthy services move, and what counts.

    Attributes:
        kinds: Kinds of evidence that count.
        time_drift: Change of times (natural logarithm) between two healthy periods.
        behaviour_drift: Change of the log odds of a behaviour between two healthy periods.
        instance_weight: The mean of an instance counts as much as its service's when it has so many calls.
        transport_floor: Milliseconds added to waiting times before the logarithm: changes below them are noise.
        work_floor: The same of own times.
    """

    kinds: tuple[str, ...] = KINDS
    time_drift: float = 0.2
    behaviour_drift: float = 1.0
    instance_weight: float = 3.0
    transport_floor: float = 2.0
    work_floor: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what is not allowed."""
        unknown = set(self.kinds) - set(KINDS)
        if unknown or not self.kinds:
            raise ConfigError(f"kinds must be some of {', '.join(KINDS)}; got {', '.join(map(repr, self.kinds)) or 'none'}")
        for name in ("time_drift", "behaviour_drift", "instance_weight", "transport_floor", "work_floor"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} must be a number above 0; got {value!r}")


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


@dataclass(frozen=True)
class Suspect:
    """A service, how surprising it is, and why."""

    service: str
    score: float
    evidence: list[Evidence]


@dataclass(frozen=True)
class Incident:
    """Services of a window, the likeliest origin first.

    Attributes:
        suspects: All services of the window.
        notes: What was missing or left out.
        window_calls: Calls in the window.
        normal_calls: Calls in normal operation.
    """

    suspects: list[Suspect]
    notes: list[str]
    window_calls: int
    normal_calls: int

    @property
    def table(self) -> pl.DataFrame:
        """One row a service: rank, service, score, and the ``z`` of each kind."""
        rows = []
        for rank, suspect in enumerate(self.suspects, 1):
            strength = {each.kind: each.z for each in suspect.evidence}
            rows.append({"rank": rank, "service": suspect.service, "score": suspect.score}
                        | {kind: strength.get(kind, 0.0) for kind in KINDS})  # fmt: skip
        return pl.DataFrame(rows, schema={"rank": pl.Int64, "service": pl.String, "score": pl.Float64,
                                          **dict.fromkeys(KINDS, pl.Float64)})  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def explain_incident(normal: Traces, window: Traces, *, settings: IncidentSettings | None = None) -> Incident:
    """Rank the services of a window by how surprising they are, given what calls them and what they call.

    Args:
        normal: Normal operation, as `read_traces` gives it.
        window: The incident.
        settings: What counts, and how far healthy services move.

    Raises:
        ConfigError: The two have nothing in common.

    Example:
        >>> from sequela.worlds.incidents import simulate_incident
        >>> normal, window, root = simulate_incident("network_delay", seed=0)
        >>> explain_incident(normal, window).suspects[0].service == root
        True
    """
    settings = settings or IncidentSettings()
    normal, window, notes = _comparable(normal, window)
    found: dict[str, list[Evidence]] = defaultdict(list)
    steps = {"behaviour": _behaviour, "arrival": _arrival, "calling": _calling, "work": _work}
    for kind in settings.kinds:
        for service, evidence in steps[kind](normal, window, settings).items():
            if evidence.z > 0:
                found[service].append(evidence)
    suspects = [
        Suspect(service, math.sqrt(sum(each.z**2 for each in found[service])),
                sorted(found[service], key=lambda each: -each.z))
        for service in window.calls["service"].unique().sort()
    ]  # fmt: skip
    suspects.sort(key=lambda each: (-each.score, each.service))
    return Incident(suspects, notes, window.calls.height, normal.calls.height)


def _comparable(normal: Traces, window: Traces) -> tuple[Traces, Traces, list[str]]:
    """Check that both hold the same kinds of rows and share services."""
    notes = [f"normal: {note}" for note in normal.notes] + [f"window: {note}" for note in window.notes]
    for name in ("has_spans", "has_logs"):
        if getattr(normal, name) != getattr(window, name):
            raise ConfigError(
                f"one of normal and window has {name[4:]}, the other has none: read both with the same kinds of rows"
            )
    shared = set(normal.calls["service"]) & set(window.calls["service"])
    if not shared:
        raise ConfigError("normal and window have no service in common: check the columns of service and instance")
    only = sorted(set(window.calls["service"]) - shared)
    if only:
        notes.append(f"not in normal operation, so not judged: {', '.join(only)}")
    return normal, window, notes


def _arrival(normal: Traces, window: Traces, settings: IncidentSettings) -> dict[str, Evidence]:
    """Waiting for a service, less what its caller waits more for its other callees: that is the caller's doing."""
    out = _by_caller(_edges(normal, window, settings))
    by_callee: dict[str, list[Shift]] = defaultdict(list)
    for edges in out.values():
        for edge in edges:
            by_callee[edge.key[1]].append(_without_caller(edge, [other for other in edges if other is not edge]))
    return {
        service: _timing("arrival", into, settings, f"calls to {service} wait {{ratio:.1f}} times as long beyond its own time",
                         window, pl.col("service") == service, "transport")
        for service, into in by_callee.items()
    }  # fmt: skip


def _without_caller(edge: Shift, others: list[Shift]) -> Shift:
    if not others:
        return edge
    common, error = pool(others)
    if common <= 0:
        return edge
    return Shift(edge.key, edge.mean - common, edge.variance + error**2, edge.n)


def _calling(normal: Traces, window: Traces, settings: IncidentSettings) -> dict[str, Evidence]:
    """Waiting for several others at once is the caller's: the strongest of its edges is left out."""
    found = {}
    for service, out in _by_caller(_edges(normal, window, settings)).items():
        rest = sorted(out, key=lambda edge: edge.z(settings.time_drift))[:-1]
        if rest:
            sentence = f"{service} waits {{ratio:.1f}} times as long for each of {len(out)} others"
            found[service] = _timing("calling", rest, settings, sentence, window, pl.col("caller") == service, "transport")
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
    z = shift / math.sqrt(error**2 + settings.time_drift**2)
    examples: list[str] = []
    if z > 1:
        slowest = window.calls.filter(who).drop_nulls(by).sort(by, descending=True)
        examples = slowest["trace"].unique(maintain_order=True).head(_EXAMPLES).to_list()
    n = sum(part.n for part in parts)
    return Evidence(kind, z, f"{sentence.format(ratio=math.exp(shift))} ({n:,} in the window)", examples)


def _behaviour(normal: Traces, window: Traces, settings: IncidentSettings) -> dict[str, Evidence]:
    """Find the behaviour of each service that rose most, in calls whose callees behaved as they used to."""
    before, after = _contexts(normal), _contexts(window)
    seen = {(*context, name) for context, counts in before.items() for name in counts}
    explained = _explained(window, seen)
    found: dict[str, Evidence] = {}
    for context, calls in after.items():
        usual = before.get(context)
        if usual is None:
            continue
        names = {name: [call for call in rows if call not in explained] for name, rows in calls.items()}
        n_after, n_before = sum(map(len, names.values())), sum(map(len, usual.values()))
        common = max(usual, key=lambda name: len(usual[name]))
        for name, rows in names.items():
            if name == common:
                continue
            z = proportion(len(rows), n_after, len(usual.get(name, ())), n_before, settings.behaviour_drift)
            if z > 0 and (context[0] not in found or z > found[context[0]].z):
                sentence = _difference(context, name, common, (len(rows), n_after, len(usual.get(name, ())), n_before))
                found[context[0]] = Evidence("behaviour", z, sentence, _traces(window, rows))
    return found


def _contexts(traces: Traces) -> dict[tuple[str, ...], dict[str, list[int]]]:
    """Return for each way to be called (service, operation, request, called) the behaviours and their calls."""
    contexts: dict[tuple[str, ...], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    columns = ("service", "operation", "request", "called", "behaviour", "call")
    for *context, behaviour, call in traces.calls.select(columns).iter_rows():
        contexts[tuple(context)][behaviour].append(call)
    return contexts


def _explained(window: Traces, seen: set[tuple[str, ...]]) -> set[int]:
    """Return the calls with a call below them that did what no call did in normal operation."""
    known = {name[:-1] for name in seen}
    parents, novel = {}, []
    columns = ("call", "parent_call", "service", "operation", "request", "called", "behaviour")
    for call, parent, *what in window.calls.select(columns).iter_rows():
        parents[call] = parent
        if tuple(what[:-1]) in known and tuple(what) not in seen:
            novel.append(call)
    explained: set[int] = set()
    for call in novel:
        above = parents[call]
        while above is not None and above not in explained:
            explained.add(above)
            above = parents.get(above)
    return explained


def _difference(
    context: tuple[str, ...], name: str, common: str, counts: tuple[int, int, int, int]
) -> str:
    old, new = Counter(common.split(" ; ")), Counter(name.split(" ; "))
    signs = [f"+ {each[:_LONGEST_ITEM]}" for each in (new - old) if each]
    signs += [f"- {each[:_LONGEST_ITEM]}" for each in (old - new) if each]
    k1, n1, k0, n0 = counts
    what = "; ".join(signs[:4]) or "its usual behaviour"
    return f"{context[0]} {context[1]}: {k1} of {n1} calls, {k0} of {n0} in normal operation, show {what}"


def _traces(window: Traces, calls: Iterable[int]) -> list[str]:
    rows = window.calls.filter(pl.col("call").is_in(list(calls)))
    return rows["trace"].unique(maintain_order=True).head(_EXAMPLES).to_list()


