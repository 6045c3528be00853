"""Screening against all replacements: decisions, F1 and processor time, side by side.

    python benchmarks/screening.py [--only NAME ...] [--repeats 5] [--error 0.005]

Every row is one density (a world itself, or a model trained on 3,000 cases of it: seeds that nothing was tuned on) and
24 new cases of 64 events (8 from 1,000 types on), scored with all 32 replacements and with screening in turns, one
thread; medians of the ratios of processor time. `differ` is the share of pairs decided otherwise; F1 is against the
exact truth. Where screening computes in 16 bits (`precision`), `float32_cpu_seconds` is what it takes in float32, and
`half_differ` the share of pairs that the two decide otherwise.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl

from sequela.density.base import Density
from sequela.density.runtime.network_density import NetworkDensity
from sequela.effects.cmi import CMIEstimate
from sequela.effects.scorer import score_cases
from sequela.effects.settings import Settings
from sequela.evaluation.experiments.common import agreement, learn, translate, true_bands
from sequela.events.sequences import Case
from sequela.worlds.catalogue import make_world

RESULTS = Path(__file__).parent / "results" / "screening.csv"
WORLDS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear 100": ("linear", {"n_types": 100, "seed": 700}),
    "linear 100 slow": ("linear", {"n_types": 100, "seed": 701, "decay": 0.2}),
    "linear 1000": ("linear", {"n_types": 1000, "seed": 702}),
    "nonlinear 100": ("nonlinear", {"n_types": 100, "seed": 703}),
    "nonlinear 300 slow": ("nonlinear", {"n_types": 300, "seed": 704, "decay": 0.3}),
    "confounded 60": ("confounded", {"n_types": 60, "seed": 705}),
    "diagnostic 200": ("diagnostic_log", {"n_types": 200, "seed": 706}),
}
TRAINED: dict[str, dict[str, dict[str, Any]]] = {
    "window": {
        "linear 100": {"max_steps": 1000, "width": 128},
        "linear 1000": {"max_steps": 600, "width": 256},
        "nonlinear 100": {"max_steps": 1000, "width": 128},
        "diagnostic 200": {"max_steps": 800, "width": 128},
    },
    "llama": {
        "linear 100": {"max_steps": 500, "width": 64},
        "diagnostic 200": {"max_steps": 500, "width": 64},
    },
}
LENGTH = 64


def compare(density: Density, cases: Sequence[Case], error: float, repeats: int) -> dict[str, Any]:
    """Score cases both ways in turns."""
    both = {"all": Settings(screening=0.0), "screened": Settings(screening=error)}
    precision = both["screened"].screening_precision(density)
    asked = {"all": density, "screened": density}
    if isinstance(density, NetworkDensity):
        both["float32"] = both["screened"]
        asked["float32"] = density.with_runtime(replace(density.runtime, screening="float32"))
    horizon = both["all"].horizon_for(density, LENGTH)
    sizes = both["all"].allotment(density, horizon, LENGTH)
    found: dict[str, list[CMIEstimate]] = {}
    seconds: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(repeats + 1):  # the first warms up
        for name, settings in both.items():
            started = time.process_time()
            found[name] = score_cases(asked[name], cases, settings, horizon, sizes)
            seconds[name].append(time.process_time() - started)
    ratios = [one / other for one, other in zip(seconds["all"][1:], seconds["screened"][1:], strict=True)]
    rule = both["all"].rule(density)
    edges = {name: np.concatenate([rule.edges(one).ravel() for one in own]) for name, own in found.items()}
    n_pairs = sum(one.n_tested for one in found["all"])
    counts = {name: sum(one.counts[name] for one in found["screened"]) for name in found["screened"][0].counts}
    return {
        "estimates": found,
        "pairs": n_pairs,
        "edges": int(edges["all"].sum()),
        "replacements_a_pair": counts["n_replacements"] / n_pairs,
        "stopped_early": counts["n_pairs_stopped_early"] / n_pairs,
        "differ": float((edges["all"] != edges["screened"]).sum() / n_pairs),
        "lost": int((edges["all"] & ~edges["screened"]).sum()),
        "gained": int((edges["screened"] & ~edges["all"]).sum()),
        "audited": counts["n_pairs_audited"],
        "audited_otherwise": counts["n_pairs_decided_otherwise"],
        "all_cpu_seconds": statistics.median(seconds["all"][1:]),
        "screened_cpu_seconds": statistics.median(seconds["screened"][1:]),
        "times_faster_cpu": statistics.median(ratios),
    } | ({} if "float32" not in found else {
        "precision": precision,
        "float32_cpu_seconds": statistics.median(seconds["float32"][1:]),
        "half_times_faster_cpu": statistics.median(
            one / other for one, other in zip(seconds["float32"][1:], seconds["screened"][1:], strict=True)
        ),
        "half_differ": float((edges["float32"] != edges["screened"]).sum() / n_pairs),
    })  # fmt: skip


def row_of(kind: str, name: str, error: float, repeats: int) -> dict[str, Any]:
    """Return the row of one density: ``kind`` is ``"exact"`` or a backbone."""
    maker, options = WORLDS[name]
    world = make_world(maker, **options)
    density: Density = world  # trained for minutes, not to the end: the comparison is with the same density
    if kind != "exact":
        density = learn(world, 3000, LENGTH, seed=options["seed"], backbone=kind, **TRAINED[kind][name])
    new = world.sample(8 if options["n_types"] >= 1000 else 24, LENGTH, seed=options["seed"] + 1000)
    row = compare(density, [translate(density, world, case) for case in new], error, repeats)
    truth = true_bands(world, new)
    scores = {which: agreement(own, truth)["f1"] for which, own in row.pop("estimates").items()}
    names = {"density": kind, "world": name, "error": error, "repeats": repeats, "threads": 1}
    return names | row | {"f1_all": scores["all"], "f1_screened": scores["screened"]}


def store(rows: pl.DataFrame, path: Path) -> None:
    """Write rows, and keep those of other densities and worlds that are already there."""
    if path.exists():
        kept = pl.read_csv(path).join(rows, on=["density", "world"], how="anti")
        rows = pl.concat([kept, rows], how="diagonal_relaxed")
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.sort("density", "world").write_csv(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    rows = [("exact", name) for name in WORLDS] + [(kind, name) for kind, own in TRAINED.items() for name in own]
    labels = [f"{kind}: {name}" for kind, name in rows]
    parser.add_argument("--only", nargs="*", choices=labels, default=labels, metavar="'DENSITY: WORLD'")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--error", type=float, default=0.005)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    found = []
    for kind, name in rows:
        if f"{kind}: {name}" in arguments.only:
            found.append(row_of(kind, name, arguments.error, arguments.repeats))
            print({key: round(v, 4) if isinstance(v, float) else v for key, v in found[-1].items()}, flush=True)
            store(pl.DataFrame(found), arguments.out)


if __name__ == "__main__":
    main()
