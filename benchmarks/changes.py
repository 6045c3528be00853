"""What changed between two logs: false discovery rate and recall of `sequela compare` where the changes are known.

    nice -n 10 python benchmarks/changes.py changed --seeds 20
    nice -n 10 python benchmarks/changes.py halves --seeds 10
    nice -n 10 python benchmarks/changes.py changed --seeds 3 --trained
    nice -n 10 python benchmarks/changes.py halves --seeds 3 --trained

A log of 1,000 cases of 30 events before, and one after. `changed`: of the weights of a random softmax world (24 event
types, `SoftmaxWorld.random`) that make an event likelier and are links with an exact effect of 0.05 nats or more, 4 are
halved and 4 doubled. A change is right when it is one of these 8 pairs. `halves`: a log of 2,000 cases is split at
random, 20 times a world (once where trained). Without `--trained` each log is discovered with its own world as the
density, with it by a window network of its own. Rows: benchmarks/results/changes.csv.
Seeds from 1000 are reported; 0 to 9 were used while the test was designed.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import sequela as sq
from sequela.worlds.softmax import SoftmaxWorld

RESULTS = Path(__file__).parent / "results" / "changes.csv"
N_TYPES, HORIZON, DECAY, LENGTH = 24, 3, 0.3, 30
FIELDS = ("question", "trained", "cases", "seed", "fdr", "n_changed", "n_found", "n_right", "n_types_found", "seconds")


def world_and_changed(seed: int, *, change: bool) -> tuple[SoftmaxWorld, SoftmaxWorld, set[tuple[str, str]]]:
    """Return a world, the same with 8 changed weights, and the pairs whose weight changed."""
    world = SoftmaxWorld.random(N_TYPES, horizon=HORIZON, decay=DECAY, sparsity=0.9, weight_scale=1.5, seed=seed)
    if not change:
        return world, world, set()
    weights = world.weights.toarray()
    log = sq.read_log(world.to_log(world.sample(150, LENGTH, seed=seed + 1)))
    links = sq.discover_log(world, log, progress=False).summary().links
    rng = np.random.default_rng(seed)
    index = {name: i for i, name in enumerate(world.vocabulary.names)}
    pairs = [
        (index[u], index[v])
        for u, v, nats in links.select("cause", "effect", "effect_nats").iter_rows()
        if nats >= 0.05 and weights[index[u], index[v]] > 0
    ]
    chosen = [pairs[i] for i in rng.permutation(len(pairs))[:8]]
    for i, (u, v) in enumerate(chosen):
        weights[u, v] *= 0.5 if i % 2 else 2.0
    names = world.vocabulary.names
    return (
        world,
        SoftmaxWorld(world.bias, weights, horizon=HORIZON, decay=DECAY),
        {(names[u], names[v]) for u, v in chosen},
    )


def discovered(world: SoftmaxWorld, log: sq.EventLog, seed: int, *, trained: bool) -> sq.Discovery:
    """Return all edges of a log, by its world or by a network trained on it."""
    density = sq.fit(log, seed=seed, progress=False) if trained else world
    return sq.discover_log(density, log, progress=False)


def some_cases(found: sq.Discovery, names: list[str]) -> sq.Discovery:
    """Return what was found in some of the cases."""
    edges, events = (table.filter(pl.col("case").is_in(names)) for table in (found.edges, found.events))
    return sq.Discovery(edges, events.group_by("event").agg(count=pl.len().cast(pl.Int64)), found.run, events)


def changed(
    seed: int, cases: int, *, trained: bool
) -> Iterator[tuple[sq.Discovery, sq.Discovery, set[tuple[str, str]]]]:
    """Yield one pair of results with 8 changed links."""
    before, after, pairs = world_and_changed(seed, change=True)
    logs = [
        sq.read_log(w.to_log(w.sample(cases, LENGTH, seed=10 * seed + 3 + i))) for i, w in enumerate((before, after))
    ]
    first, second = (discovered(w, log, seed, trained=trained) for w, log in zip((before, after), logs, strict=True))
    yield first, second, pairs


def halves(
    seed: int, cases: int, *, trained: bool
) -> Iterator[tuple[sq.Discovery, sq.Discovery, set[tuple[str, str]]]]:
    """Yield pairs of results of the two halves of one log."""
    world, _, _ = world_and_changed(seed, change=False)
    log = sq.read_log(world.to_log(world.sample(2 * cases, LENGTH, seed=10 * seed + 3)))
    whole = None if trained else discovered(world, log, seed, trained=False)
    for split in range(1 if trained else 20):
        names = np.random.default_rng([seed, split]).permutation(log.case_names).tolist()
        parts = [sorted(names[:cases]), sorted(names[cases:])]
        if whole is None:
            first, second = (discovered(world, log.cases(part), seed, trained=True) for part in parts)
        else:
            first, second = (some_cases(whole, part) for part in parts)
        yield first, second, set()


def rows_of(question: str, seed: int, *, cases: int, trained: bool, fdr: float) -> Iterator[dict[str, Any]]:
    """Yield rows of results."""
    started = time.process_time()
    for first, second, true in QUESTIONS[question](seed, cases, trained=trained):
        found = sq.compare(first, second, fdr=fdr)
        pairs = set(found.changed.select("cause", "effect").iter_rows())
        yield {
            "question": question, "trained": trained, "cases": cases, "seed": seed, "fdr": fdr, "n_changed": len(true),
            "n_found": len(pairs), "n_right": len(pairs & true), "n_types_found": found.changed_types.height,
            "seconds": round(time.process_time() - started, 1),
        }  # fmt: skip
        started = time.process_time()


QUESTIONS = {"changed": changed, "halves": halves}


def main() -> None:
    """Run, print and store rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question", choices=tuple(QUESTIONS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--fdr", type=float, default=0.05)
    parser.add_argument("--trained", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        new = list(rows_of(args.question, seed, cases=args.cases, trained=args.trained, fdr=args.fdr))
        print(*new, sep="\n", flush=True)
        is_new = not args.out.exists()
        with args.out.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerows(new)
        rows += new
    false = [(row["n_found"] - row["n_right"]) / max(row["n_found"], 1) for row in rows]
    right, true = sum(row["n_right"] for row in rows), sum(row["n_changed"] for row in rows)
    print(
        f"{len(rows)} pairs of logs: false discovery rate {np.mean(false):.3f}, recall {right / max(true, 1):.3f}; "
        f"links found in {sum(row['n_found'] > 0 for row in rows)} of them, "
        f"types in {sum(row['n_types_found'] > 0 for row in rows)}"
    )


if __name__ == "__main__":
    main()
