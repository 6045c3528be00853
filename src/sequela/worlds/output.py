"""What `sequela simulate` reads from the command line and writes to files."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sequela.errors import ConfigError
from sequela.files import whole_file
from sequela.worlds.catalogue import make_generator, make_world


def check_table_name(path: str | Path) -> None:
    """Raise `ConfigError` unless a name ends in .csv or .parquet."""
    if Path(path).suffix.lower() not in (".csv", ".parquet"):
        raise ConfigError(f"'{path}' must end in .csv or .parquet")


def write_table(table: pl.DataFrame, path: str | Path) -> None:
    """Write a table as its name says, whole or not at all.

    Raises:
        ConfigError: The name ends neither in .csv nor in .parquet.
    """
    check_table_name(path)
    with whole_file(path) as temporary:
        if Path(path).suffix.lower() == ".csv":
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


def simulate_world(
    name: str,
    options: dict[str, Any],
    out: Path,
    truth: Path | None,
    *,
    n_cases: int,
    length: str,
    delta: float,
    seed: int,
) -> dict[str, Any]:
    """Draw a log of a world of `WORLDS`, write it and its true edges, and return what was written."""
    world = make_world(name, **options)
    size = range_from_text("length", length)
    found = world.simulate(n_cases, size, seed=seed, delta=delta, with_truth=truth is not None)
    write_table(found.log, out)
    if truth is not None:
        write_table(found.truth, truth)
    return {
        "out": str(out),
        "truth": None if truth is None else str(truth),
        "n_events": found.log.height,
        "n_cases": n_cases,
        "n_types": world.vocabulary.n_types,
        "n_true_edges": None if truth is None else found.truth.height,
    }


def simulate_generator(
    name: str,
    options: dict[str, Any],
    out: Path,
    truth: Path | None,
    *,
    n_cases: int | None,
    delta: float | None,
    seed: int,
) -> dict[str, Any]:
    """Draw a log of a simulator of `GENERATORS`, write it and its truth, and return what was written.

    Beside ``truth.parquet`` stand ``truth-events.parquet`` (every event with its tick and what else is known of it)
    and ``truth-links.parquet`` (links between types). Beside the log stands what a user would know of it: the tables of
    `CausalLog.known`, as ``log-NAME.csv``.
    """
    generator = make_generator(name, **options)
    given: dict[str, Any] = {"n_cases": n_cases, "delta": delta}
    settings = {key: value for key, value in given.items() if value is not None}
    if "delta" in settings and "delta" not in inspect.signature(generator.simulate).parameters:
        raise ConfigError(f"--delta is not for '{name}': its true edges are what caused what, whatever the strength")
    found = generator.simulate(**settings, seed=seed)
    tables = [(out, found.log)] + [(_beside(out, name), table) for name, table in found.known.items()]
    if truth is not None:
        parts = [("events", found.events), ("links", found.links)]
        tables += [(truth, found.edges)] + [(_beside(truth, name), table) for name, table in parts]
    if len({path for path, _ in tables}) < len(tables):
        raise ConfigError(f"the log and its truth must have different names; got '{out}' and '{truth}'")
    for path, table in tables:
        write_table(table, path)
    events = found.columns["event"]
    read_with = [f"--case {found.columns['case']}", *(f"--event {column}" for column in events)]
    return {
        "out": str(out),
        "truth": None if truth is None else str(truth),
        "beside": [str(path) for path, _ in tables if path not in (out, truth)],
        "n_events": found.log.height,
        "n_cases": found.events["case"].n_unique(),
        "n_types": found.events["event"].n_unique(),
        "n_true_edges": None if truth is None else found.edges.height,
        "read_with": " ".join([*read_with, f"--time {found.columns['time']}"]),
    }


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}-{name}{path.suffix}")
