"""Traces of services: what replacing outcomes (state) or whole events (presence) finds, by an exact or trained density.

    python benchmarks/services.py                       (exact density: what the question alone is worth)
    python benchmarks/services.py --plain               (the same without what hides the plan)
    python benchmarks/services.py --trained --seeds 20 21 22 23 24 --cases 2000 10000

Each row: one world, one question, F1 of edges and links at `delta` 0.05 in test requests that no training saw. Trained
is what a user gets: `read_log(event=["operation"], state="outcome")`, then `fit` and `discover_log` with defaults
(state), or with `contrast="presence"`. Seeds 0 to 9 were used for design.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import polars as pl

import sequela as sq
from sequela.evaluation.compare import evaluate_edges
from sequela.worlds.services import ServiceWorld

RESULTS = Path(__file__).parent / "results"
EXACT = {
    "state": {"contrast": "state", "particles": 4},
    "siblings": {"proposal": "siblings", "kept_components": 1, "particles": 4},
    "presence": {"proposal": "uniform"},
}
"""What each question asks of the exact law; ``siblings`` replaces states too, and has the event as the effect."""
TRAINED = {"state": {}, "presence": {"contrast": "presence"}}

PLAIN = {"retry": 0.0, "optional": 0.0, "parallel": 0.0, "noise": 1e-6}


def measure(args: argparse.Namespace, seed: int, n_cases: int) -> list[dict[str, object]]:
    world = ServiceWorld.random(args.types, seed=seed, **(PLAIN if args.plain else {}))
    test = world.simulate(args.test_cases, seed=20_000 + seed)
    columns = {**test.columns, "event": ["operation"], "state": "outcome"}
    log = sq.read_log(test.log, **columns)
    density: sq.Density = world
    fit_seconds = time.process_time()
    if n_cases:
        density = sq.fit(sq.read_log(world.simulate(n_cases, seed=seed).log, **columns), seed=seed, progress=False)
    fit_seconds = time.process_time() - fit_seconds
    memory = density.memory if n_cases else None
    rows = []
    n_pairs = sum(n * (n - 1) // 2 for n in test.events.group_by("case").len()["len"])
    for question, options in (TRAINED if n_cases else EXACT).items():
        start = time.process_time()
        chosen: dict[str, Any] = options if n_cases else {"particles": args.types, "horizon": args.horizon, **options}
        found = evaluate_edges(sq.discover_log(density, log, progress=False, **chosen).edges, test.edges)
        rows.append(
            {
                "types": args.types, "density": "trained" if n_cases else "exact", "cases": n_cases,
                "seed": seed, "question": question,
                "precision": found.pooled.precision, "recall": found.pooled.recall, "f1": found.pooled.f1,
                "links_f1": found.links.f1, "n_true": found.pooled.n_true,
                "every_pair_f1": 2 * found.pooled.n_true / (n_pairs + found.pooled.n_true),
                "links_precision": found.links.precision, "links_recall": found.links.recall, "memory": memory,
                "fit_cpu_seconds": round(fit_seconds, 1), "cpu_seconds": round(time.process_time() - start, 1),
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
    parser.add_argument("--cases", type=int, nargs="+", default=[2000])
    parser.add_argument("--horizon", type=int, default=None)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    name = f"services_{'trained' if args.trained else 'exact'}{'_plain' if args.plain else ''}.csv"
    out = args.out or RESULTS / name
    for n_cases in args.cases if args.trained else [0]:
        for seed in args.seeds:
            table = pl.DataFrame(measure(args, seed, n_cases))
            before = [pl.read_csv(out, schema=table.schema)] if out.exists() else []
            table = pl.concat([*before, table]).unique(["types", "cases", "seed", "question"], keep="last")
            table.sort("types", "cases", "seed", "question").write_csv(out)
    means = ("precision", "recall", "f1", "links_f1", "every_pair_f1")
    print(table.group_by("types", "cases", "question").agg(pl.len(), pl.col(means).mean()).sort("cases", "question"))


if __name__ == "__main__":
    main()
