"""The same rows in every format, written by other libraries than the ones that read them."""

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = [("a", "x", "1"), ("a", "y,\n2", "2"), ("b", 'q"q', "3"), ("b", "ü", "4"), ("b", "007", "5")]


def as_csv(rows, separator=","):
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows([("case", "event", "time"), *rows])
    return text.getvalue().encode()


def as_json_lines(rows):
    return b"".join(json.dumps(dict(zip(("case", "event", "time"), row, strict=True))).encode() + b"\n" for row in rows)


def as_parquet(rows):
    file = io.BytesIO()
    columns = dict(zip(("case", "event", "time"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def as_xes(rows):
    def attribute(key, value):
        escaped = value.replace("&", "&amp;").replace('"', "&quot;").replace("\n", "&#10;").replace("<", "&lt;")
        return f'<string key="{key}" value="{escaped}"/>'

    traces = {}
    for case, event, time in rows:
        traces.setdefault(case, []).append(f"<event>{attribute('event', event)}{attribute('time', time)}</event>")
    body = "".join(f"<trace>{attribute('case', case)}{''.join(events)}</trace>" for case, events in traces.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<log xes.version="1.0">{body}</log>\n'.encode()


def zstd(content):
    return pa.compress(content, codec="zstd", asbytes=True)


WRITERS = {".csv": as_csv, ".tsv": lambda r: as_csv(r, "\t"), ".jsonl": as_json_lines, ".parquet": as_parquet} | {
    ".xes": as_xes
}
PACKERS = {"": lambda content: content, ".gz": gzip.compress, ".zst": zstd}
KINDS = [(s, p) for s in WRITERS for p in PACKERS if not (s == ".parquet" and p)]
