"""Times: what a column means is decided by most of it, and what does not fit is refused by its rows."""

import datetime as dt
import random
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequela.errors import LogFormatError
from sequela.events.log import read_log
from sequela.events.times import time_to_seconds

NOW = 1_790_000_000
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def seconds(values, **arguments):
    series = values if isinstance(values, pl.Series) else pl.Series(values)
    return time_to_seconds(series, column="at", source="log", **arguments).to_list()


def utc(*parts):
    return dt.datetime(*parts, tzinfo=dt.UTC).timestamp()


def as_numbers(values):
    return pl.Series(values)


def as_text(values):
    return pl.Series([str(value) for value in values])


def as_floats(values):
    return pl.Series([float(value) for value in values])


KINDS = [as_numbers, as_text, as_floats]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", list(UNITS))
def test_units(kind, unit):
    assert seconds(kind([NOW * UNITS[unit], (NOW + 1) * UNITS[unit]])) == [NOW, NOW + 1]


@pytest.mark.parametrize("kind", [as_numbers, as_text])
def test_integers_keep_their_microseconds(kind):
    assert seconds(kind([1_790_000_000_123_456_789])) == [1_790_000_000.123456]


def test_a_clock_that_starts_anywhere():
    assert seconds([0, 5, 10**9]) == [0, 5, 10**9]
    assert seconds([-5.5, 0.25]) == [-5.5, 0.25]
    clock = random.Random(0).sample(range(25_000_000), 1000)  # some look like 2023-11-14 without the signs
    assert seconds(clock) == clock


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("many", list(UNITS))
@pytest.mark.parametrize("few", list(UNITS))
def test_mixed_units_are_refused_by_row(kind, many, few):
    values = [(NOW + i) * UNITS[many] for i in range(9)] + [NOW * UNITS[few]]
    if many == few:
        assert seconds(kind(values)) == [*(NOW + i for i in range(9)), NOW]
        return
    with pytest.raises(
        LogFormatError, match=r"log, row 10 \(header not counted\).*'at' looks like .*while 9 of 10 look like"
    ):
        seconds(kind(values))


@pytest.mark.parametrize("kind", [as_text, as_floats])
@pytest.mark.parametrize("wild", [1e300, -1e300, 1e21, float("inf"), float("nan")])
def test_one_wild_cell_is_refused_and_changes_no_other(kind, wild):
    with pytest.raises(LogFormatError, match=r"row 2 .*is not a time \(1 such row"):
        seconds(kind([NOW, wild, NOW + 1]))


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (["31.01.2026 12:00:05", "01.02.2026 00:00:00"], "%d.%m.%Y %H:%M:%S"),
        (["01/13/2026 1:05 PM"], "%m/%d/%Y %I:%M %p"),
        (["31/01/26", "soon"], None),
    ],
)
def test_the_form_of_other_times_is_suggested(values, form):
    says = "Allowed: ISO 8601" if form is None else f"--time-format '{form}'"
    with pytest.raises(LogFormatError, match=re.escape(says)):
        seconds(values)
    if form is not None:
        assert np.isfinite(seconds(values, time_format=form)).all()


def test_a_named_unit_settles_it():
    assert seconds([0, 5 * 10**11], time_format="ns") == [0.0, 500.0]
    assert seconds(["0", "250"], time_format="ms") == [0.0, 0.25]
    with pytest.raises(LogFormatError, match=r"row 2 .*is not a time"):
        seconds([0, 10**18], time_format="s")
    with pytest.raises(LogFormatError, match=r"row 1 .*is not a time"):
        seconds(["2026-01-01"], time_format="s")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([20231114, 19991231], [(2023, 11, 14), (1999, 12, 31)]),
        ([202311141230, 199912312359], [(2023, 11, 14, 12, 30), (1999, 12, 31, 23, 59)]),
        ([20231114123045, 19991231235959], [(2023, 11, 14, 12, 30, 45), (1999, 12, 31, 23, 59, 59)]),
    ],
)
def test_calendar_numbers(kind, values, expected):
    assert seconds(kind(values)) == [utc(*parts) for parts in expected]


@pytest.mark.parametrize("kind", [as_numbers, as_text])
def test_calendar_numbers_with_milliseconds(kind):
    assert seconds(kind([20231114123045250])) == [utc(2023, 11, 14, 12, 30, 45) + 0.25]


@pytest.mark.parametrize("kind", KINDS)
def test_calendar_numbers_mixed_with_others_are_refused(kind):
    for values in ([20231114] * 9 + [20231399], [NOW] * 9 + [20231114], [20231114] * 9 + [NOW]):
        with pytest.raises(LogFormatError, match="row 10 "):
            seconds(kind(values))
    with pytest.raises(LogFormatError, match="row 1 "):
        seconds(kind([20231114123045] + [NOW * 1000] * 9))


