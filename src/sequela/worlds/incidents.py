"""Calls among a few services with one known fault: normal operation and a window, as spans and log lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sequela.errors import check_choice

FAULTS = ("network_delay", "cpu_contention", "exception", "missing_call", "absent")
"""What can happen: calls reach the service late, its own work is slow, it logs an error instead of a result, it leaves
out a call, or it is gone."""
_TREE = {
    "gateway": ("shop", "account"), "shop": ("stock", "price", "account"), "account": ("store",), "stock": ("store",),
    "price": (), "store": (),
}  # fmt: skip
_FAULTY = {
    "network_delay": "stock",
    "cpu_contention": "shop",
    "exception": "price",
    "missing_call": "shop",
    "absent": "price",
}
_MS = 1_000_000


@dataclass(frozen=True)
class IncidentLog:
    """Spans and log lines of normal operation and of a window, and the service that began it."""

    normal_spans: pl.DataFrame
    normal_logs: pl.DataFrame
    window_spans: pl.DataFrame
    window_logs: pl.DataFrame
    root: str


def simulate_incident(fault: str, *, n_normal: int = 120, n_window: int = 80, seed: int = 0) -> IncidentLog:
    """Simulate requests before and during a fault.

    Six services in two periods of 10 % random change each; the columns are those that `read_traces` knows.

    Args:
        fault: One of `FAULTS`.
        n_normal: Requests of normal operation.
        n_window: Requests of the window; the fault touches the last three quarters of them.
        seed: Same seed, same rows.

    Example:
        >>> simulate_incident("exception").root
        'price'
    """
    check_choice("fault", fault, FAULTS)
    rng = np.random.default_rng(seed)
    normal, window = _Requests(rng), _Requests(rng)
    for number in range(n_normal):
        normal.request(f"n{number}", None)
    for number in range(n_window):
        window.request(f"w{number}", fault if 4 * number >= n_window else None)
    return IncidentLog(*normal.tables(), *window.tables(), _FAULTY[fault])


class _Requests:
    """Requests of one period."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.drift = {service: rng.normal(0, 0.1) for service in _TREE}
        self.spans: list[dict[str, Any]] = []
        self.logs: list[dict[str, Any]] = []
        self.clock = 1_700_000_000_000 * _MS

    def tables(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        return pl.DataFrame(self.spans), pl.DataFrame(self.logs)

    def request(self, trace: str, fault: str | None) -> None:
        self.clock = self._handle("gateway", "root", trace, self.clock, fault) + 5 * _MS

    def _handle(self, service: str, parent: str, trace: str, start: int, fault: str | None) -> int:
        """Handle a call; return when it ended."""
        hit = fault if fault is not None and _FAULTY[fault] == service else None
        span = self._name()
        slow = 8.0 if hit == "cpu_contention" else 1.0
        now = start + self._time(3.0 * slow, service)
        self._log(trace, span, service, f"INFO Handler [{service}][begin]", start)
        for callee in _TREE[service]:
            if hit == "missing_call" and callee == "price":
                continue
            client = self._name()
            sent, late = now, 400 * _MS if fault == "network_delay" and callee == _FAULTY[fault] else 0
            now += self._time(1.0, service) + late
            if not (fault == "absent" and callee == _FAULTY[fault]):
                now = self._handle(callee, client, trace, now, fault)
            now += self._time(1.0, service)
            self._span(trace, client, span, service, "GET", sent, now)
        end = now + self._time(1.0 * slow, service)
        self._log(
            trace,
            span,
            service,
            "ERROR Handler [failed]" if hit == "exception" else f"INFO Handler [{service}][done]: {end}",
            end,
        )
        self._span(trace, span, parent, service, f"/{service}", start, end)
        return end

    def _name(self) -> str:
        return f"{self.rng.integers(1 << 60):016x}"

    def _time(self, milliseconds: float, service: str) -> int:
        return int(milliseconds * _MS * np.exp(self.drift[service] + self.rng.normal(0, 0.3)))

    def _span(self, trace: str, span: str, parent: str, service: str, operation: str, start: int, end: int) -> None:
        self.spans.append({
            "TraceID": trace, "SpanID": span, "ParentID": parent, "PodName": f"{service}-5d8f-x1",
            "OperationName": operation, "StartTimeUnixNano": start, "EndTimeUnixNano": end,
        })  # fmt: skip

    def _log(self, trace: str, span: str, service: str, message: str, time: int) -> None:
        self.logs.append({
            "TimeUnixNano": time, "PodName": f"{service}-5d8f-x1", "TraceID": trace, "SpanID": span, "message": message,
        })  # fmt: skip
