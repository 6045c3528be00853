"""Numbers as times: since 1970 in a unit that most of the column agrees on, or dates written as digits."""

from __future__ import annotations

from itertools import pairwise
from typing import NoReturn

import polars as pl

from sequela.errors import LogFormatError
from sequela.text import quoted

UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""How many of each make a second."""
LATEST = 1e11
"""Seconds that no time reaches, before or after 1970 (the year 5138)."""

_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_DIGITS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S", 17: "%Y%m%d%H%M%S%3f"}
_DIGIT_PATTERN = r"^(19|20|21)\d{6}(\d{4}|\d{6}|\d{9})?$"
_LARGEST = LATEST * UNITS["ns"]
_MEND = "Write all of them in one way, or name the unit (time_format='ms', --time-format ms)"
_CLEARLY_DIGITS = 10**13
"""From here on, digits that make a date make no plausible number since 1970 (the year 2286 in milliseconds)."""


def numbers_to_seconds(values: pl.Series, *, column: str, source: str, unit: str | None = None) -> pl.Series:
    """Turn numbers into float64 seconds since 1970; null where a value is no time.

    Without a unit, each value has the unit that puts it nearest to now by its size (seconds below 1e11, milliseconds
    below 1e14, and so on). The column has the unit of most values, and no other. Where most values are dates
    written as digits (20231114, 202311141230, 20231114123045, 20231114123045250), all must be.

    Args:
        values: Numbers, or text of numbers.
        column: Name of the column, for messages.
        source: Name of the log, for messages.
        unit: One of `UNITS`: no guess.

    Raises:
        LogFormatError: The column mixes units, or dates and other numbers; the message names the first row.

    Example:
        >>> numbers_to_seconds(pl.Series([1_790_000_000_500]), column="at", source="log").to_list()
        [1790000000.5]
        >>> numbers_to_seconds(pl.Series([19700102]), column="at", source="log").to_list()
        [86400.0]
    """
    return numbers_and_kind(values, column=column, source=source, unit=unit)[0]


def numbers_and_kind(
    values: pl.Series, *, column: str, source: str, unit: str | None = None
) -> tuple[pl.Series, str | None]:
    """Return what `numbers_to_seconds` returns, and what the column was taken for.

    Where several pieces of a column were taken for the same, so would be the whole. None: only the whole can tell.
    """
    numbers = values.cast(pl.Float64, strict=False)
    numbers = numbers.set(~numbers.is_finite().fill_null(True), None)
    whole = values.cast(pl.Int64, strict=False)
    if not values.dtype.is_integer() and values.dtype != pl.String:
        whole = whole.set((whole.cast(pl.Float64) != numbers).fill_null(True), None)
    if unit is None:
        dates = _digits_to_seconds(whole)
        n_dates, n_values = len(dates) - dates.null_count(), len(numbers) - numbers.null_count()
        if 2 * n_dates > n_values:
            odd = numbers.is_not_null() & dates.is_null()
            if odd.any():
                why = f"is no date in digits (20260131), while {n_dates:,} of {n_values:,} are"
                refuse_rows(odd, values, column, source, why, _MEND)
            return dates, "digits"
        kind = None if n_dates else "numbers"
        if n_dates:
            middle = numbers.abs().median()
            assert isinstance(middle, float)
            odd = (dates.is_not_null() & ((whole >= _CLEARLY_DIGITS) | (numbers * 5 < middle))).fill_null(False)
            if odd.any():
                why = f"is a date in digits, while {n_values - n_dates:,} of {n_values:,} are not"
                refuse_rows(odd, values, column, source, why, _MEND)
        unit = _unit_of_most(numbers, values, column, source)
        kind = kind and unit
    else:
        kind = unit
    seconds = numbers / UNITS[unit]
    if unit == "ns" and not values.dtype.is_float():  # a float would not hold the digits
        micro = whole // 1000
        seconds = (micro / 1e6).zip_with(micro.is_not_null(), seconds)
    return seconds.set((seconds.abs() >= LATEST).fill_null(False), None), kind


def refuse_rows(bad: pl.Series, values: pl.Series, column: str, source: str, why: str, mend: str) -> NoReturn:
    """Raise `LogFormatError` for the rows where ``bad`` is true: names the first, and says how to mend it."""
    first = int(bad.arg_max() or 0)
    value = values.to_physical()[first] if values.dtype.is_temporal() else values[first]  # a far date cannot be shown
    raise LogFormatError(
        f"{source}, row {first + 1} (header not counted): '{quoted(value)}' in column '{quoted(column)}' {why} "
        f"({int(bad.sum()):,} such rows). {mend}"
    )


def _unit_of_most(numbers: pl.Series, values: pl.Series, column: str, source: str) -> str:
    """Return the unit that the values have by their size; refuse more than one."""
    size = numbers.abs()
    limits = [0.0, *(LATEST * UNITS[unit] for unit in UNITS)]
    sizes = [(size >= low) & (size < high) for low, high in pairwise(limits)]
    counts = dict(zip(UNITS, (int(found.sum()) for found in sizes), strict=True))
    most = max(counts, key=lambda unit: counts[unit])
    n_values = sum(counts.values())
    if counts[most] < n_values:
        odd = (size.is_not_null() & ~sizes[list(UNITS).index(most)] & (size < _LARGEST)).fill_null(False)
        first = int(odd.arg_max() or 0)
        other = next(unit for unit, found in zip(UNITS, sizes, strict=True) if found[first])
        why = f"looks like {_NAMES[other]}, while {counts[most]:,} of {n_values:,} look like {_NAMES[most]}"
        refuse_rows(odd, values, column, source, why, _MEND)
    return most


def _digits_to_seconds(whole: pl.Series) -> pl.Series:
    """Return seconds where the digits of a number are a date; most columns have none that could be."""
    nothing = pl.Series([None], dtype=pl.Float64).new_from_index(0, len(whole))
    near = pl.Series([False]).new_from_index(0, len(whole))
    for n_digits in _DIGITS:
        near |= whole.is_between(19 * 10 ** (n_digits - 2), 22 * 10 ** (n_digits - 2), closed="left").fill_null(False)
    if not near.any():
        return nothing
    text = whole.set(~near, None).cast(pl.String)
    text = text.set(~text.str.contains(_DIGIT_PATTERN).fill_null(False), None)
    found = nothing
    for n_digits, pattern in _DIGITS.items():
        these = text.set((text.str.len_bytes() != n_digits).fill_null(True), None)
        if these.null_count() < len(these):
            stamps = (
                these.str.to_date(pattern, strict=False).cast(pl.Datetime("us"))
                if n_digits == 8
                else these.str.to_datetime(pattern, strict=False, time_unit="us")
            )
            found = found.zip_with(found.is_not_null(), stamps.dt.epoch("us").cast(pl.Float64) / 1e6)
    return found
