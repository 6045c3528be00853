"""Random tables of every type, as frames and files: each is read, every row of it, or refused in one harmless line."""

import datetime as dt
from decimal import Decimal

import polars as pl
from files import refused_well

from sequela.errors import SequelaError
from sequela.events.log import read_log

WORDS = ["a", "b", "x y", "a|b", "\\", "é", "\x1b[2J", "\x00", "\n", "'", '"', ",", "=1+1", "漢", "x" * 300]
EMPTY = ["", " ", "nan", None]
TIMES = ["2026-01-01", "2026-01-01 10:00", "2026-01-01T10:00:00Z", "17", "1e300", "20260101", "soon", "1790000000000"]
NUMBERS = [0, 1, 2, 3, -1, 20260131, 1_790_000_000, 1_790_000_000_000, 2**53, 2**63 - 1]
FLOATS = [0.0, 1.0, 2.5, float("nan"), float("inf"), 1e300, 5e-324, 1.79e9, 1.79e12, None]
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


def check(rng, folder):
    """Read one random table; return what came of it."""
    frame = table(rng)
    source, n_rows = frame, frame.height
    way = rng.randrange(5)
    try:
        if way == 1:
            source = frame.lazy()
        elif way == 2:
            source = frame.to_pandas()
        elif way == 3:
            source = folder / "table.parquet"
            frame.write_parquet(source)
        elif way == 4:
            source = folder / "table.jsonl"
            frame.write_ndjson(source)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError, ValueError, OverflowError):
        return "no table"  # what polars cannot write in this format is nothing to read
    names = frame.columns
    named = {"case": names[0], "event": rng.choice([names[1], names[:2], names]), "time": rng.choice([names[2], False])}
    if rng.random() < 0.3:
        named |= {"time_format": rng.choice(["%Y-%m-%d", "%d/%m/%Y %H:%M", "ms", "s", "nonsense"])}
    try:
        log = read_log(source, **(named if rng.random() < 0.8 else {}))
    except SequelaError as error:
        refused_well(error, folder)
        return "refused"
    assert n_rows is None or log.n_events == n_rows
    assert log.frame.null_count().sum_horizontal().item() == 0
    if log.has_times:
        assert log.frame["time"].is_finite().all()
        assert log.frame.equals(log.frame.sort("case", "time", maintain_order=True))
    return "read"
