"""The wireless alarms (real, with an expert graph): fit, discover, and score the summary against the experts.

    make bench        or        .venv/bin/python benchmarks/alarms.py --seeds 5

Prints one row a seed and design and appends them to benchmarks/results/alarms.csv. No label is used in fitting,
discovering or thresholding.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

import sequela as sq
from sequela.evaluation.metrics import auroc, score_edges

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "alarms-wireless"
RESULTS = Path(__file__).parent / "results" / "alarms.csv"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--backbones", nargs="+", default=["window"])
    parser.add_argument("--designs", nargs="+", default=["atomic", "leave-one-out", "masked", "staircase"])
    parser.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"skipped: {DATA} is not here", file=sys.stderr)
        return 0
    log = sq.read_log(DATA / "Alarm.csv", case="device_id", event="alarm_id", time="start_timestamp")
    truth = np.load(DATA / "DAG.npy", allow_pickle=False).astype(bool)
    off = ~np.eye(len(truth), dtype=bool)
    rows = []
    for backbone in arguments.backbones:
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            started = time.perf_counter()
            density = sq.fit(log, backbone=backbone, seed=seed, progress=False)
            fit_seconds = time.perf_counter() - started
            for design in arguments.designs:
                started = time.perf_counter()
                found = sq.discover_log(density, log, design=design, seed=seed, progress=False)
                seconds = time.perf_counter() - started
                strength = strengths(found.summary().edges, len(truth))
                scores = score_edges((strength > 0)[off], truth[off])
                rows.append(
                    {
                        "backbone": backbone,
                        "design": design,
                        "seed": seed,
                        "held_out_nats": density.info["report"]["cross_entropy"],
                        "trigram_nats": density.info["report"]["trigram"],
                        "precision": scores.precision,
                        "recall": scores.recall,
                        "f1": scores.f1,
                        "auroc": auroc(strength[off], truth[off]),
                        "n_links": scores.n_predicted,
                        "fit_seconds": fit_seconds,
                        "discover_seconds": seconds,
                        "sequela": sq.__version__,
                        "machine": f"{platform.machine()}, {platform.python_version()}",
                    }
                )
                print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    table = pl.DataFrame(rows)
    RESULTS.parent.mkdir(exist_ok=True)
    table.write_csv(RESULTS)
    return 0


def strengths(edges: pl.DataFrame, n_types: int) -> np.ndarray:
    """Total CMI of every ordered pair of types; 0 where no edge was found."""
    matrix = np.zeros((n_types, n_types))
    for cause, effect, total in edges.select("cause", "effect", "cmi_nats_total").iter_rows():
        if cause.isdecimal() and effect.isdecimal():
            matrix[int(cause), int(effect)] = total
    return matrix


if __name__ == "__main__":
    sys.exit(main())
