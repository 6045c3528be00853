"""What a hidden clock leaves behind, with exact densities: which pairs that it alone associates are caught, by what.

    python benchmarks/clocks.py --logs 6

A row a world: pairs that the clock alone associates (truth below 0.001 nats, mean effect of 0.02 or more) and pairs
with a real effect of 0.02 or more; of each how many the votes on the order turn down, how many are as strong beyond the
horizon (`placebo_nats` of half their strength or more), and how many are links.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl

import sequela as sq
from sequela.events.sequences import SequenceSet
from sequela.worlds.hidden_clock import HiddenClockWorld

RESULTS = Path(__file__).parent / "results" / "clocks.csv"


class Hiding(HiddenClockWorld):
    """The world says what a hidden event tells: nothing."""

    knows_hidden = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=int, default=6)
    parser.add_argument("--first-seed", type=int, default=960_000)
    parser.add_argument("--types", type=int, default=8)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--strength", type=float, default=2.5)
    args = parser.parse_args()
    rows = []
    for rotating in (False, True):
        tables = []
        for seed in range(args.first_seed, args.first_seed + args.logs):
            world = Hiding.random(
                args.types, horizon=3, sparsity=0.9, dwell=10.0, strength=args.strength, rotating=rotating, seed=seed
            )
            cases = world.sample(args.cases, 30, seed=seed + 1)
            log = sq.read_log(world.to_log(cases), time=False)
            found = sq.discover_population(world, log, cases="all", horizon=3, placebo=True, progress=False)
            tables.append(found.pairs.join(truth(world, cases), on=["cause", "effect"], how="left"))
        pairs = pl.concat(tables)
        kinds = {
            "clock alone": (pl.col("truth") < 0.001) & (pl.col("cmi_nats") >= 0.02),
            "real": pl.col("truth") >= 0.02,
        }
        for kind, chosen in kinds.items():
            some = pairs.filter(chosen)
            rows.append(
                {
                    "clock": "rotating" if rotating else "slow", "logs": args.logs, "pairs": kind, "n": some.height,
                    "n_not_first": some.filter((pl.col("share_first") <= 0.5) & (pl.col("pointwise_nats") > 0)).height,
                    "n_far": some.filter(pl.col("placebo_nats") >= pl.col("cmi_nats") / 2).height,
                    "n_links": some["is_edge"].sum(),
                    "n_links_unmarked": some.filter(pl.col("is_edge") & pl.col("mark").is_null()).height,
                }
            )  # fmt: skip
            print(rows[-1], flush=True)
    pl.DataFrame(rows).write_csv(RESULTS)


def truth(world: HiddenClockWorld, cases: SequenceSet) -> pl.DataFrame:
    """Return the mean causal truth of each pair, at its strongest lag: ``cause``, ``effect``, ``truth``."""
    n, names = world.vocabulary.n_types, world.vocabulary.names
    total, count = np.zeros((2, n, n, world.horizon))
    for case in cases:
        found = world.truth(case.ids)
        cause, column = np.nonzero(np.isfinite(found))
        place = (case.ids[cause], case.ids[cause + column + 1], column)
        np.add.at(total, place, found[cause, column])
        np.add.at(count, place, 1)
    mean = np.where(count >= 5, total / np.maximum(count, 1), 0.0).max(axis=2)
    rows = [(names[u], names[v], float(mean[u, v])) for u in range(n) for v in range(n)]
    return pl.DataFrame(rows, schema=["cause", "effect", "truth"], orient="row")


if __name__ == "__main__":
    main()
