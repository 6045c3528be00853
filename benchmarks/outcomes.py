"""Which event types lead to which labels: F1 of direct causes against exact truth.

    nice -n 10 python benchmarks/outcomes.py --seeds 10 11 12 13 14
    nice -n 10 python benchmarks/outcomes.py --seeds 10 11 12 13 14 --cases 2000

`OutcomeWorld.random`: 24 event types, 4 labels (single, or, and, 2 of 3; probability 0.9 with their causes, 0.05
without), eight causes, of which four bring a symptom right after them that does nothing. Cases of 20 events. Nothing
sees the causes.

exact        `discover_outcomes` with the world itself as the model
trained      `discover_outcomes` with `fit_outcomes` (its defaults)
logistic     logistic regression on presence, Wald tests, Benjamini-Hochberg at 0.05
shapley      mean absolute Shapley value of a type (200 cases, 20 permutations, the trained model), at least delta
*_best       the same two with the cut that is best on the truth
events_*     single events of 30 cases: direct effect of 0.05 or more, trained against exact

Rows: benchmarks/results/outcomes.csv. Seeds 0 to 4 were used while the method was designed.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

import sequela as sq
from sequela.density.outcomes.base import OutcomeHead, count_types
from sequela.worlds.outcomes import OutcomeWorld

RESULTS = Path(__file__).parent / "results" / "outcomes.csv"
DELTA, LENGTH = 0.02, 20
Pairs = set[tuple[str, str]]


def f1(found: Pairs, true: Pairs) -> float:
    """Return F1."""
    return 2 * len(found & true) / max(len(found) + len(true), 1)


def best_f1(strength: dict[tuple[str, str], float], true: Pairs) -> float:
    """Return F1 at the cut that is best on the truth."""
    ranked = sorted(strength, key=lambda pair: -strength[pair])
    return max(f1(set(ranked[:k]), true) for k in range(1, len(ranked) + 1))


def logistic(present: np.ndarray, labels: np.ndarray, names: list[str], kinds: tuple[str, ...]) -> tuple[Pairs, dict]:
    """Return the links of Wald tests at 0.05 (Benjamini and Hochberg), and the absolute z of each pair."""
    design = np.hstack([present, np.ones((len(present), 1))])
    z = {}
    for column, kind in enumerate(kinds):
        fitted = LogisticRegression(C=100.0, max_iter=2000).fit(present, labels[:, column])
        p = fitted.predict_proba(present)[:, 1]
        covariance = np.linalg.inv((design * (p * (1 - p))[:, None]).T @ design + 0.01 * np.eye(design.shape[1]))
        for i, name in enumerate(names):
            z[name, kind] = abs(float(fitted.coef_[0, i])) / float(np.sqrt(covariance[i, i]))
    pairs = list(z)
    p = 2 * norm.sf(np.array([z[pair] for pair in pairs]))
    order = np.argsort(p)
    passed = np.flatnonzero(p[order] <= 0.05 * np.arange(1, len(p) + 1) / len(p))
    return {pairs[i] for i in order[: passed.max() + 1]} if len(passed) else set(), z


def shapley(head: OutcomeHead, counts: np.ndarray, names: list[str], seed: int) -> dict[tuple[str, str], float]:
    """Return the mean absolute Shapley value of each type and label over the cases that hold it."""
    rng = np.random.default_rng(seed)
    total, n = np.zeros((len(names), len(head.labels))), np.zeros(len(names))
    for row in counts[:200]:
        there = np.flatnonzero(row)
        values = np.zeros((len(names), len(head.labels)))
        for _ in range(20):
            order = rng.permutation(there)
            steps = np.zeros((len(order) + 1, len(row)))
            for i, kind in enumerate(order):
                steps[i + 1] = steps[i]
                steps[i + 1, kind] = row[kind]
            values[order] += np.diff(head.probabilities(steps), axis=0) / 20
        total[there] += np.abs(values[there])
        n[there] += 1
    mean = total / np.maximum(n, 1)[:, None]
    return {(name, kind): float(mean[i, j]) for i, name in enumerate(names) for j, kind in enumerate(head.labels)}


def one(seed: int, cases: int) -> dict[str, Any]:
    """Return a row of results."""
    started = time.process_time()
    world = OutcomeWorld.random(seed=seed)
    events, table = world.simulate(cases, LENGTH, seed=seed + 1000)
    log = sq.read_log(events, outcomes=table)
    true, names = world.direct_causes, list(world.density.vocabulary.names)
    exact = sq.discover_outcomes(world, log, delta=DELTA, progress=False)
    model = sq.fit_outcomes(world.density, log, seed=seed, progress=False)
    trained = sq.discover_outcomes(model, log, delta=DELTA, progress=False)
    frame = log.frame
    ids = [g["event"].to_list() for g in frame.partition_by("case", maintain_order=True)]
    index = {name: i for i, name in enumerate(names)}
    counts = count_types([np.array([index[e] for e in case]) for case in ids], len(names), -1)
    has = set(log.outcomes.select("case", "label").iter_rows())
    labels = np.array([[(case, kind) in has for kind in model.labels] for case in log.case_names])
    by_test, z = logistic((counts[:, :-1] > 0).astype(float), labels, names, model.labels)
    values = shapley(model, counts, names, seed)
    right = found = asked = 0
    order = [world.labels.index(kind) for kind in model.labels]
    for case in ids[-30:]:
        own = sq.explain_outcome(model, case, simulations=0)["direct_effect"].to_numpy().reshape(len(case), -1)
        truth = world.truth(np.array([index[e] for e in case], np.int32))[:, order]
        is_true, is_found = np.abs(truth) >= 0.05, np.abs(own) >= 0.05
        right, found, asked = right + (is_true & is_found).sum(), found + is_found.sum(), asked + is_true.sum()
    pairs = [set(graph.links.select("event", "label").iter_rows()) for graph in (exact, trained)]
    return {
        "seed": seed, "cases": cases, "exact": f1(pairs[0], true), "trained": f1(pairs[1], true),
        "trained_false": len(pairs[1] - true), "trained_missed": len(true - pairs[1]),
        "logistic": f1(by_test, true), "logistic_false": len(by_test - true), "logistic_best": best_f1(z, true),
        "shapley": f1({pair for pair, value in values.items() if value >= DELTA}, true),
        "shapley_best": best_f1(values, true), "events_trained": 2 * right / max(found + asked, 1),
        "loss": np.mean([each.loss for each in model.report]),
        "logistic_loss": np.mean([each.logistic_loss for each in model.report]),
        "frequency_loss": np.mean([each.frequency_loss for each in model.report]),
        "calibration_error": np.mean([each.calibration_error for each in model.report]),
        "seconds": time.process_time() - started,
    }  # fmt: skip


def main() -> None:
    """Run, print and store rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12, 13, 14])
    parser.add_argument("--cases", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        rows.append({key: round(float(value), 4) for key, value in one(seed, args.cases).items()})
        print(rows[-1], flush=True)
        is_new = not args.out.exists()
        with args.out.open("a", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(rows[-1])
    print(pl.DataFrame(rows).mean().to_dicts()[0])


if __name__ == "__main__":
    main()
