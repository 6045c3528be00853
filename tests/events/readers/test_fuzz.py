"""Random tables and damaged files: each is read, every row of it, or refused in one short harmless line."""

import datetime as dt
import io
import random
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from formats import PACKERS, WRITERS

from sequela.errors import SequelaError
from sequela.events.log import read_log

WORDS = ["a", "b", "x y", "a|b", "\\", "é", "\x1b[2J", "\x00", "\n", "'", '"', ",", "=1+1", "漢", "x" * 300]
EMPTY = ["", " ", "nan", None]
TIMES = ["2026-01-01", "2026-01-01 10:00", "2026-01-01T10:00:00Z", "17", "1e300", "20260101", "soon", "1790000000000"]
NUMBERS = [0, 1, 2, 3, -1, 20260131, 1_790_000_000, 1_790_000_000_000, 2**53, 2**63 - 1]
FLOATS = [0.0, 1.0, 2.5, float("nan"), float("inf"), 1e300, 5e-324, 1.79e9, 1.79e12, None]
INSERTS = [b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"<", b">", b"{", b"nan", b"1e999"]
MOMENT = dt.datetime(2026, 1, 31, 12)


def text(rng, n):
    values = rng.choice([WORDS, TIMES, TIMES[:2], [*WORDS, *EMPTY]])
    return pl.Series(rng.choices(values, k=n), dtype=pl.String)


def clean(rng, n):
    values = rng.choice([WORDS, WORDS[:3], ["007", "7"]])
    return pl.Series(rng.choices(values, k=n), dtype=pl.String)


def clean_times(rng, n):
    if rng.random() < 0.5:
        return pl.Series(rng.choices(TIMES[:2], k=n), dtype=pl.String)
    return pl.Series([rng.randrange(10**9) * 1000 + 10**12 for _ in range(n)], dtype=pl.Int64)


def whole(rng, n):
    kind = rng.choice([pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128, pl.UInt8, pl.UInt32, pl.UInt64])
    return pl.Series(rng.choices(rng.choice([NUMBERS, NUMBERS[:3], NUMBERS[1:4]]), k=n)).cast(kind, strict=False)


def real(rng, n):
    values = rng.choices(rng.choice([FLOATS, FLOATS[:3]]), k=n)
    return pl.Series(values, dtype=rng.choice([pl.Float32, pl.Float64]))


def moments(rng, n):
    values = [MOMENT + dt.timedelta(minutes=1440 * rng.randrange(-5, 100) + rng.randrange(600)) for _ in range(n)]
    values = pl.Series(values, dtype=pl.Datetime("us"))
    far = pl.Series(rng.choices([0, 2**62, -(2**62)], k=n), dtype=pl.Int64)
    return rng.choice(
        [
            values.cast(pl.Datetime(rng.choice(["ms", "us", "ns"]))),
            values.dt.replace_time_zone(rng.choice(["UTC", "America/New_York"])),
            values.cast(pl.Date),
            values.dt.time(),
            far.cast(pl.Datetime(rng.choice(["ms", "us", "ns"]))),
        ]
    )


def odd(rng, n):
    return rng.choice(
        [
            lambda: pl.Series(rng.choices([dt.timedelta(days=1), dt.timedelta(0), None], k=n), dtype=pl.Duration),
            lambda: pl.Series(rng.choices([b"a", b"b", b"\xff\x00", b"", None], k=n), dtype=pl.Binary),
            lambda: pl.Series(rng.choices([b"a", b"b"], k=n), dtype=pl.Binary),
            lambda: pl.Series(rng.choices([True, False, None], k=n), dtype=pl.Boolean),
            lambda: pl.Series(rng.choices(["a", "b", "2026-01-01"], k=n), dtype=pl.Categorical),
            lambda: pl.Series(rng.choices(["a", "b"], k=n), dtype=pl.Enum(["a", "b"])),
            lambda: pl.Series(rng.choices([Decimal("1.50"), Decimal("2")], k=n)),
            lambda: pl.Series([None] * n),
            lambda: pl.Series([[1, 2]] * n),
            lambda: pl.Series([{"a": 1}] * n),
            lambda: pl.Series([object()] * n, dtype=pl.Object),
        ]
    )()


