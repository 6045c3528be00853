"""Counters for Prometheus: how much is asked, and whether what is asked still looks like the log of training."""

from __future__ import annotations

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sequela.density.base import Density
from sequela.service.explainer import Answer

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The counters of one service.

    Rising ``sequela_unknown_events_total`` (against ``sequela_events_total``) says that new types of events appear;
    rising ``sequela_surprise_nats_total`` an event, against ``sequela_training_surprise_nats``, that the system behaves
    in another way than when the model was trained.
    """

    def __init__(self, density: Density) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter("sequela_requests", "Requests.", ["path", "status"], **own)
        self._seconds = Histogram("sequela_request_seconds", "Time of a request.", ["path"], buckets=_BOUNDS, **own)
        self._cases = Counter("sequela_cases", "New cases explained.", **own)
        self._without = Counter("sequela_cases_without_cause", "New cases whose event had no cause in the log.", **own)
        self._events = Counter("sequela_events", "Events of new cases.", **own)
        self._unknown = Counter("sequela_unknown_events", "Events of types that the model has never seen.", **own)
        self._surprise = Counter("sequela_surprise_nats", "Minus the log-likelihood of new cases.", **own)
        expected = Gauge("sequela_training_surprise_nats", "Minus the log-likelihood an event, held out.", **own)
        report = density.info.get("report") or {}
        expected.set(float(report.get("cross_entropy", "nan")))

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count(self, answer: Answer) -> None:
        """Count a case that was explained."""
        self._cases.inc()
        self._without.inc(not answer.explanation["has_cause"])
        self._events.inc(answer.n_events)
        self._unknown.inc(answer.n_unknown)
        self._surprise.inc(max(0.0, -answer.log_likelihood))

    def text(self) -> tuple[bytes, str]:
        """Return all counters in the text format, and its media type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
