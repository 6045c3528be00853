"""OpenTelemetry spans with links to their causes (OTLP JSON), for backends of traces.

Source: OpenTelemetry protocol 1.x, "JSON Protobuf Encoding": identifiers are hexadecimal, 64-bit integers are text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import polars as pl

from sequela.errors import ConfigError
from sequela.files import whole_file
from sequela.graphs.exports.annotate import annotate
from sequela.graphs.exports.values import StrPath, finite
from sequela.version import __version__

_TRACE_ID, _SPAN_ID = re.compile(r"(?!0{32})[0-9a-f]{32}"), re.compile(r"(?!0{16})[0-9a-f]{16}")
_NUMBERS = ("lag", "cmi_nats", "std_error", "pointwise_nats")


def write_otlp(events: pl.DataFrame, edges: pl.DataFrame, path: StrPath) -> None:
    """Write one span an event, with a link to each of its causes; see `AnnotatedLog.to_otlp`.

    Args:
        events: ``case``, ``position``, ``event`` and ``time`` (seconds since 1970); perhaps ``trace`` and ``span``.
        edges: ``case`` and the columns of `InstanceGraph.edges`.
        path: File.

    Raises:
        ConfigError: The log has no times, or one before 1970.
    """
    if "time" not in events.columns or not events["time"].ge(0).all():
        raise ConfigError("spans need a time after 1970 for every event, and this log has none: write XES (.xes)")
    resource = {"attributes": [_attribute("service.name", "sequela")]}
    scope = {"name": "sequela", "version": __version__}
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f'{{"resourceSpans": [{{"resource": {json.dumps(resource)}, "scopeSpans": [')
        file.write(f'{{"scope": {json.dumps(scope)}, "spans": [')
        for number, span in enumerate(_spans(events, edges)):
            file.write(",\n" if number else "\n")
            json.dump(span, file, allow_nan=False)
        file.write("]}]}]}\n")


def _spans(events: pl.DataFrame, edges: pl.DataFrame) -> Iterator[dict[str, Any]]:
    order = ["case", "effect_position", "cmi_nats", "cause_position"]
    seen = _originals(events)
    links: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in edges.sort(order, descending=[False, False, True, False]).iter_rows(named=True):
        case, cause = row["case"], (row["case"], row["cause_position"])
        numbers = {f"sequela.{name}": finite(row[name]) for name in _NUMBERS}
        known = {"sequela.cause": row["cause"], **numbers}
        link = (seen.get(cause) or _ids(*cause)) | {"attributes": _attributes(known)}
        links.setdefault((case, row["effect_position"]), []).append(link)
    noted = ("n_causes", "n_effects", "main_cause", "main_cause_nats")
    for row in annotate(events, edges).iter_rows(named=True):
        place = (row["case"], row["position"])
        nanoseconds = str(round(row["time"] * 1e9))
        known = {"sequela.case": row["case"], "sequela.position": row["position"]}
        ids = _ids(*place)
        if place in seen:  # what was found out about a span stands below it in its trace
            ids |= {"traceId": seen[place]["traceId"], "parentSpanId": seen[place]["spanId"]}
        yield ids | {
            "name": row["event"],
            "kind": 1,
            "startTimeUnixNano": nanoseconds,
            "endTimeUnixNano": nanoseconds,
            "attributes": _attributes(known | {f"sequela.{name}": row[name] for name in noted}),
            "links": links.get(place, []),
        }


def _originals(events: pl.DataFrame) -> dict[tuple[str, int], dict[str, str]]:
    """Return the identifiers of the spans that events were, by case and position; of those that the log says."""
    if "span" not in events.columns:
        return {}
    trace = "trace" if "trace" in events.columns else "case"
    found = events.select("case", "position", pl.col(trace, "span").cast(pl.String).name.prefix("its_"))
    return {
        (row[0], row[1]): {"traceId": row[2].lower(), "spanId": row[3].lower()}
        for row in found.drop_nulls().iter_rows()
        if _TRACE_ID.fullmatch(row[2].lower()) and _SPAN_ID.fullmatch(row[3].lower())
    }


def _ids(case: str, position: int) -> dict[str, str]:
    trace = case.lower() if _TRACE_ID.fullmatch(case.lower()) else _hash(case, 16)
    return {"traceId": trace, "spanId": _hash(f"{position} of {case}", 8)}


def _hash(text: str, n_bytes: int) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=n_bytes).hexdigest()


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [_attribute(name, value) for name, value in values.items() if value is not None]


def _attribute(name: str, value: str | float) -> dict[str, Any]:
    kind = {int: "intValue", float: "doubleValue", str: "stringValue"}[type(value)]
    return {"key": name, "value": {kind: str(value) if isinstance(value, int) else value}}