def table(rng):
    n = rng.choice([0, 1, 2, 3, 3, 8, 8, 40])
    names = rng.sample(["case", "event", "time", "\x1b]0;x\x07", "concept:name", "x" * 500, "CASE", ""], 3)
    names = names if rng.random() < 0.3 else ["case", "event", "time"]
    wild = [text, text, whole, real, moments, odd]
    if rng.random() < 0.5:
        kinds = [wild, wild, wild]
    else:
        kinds = [[clean, clean, whole], [clean, clean, whole], [clean_times, clean_times, moments]]
    return pl.DataFrame({name: rng.choice(kind)(rng, n) for name, kind in zip(names, kinds, strict=True)})


def file_of(rng, frame, folder):
    """Write a table in some format, whole or damaged."""
    suffix = rng.choice([".csv", ".jsonl", ".parquet", ".xes", ".tsv"])
    packing = rng.choice(["", "", ".gz", ".zst"])
    if suffix == ".parquet":
        file, packing = io.BytesIO(), ""
        frame.write_parquet(file)
        content = file.getvalue()
    elif suffix == ".jsonl":
        content = frame.write_ndjson().encode()
    elif suffix == ".xes":
        rows = [("a", "x", "1"), ("a", "y<", "2"), ("b", "é", "3")] * rng.randrange(1, 5)
        content = WRITERS[".xes"](rows)
    else:
        content = frame.write_csv(separator="\t" if suffix == ".tsv" else ",").encode()
    if rng.random() < 0.4:
        content = damaged(rng, content)
    content = PACKERS[packing](content)
    if packing and rng.random() < 0.3:
        content = damaged(rng, content)
    path = folder / f"log{suffix}{packing}"
    path.write_bytes(content)
    return path


def damaged(rng, content):
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 3, 20])):
        place, size = rng.randrange(len(content) + 1), rng.choice([1, 1, 4, 50])
        kind = rng.randrange(5)
        if kind == 0:
            content[place : place + size] = rng.randbytes(size)
        elif kind == 1:
            del content[place : place + size]
        elif kind == 2:
            content[place:place] = rng.choice(INSERTS)
        elif kind == 3:
            content[place:place] = content[max(0, place - size) : place]
        else:
            del content[place:]
    return bytes(content)


def check(seed, folder):
    """Read one random table; return what came of it."""
    rng = random.Random(seed)
    frame = table(rng)
    source, n_rows = frame, frame.height
    way = rng.randrange(5)
    try:
        if way == 1:
            source = frame.lazy()
        elif way == 2:
            source = frame.to_pandas()
        elif way > 2:
            source, n_rows = file_of(rng, frame, folder), None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError, ValueError, OverflowError):
        return "no table"  # what polars cannot write in this format is nothing to read
    names = frame.columns
    named = {"case": names[0], "event": rng.choice([names[1], names[:2], names]), "time": rng.choice([names[2], False])}
    if rng.random() < 0.3:
        named |= {"time_format": rng.choice(["%Y-%m-%d", "%d/%m/%Y %H:%M", "ms", "s", "nonsense"])}
    try:
        log = read_log(source, **(named if rng.random() < 0.8 else {}))
    except SequelaError as error:
        message = str(error)
        assert message.strip()
        assert len(message) < 2500, message
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in message), repr(message)
        return "refused"
    assert n_rows is None or log.n_events == n_rows
    assert log.frame.null_count().sum_horizontal().item() == 0
    if log.has_times:
        assert log.frame["time"].is_finite().all()
        assert log.frame.equals(log.frame.sort("case", "time", maintain_order=True))
    return "read"


def run(seeds, limit=float("inf")):
    pytest.importorskip("pandas")
    counts, start = {}, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            try:
                found = check(seed, Path(folder))
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
            counts[found] = counts.get(found, 0) + 1
            if time.monotonic() - start > limit:
                break
    return counts


def test_random_tables_for_some_seconds():
    counts = run(range(1_000_000), limit=5)
    assert min(counts["read"], counts["refused"]) >= 5


@pytest.mark.slow
def test_ten_thousand_random_tables():
    counts = run(range(10**7, 10**7 + 10_000))
    assert sum(counts.values()) == 10_000
    assert min(counts["read"], counts["refused"]) > 1000
