"""Does the width that `fit` chooses find more? Event F1 with defaults, without labels, against the exact truth.

    python benchmarks/size.py demo --seeds 0 1 2 3 4 200 201 202 203 204
    python benchmarks/size.py diagnostic_log multiplicative nonlinear threshold --seeds 0 1 2 3 4 --scored 20

One row a world and seed: a log is simulated, `fit` trains on it with defaults (or with ``--width``), and `discover_log`
(effects of at least 0.05 nats) is scored on cases simulated apart. Each row is printed and added to the file at once.
Seeds 10 to 19 were used while the method was developed; 0 to 4 and from 100 on were not.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import polars as pl

from sequela.density.training.fit import fit
from sequela.discovery.discover import discover_log
from sequela.evaluation.demo import DELTA, demo_world
from sequela.evaluation.metrics import Scores, score_edges
from sequela.events.log import read_log
from sequela.worlds.catalogue import make_world

SMALL = {"n_types": 20}
WORLDS = {
    "demo": (demo_world, 1500, (20, 60)),
    "diagnostic_log": (lambda seed: make_world("diagnostic_log", seed=seed), 200, (20, 60)),
    "multiplicative": (lambda seed: make_world("multiplicative", seed=seed, **SMALL), 2000, 64),
    "nonlinear": (lambda seed: make_world("nonlinear", seed=seed, decay=0.3, **SMALL), 2000, 64),
    "threshold": (lambda seed: make_world("threshold", seed=seed, **SMALL), 2000, 64),
}
"""How to make each, its cases for training and their lengths."""


def event_scores(world, density, cases):
    """Compare the edges found with defaults with the exact truth, every pair of events of every case."""
    found = discover_log(density, read_log(world.to_log(cases)), delta=DELTA, progress=False)
    by_case = found.edges.partition_by("case", as_dict=True)
    parts = []
    for case in cases:
        truth = np.nan_to_num(world.truth(case.ids)) > DELTA
        own = by_case.get((case.name,), found.edges.clear())
        width = max(truth.shape[1], int(own["lag"].max() or 1))
        true, guess = (np.zeros((len(truth), width), dtype=bool) for _ in range(2))
        true[:, : truth.shape[1]] = truth
        guess[own["cause_position"].to_numpy(), own["lag"].to_numpy() - 1] = True
        parts.append(score_edges(guess, true))
    return Scores.pooled(parts)


def one(name, seed, n_scored, **settings):
    """Return the row of one world."""
    make, n_cases, length = WORLDS[name]
    world = make(seed)
    log = read_log(world.to_log(world.sample(n_cases, length, seed=seed + 1)))
    started = time.process_time()
    density = fit(log, seed=seed, progress=False, **settings)
    seconds = time.process_time() - started
    scores = event_scores(world, density, world.sample(n_scored, length, seed=seed + 2))
    info = density.info
    return {
        "world": name, "seed": seed, "width": info["arguments"]["width"], "chosen": info["width_choice"] is not None,
        "times": info["arguments"]["times"], "steps": info["history"][-1][0],
        "validation_nats": info["training"]["validation_loss"], "held_out_nats": info["report"]["cross_entropy"],
        "precision": scores.precision, "recall": scores.recall, "f1": scores.f1, "fit_cpu_seconds": round(seconds, 1),
    }  # fmt: skip


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="+", choices=WORLDS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--scored", type=int, default=100, help="cases that are scored")
    parser.add_argument("--width", type=int, help="this width in place of the chosen one")
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "size.csv")
    args = parser.parse_args()
    settings = {"width": args.width, "max_steps": args.max_steps}
    for name in args.worlds:
        for seed in args.seeds:
            row = pl.DataFrame([one(name, seed, args.scored, **settings)])
            print(row.row(0, named=True), flush=True)
            before = [pl.read_csv(args.out, schema=row.schema)] if args.out.exists() else []
            pl.concat([*before, row]).write_csv(args.out)
    table = pl.read_csv(args.out).group_by("world", "chosen", maintain_order=True)
    print(table.agg(pl.len().alias("runs"), pl.col("f1", "precision", "recall", "fit_cpu_seconds").mean()))


if __name__ == "__main__":
    main()
