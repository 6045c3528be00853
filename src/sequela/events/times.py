"""Times as users write them, turned into seconds since 1970."""

from __future__ import annotations

import re
from typing import NoReturn

import polars as pl

from sequela.errors import ConfigError, LogFormatError
from sequela.events.labels import bytes_to_text, datetime_to_seconds
from sequela.events.numeric_times import LATEST, UNITS, numbers_and_kind, refuse_rows
from sequela.text import quoted

_LENGTHS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_ZONED = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z", "%Y%m%dT%H%M%S%.f%#z", "%Y%m%dT%H%M%#z")
_LOCAL = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y%m%dT%H%M%S%.f", "%Y%m%dT%H%M")
_ALLOWED = (
    "Allowed: ISO 8601 (2026-01-31T12:00:00Z), a number since 1970, 20260131 or 20260131120000, "
    "or another form with time_format (--time-format '%d/%m/%Y %H:%M')"
)
_USUAL = tuple(
    f"{date}{clock}"
    for date in ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%d.%m.%y", "%d %b %Y")
    for clock in (" %H:%M:%S", " %H:%M:%S%.f", " %H:%M", " %I:%M:%S %p", " %I:%M %p", "")
)
"""Forms that are suggested, and never taken without being asked for: day and month cannot be told apart."""
_TRIED = 10_000
_ZONE = r"T.*[+-]\d{2}(:?\d{2})?$"


def time_to_seconds(values: pl.Series, *, column: str, source: str, time_format: str | None = None) -> pl.Series:
    """Turn a column of times into float64 seconds since 1970 (UTC where no zone is given).

    Args:
        values: Dates, datetimes, numbers since 1970 or dates in digits (`numbers_to_seconds`), or text holding
            numbers or ISO 8601 times. What a column of text holds, and in which unit, is decided by most cells.
        column: Name of the column, for messages.
        source: Name of the log, for messages.
        time_format: `strptime` codes for what is not ISO 8601, or the unit of numbers: ``s``, ``ms``, ``us``, ``ns``.

    Raises:
        LogFormatError: A value is missing or not a time, units are mixed, or only some have a zone; the message names
            the first such row.

    Example:
        >>> time_to_seconds(pl.Series(["1970-01-01 00:01:00", "1970-01-02"]), column="t", source="log").to_list()
        [60.0, 86400.0]
    """
    return time_and_kind(values, column=column, source=source, time_format=time_format)[0]


def time_and_kind(
    values: pl.Series, *, column: str, source: str, time_format: str | None = None
) -> tuple[pl.Series, str | None]:
    """Return what `time_to_seconds` returns, and what the column was taken for.

    Where several pieces of a column were taken for the same, so would be the whole. None: only the whole can tell.
    """
    kind: str | None = "given"
    if values.dtype == pl.Binary:
        values = bytes_to_text(values)
    elif isinstance(values.dtype, pl.Categorical | pl.Enum):
        values = values.cast(pl.String)
    names = {"column": column, "source": source}
    dtype = values.dtype
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        seconds = datetime_to_seconds(values)
    elif (dtype.is_numeric() or dtype == pl.String) and time_format in UNITS:
        seconds, kind = numbers_and_kind(values, unit=time_format, **names)
    elif dtype.is_numeric() and time_format is not None:
        seconds = _formatted_to_seconds(values.cast(pl.Int64, strict=False).cast(pl.String), time_format)
    elif dtype.is_numeric():
        seconds, kind = numbers_and_kind(values, **names)
    elif dtype == pl.String and time_format is not None:
        seconds = _formatted_to_seconds(values.str.strip_chars(), time_format)
    elif dtype == pl.String:
        seconds, kind = _text_to_seconds(values, **names)
    else:
        raise LogFormatError(f"{source}: column '{quoted(column)}' holds {quoted(dtype)} values, not times")
    bad = (seconds.is_null() | ~seconds.is_finite() | (seconds.abs() >= LATEST)).fill_null(True)
    if bad.any():
        _refuse(bad, values, column, source, time_format)
    return seconds, kind


def _refuse(bad: pl.Series, values: pl.Series, column: str, source: str, time_format: str | None) -> NoReturn:
    """Refuse values that are no times; say how to leave missing ones out, and which format would read the first."""
    missing = values.is_null()
    if (bad & missing).any() and bool((bad == missing).all()):
        first, n_missing = int(missing.arg_max() or 0) + 1, int(missing.sum())
        name = quoted(column) if column.isidentifier() else f'"{quoted(column)}"'
        raise LogFormatError(
            f"{source}, row {first} (header not counted): column '{quoted(column)}' is empty "
            f"({n_missing:,} such rows). Fill it in, or leave such rows out with where (--where '{name} IS NOT NULL')"
        )
    if time_format is None and values.dtype == pl.String:
        some = values.filter(bad & ~missing).head(_TRIED)
        likely = next((form for form in _USUAL if not _formatted_to_seconds(some, form).has_nulls()), None)
        if likely is not None:
            mend = f"time_format='{likely}' (--time-format '{likely}') reads such times"
            refuse_rows(bad, values, column, source, "is not a time as it stands", mend)
    refuse_rows(bad, values, column, source, "is not a time", _ALLOWED)


