"""Values of a case or event column as text: every cell has one, or the column is refused."""

from __future__ import annotations

import polars as pl

from sequela.errors import LogFormatError
from sequela.events.numeric_times import LATEST, UNITS, refuse_rows
from sequela.text import quoted

_MISSING = ["nan", "nat", "none", "null", "<na>"]
"""What programs write into a column, in any capitals, where a row has no value."""
_EXACT = {"Float64": 2.0**53, "Float32": 2.0**24, "Float16": 2.0**11}
"""From here on not every whole number is a float of this kind."""
_MEND = "Fill them or drop these rows"


def to_labels(values: pl.Series, *, role: str, column: str, source: str) -> pl.Series:
    """Turn a column into text.

    Args:
        values: Text, numbers, truth values, dates, categories, or bytes of UTF-8 text.
        role: ``case`` or ``event``. A case may not be a word that stands for a missing value (``nan``, ``null``).
        column: Name of the column, for messages.
        source: Name of the log, for messages.

    Raises:
        LogFormatError: The column holds values of another kind, or a cell is missing; the message names the row.

    Example:
        >>> to_labels(pl.Series([28.0, 3.5]), role="case", column="device", source="log").to_list()
        ['28', '3.5']
    """
    dtype = values.dtype
    if dtype.is_nested() or dtype in (pl.Object, pl.Duration, pl.Time):
        raise LogFormatError(
            f"{source}: the {role} column '{quoted(column)}' holds {quoted(dtype)} values; it must hold text or numbers"
        )
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        far = (datetime_to_seconds(values).abs() >= LATEST).fill_null(False)
        if far.any():
            refuse_rows(far, values, column, source, "is a date out of range", _MEND)
    if dtype == pl.Binary:
        text = bytes_to_text(values)
        if (damaged := text.is_null() & values.is_not_null()).any():
            refuse_rows(damaged, values, column, source, "is not UTF-8 text", "Save the column as text")
    elif dtype.is_float():  # 28.0, as pandas gives for whole numbers with gaps, is the case 28; NaN is no case
        finite = values.set(~values.is_finite().fill_null(True), None)
        if (rounded := (finite.abs() >= _EXACT[str(dtype)]).fill_null(False)).any():
            why = "has more digits than a floating-point number holds, so that different values may have become one"
            refuse_rows(rounded, values, column, source, why, "Save the column as text or whole numbers")
        whole = finite.cast(pl.Int64, strict=False)
        text = whole.cast(pl.String).zip_with((whole == finite).fill_null(False), finite.cast(pl.String))
    else:
        text = values.cast(pl.String)
    stripped = text.str.strip_chars()
    missing = (stripped.is_null() | (stripped == "")).fill_null(True)
    if role == "case":  # all events without a case would become one case
        missing |= stripped.str.to_lowercase().is_in(_MISSING).fill_null(True)
    if missing.any():
        first = int(missing.arg_max() or 0)
        given = f" ('{quoted(stripped[first])}')" if stripped[first] else ""
        raise LogFormatError(
            f"{source}, row {first + 1} (header not counted): column '{quoted(column)}' is empty{given} "
            f"({int(missing.sum()):,} such rows); {_MEND[0].lower()}{_MEND[1:]}"
        )
    return text


def bytes_to_text(values: pl.Series) -> pl.Series:
    """Return bytes as text; null where they are not UTF-8."""
    try:
        return values.cast(pl.String)
    except pl.exceptions.ComputeError:
        return pl.Series([_decoded(value) for value in values], dtype=pl.String)


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def datetime_to_seconds(values: pl.Series) -> pl.Series:
    """Return float64 seconds since 1970 of dates and datetimes, nanoseconds cut to microseconds; nothing overflows."""
    if values.dtype == pl.Date:
        return values.to_physical().cast(pl.Float64) * 86_400.0
    unit = values.dtype.time_unit if isinstance(values.dtype, pl.Datetime) else "us"
    counted = values.to_physical().cast(pl.Int64)
    return (counted // 1000) / 1e6 if unit == "ns" else counted / UNITS[unit]
