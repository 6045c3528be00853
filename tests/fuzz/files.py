"""Files of every format, whole or damaged: read as an independent reader reads them, or refused in one line."""

import csv
import io
import json
import warnings
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
from damage import damaged

from formats import PACKERS, WRITERS
from sequela.errors import SequelaError
from sequela.events.log import read_log

CASES = ["a", "b", "c", "007", "7", "x y", "é", "=1", "漢", "nan"]
EVENTS = ["x", "y", "z", "x,y", 'q"q', "a\nb", "ü", "0", "|", "\\", "<", "&amp;"]
TIMES = [
    ["1", "2", "3"],
    ["1790000000", "1790000001"],
    ["2026-01-01 10:00", "2026-01-02 11:00:01"],
    ["2026-01-01T10:00:00Z", "2026-01-02T10:00:00+02:00"],
    ["20260101", "20260102"],
    ["1", "1790000000000"],
    ["soon", "2026-01-01"],
    ["", "1"],
]


def rows(rng):
    """Mostly rows that can be read."""
    times = rng.choice(TIMES[:5] if rng.random() < 0.85 else TIMES)
    cases, events = rng.choice([CASES[:3], CASES[:9], CASES]), rng.choice([EVENTS[:3], EVENTS])
    n = rng.choice([2, 4, 8, 8, 30])
    return [(rng.choice(cases), rng.choice(events), rng.choice(times)) for _ in range(n)]


def independent(suffix, content):
    """Return (case, event) of all rows as another reader sees them, sorted; None where it cannot tell.

    Raises:
        ValueError: The file is no table of this format.
    """
    if suffix in (".csv", ".tsv"):
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
        table = list(csv.reader(text, delimiter="\t" if suffix == ".tsv" else ",", strict=False))
        places = [table[0].index(name) for name in ("case", "event")]
        return sorted(tuple(row[i] for i in places) for row in table[1:] if row)
    if suffix == ".jsonl":
        found = [json.loads(line) for line in content.split(b"\n") if line.strip()]
        found = [(row["case"], row["event"]) for row in found]
        return sorted(found) if all(isinstance(cell, str) for row in found for cell in row) else len(found)
    if suffix == ".parquet":
        table = pq.read_table(io.BytesIO(content), columns=["case", "event"]).to_pydict()
        text = {name: [v.decode() if isinstance(v, bytes) else v for v in values] for name, values in table.items()}
        return sorted(zip(text["case"], text["event"], strict=True))
    root = ElementTree.fromstring(content)
    found = []
    for trace in root:
        if trace.tag.rpartition("}")[2] == "trace":
            events = [e for e in trace if e.tag.rpartition("}")[2] == "event"]
            found += [(attributes(trace).get("case"), attributes(event).get("event")) for event in events]
    return sorted(found)


def attributes(element):
    """Return the attributes of an element of XES."""
    kinds = {"string", "date", "int", "float", "boolean", "id"}
    return {e.get("key"): e.get("value") for e in element if e.tag.rpartition("}")[2] in kinds}


def check(rng, folder):
    """Write one file and read it; return what came of it."""
    suffix, packing = rng.choice(list(WRITERS)), rng.choice(["", "", "", ".gz", ".zst"])
    whole = WRITERS[suffix](rows(rng))
    packing = "" if suffix == ".parquet" else packing
    content = damaged(rng, whole) if rng.random() < 0.7 else whole
    packed = PACKERS[packing](content)
    if packing and rng.random() < 0.3:
        packed = damaged(rng, packed)
        if packing == ".zst":  # as pyarrow writes it, it has no checksum: what another program unpacks is what counts
            content = unpacked(packed)
    path = folder / f"log{suffix}{packing}"
    path.write_bytes(packed)
    case = "case:case" if suffix == ".xes" else "case"
    given = {"time": rng.choice(["time", "time", False])}
    given |= {"ties": "order"} if rng.random() < 0.2 else {}
    given |= {"time_format": rng.choice(["%Y-%m-%d", "ms", "nonsense"])} if rng.random() < 0.05 else {}
    try:
        log = read_log(path, case=case, event="event", **given)
    except SequelaError as error:
        refused_well(error, folder)
        return "refused"
    if log.has_times:
        assert log.frame["time"].is_finite().all()
    got = sorted(log.frame.select("case", "event").iter_rows())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = independent(suffix, content)
    assert (len(got) if isinstance(theirs, int) else got) == theirs, (suffix, content)
    return "read"


def unpacked(packed):
    """Return what a zstd file holds; nothing where it is damaged."""
    try:
        return pa.CompressedInputStream(pa.BufferReader(packed), "zstd").read()
    except OSError:
        return b""


def refused_well(error, folder):
    """A refusal is one short line that cannot steer a terminal."""
    message = str(error).replace(str(folder), "") if folder else str(error)
    assert message.strip()
    assert len(message) < 2500, message
    assert message.isprintable() or not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in message), repr(message)


__all__ = ["check", "refused_well"]
