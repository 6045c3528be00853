"""The edge table as CSV and as Parquet."""

from __future__ import annotations

import polars as pl

from sequela.files import whole_file
from sequela.graphs.exports.values import StrPath

_FORMULA = r"^[=+\-@\t\r\n\u{FF1D}\u{FF0B}\u{FF0D}\u{FF20}]"


def write_csv(table: pl.DataFrame, path: StrPath, *, guard: bool = True) -> None:
    """Write CSV; with ``guard``, text that a spreadsheet would run as a formula gets an apostrophe in front.

    Source: OWASP, "CSV Injection".
    """
    if guard:
        text = pl.col(pl.String)
        table = table.with_columns(pl.when(text.str.contains(_FORMULA)).then("'" + text).otherwise(text).name.keep())
    with whole_file(path) as temporary:
        table.write_csv(temporary)


def write_parquet(table: pl.DataFrame, path: StrPath) -> None:
    """Write Parquet."""
    with whole_file(path) as temporary:
        table.write_parquet(temporary)
