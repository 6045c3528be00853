"""What `sequela simulate` reads from the command line and writes to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from sequela.errors import ConfigError
from sequela.files import whole_file


def write_table(table: pl.DataFrame, path: str | Path) -> None:
    """Write a table as its name says, whole or not at all.

    Raises:
        ConfigError: The name ends neither in .csv nor in .parquet.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise ConfigError(f"'{path}' must end in .csv or .parquet")
    with whole_file(path) as temporary:
        if suffix == ".csv":
            table.write_csv(temporary)
        else:
            table.write_parquet(temporary)


def options_from_text(options: Sequence[str]) -> dict[str, float | int]:
    """Read ``name=number`` options.

    Raises:
        ConfigError: One is not of that form.

    Example:
        >>> options_from_text(["decay=0.2", "horizon=4"])
        {'decay': 0.2, 'horizon': 4}
    """
    found: dict[str, float | int] = {}
    for text in options:
        name, _, value = text.partition("=")
        try:
            found[name] = int(value) if value.lstrip("-").isdecimal() else float(value)
        except ValueError:
            raise ConfigError(f"an option must be NAME=NUMBER, as in decay=0.2; got {text!r}") from None
    return found


def range_from_text(argument: str, text: str) -> int | tuple[int, int]:
    """Read a number or ``low-high``.

    Raises:
        ConfigError: It is neither.

    Example:
        >>> range_from_text("length", "20-60"), range_from_text("length", "5")
        ((20, 60), 5)
    """
    low, dash, high = text.partition("-")
    if not low.isdecimal() or (dash and not high.isdecimal()):
        raise ConfigError(f"{argument} must be a number or LOW-HIGH, as in 20-60; got {text!r}")
    return (int(low), int(high)) if dash else int(low)
