"""Where did an incident begin? Services ranked by what is surprising in a window against normal operation.

Each kind of evidence is a shift ``d`` with its standard error, on one scale: ``z = d / sqrt(error² + drift²)``, where
``drift`` is how far a healthy service moves between two periods. A service's score is the root of the sum of its
squared ``z`` (those above zero): the sum is twice the log-likelihood ratio against no shift.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from sequela.arguments import Kind, checks, public
from sequela.discovery.surprise import KINDS, Evidence, IncidentSettings, surprises
from sequela.errors import ConfigError
from sequela.events.traces import Traces

__all__ = ["Incident", "IncidentSettings", "Suspect", "explain_incident"]


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


_TRACES = Kind("what read_traces gives", "sequela.events.traces:Traces")


@public(checks(normal=_TRACES, window=_TRACES, settings=Kind("IncidentSettings", f"{__name__}:IncidentSettings")))
def explain_incident(normal: Traces, window: Traces, *, settings: IncidentSettings | None = None) -> Incident:
    """Rank the services of a window by how surprising they are, given what calls them and what they call.

    Args:
        normal: Normal operation, as `read_traces` gives it.
        window: The incident.
        settings: What counts, and how far healthy services move.

    Raises:
        ConfigError: The two have nothing in common.

    Example:
        >>> from sequela.events.traces import read_traces
        >>> from sequela.worlds.incidents import simulate_incident
        >>> log = simulate_incident("network_delay", seed=0)
        >>> normal = read_traces(log.normal_spans, log.normal_logs)
        >>> incident = explain_incident(normal, read_traces(log.window_spans, log.window_logs))
        >>> incident.suspects[0].service, log.root
        ('stock', 'stock')
    """
    settings = settings or IncidentSettings()
    notes = _comparable(normal, window)
    found = surprises(normal, window, settings)
    suspects = [
        Suspect(service, math.sqrt(sum(each.z**2 for each in found.get(service, ()))), found.get(service, []))
        for service in sorted({*window.calls["service"], *found})
    ]
    suspects.sort(key=lambda each: -each.score)
    return Incident(suspects, notes, window.calls.height, normal.calls.height)


def _comparable(normal: Traces, window: Traces) -> list[str]:
    """Check that both hold the same kinds of rows and share services; return what is worth knowing."""
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
    return notes
