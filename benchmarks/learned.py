"""How near a trained density comes to the exact truth: F1 and recall by lag, without labels, on the paper-like worlds.

    python benchmarks/learned.py --settings nonlinear-100-r1 --seeds 0 1 --out benchmarks/results/learned.csv

Each row: one world (seed), one density trained on sampled cases, edges of fresh cases by the default rule against the
world's exact truth; the adjacent pairs beside it.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path

import numpy as np
import polars as pl

import sequela as sq
from sequela.discovery.discover import discover_log
from sequela.evaluation.baselines import adjacent_pairs, adjacent_pairs_pmi
from sequela.evaluation.metrics import Scores, recall_by_lag, score_edges
from sequela.worlds.softmax import SoftmaxWorld

#: types, decay, training cases, scored cases, replacements (all are enumerated)
SETTINGS = {
    "nonlinear-100-r1": (100, 1.0, 40_000, 40, 101),
    "nonlinear-100-r0.2": (100, 0.2, 40_000, 40, 101),
    "nonlinear-1000-r1": (1000, 1.0, 200_000, 20, 1001),
}
DELTA = 0.05


def run(setting: str, seed: int, args: argparse.Namespace) -> dict[str, object]:
    """Train on one world and score."""
    n_types, decay, n_cases, n_scored, particles = SETTINGS[setting]
    world = SoftmaxWorld.random(n_types, decay=decay, nonlinear=1.0, seed=seed)
    past = world.sample(n_cases, 64, seed=seed + 1)
    new = world.sample(n_scored, 64, seed=seed + 2)
    entropy = world.entropy_rate(seed=seed + 3, n_cases=100)
    log = sq.read_log(world.to_log(past), case="case", event="event", time="time")
    started = time.monotonic()
    density = sq.fit(
        log,
        seed=seed,
        hide=args.hide,
        dropout=args.dropout,
        learning_rate=args.rate,
        max_steps=args.steps,
        batch_size=args.batch,
        precision=args.precision,
        progress=False,
    )
    fit_seconds = time.monotonic() - started
    new_log = sq.read_log(world.to_log(new), case="case", event="event", time="time")
    started = time.monotonic()
    found = discover_log(density, new_log, particles=particles, horizon=6, delta=DELTA, seed=seed, progress=False)
    discover_seconds = time.monotonic() - started
    by_case = found.edges.partition_by("case", as_dict=True)
    parts: dict[str, list[Scores]] = {"sequela": [], "adjacent": [], "adjacent_pmi": []}
    predicted, true = [], []
    for case in new:
        real = np.nan_to_num(world.truth(case.ids)) > DELTA
        guess = np.zeros_like(real)
        if (own := by_case.get((case.name,))) is not None:
            guess[own["cause_position"].to_numpy(), own["lag"].to_numpy() - 1] = True
        parts["sequela"].append(score_edges(guess, real))
        parts["adjacent"].append(score_edges(adjacent_pairs(case.ids, 6), real))
        parts["adjacent_pmi"].append(score_edges(adjacent_pairs_pmi(past, case.ids, 6, n_types), real))
        predicted.append(guess)
        true.append(real)
    scores = {name: Scores.pooled(values) for name, values in parts.items()}
    lags = recall_by_lag(np.concatenate(predicted), np.concatenate(true))
    report = density.info["report"]
    row = {
        "setting": setting,
        "seed": seed,
        "n_events": past.n_events,
        "precision": scores["sequela"].precision,
        "recall": scores["sequela"].recall,
        "f1": scores["sequela"].f1,
        "adjacent_f1": scores["adjacent"].f1,
        "adjacent_pmi_f1": scores["adjacent_pmi"].f1,
        "eps": (report["cross_entropy"] - entropy) / (np.log(n_types) - entropy),
        "fit_seconds": fit_seconds,
        "discover_seconds": discover_seconds,
        "best_step": density.info["training"]["best_step"],
        "max_steps": density.info["training"]["max_steps"],
        "hide": args.hide,
        "training_precision": args.precision,
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    return row | {f"recall_lag_{lag}": float(value) for lag, value in enumerate(lags, start=1)}


def main() -> None:
    """Run and store rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--hide", type=float, default=0.0)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/learned.csv"))
    args = parser.parse_args()
    for setting in args.settings:
        for seed in args.seeds:
            row = pl.DataFrame([run(setting, seed, args)])
            if args.out.exists():
                row = pl.concat([pl.read_csv(args.out), row], how="diagonal_relaxed")
            args.out.parent.mkdir(parents=True, exist_ok=True)
            row.write_csv(args.out)
            with pl.Config(tbl_cols=-1, tbl_width_chars=200):
                print(row.tail(1), flush=True)


if __name__ == "__main__":
    main()
