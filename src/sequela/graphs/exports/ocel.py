"""OCEL 2.0 in JSON, for object-centric process mining."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from sequela.errors import ConfigError
from sequela.files import whole_file
from sequela.graphs.exports.annotate import annotate
from sequela.graphs.exports.values import StrPath, finite
from sequela.graphs.schemas import attributes_of, attributes_of_cases

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def write_ocel(events: pl.DataFrame, edges: pl.DataFrame, path: StrPath) -> None:
    """Write an object-centric log (OCEL 2.0, JSON).

    An event belongs to its object ``case``. Each edge is an object of type ``causal link`` with its numbers; the cause
    is related to it as ``cause``, the effect as ``effect``. Events also carry the columns of `annotate`, and the
    attributes of the log; those that have one value in each case are of the object ``case``.

    Raises:
        ConfigError: The log has no times, which OCEL demands.
    """
    if "time" not in events.columns:
        raise ConfigError("OCEL needs a time for every event, and this log has none; write XES instead (.xes)")
    numbers = {"lag": "integer", "cmi_nats": "float", "std_error": "float", "pointwise_nats": "float"}
    static = _EPOCH.isoformat()  # attributes that do not change
    related: dict[str, list[dict[str, str]]] = {}
    of_cases = attributes_of_cases(events)
    of_events = [name for name in attributes_of(events) if name not in of_cases]
    kinds = {name: _kind(events.schema[name]) for name in (*of_cases, *of_events)}
    own = events if "neighbour" not in events.columns else events.filter(pl.col("neighbour").is_null())
    objects: list[dict[str, Any]] = [
        {"id": f"case:{row['case']}", "type": "case", "relationships": [], "attributes": [
            {"name": name, "time": static, "value": row[name]} for name in of_cases if finite(row[name]) is not None
        ]}
        for row in own.unique("case", keep="first", maintain_order=True).iter_rows(named=True)
    ]  # fmt: skip
    for row in edges.iter_rows(named=True):
        case, ends = row["case"], (row["cause_position"], row["effect_position"])
        link = f"link:{case}/{ends[0]}-{ends[1]}"
        values = {name: finite(row[name]) for name in numbers}
        objects.append(
            {
                "id": link,
                "type": "causal link",
                "attributes": [{"name": k, "time": static, "value": v} for k, v in values.items() if v is not None],
                "relationships": [{"objectId": f"case:{case}", "qualifier": "case"}],
            }
        )
        for qualifier, position in zip(("cause", "effect"), ends, strict=True):
            related.setdefault(f"{case}/{position}", []).append({"objectId": link, "qualifier": qualifier})
    noted = {"position": "integer", "n_causes": "integer", "n_effects": "integer", "causes": "string",
             "main_cause": "string", "main_cause_nats": "float"}  # fmt: skip
    noted |= {name: kinds[name] for name in of_events} | ({"neighbour": "string"} if own is not events else {})
    written = []
    for row in annotate(events, edges).iter_rows(named=True):
        name = f"{row['case']}/{row['position']}"
        written.append(
            {
                "id": name,
                "type": row["event"],
                "time": (_EPOCH + timedelta(seconds=row["time"])).isoformat(),
                "attributes": [{"name": key, "value": row[key]} for key in noted if finite(row[key]) is not None],
                "relationships": [{"objectId": f"case:{row['case']}", "qualifier": "case"}, *related.get(name, [])],
            }
        )
    log = {
        "objectTypes": [
            {"name": "case", "attributes": [{"name": name, "type": kinds[name]} for name in of_cases]},
            {"name": "causal link", "attributes": [{"name": k, "type": v} for k, v in numbers.items()]},
        ],
        "eventTypes": [
            {"name": name, "attributes": [{"name": k, "type": v} for k, v in noted.items()]}
            for name in events["event"].unique().sort()
        ],
        "objects": objects,
        "events": written,
    }
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(log, file, ensure_ascii=False, allow_nan=False)


def _kind(kind: pl.DataType) -> str:
    """Return what OCEL calls a type of values."""
    if kind == pl.Boolean:
        return "boolean"
    return "integer" if kind.is_integer() else "float" if kind.is_numeric() else "string"
