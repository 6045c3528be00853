"""Case and event columns: any plain value becomes text, a missing one names its row, other kinds are refused."""

import datetime as dt
from decimal import Decimal

import polars as pl
import pytest

from sequela.errors import LogFormatError
from sequela.events.labels import to_labels


def labels(values, role="case"):
    return to_labels(values, role=role, column="device", source="log").to_list()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pl.Series(["007", " x "]), ["007", " x "]),
        (pl.Series([28, -1]), ["28", "-1"]),
        (pl.Series([28.0, 0.1]), ["28", "0.1"]),
        (pl.Series([28.0], dtype=pl.Float32), ["28"]),
        (pl.Series([2**63], dtype=pl.UInt64), ["9223372036854775808"]),
        (pl.Series([True, False]), ["true", "false"]),
        (pl.Series([b"caf\xc3\xa9"]), ["café"]),
        (pl.Series(["a"], dtype=pl.Categorical), ["a"]),
        (pl.Series([dt.date(2026, 1, 31)]), ["2026-01-31"]),
        (pl.Series([Decimal("1.50")]), ["1.50"]),
    ],
)
def test_plain_values_become_text(values, expected):
    assert labels(values) == expected


@pytest.mark.parametrize("missing", [None, "", " \t", "nan", "NaN", "None", "NULL", "<NA>", "NaT", " nan "])
def test_what_stands_for_nothing_is_no_case(missing):
    with pytest.raises(LogFormatError, match=r"log, row 2 .*column 'device' is empty.*1 such rows.; fill them or drop"):
        labels(pl.Series(["a", missing], dtype=pl.String))


def test_words_for_nothing_may_be_events():
    assert labels(pl.Series(["none", "null"]), role="event") == ["none", "null"]
    with pytest.raises(LogFormatError, match="row 1 "):
        labels(pl.Series([" "]), role="event")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64])
@pytest.mark.parametrize("role", ["case", "event"])
def test_no_number_is_no_label(value, dtype, role):
    with pytest.raises(LogFormatError, match=r"row 3 .*\(2 such rows"):
        labels(pl.Series([1.0, 2.5, value, value], dtype=dtype), role)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (pl.Series([dt.timedelta(1)]), r"log: the case column 'device' holds Duration.* must hold text or numbers"),
        (pl.Series([dt.time(1)]), "holds Time"),
        (pl.Series([[1]]), "holds List"),
        (pl.Series([{"a": 1}]), "holds Struct"),
        (pl.Series([object()], dtype=pl.Object), "holds Object"),
        (pl.Series([1.0, 2.0**53]), r"row 2 .*has more digits than a floating-point number holds"),
        (pl.Series([1.0, 2.0**24], dtype=pl.Float32), r"row 2 .*has more digits"),
        (pl.Series([b"a", b"\xff"]), r"row 2 .*is not UTF-8 text \(1 such rows"),
        (pl.Series([0, 2**62], dtype=pl.Int64).cast(pl.Datetime("ms")), r"row 2 .*date out of range"),
    ],
)
def test_other_kinds_are_refused_in_one_line(values, says):
    with pytest.raises(LogFormatError, match=says) as caught:
        labels(values)
    assert "\n" not in str(caught.value)
