"""An Excel workbook of the edges and the nodes."""

from __future__ import annotations

import importlib.util
from typing import Any

import polars as pl

from sequela.errors import ConfigError, MissingExtraError
from sequela.files import whole_file
from sequela.graphs.exports.values import StrPath, xml_text

_MOST_ROWS, _LONGEST = 1_048_575, 32_767
"""What a sheet holds below its heading, and a cell."""


def write_xlsx(sheets: dict[str, pl.DataFrame], path: StrPath) -> None:
    """Write a workbook with one sheet a table, whose text is text: nothing in it is a formula or a link.

    Text cells are marked as such (the quote prefix of Excel), so that they stay text when somebody edits them. Numbers
    that are infinite or missing are empty cells, control characters are spelled out.

    Args:
        sheets: Tables by the name of their sheet.
        path: File.

    Raises:
        ConfigError: A table has more rows, or a name more characters, than Excel takes.
        MissingExtraError: XlsxWriter is not installed.
    """
    if importlib.util.find_spec("xlsxwriter") is None:
        raise MissingExtraError("writing XLSX", "xlsx")
    from xlsxwriter import Workbook

    for name, table in sheets.items():
        longest = max(
            (len(text) for column in table.select(pl.col(pl.String)) for text in column.drop_nulls()), default=0
        )
        if table.height > _MOST_ROWS or longest > _LONGEST:
            raise ConfigError(
                f"{table.height:,} {name} and names of {longest:,} characters do not fit a sheet of Excel (at most "
                f"{_MOST_ROWS:,} rows, {_LONGEST:,} characters a cell): write .csv or .parquet"
            )
    with whole_file(path) as temporary:
        plain = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False, "in_memory": True}
        with Workbook(temporary, plain) as book:
            text = book.add_format({"quote_prefix": True, "num_format": "@"})
            for name, table in sheets.items():
                clean = table.with_columns(
                    pl.col(pl.String).map_elements(xml_text, return_dtype=pl.String),
                    pl.when(pl.col(pl.Float64).is_finite()).then(pl.col(pl.Float64)).name.keep(),
                )
                kinds: Any = {each: text for each in table.columns if table[each].dtype == pl.String}
                clean.write_excel(
                    book,
                    name,
                    column_formats=kinds,
                    float_precision=6,
                    freeze_panes=(1, 0),
                    autofit=table.height <= 10_000,
                )
