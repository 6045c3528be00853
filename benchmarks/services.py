"""Traces of services: what replacing outcomes (state) or whole events (presence) finds, by an exact or trained density.

    python benchmarks/services.py                       (exact density: what the question alone is worth)
    python benchmarks/services.py --plain               (the same without what hides the plan)
    python benchmarks/services.py --trained --cases 2000

Each row: one world, one question, F1 of edges and links at `delta` 0.05 in test requests that no training saw.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import polars as pl

import sequela as sq
from sequela.evaluation.compare import evaluate_edges
from sequela.worlds.services import ServiceWorld

RESULTS = Path(__file__).parent / "results"
QUESTIONS = {"state": {"proposal": "siblings", "kept_components": 1}, "presence": {"proposal": "uniform"}}

PLAIN = {"retry": 0.0, "optional": 0.0, "parallel": 0.0, "noise": 1e-6}


def measure(args: argparse.Namespace, seed: int) -> list[dict[str, object]]:
    world = ServiceWorld.random(args.types, seed=seed, **(PLAIN if args.plain else {}))
    test = world.simulate(args.test_cases, seed=20_000 + seed)
    log = sq.read_log(test.log, **test.columns)
    density: sq.Density = world
    if args.trained:
        seen = world.simulate(args.cases, seed=seed)
        density = sq.fit(sq.read_log(seen.log, **{**seen.columns, "time": False}), seed=seed, progress=False)
    rows = []
    n_pairs = sum(n * (n - 1) // 2 for n in test.events.group_by("case").len()["len"])
    for question, options in QUESTIONS.items():
        start = time.perf_counter()
        edges = [
            sq.discover(density, log.case(name), particles=args.types, delta=0.05, horizon=args.horizon, **options)
            .edges.with_columns(case=pl.lit(name)) for name in log.case_names
        ]  # fmt: skip
        found = evaluate_edges(pl.concat(edges), test.edges)
        rows.append(
            {
                "types": args.types, "density": "trained" if args.trained else "exact",
                "cases": args.cases if args.trained else 0, "seed": seed, "question": question,
                "precision": found.pooled.precision, "recall": found.pooled.recall, "f1": found.pooled.f1,
                "links_f1": found.links.f1, "n_true": found.pooled.n_true,
                "every_pair_f1": 2 * found.pooled.n_true / (n_pairs + found.pooled.n_true),
                "seconds": round(time.perf_counter() - start, 1),
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", type=int, default=82)
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12, 13, 14])
    parser.add_argument("--test-cases", type=int, default=50)
    parser.add_argument("--trained", action="store_true", help="train on --cases requests; otherwise the exact law")
    parser.add_argument("--plain", action="store_true", help="no retries, optional calls, random order or noise")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--horizon", type=int, default=None)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    table = pl.DataFrame([row for seed in args.seeds for row in measure(args, seed)])
    name = f"services_{'trained' if args.trained else 'exact'}{'_plain' if args.plain else ''}.csv"
    out = args.out or RESULTS / name
    table.write_csv(out)
    means = ("precision", "recall", "f1", "links_f1", "every_pair_f1")
    print(table.group_by("types", "question").agg(pl.col(means).mean()).sort("question"))


if __name__ == "__main__":
    main()
