"""What a result that knows its events can be written as: a log, each event with its causes."""

from __future__ import annotations

import polars as pl

from sequela.graphs.exports.ocel import write_ocel
from sequela.graphs.exports.otlp import write_otlp
from sequela.graphs.exports.values import StrPath
from sequela.graphs.exports.xes import write_xes


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

    def to_otlp(self, path: StrPath) -> None:
        """Write OpenTelemetry spans (OTLP JSON): each event is a span, linked to the spans of its causes.

        A span begins and ends at the time of its event and is named by its type. Its trace is the case: a name of 32
        hexadecimal digits is kept as the identifier, of another one a hash is taken. A span has a link for each cause,
        the strongest first, with ``sequela.cause``, ``sequela.lag``, ``sequela.cmi_nats``, ``sequela.std_error`` and
        ``sequela.pointwise_nats``. Where the log carries the identifiers of spans that events were (``attributes=
        ["span"]``, and ``"trace"`` where the case is none), links lead to those, and each of ours is their child.

        Raises:
            ConfigError: The log has no times after 1970, which spans need.
        """
        write_otlp(*self._log(), path)
