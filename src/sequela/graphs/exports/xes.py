"""XES, for process mining."""

from __future__ import annotations

import importlib.util
import os

import polars as pl

from sequela.errors import MissingExtraError
from sequela.events.times import seconds_to_datetime
from sequela.files import whole_file
from sequela.graphs.exports.annotate import annotate
from sequela.graphs.exports.values import StrPath, xml_text
from sequela.graphs.schemas import attributes_of, attributes_of_cases


def write_xes(events: pl.DataFrame, edges: pl.DataFrame, path: StrPath) -> None:
    """Write an XES log whose events carry the columns of `annotate` as attributes ``sequela:…``, beside their own.

    An attribute that has one value in each case becomes one of the trace.

    Raises:
        MissingExtraError: r4pm is not installed.
    """
    if importlib.util.find_spec("r4pm") is None:
        raise MissingExtraError("writing XES", "xes")
    import r4pm

    table = annotate(events, edges)
    names = {"case": "case:concept:name", "event": "concept:name", "time": "time:timestamp"}
    if "time" in table.columns:
        table = table.with_columns(seconds_to_datetime(table["time"]))
    of_cases, of_events = attributes_of_cases(events), attributes_of(events)
    for name in of_events:
        kept = f"case:{name.removeprefix('case:')}" if name in of_cases else name
        names[name] = kept if kept not in names.values() else f"sequela:{name}"
    table = table.with_columns(pl.col(pl.String).map_elements(xml_text, return_dtype=pl.String)).rename(
        {name: names.get(name, f"sequela:{name}") for name in table.columns}
    )
    with whole_file(path) as temporary:
        named = temporary.with_suffix(".xes")  # r4pm chooses the format by the suffix
        try:
            r4pm.df.export_xes(table, str(named))
            os.replace(named, temporary)
        finally:
            named.unlink(missing_ok=True)