def test_a_format_applies_to_numbers_too():
    assert seconds([311299], time_format="%d%m%y") == [utc(1999, 12, 31)]


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31 12:00:00 UTC",
        "2026-01-31T12:00:00,000Z",
        "2026-01-31T13:00+01:00",
        "20260131T120000Z",
        "20260131T120000.000+0000",
        "2026-01-31T12:00:00",
        "20260131T120000",
        "2026-01-31 12:00:00,000",
        "2026-01-31 12:00",
    ],
)
def test_iso_text(text):
    assert seconds([text, f" {text} "]) == [utc(2026, 1, 31, 12)] * 2


def test_zoned_and_zoneless_together_are_refused():
    zoned = ["2026-01-31T12:00:00+01:00"] * 3
    for other in ("2026-01-31T12:00:00", "2026-01-31"):
        with pytest.raises(LogFormatError, match=r"row 4 .*has no zone, while 3 of 4 times have one"):
            seconds([*zoned, other])
    with pytest.raises(LogFormatError, match=r"row 1 .*has a zone, while 3 of 4 times have none"):
        seconds(["2026-01-31T12:00:00Z", *["2026-01-31T12:00:00"] * 3])


def test_text_is_read_as_what_most_of_it_is():
    with pytest.raises(LogFormatError, match=r"row 3 .*'17' in column 'at' is not a time \(1 such row"):
        seconds(["2026-01-31", "2026-02-01", "17"])
    with pytest.raises(LogFormatError, match=r"row 3 .*'2026-02-01' in column 'at' is not a time \(1 such row"):
        seconds(["17", "18", "2026-02-01"])


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([dt.timedelta(seconds=1)]),
        pl.Series([dt.time(12, 0)]),
        pl.Series([True]),
        pl.Series([[1]]),
        pl.Series([None]),
        pl.Series([b"\xff"]),
        pl.Series([10**18], dtype=pl.Int64).cast(pl.Datetime("ms")),
        pl.Series(["x" * 10_000]),
        pl.Series(["\x1b[2J"]),
    ],
)
def test_other_columns_are_refused_in_one_short_line(values):
    with pytest.raises(LogFormatError) as caught:
        seconds(values)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Paris"])
def test_datetimes(unit, zone):
    stamps = pl.Series([dt.datetime(2026, 1, 31, 12, 0, 0, 250_000)]).cast(pl.Datetime(unit))
    expected = utc(2026, 1, 31, 11 if zone == "Europe/Paris" else 12) + 0.25
    assert seconds(stamps.dt.replace_time_zone(zone)) == [expected]


def test_bytes_and_categories_are_read_as_text():
    assert seconds(pl.Series([b"2026-01-31"])) == seconds(pl.Series(["2026-01-31"], dtype=pl.Categorical))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2150, 1, 1)), min_size=1, max_size=8),
    st.sampled_from(["%Y%m%d", "%Y%m%d%H%M%S", "%Y-%m-%dT%H:%M:%S.%f", "s", "ms", "us", "ns"]),
)
def test_every_way_of_writing_gives_python_s_seconds(stamps, way):
    exact = [stamp.replace(tzinfo=dt.UTC) for stamp in stamps]
    micro = [(stamp - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1) for stamp in exact]
    if way in UNITS:
        values = pl.Series([m * UNITS[way] // 10**6 for m in micro])
        expected = [v / UNITS[way] for v in values]
    else:
        values = pl.Series([stamp.strftime(way) for stamp in stamps])
        expected = [dt.datetime.strptime(v, way).replace(tzinfo=dt.UTC).timestamp() for v in values]
    assert seconds(values) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("value", ["2026-01-0\uff16", "\uff12026-01-01", "2026-01-01\u2028x", "2026\u201301\u201301"])
def test_signs_beyond_ascii_are_no_time(value):
    """Some of them ended in a panic of polars."""
    for arguments in ({}, {"time_format": "%Y-%m-%d"}):
        with pytest.raises(LogFormatError, match=r"row 3 .* is not a time"):
            seconds(["2026-01-01", "2026-01-02", value], **arguments)


@pytest.mark.parametrize("kind", [pl.Int64, pl.Datetime("ns")])
def test_nanoseconds_that_are_not_kept_are_said(kind):
    """Times are float64 seconds: what lies within a microsecond has no order, and the log says so."""
    table = pl.DataFrame({"case": ["a"] * 3, "event": ["x", "y", "z"]})
    for step, said in ((50, True), (1000, False)):
        times = pl.Series("time", [1_790_000_000_000_000_000 + step * i for i in range(3)]).cast(kind)
        log = read_log(table.with_columns(times))
        assert log.n_ties == (2 if said else 0)
        assert any("kept to the microsecond" in note for note in log.notes) == said