def finer_than_kept(values: pl.Series, kind: str | None) -> bool:
    """Return whether a column of nanoseconds, as `time_and_kind` takes it, has digits below a microsecond.

    Example:
        >>> finer_than_kept(pl.Series([1_790_000_000_000_000_050]), "ns")
        True
    """
    if values.dtype != pl.Datetime("ns") and not (kind == "ns" and values.dtype.is_integer()):
        return False
    return bool((values.to_physical() % 1000 != 0).any())


def seconds_to_datetime(seconds: pl.Series) -> pl.Series:
    """Turn seconds since 1970 into datetimes in UTC, to the microsecond.

    Example:
        >>> seconds_to_datetime(pl.Series([60.5]))[0].isoformat()
        '1970-01-01T00:01:00.500000+00:00'
    """
    return (seconds * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def parse_duration(argument: str, value: str | float) -> float:
    """Return seconds from a number of seconds or text like ``"10m"``, ``"1.5 h"``, ``"2d"``.

    Args:
        argument: Name of the argument, for messages.
        value: Number or text; units are ms, s, m (or min), h, d, w.

    Raises:
        ConfigError: It is not a length of time above 0.

    Example:
        >>> parse_duration("horizon_time", "10m"), parse_duration("horizon_time", 2.5)
        (600.0, 2.5)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(value).lower())
    if isinstance(value, bool) or not found or found[2] not in _LENGTHS or float(found[1]) <= 0:
        raise ConfigError(
            f"{argument} must be seconds above 0, or text like '90s', '10m', '2h', '1d'; got {quoted(repr(value), 80)}"
        )
    return float(found[1]) * _LENGTHS[found[2]]


def _ascii(text: pl.Series) -> pl.Series:
    """Return text without cells that have other signs than ASCII: they are no times, and some end in a panic."""
    return text.set((text.str.len_bytes() != text.str.len_chars()).fill_null(False), None)


def _formatted_to_seconds(text: pl.Series, time_format: str) -> pl.Series:
    text = _ascii(text) if time_format.isascii() else text
    if any(code in time_format for code in ("%H", "%I", "%s", "%T", "%R")):
        return datetime_to_seconds(text.str.to_datetime(time_format, strict=False, time_unit="us"))
    return datetime_to_seconds(text.str.to_date(time_format, strict=False))


def _text_to_seconds(values: pl.Series, *, column: str, source: str) -> tuple[pl.Series, str | None]:
    """Read a column of text as numbers if most cells are, else as ISO 8601, all with a zone or all without."""
    text = values.str.strip_chars()
    text = _ascii(text)
    numbers = text.cast(pl.Float64, strict=False)
    if 2 * (len(numbers) - numbers.null_count()) > len(text) - text.null_count():
        return numbers_and_kind(text, column=column, source=source)
    iso = text.str.replace(r"^(\d{4}-\d{2}-\d{2}|\d{8}) +", "${1}T").str.replace(r"(\d),(\d+)", "${1}.${2}")
    iso = iso.str.replace(r"\s*(Z|z|UTC)$", "+00:00").str.replace(r"\s+([+-]\d{2}(:?\d{2})?)$", "${1}")
    has_zone = iso.str.contains(_ZONE).fill_null(False)
    local = _first_reading(iso.set(has_zone, None), _LOCAL)
    zoned = _first_reading(iso.set(~has_zone, None), _ZONED)
    n_local, n_zoned = (len(text) - found.null_count() for found in (local, zoned))
    if n_local and n_zoned:
        few, what, n_most = (local, "has no zone, while {} of {} times have one", n_zoned)
        if n_local > n_zoned:
            few, what, n_most = (zoned, "has a zone, while {} of {} times have none", n_local)
        what = what.format(f"{n_most:,}", f"{n_local + n_zoned:,}")
        refuse_rows(few.is_not_null(), values, column, source, what, "Give all of them a zone, or none")
    return local.zip_with(local.is_not_null(), zoned), "zoned" if n_zoned else "local"


def _first_reading(text: pl.Series, formats: tuple[str, ...]) -> pl.Series:
    """Return seconds by the first format that reads a cell, or as a date."""
    seconds = pl.Series([None], dtype=pl.Float64).new_from_index(0, len(text))
    left = text
    for pattern in (*formats, "%Y-%m-%d"):
        if left.null_count() == len(left):
            break
        if pattern == "%Y-%m-%d":
            found = left.str.to_date(pattern, strict=False).cast(pl.Datetime("us"))
        else:
            found = left.str.to_datetime(pattern, strict=False, time_unit="us")
        seconds = seconds.zip_with(seconds.is_not_null(), datetime_to_seconds(found))
        left = left.set(seconds.is_not_null(), None)
    return seconds
