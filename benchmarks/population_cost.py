"""Seconds of population discovery beside those of instance discovery on the same cases.

    OMP_NUM_THREADS=1 python benchmarks/population_cost.py [--types 30 1000] [--lengths 20 100 500] [--repeats 5]

One density a number of types: the window density, trained for a few steps (the time does not depend on what the weights
say). About 2,000 events a row, in cases of one length. Both run with default settings in this process, one thread, in
turns, after a first call of each that does not count; medians. Rows are appended to
benchmarks/results/population_cost.csv.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import torch

import sequela as sq
from sequela.discovery.discover import discover_log
from sequela.worlds.catalogue import make_world

RESULTS = Path(__file__).parent / "results" / "population_cost.csv"
SEED = 0


def timed(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def measure(n_types: int, lengths: list[int], n_events: int, repeats: int) -> None:
    world = make_world("linear", n_types=n_types, seed=SEED)

    def sample(n_cases: int, length: int, seed: int) -> sq.EventLog:
        return sq.read_log(world.to_log(world.sample(n_cases, length, seed=seed)), time=False)

    density = sq.fit(sample(20 * n_types, 20, 1), max_steps=20, seed=SEED, progress=False)
    for length in lengths:
        log = sample(n_events // length, length, 2)
        calls = {
            "instance": lambda log=log: discover_log(density, log, progress=False),
            "population": lambda log=log: sq.discover_population(density, log, cases="all", progress=False),
        }
        spent: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(repeats + 1):
            for name, call in calls.items():
                seconds = timed(call)
                if turn:
                    spent[name].append(seconds)
        ratios = [b / a for a, b in zip(spent["instance"], spent["population"], strict=True)]
        row = {
            "types": n_types, "cases": n_events // length, "length": length, "repeats": repeats,
            "instance_seconds": round(statistics.median(spent["instance"]), 2),
            "population_seconds": round(statistics.median(spent["population"]), 2),
            "ratio": round(statistics.median(ratios), 3), "lowest": round(min(ratios), 3),
            "highest": round(max(ratios), 3),
        }  # fmt: skip
        table = pl.DataFrame([row])
        if RESULTS.exists():
            table = pl.concat([pl.read_csv(RESULTS), table], how="diagonal_relaxed")
        table.write_csv(RESULTS)
        print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", type=int, nargs="+", default=[30, 1000])
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 100, 500])
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for n_types in args.types:
        measure(n_types, args.lengths, args.events, args.repeats)


if __name__ == "__main__":
    main()
