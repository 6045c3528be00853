"""Times as users write them, turned into seconds since 1970."""

from __future__ import annotations

import re

import polars as pl

from sequela.errors import ConfigError, LogFormatError

_UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_ISO_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")
_LOCAL_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M")


def time_to_seconds(values: pl.Series, *, column: str, source: str, time_format: str | None = None) -> pl.Series:
    """Turn a column of times into float64 seconds since 1970 (UTC where no zone is given).

    Args:
        values: Dates, datetimes, numbers since 1970, or text holding numbers or ISO 8601 times.
        column: Name of the column, for messages.
        source: Name of the log, for messages.
        time_format: `strptime` codes for text that is not ISO 8601.

    Raises:
        LogFormatError: A value is missing or not a time; the message names the row.

    Example:
        >>> time_to_seconds(pl.Series(["1970-01-01 00:01:00", "1970-01-02"]), column="t", source="log").to_list()
        [60.0, 86400.0]
    """
    dtype = values.dtype
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        seconds = _datetime_to_seconds(values)
    elif dtype.is_numeric():
        seconds = _epoch_to_seconds(values.cast(pl.Float64))
    elif dtype == pl.String:
        seconds = _text_to_seconds(values, time_format)
    else:
        raise LogFormatError(f"{source}: column '{column}' holds {dtype} values, not times")
    bad = seconds.is_null() | seconds.is_nan() | seconds.is_infinite()
    bad = bad.fill_null(True)
    if bad.any():
        first = int(bad.arg_max() or 0)
        raise LogFormatError(
            f"{source}, row {first + 1} (header not counted): '{values[first]}' in column '{column}' is not a time "
            f"({int(bad.sum()):,} such rows). Allowed: ISO 8601 (2026-01-31T12:00:00Z), a number since 1970, "
            "or another form with time_format (--time-format '%d/%m/%Y %H:%M')"
        )
    return seconds


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
    if isinstance(value, bool) or not found or found[2] not in _UNITS or float(found[1]) <= 0:
        raise ConfigError(f"{argument} must be seconds above 0, or text like '90s', '10m', '2h', '1d'; got {value!r}")
    return float(found[1]) * _UNITS[found[2]]


def _datetime_to_seconds(values: pl.Series) -> pl.Series:
    stamps = values.cast(pl.Datetime("us")) if values.dtype == pl.Date else values
    return stamps.dt.epoch("us").cast(pl.Float64) / 1e6


def _epoch_to_seconds(values: pl.Series) -> pl.Series:
    finite = values.filter(values.is_finite().fill_null(False)).abs()
    largest = finite.max() if finite.len() else 0.0
    assert isinstance(largest, float)
    for limit, unit in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3)):
        if largest >= limit:
            return values / unit
    return values


def _text_to_seconds(values: pl.Series, time_format: str | None) -> pl.Series:
    text = values.str.strip_chars()
    if time_format is not None:
        if any(code in time_format for code in ("%H", "%I", "%s", "%T", "%R")):
            return _datetime_to_seconds(text.str.to_datetime(time_format, strict=False, time_unit="us"))
        return _datetime_to_seconds(text.str.to_date(time_format, strict=False))
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.is_not_null().any():
        return _epoch_to_seconds(numbers)
    iso = text.str.replace(r"^(\d{4}-\d{2}-\d{2}) +", "${1}T").str.replace(r"\s*(Z|z|UTC)$", "+00:00")
    tries = [iso.str.to_datetime(f, strict=False, time_unit="us").dt.convert_time_zone("UTC") for f in _ISO_FORMATS]
    tries = [found.dt.replace_time_zone(None) for found in tries]
    tries += [iso.str.to_datetime(f, strict=False, time_unit="us") for f in _LOCAL_FORMATS]
    tries.append(iso.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")))
    stamps = tries[0]
    for found in tries[1:]:
        if not stamps.has_nulls():
            break
        stamps = stamps.zip_with(stamps.is_not_null(), found)
    return _datetime_to_seconds(stamps)
