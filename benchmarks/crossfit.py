"""What cross-fitting costs and what its densities are worth, by scheme.

    python benchmarks/crossfit.py --seeds 10 11

For a log of the demonstration world: one `fit`, then cross-fitting like it in both schemes. Each density is judged on
the cases it would score; nats are in excess of the world's own, exact forecasts of the same events (0 is the exact
density).
"""

import argparse
import time
from pathlib import Path

import numpy as np
import polars as pl

import sequela as sq
from sequela.evaluation.demo import demo_world
from sequela.evaluation.experiments.common import translate
from sequela.events.sequences import SequenceSet


def excess(density, world, log):
    """Return the mean of the world's log-probability of an event less the density's, over all events of a log."""
    cases = SequenceSet.from_log(log, world.vocabulary)
    own = np.concatenate(density.score_many([translate(density, world, case).ids for case in cases]))
    return float((np.concatenate(world.score_many([case.ids for case in cases])) - own).mean())


def rows(seed, args):
    """Yield one row for `fit`, and one for each density of each scheme."""
    world = demo_world(seed)
    log = sq.read_log(world.to_log(world.sample(args.cases, (20, 60), seed=seed + 1)))
    started = time.process_time()
    whole = sq.fit(log, seed=seed, width=args.width, progress=False)
    fit_seconds = time.process_time() - started
    new = sq.read_log(world.to_log(world.sample(200, (20, 60), seed=seed + 2)))
    base = {"seed": seed, "scheme": "fit", "density": 0, "n_train": log.n_cases, "n_scored": new.n_cases}
    yield base | {"excess_nats": excess(whole, world, new), "cpu_seconds": fit_seconds, "of_fit": 1.0}
    for scheme in args.schemes:
        started = time.process_time()
        found = sq.cross_fit(log, folds=args.folds, scheme=scheme, like=whole, seed=seed, progress=False)
        seconds = time.process_time() - started
        for density, part in found.held_out(log):
            number = [density is each for each in found.densities].index(True)
            yield {
                "seed": seed, "scheme": scheme, "density": number, "n_train": density.info["log"]["n_cases"],
                "n_scored": part.n_cases, "excess_nats": excess(density, world, part), "cpu_seconds": seconds,
                "of_fit": seconds / fit_seconds,
            }  # fmt: skip


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[10])
    parser.add_argument("--cases", type=int, default=1500)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--schemes", nargs="+", default=["forward", "leave-one-out"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "crossfit.csv")
    args = parser.parse_args()
    found = []
    for seed in args.seeds:
        for row in rows(seed, args):
            print(row, flush=True)
            found.append(row)
            pl.DataFrame(found).write_csv(args.out)


if __name__ == "__main__":
    main()
