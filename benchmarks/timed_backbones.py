"""Which backbone forecasts a log with times better at equal training cost, ``window`` or ``llama``.

    python benchmarks/timed_backbones.py [--logs fault_codes cascades alarms] [--seed 0]

``window`` is trained by the defaults of `fit`, the choice of its width included. ``llama`` gets as many steps as cost
the same processor time, once with times and once without, and may stop earlier by itself (the cost of a step is that
between 40 and 120 steps). All are judged on the same held-out cases: nats an event, and differences to ``window`` with
their standard error over cases. One process, one thread. Rows are appended to benchmarks/results/timed_backbones.csv.
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


def trained(log: sq.EventLog, **settings: Any) -> tuple[sq.Density, float]:
    """Return a density and the processor seconds of its training."""
    started = time.process_time()
    density = sq.fit(log, progress=False, device="cpu", **settings)
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


def main(names: list[str], seed: int) -> None:
    """Compare on each log."""
    for name in names:
        log = log_of(name, seed)
        if log is None:
            continue
        trained(log, backbone="llama", max_steps=2)  # loads the libraries
        window, budget = trained(log)
        base = losses(window, log)[0]
        rows = [row_of(window, log, budget, base)]
        for times in ("auto", False):
            low, high = (trained(log, backbone="llama", max_steps=n, times=times)[1] for n in _PROBES)
            a_step = (high - low) / (_PROBES[1] - _PROBES[0])
            steps = max(_PROBES[0], round(_PROBES[0] + (budget - low) / a_step))
            llama, cost = trained(log, backbone="llama", max_steps=steps, times=times)
            rows.append(row_of(llama, log, cost, base))
        table = pl.DataFrame([{"log": name, "seed": seed, "n_events": log.n_events} | row for row in rows])
        with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200):
            print(table, flush=True)
        pl.concat([pl.read_csv(RESULTS), table] if RESULTS.exists() else [table]).write_csv(RESULTS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", nargs="+", default=["fault_codes", "cascades", "alarms"])
    parser.add_argument("--seed", type=int, default=0)
    torch.set_num_threads(1)
    asked = parser.parse_args()
    main(asked.logs, asked.seed)
