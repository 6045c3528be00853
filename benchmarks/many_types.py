"""Event types by the ten thousand, trained: from a log to the causes in its cases, against the exact truth.

    python benchmarks/many_types.py --events 300000 1000000 [--types 29100] [--scored 100]

A log of `diagnostic_log` kind (Zipf frequencies, cascades that add up, cases of 50 events). `fit` and `discover_log`
with defaults, no labels; cases to score are simulated apart. Recall is also given by support: occurrences in the log of
the rarer type of a link. Beside it two counts, with their own thresholds. Processor seconds and the peak memory of the
whole process; one row a log, added to the file at once.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import sequela as sq
from sequela.evaluation.baselines import AdjacentPMI, Method, NGramGranger
from sequela.evaluation.demo import DELTA
from sequela.events.sequences import SequenceSet
from sequela.worlds.diagnostic import DiagnosticWorld

RESULTS = Path(__file__).parent / "results" / "many_types.csv"
LENGTH = 50
SUPPORTS = (0, 10, 100, 1000)


def sample(world: DiagnosticWorld, n_cases: int, seed: int) -> SequenceSet:
    """Draw cases one place at a time, all cases together: a spontaneous event, or a consequence of one of the last."""
    rng, n_types = np.random.default_rng(seed), len(world.fresh)
    fresh, links = np.cumsum(world.fresh), world.links
    within = np.cumsum(links.data) - np.repeat(
        np.append(0.0, np.cumsum(links.data))[links.indptr[:-1]], np.diff(links.indptr)
    )
    keys = np.repeat(np.arange(n_types), np.diff(links.indptr)) + np.minimum(within, 1 - 1e-9)
    ids = np.zeros((n_cases, LENGTH), np.int32)
    for at in range(LENGTH):
        ids[:, at] = np.minimum(np.searchsorted(fresh, rng.random(n_cases)), n_types - 1)
        lags = np.arange(1, min(at, world.memory) + 1)
        if len(lags):
            adds = np.cumsum(world.strength[ids[:, at - lags]] * world.lag_scale[lags - 1], axis=1)
            drawn = rng.random(n_cases) * (1 + adds[:, -1])
            caused = np.flatnonzero(drawn < adds[:, -1])
            source = ids[caused, at - 1 - (drawn[caused, None] >= adds[caused]).sum(axis=1)]
            place = np.searchsorted(keys, source + rng.random(len(source)) * (1 - 1e-9))
            ids[caused, at] = links.indices[np.minimum(place, links.indptr[source + 1] - 1)]
    names = pl.Series([f"c{i:07d}" for i in range(n_cases)])
    return SequenceSet(ids.ravel(), np.arange(0, ids.size + 1, LENGTH), names)


def table(world: DiagnosticWorld, cases: SequenceSet) -> pl.DataFrame:
    """Return cases as a log."""
    names = pl.Series(world.vocabulary.names)
    return pl.DataFrame({"case": np.repeat(cases.case_names.to_numpy(), LENGTH), "event": names.gather(cases.ids)})


def counts(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return true edges found, edges found, true edges."""
    return np.array([(found & true).sum(), found.sum(), true.sum()])


def f1(parts: np.ndarray) -> float:
    """Return F1 of what `counts` gave."""
    return round(float(2 * parts[0] / max(1, parts[1] + parts[2])), 3)


def one(n_types: int, n_events: int, n_scored: int, seed: int) -> dict[str, Any]:
    """Return the row of one log."""
    world = DiagnosticWorld.random(n_types, seed=seed)
    train, scored = sample(world, n_events // LENGTH, seed + 1), sample(world, n_scored, seed + 2)
    started = time.process_time()
    log = sq.read_log(table(world, train))
    density = sq.fit(log, seed=seed, progress=True)
    trained = time.process_time()
    found = sq.discover_log(density, sq.read_log(table(world, scored)), delta=DELTA, progress=False)
    done = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    held_out = float(np.mean(np.concatenate([world.score(case.ids) for case in scored])))
    support = np.bincount(train.ids, minlength=n_types)
    methods: list[Method] = [AdjacentPMI(train, n_types), NGramGranger(train, n_types, world.memory)]
    total, others = np.zeros(3), np.zeros((len(methods), 3))
    by_support = np.zeros((len(SUPPORTS), 2))
    edges = found.edges.partition_by("case", as_dict=True)
    for case in scored:
        band = world.truth(case.ids)
        truth, own = np.nan_to_num(band) > DELTA, edges[(case.name,)]
        width = max(truth.shape[1], int(own["lag"].max() or 1))
        true, guess = (np.zeros((len(truth), width), dtype=bool) for _ in range(2))
        true[:, : truth.shape[1]] = truth
        guess[own["cause_position"].to_numpy(), own["lag"].to_numpy() - 1] = True
        total += counts(guess, true)
        cause, lag = np.nonzero(true)
        rarer = np.minimum(support[case.ids[cause]], support[case.ids[cause + lag + 1]])
        bins = np.searchsorted(SUPPORTS, rarer, side="right") - 1
        by_support[:, 0] += np.bincount(bins, guess[cause, lag], len(SUPPORTS))
        by_support[:, 1] += np.bincount(bins, minlength=len(SUPPORTS))
        for at, method in enumerate(methods):
            others[at] += counts(np.nan_to_num(method.scores(case.ids, world.memory)) > method.threshold, truth)
    report = density.info["report"]
    return {
        "types": n_types, "events": n_events, "seed": seed, "known_types": density.vocabulary.n_types,
        "fit_cpu_s": round(trained - started), "discover_cpu_s_a_case": round((done - trained) / n_scored, 3),
        "peak_mb": round(peak), "held_out_nats": round(report["cross_entropy"], 3), "exact_nats": round(-held_out, 3),
        "bigram_nats": round(report["bigram"], 3), "additive": density.info["arguments"]["additive"],
        "precision": round(total[0] / max(1, total[1]), 3), "recall": round(total[0] / max(1, total[2]), 3),
        "f1": f1(total),
        **{
            f"recall_from_{low}": round(hit / n, 3) if n else None
            for low, (hit, n) in zip(SUPPORTS, by_support, strict=True)
        },
        "true_edges": int(total[2]), "pmi_f1": f1(others[0]), "granger_f1": f1(others[1]),
    }  # fmt: skip


def main() -> None:
    """Run the rows that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", type=int, default=29_100)
    parser.add_argument("--events", type=int, nargs="+", default=[300_000, 1_000_000])
    parser.add_argument("--scored", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for n_events in args.events:
        row = pl.DataFrame([one(args.types, n_events, args.scored, args.seed)])
        print(row.to_dicts()[0], flush=True)
        known = pl.read_csv(RESULTS) if RESULTS.exists() else row.clear()
        pl.concat([known, row], how="vertical_relaxed").write_csv(RESULTS)


if __name__ == "__main__":
    main()
