"""Which backbone forecasts a log with times better at equal training cost, ``window`` or ``llama``.

    python benchmarks/timed_backbones.py [--logs fault_codes alarms cascades] [--seed 0] [--seconds 15]

Each gets as many training steps, at the default sizes of `fit`, as cost the processor time given (the cost of a step is
that between 40 and 120 steps), and may stop earlier by itself. Both are judged on the same held-out cases: nats an
event, and the difference with its standard error over cases. One process, one thread. Rows are appended to
benchmarks/results/timed_backbones.csv.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import sequela as sq
from sequela.density.training.recipe import split_for_training
from sequela.events.sequences import SequenceSet
from sequela.worlds.catalogue import make_generator

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "alarms-wireless"
RESULTS = Path(__file__).parent / "results" / "timed_backbones.csv"
_PROBES = (40, 120)


def log_of(name: str, seed: int) -> sq.EventLog | None:
    """Return a log, or None where it is not here."""
    if name == "alarms":
        if not DATA.is_dir():
            print(f"skipped: {DATA} is not here", file=sys.stderr)
            return None
        return sq.read_log(DATA / "Alarm.csv", case="device_id", event="alarm_id", time="start_timestamp")
    if name == "cascades":
        from cascades import simulate

        return simulate(seed)[0]
    table = make_generator("fault_codes").simulate(300, seed=seed).log
    return sq.read_log(table, case="vehicle", event=["component", "code"], time="time")


def trained(log: sq.EventLog, backbone: str, steps: int) -> tuple[sq.Density, float]:
    """Return a density of the default sizes and the processor seconds of its training."""
    width = 128 if backbone == "window" else 64
    started = time.process_time()
    density = sq.fit(log, backbone=backbone, width=width, max_steps=steps, progress=False, device="cpu")
    return density, time.process_time() - started


def losses(density: sq.Density, log: sq.EventLog) -> tuple[np.ndarray, np.ndarray]:
    """Return the held-out loss of each event, and its case (of the tenth that judges)."""
    judged = list(split_for_training(SequenceSet.from_log(log, density.vocabulary), 0)[2])
    scores = density.score_many([case.ids for case in judged], [case.times for case in judged])
    return -np.concatenate(scores), np.repeat(np.arange(len(judged)), [len(one) for one in scores])


def row_of(density: sq.Density, log: sq.EventLog, cost: float, base: np.ndarray) -> dict[str, Any]:
    """Return what one density did; ``base`` are the losses of ``window``."""
    loss, case = losses(density, log)
    worse = loss - base
    by_case = np.bincount(case, weights=worse - worse.mean())
    n = len(by_case)
    return {
        "backbone": density.info["arguments"]["backbone"], "times": density.uses_times,
        "components": density.info["arguments"]["components"], "held_out_cases": n, "nats": loss.mean(),
        "more_than_window": worse.mean(), "std_error": np.sqrt(n / (n - 1) * (by_case**2).sum()) / len(worse),
        "cpu_seconds": cost, "max_steps": density.info["training"]["max_steps"],
        "best_step": density.info["training"]["best_step"],
    }  # fmt: skip


def main(names: list[str], seed: int, seconds: float) -> None:
    """Compare on each log."""
    for name in names:
        log = log_of(name, seed)
        if log is None:
            continue
        trained(log, "llama", 2)  # loads the libraries
        base, rows = None, []
        for backbone in ("window", "llama"):
            low, high = (trained(log, backbone, n)[1] for n in _PROBES)
            a_step = (high - low) / (_PROBES[1] - _PROBES[0])
            steps = max(_PROBES[1], round(_PROBES[0] + (seconds - low) / a_step))
            density, cost = trained(log, backbone, steps)
            base = losses(density, log)[0] if base is None else base
            rows.append(row_of(density, log, cost, base))
        table = pl.DataFrame([{"log": name, "seed": seed, "n_events": log.n_events} | row for row in rows])
        with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200):
            print(table, flush=True)
        pl.concat([pl.read_csv(RESULTS), table] if RESULTS.exists() else [table]).write_csv(RESULTS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", nargs="+", default=["fault_codes", "alarms", "cascades"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=15.0)
    torch.set_num_threads(1)
    asked = parser.parse_args()
    main(asked.logs, asked.seed, asked.seconds)
