"""A second look at the columns of a log: were case and event swapped, is the event column an identifier?"""

from __future__ import annotations

import numpy as np
import polars as pl

from sequela.events.log import EventLog
from sequela.text import quoted

_FEWEST = 20
"""Events that a log must have before its counts say anything."""


def suspicious_columns(log: EventLog) -> str | None:
    """Return a sentence when the columns of a log look like the wrong ones, else None.

    Two signs are looked for. *Swapped*: more than twice as many types as cases, and the types occur about equally
    often while the cases have very different lengths (usually some types are frequent and most are rare). Evenness is
    the perplexity of the counts divided by their number, 1 when all are equal. *An identifier*: most types occur once.
    Either can be wrong about a good log, and swapped columns can go unnoticed: it is a hint, not a test.

    Example:
        >>> from sequela import read_log
        >>> frame = pl.DataFrame({"case": [i // 10 for i in range(100)], "event": [i * i % 7 for i in range(100)]})
        >>> suspicious_columns(read_log(frame))
        >>> suspicious_columns(read_log(frame, case="event", event="case"))
        "'event' as case and 'case' as event look swapped: 4 cases, but 10 event types, which occur about equally often"
    """
    if log.n_events < _FEWEST:
        return None
    case = quoted(log.columns.get("case", "case"))
    event = quoted(", ".join(log.columns.get("event", ["event"])))
    if log.n_types > log.n_events / 2:
        return (
            f"'{event}' as event looks like an identifier or free text: {log.n_types:,} different values in "
            f"{log.n_events:,} events; a type that occurs once teaches nothing"
        )
    swapped = log.n_types > 2 * log.n_cases and _evenness(log.frame["event"]) > _evenness(log.frame["case"])
    if swapped:
        return (
            f"'{case}' as case and '{event}' as event look swapped: {log.n_cases:,} cases, but {log.n_types:,} event "
            "types, which occur about equally often"
        )
    return None


def _evenness(values: pl.Series) -> float:
    """Return the perplexity of how often each value occurs, divided by the number of values: 0 to 1."""
    counts = values.value_counts(name="n_rows")["n_rows"].to_numpy().astype(np.float64)
    shares = counts / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()) / len(shares))
