"""Simulated alarm logs with known links, like the real one, on which the rule for alarms is chosen.

    python benchmarks/cascades.py --seeds 2

Alarms come as immigrants (rates differ by type and by device), as children of other alarms (the links to be found;
seconds to minutes later), as repetitions of themselves (minutes to an hour later), and in incidents that nobody
records: two to four types of one hidden class within ten minutes. `benchmarks/population.py alarms` measures the real
alarms by the same rules. Labels of the real log play no part in any choice.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import sequela as sq
from sequela.evaluation.metrics import auroc, score_edges

RESULTS = Path(__file__).parent / "results"
DAY = 86_400.0


def simulate(
    seed: int, *, n_types: int = 18, n_links: int = 69, n_devices: int = 55, days: float = 240.0, events: int = 600
) -> tuple[sq.EventLog, np.ndarray]:
    """Return a log and its links (bool, ``[n_types, n_types]``, ``[cause, effect]``)."""
    rng = np.random.default_rng([seed, 77])
    order = rng.permutation(n_types)
    upper = [(order[i], order[j]) for i in range(n_types) for j in range(i + 1, n_types)]
    links = np.zeros((n_types, n_types), dtype=bool)
    for k in rng.choice(len(upper), n_links, replace=False):
        links[upper[k]] = True
    children = np.where(links, rng.uniform(0.03, 0.35, links.shape), 0.0)
    delay = np.exp(rng.uniform(np.log(1.0), np.log(300.0), links.shape))
    own = rng.uniform(0.0, 0.5, n_types)
    own_delay = np.exp(rng.uniform(np.log(60.0), np.log(3600.0), n_types))
    share = rng.permutation(1.0 / np.arange(1, n_types + 1) ** 1.2)
    share /= share.sum()
    classes = [rng.choice(n_types, rng.integers(2, 5), replace=False) for _ in range(6)]
    # What an immigrant sets off, itself included, says how many immigrants make the events asked for.
    family = np.linalg.solve(np.eye(n_types) - (children + np.diag(own)).T, share).sum()
    rows = []
    for device in range(n_devices):
        size = events * np.exp(rng.normal(0, 0.4))
        rate = share * np.exp(rng.normal(0, 0.5, n_types))
        n_incidents = rng.poisson(0.05 * size / 3)
        kinds = rng.choice(n_types, rng.poisson(0.85 * size / family), p=rate / rate.sum())
        waiting = [(rng.uniform(0, days * DAY), int(v)) for v in kinds]
        for _ in range(n_incidents):
            start, some = rng.uniform(0, days * DAY), classes[rng.integers(len(classes))]
            waiting += [(start + rng.uniform(0, 600.0), int(v)) for v in some]
        while waiting:
            at, kind = waiting.pop()
            rows.append((f"d{device:02}", str(kind), round(at)))
            for effect in np.flatnonzero(children[kind]):
                for _ in range(rng.poisson(children[kind, effect])):
                    waiting.append((at + rng.exponential(delay[kind, effect]), int(effect)))
            for _ in range(rng.poisson(own[kind])):
                waiting.append((at + rng.exponential(own_delay[kind]), kind))
    frame = pl.DataFrame(rows, schema=["case", "event", "time"], orient="row")
    return sq.read_log(frame, case="case", event="event", time="time"), links


RULES: dict[str, dict[str, Any]] = {"default": {}, "f1": {"objective": "f1", "delta": 0.01}}
"""What is measured on the real alarms. The delta of the second was chosen on the simulated log 500."""
TRIED: dict[str, dict[str, Any]] = RULES | {
    f"f1, delta {delta:g}": {"objective": "f1", "delta": delta} for delta in (0.0, 0.005, 0.02, 0.05)
}


def score_links(pairs: pl.DataFrame, truth: np.ndarray) -> dict[str, float]:
    """Score a population of types named ``0 … n - 1`` against links (bool, ``[n, n]``, ``[cause, effect]``).

    The links of alarms say what brings what about, so links that make the effect less likely count as none. Pairs are
    ranked by their probability, then by their strength.
    """
    order = pairs.filter(pl.col("cause").str.contains(r"^\d+$"), pl.col("effect").str.contains(r"^\d+$")).sort(
        "probability", "cmi_nats"
    )
    place = order.select(pl.col("cause", "effect").cast(pl.Int64)).to_numpy().T
    rank, found = np.zeros(truth.shape), np.zeros(truth.shape, dtype=bool)
    rank[tuple(place)] = np.arange(1, order.height + 1)
    found[tuple(place)] = order.select(pl.col("is_edge") & (pl.col("pointwise_nats") > 0)).to_series().to_numpy()
    off = ~np.eye(len(truth), dtype=bool)
    scores = score_edges(found[off], truth[off])
    return {
        "precision": scores.precision, "recall": scores.recall, "f1": scores.f1, "n_links": int(found[off].sum()),
        "auroc": auroc(rank[off], truth[off]), "every_pair_f1": 2 * truth[off].mean() / (1 + truth[off].mean()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=500)
    parser.add_argument("--folds", type=int, default=5)
    args = parser.parse_args()
    path = RESULTS / "cascades.csv"
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        log, links = simulate(seed)
        started = time.process_time()
        densities = sq.cross_fit(log, folds=args.folds, scheme="forward", seed=seed, progress=False)
        for name, settings in TRIED.items():
            found = sq.discover_population(densities, log, progress=False, **settings)
            row = {"seed": seed, "rule": name} | score_links(found.pairs, links)
            table = pl.DataFrame([row | {"cpu_seconds": time.process_time() - started}])
            (table if not path.exists() else pl.concat([pl.read_csv(path), table], how="diagonal")).write_csv(path)
            print(
                {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}, flush=True
            )


if __name__ == "__main__":
    main()
