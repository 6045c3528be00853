"""What `sequela run` costs beyond `fit` and `discover`: processor seconds, side by side in one process.

    python benchmarks/run_cost.py --events 10000 100000

Fleets of fault codes (`sequela simulate fault_codes`, about 13 events a vehicle), all defaults. `fit`, `discover` are
those of Python with the defaults of their own; `run` trains, cross-fits, weighs, discovers and writes the page. Rows go
to `benchmarks/results/run_cost.csv`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import polars as pl

import sequela as sq
from sequela.worlds.catalogue import make_generator

T = TypeVar("T")
RESULTS = Path(__file__).parent / "results" / "run_cost.csv"
_EVENTS_A_CASE = 13.3


def timed(make: Callable[[], T]) -> tuple[T, float]:
    """Return what was made, and the processor seconds that it took."""
    started = time.process_time()
    return make(), time.process_time() - started


def cost(n_events: int, seed: int) -> dict[str, float | int]:
    """Return the row of one log."""
    made = make_generator("fault_codes", seed=seed).simulate(round(n_events / _EVENTS_A_CASE), seed=seed + 1)
    log = sq.read_log(made.log, **made.columns)
    sq.fit(log.cases(log.case_names[:20]), max_steps=5, progress=False)  # imports, and what is made once
    density, fitting = timed(lambda: sq.fit(log, progress=False))
    _, discovering = timed(lambda: sq.discover_log(density, log, progress=False))
    with tempfile.TemporaryDirectory() as folder:
        _, running = timed(lambda: sq.run(log, out=Path(folder) / "run", progress=False))
    return {
        "seed": seed, "n_events": log.n_events, "n_types": density.vocabulary.n_types, "fit_seconds": round(fitting, 1),
        "discover_seconds": round(discovering, 1), "run_seconds": round(running, 1),
        "ratio": round(running / (fitting + discovering), 2), "load_average": round(os.getloadavg()[1], 1),
    }  # fmt: skip


def main() -> None:
    """Print and store a row for each size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    for n_events in asked.events:
        row = pl.DataFrame([cost(n_events, asked.seed)])
        before = [pl.read_csv(asked.out)] if asked.out.is_file() else []
        pl.concat([*before, row], how="vertical_relaxed").write_csv(asked.out)
        print(row.row(0, named=True), flush=True)


if __name__ == "__main__":
    main()
