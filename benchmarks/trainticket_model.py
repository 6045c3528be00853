"""What a next-event model adds to `benchmarks/trainticket.py`: its surprise by service, alone and as one more kind."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

import sequela as sq
from sequela.discovery.shifts import Shift, pool, shifts
from sequela.effects.encoding import encode_log
from sequela.events.traces import Traces

if TYPE_CHECKING:
    from trainticket import Fault

FOLDS = 2
DRIFTS = (0.1, 0.3, 1.0)
"""Nats by which the mean surprise of a healthy service may move."""
_SEEN = 3


def events(traces: Traces, known: set[tuple[str, ...]] | None) -> pl.DataFrame:
    """One row a call: service, operation, and which of the known behaviours it showed (``other`` of the rest)."""
    keys = ["service", "operation", "behaviour"]
    names = {key: str(number) for number, key in enumerate(sorted(known or ()))}
    calls = traces.calls.sort("trace", "start", "call")
    shown = [names.get(tuple(row), "other") for row in calls.select(keys).iter_rows()]
    return calls.select("trace", "service", "operation", "start", pl.col("instance"), shown=pl.Series(shown))


def read(rows: pl.DataFrame) -> sq.EventLog:
    return sq.read_log(rows, case="trace", event=["service", "operation", "shown"])


def with_surprise(densities: list[sq.Density], rows: pl.DataFrame) -> pl.DataFrame:
    """Put the mean surprise of each call, in nats, beside it."""
    log = read(rows)
    assert log.case_names == rows["trace"].unique(maintain_order=True).to_list()
    each = []
    for density in densities:
        sequences = encode_log(density, log)
        each.append(-np.concatenate(density.score_many([case.ids for case in sequences])))
    return rows.with_columns(value=np.mean(each, axis=0))


def with_model(faults: list[Fault]) -> Iterator[tuple[str, list[dict[str, float]]]]:
    """Train on one fold of normal operation, take the other as what is normal for it; both folds, averaged."""
    traces = faults[0].normal
    counts = traces.calls.group_by("service", "operation", "behaviour").len().filter(pl.col("len") >= _SEEN)
    known = {tuple(row) for row in counts.drop("len").iter_rows()}
    rows = events(traces, known)
    folds = sq.cross_fit(read(rows), folds=FOLDS, min_count=1, seed=0, progress=False)
    print("\nnext-event model:", *(density.info["report"]["cross_entropy"] for density in folds.densities))
    normal = pl.concat([
        with_surprise([density], rows.filter(pl.col("trace").is_in(part.case_names)))
        for density, part in folds.held_out(read(rows))
    ])  # fmt: skip
    moved = []
    for fault in faults:
        window = with_surprise(list(folds.densities), events(fault.traces, known))
        by_service: dict[str, list[Shift]] = {}
        for shift in shifts(normal, window, ["service", "operation"], 3.0):
            by_service.setdefault(shift.key[0], []).append(shift)
        moved.append({service: pool(parts) for service, parts in by_service.items()})
    for drift in DRIFTS:
        z = [
            {name: max(0.0, mean / math.hypot(error, drift)) for name, (mean, error) in each.items()} for each in moved
        ]
        yield f"next-event model alone, drift {drift:g} nats", z
        both = []
        for fault, scores in zip(faults, z, strict=True):
            both.append({name: math.hypot(score, scores.get(name, 0.0)) for name, score in fault.scores.items()})
        yield f"recipe and next-event model, drift {drift:g} nats", both
