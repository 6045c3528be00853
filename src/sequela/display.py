"""How results show themselves: a short header and the top rows, in a terminal and in a notebook.

Names in results come from logs that strangers wrote. Here they are shown as text and nothing else: markup is escaped,
control characters (a terminal would obey them) are spelled out.
"""

from __future__ import annotations

import html
import math
from abc import abstractmethod
from typing import TYPE_CHECKING

from sequela.text import visible

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

TOP_ROWS = 10
_LONGEST = 80


def cell(value: object) -> str:
    """Return one value of a table as text: three decimals, thousands separated, a dash for what is missing.

    Example:
        >>> cell(1234), cell(0.12345), cell(float("nan")), cell(1e-7)
        ('1,234', '0.123', '–', '1e-07')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        if math.isinf(value):
            return "∞" if value > 0 else "-∞"
        return f"{value:.3f}" if 0.001 <= abs(value) < 1e5 or value == 0 else f"{value:.2g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else visible(str(value))


def rich_table(title: str, rows: pl.DataFrame) -> Table:
    """Return a table for the terminal; no cell is read as markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(visible(title)), title_justify="left")
    for name, kind in rows.schema.items():
        table.add_column(
            Text(name.replace("_", " ")), justify="right" if kind.is_numeric() else "left", overflow="fold"
        )
    for row in rows.iter_rows():
        table.add_row(*(Text(cell(value)) for value in row))
    return table


def html_table(title: str, rows: pl.DataFrame) -> str:
    """Return a header and a table as HTML without script, style sheet or link; every text is escaped.

    Example:
        >>> import polars as pl
        >>> html_table("<i>", pl.DataFrame())
        '<div><p><b>&lt;i&gt;</b></p></div>'
    """
    numeric = [kind.is_numeric() for kind in rows.dtypes]
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in rows.columns)
    body = "".join(
        "<tr>" + "".join(_td(value, right) for value, right in zip(row, numeric, strict=True)) + "</tr>"
        for row in rows.iter_rows()
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows.height else ""
    return f"<div><p><b>{html.escape(visible(title))}</b></p>{table}</div>"


def _td(value: object, right: bool) -> str:
    text = html.escape(visible(cell(value), longest=_LONGEST))
    return f'<td style="text-align:{"right" if right else "left"}">{text}</td>'


class Shown:
    """A result that shows a header and its top rows: in notebooks, and where rich prints it."""

    @abstractmethod
    def _top_rows(self) -> pl.DataFrame:
        """Return at most `TOP_ROWS` rows with the few columns that a person looks at first."""

    def _repr_html_(self) -> str:
        return html_table(repr(self), self._top_rows())

    def __rich__(self) -> Table:
        return rich_table(repr(self), self._top_rows())
