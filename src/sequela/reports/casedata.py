"""Which cases go into the page, and what of them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.reports.traces import Traces

MAX_CASE_EVENTS = 1_500
MAX_CASE_EDGES = 4_000
_DIGITS = 4


def embedded(
    traces: Traces, *, wanted: Sequence[int] | None, first: Sequence[int], max_bytes: float
) -> tuple[list[dict[str, Any]], dict[int, int]]:
    """Return the cases that are in the page, and the place of each by its number.

    Args:
        traces: All cases.
        wanted: Numbers of the cases that were asked for, all of which go in; None: as many as fit.
        first: Numbers of cases that go in before others (the examples of the findings); the others follow by how many
            of their events have a cause.
        max_bytes: Size of their data, as JSON text. One case goes in whatever its size.
    """
    n_caused = np.bincount(traces.case_of[traces.is_caused], minlength=len(traces.names))
    roots = traces.roots_of_cases()
    columns = {name: _rounded(values) for name, values in traces.values.items()}
    if wanted is None:
        rank = np.lexsort((np.arange(len(traces.names)), -np.diff(traces.edge_offsets), -n_caused))
        order = list(dict.fromkeys([*first, *rank.tolist()]))
    else:
        order = list(dict.fromkeys(wanted))
    found: list[dict[str, Any]] = []
    size = 0
    for number in order:
        case = _case(traces, number, columns) | {"n_caused": int(n_caused[number]), "roots": roots[number]}
        size += len(json.dumps(case, separators=(",", ":")))
        if found and wanted is None and size > max_bytes:
            break
        found.append(case)
    return found, {number: place for place, number in enumerate(order[: len(found)])}


def _case(traces: Traces, number: int, columns: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return one case; of a very long one the first events, of very many edges the strongest."""
    low, high = traces.offsets[number], traces.offsets[number + 1]
    last = min(high, low + MAX_CASE_EVENTS)
    edges = np.arange(traces.edge_offsets[number], traces.edge_offsets[number + 1])
    n_edges = len(edges)
    edges = edges[np.maximum(traces.cause[edges], traces.effect[edges]) < last]
    n_here = len(edges)
    if n_here > MAX_CASE_EDGES:
        strength = traces.values["cmi_nats"].fill_nan(0).fill_null(0).to_numpy()[edges]
        edges = np.sort(edges[np.argsort(-strength, kind="stable")[:MAX_CASE_EDGES]])
    times = None if traces.times is None else traces.times[low:last]
    return {
        "name": traces.names[number],
        "events": traces.types[low:last].tolist(),
        "start": None if times is None or not len(times) else round(float(times[0]), 3),
        "times": None if times is None else [round(time, 3) for time in (times - times[:1]).tolist()],
        "attributes": {name: plain(values[low:last]) for name, values in traces.attributes.items()},
        "n_events": int(high - low),
        "n_edges": n_edges,
        "n_edges_here": n_here,
        "cause": (traces.cause[edges] - low).tolist(),
        "effect": (traces.effect[edges] - low).tolist(),
        "explains": traces.explains[edges].astype(int).tolist(),
        "has_evidence": traces.has_evidence[edges].astype(int).tolist(),
        **{name: _listed(values[edges]) for name, values in columns.items()},
    }


def plain(values: pl.Series) -> list[Any]:
    """Return a column for JSON: four significant digits, None for what is not a number."""
    if not values.dtype.is_float():
        return values.to_list()
    return [
        None if value is None or not math.isfinite(value) else float(f"{value:.{_DIGITS}g}")
        for value in values.to_list()
    ]


def _rounded(values: pl.Series) -> NDArray[Any]:
    """Return a long column with four significant digits, at most 22 decimals; what is not a number becomes NaN."""
    if not values.dtype.is_float():
        return values.to_numpy()
    numbers = values.fill_null(np.nan).to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.floor(np.log10(np.abs(numbers)))
        # A power of ten is exact up to 10^22, and dividing by it gives the number nearest to the decimal.
        scale = 10.0 ** np.clip(_DIGITS - 1 - np.where(np.isfinite(size), size, 0), 0, 22)
        found = np.rint(numbers * scale) / scale
    return np.where(np.isfinite(found), found, np.nan)


def _listed(values: NDArray[Any]) -> list[Any]:
    found: list[Any] = values.tolist()
    return [None if isinstance(value, float) and math.isnan(value) else value for value in found]
