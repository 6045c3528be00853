"""What the scripts of this folder share: read an event log, turn it into columns of 0 and 1, write edges.

Needs numpy and polars only, so that it runs in the environment of every peer.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl


@dataclass
class Log:
    """Cases in the order of the file; `ids[c]` are the events of case `c`, as indices into `types`."""

    cases: list[str]
    types: list[str]
    ids: list[np.ndarray]

    @property
    def n_events(self) -> int:
        return sum(len(ids) for ids in self.ids)

    def one_hot(self) -> list[np.ndarray]:
        """Return one array a case: a row an event, a column an event type, 1 where the event is of that type."""
        return [np.eye(len(self.types))[ids] for ids in self.ids]


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the arguments that every script has."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("log", type=Path, help="event log, CSV with the columns case, event, time")
    result.add_argument("--out", type=Path, required=True, help="CSV of edges to write")
    result.add_argument("--max-events", type=int, default=20_000, help="read whole cases up to this many events")
    return result


def read_log(path: Path, max_events: int) -> Log:
    """Read a log, events of a case in the order of time (rows at the same time keep the order of the file)."""
    table = pl.read_csv(path, schema_overrides={"case": pl.String, "event": pl.String}, try_parse_dates=True)
    if missing := {"case", "event", "time"} - set(table.columns):
        raise SystemExit(f"{path} lacks the columns {sorted(missing)}")
    if nulls := table.select(pl.any_horizontal(pl.col("case", "event", "time").is_null()).sum()).item():
        raise SystemExit(f"{path} has {nulls} rows with an empty case, event or time")
    types = sorted(table["event"].unique().to_list())
    order = table["case"].unique(maintain_order=True).to_list()
    table = table.sort("time", maintain_order=True).with_columns(
        event=pl.col("event").replace_strict(types, range(len(types)), return_dtype=pl.Int64)
    )
    groups = {case[0]: part["event"].to_numpy() for case, part in table.group_by("case", maintain_order=True)}
    cases, ids, n_events = [], [], 0
    for case in order:
        if cases and n_events + len(groups[case]) > max_events:
            break
        cases.append(case)
        ids.append(groups[case])
        n_events += len(groups[case])
    if len(cases) < len(groups):
        print(f"only the first {len(cases)} of {len(groups)} cases ({n_events} events): --max-events {max_events}")
    return Log(cases, types, ids)


def write_pairs(strength: np.ndarray, found: np.ndarray, types: list[str], path: Path) -> None:
    """Write edges between types (``[cause, effect]``) as columns cause, effect, score, strongest first."""
    causes, effects = np.nonzero(found)
    edges = pl.DataFrame(
        {
            "cause": [types[i] for i in causes],
            "effect": [types[i] for i in effects],
            "score": strength[causes, effects].astype(np.float64),
        },
        schema={"cause": pl.String, "effect": pl.String, "score": pl.Float64},
    ).sort("score", descending=True)
    edges.write_csv(path)
    print(f"{edges.height} edges between types -> {path}")
