"""Types that share parts learn from each other: a density with parts against one without, by how often types were seen.

    OMP_NUM_THREADS=1 python benchmarks/parts.py --seeds 40 41 42

Each row: one world (`diagnostic_log`: components, codes with Zipf frequencies, severities), one density, the same
training budget for all; held-out nats per event beside the world's own on the same events; edges of fresh cases by the
default rule against the world's exact truth, by how often the pair of types (cause before effect within the horizon),
the cause or the effect was in the training log. Rows are appended to benchmarks/results/parts.csv.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import sequela as sq
from sequela.density.window.network import WindowNetwork
from sequela.discovery.discover import discover_log
from sequela.effects.encoding import encode_log
from sequela.evaluation.metrics import Scores
from sequela.worlds.catalogue import make_world

DELTA = 0.05
BINS = (0, 3, 10, 30, 100)
ARMS = ("plain", "zero-head", "parts")
"""Without parts; without parts, the last layer at 0 before training, as it is with parts; with parts."""


def run(seed: int, n_cases: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Train with and without parts on one world; score both on the same fresh cases."""
    world = make_world("diagnostic_log", n_types=args.types, seed=seed)
    past = world.sample(n_cases, args.length, seed=seed + 1)
    new = world.sample(args.scored, args.length, seed=seed + 2)
    columns = {"case": "case", "event": ["component", "code", "severity"], "time": False}
    log = sq.read_log(world.to_log(past), **columns)
    new_log = sq.read_log(world.to_log(new), **columns)
    own_nats = -np.mean(np.concatenate(world.score_many([case.ids for case in new])))
    seen = supports(world, past)
    real = [np.nan_to_num(world.truth(case.ids)) > DELTA for case in new]
    rows = []
    for arm in args.arms:
        started = time.monotonic()
        settings = {"seed": seed, "min_count": 1, "max_steps": args.steps, "device": "cpu", "progress": False}
        with zero_head() if arm == "zero-head" else nullcontext():
            density = sq.fit(log, components=arm == "parts", **settings)
        fit_seconds = time.monotonic() - started
        cases = list(encode_log(density, new_log))
        nats = -np.mean(np.concatenate(density.score_many([case.ids for case in cases])))
        started = time.monotonic()
        settings = {"horizon": world.horizon, "delta": DELTA, "particles": args.particles, "seed": seed}
        found = discover_log(density, new_log, progress=False, **settings)
        row = {
            "seed": seed, "types": args.types, "cases": n_cases, "arm": arm, "held_out_nats": nats,
            "world_nats": own_nats, "best_step": density.info["training"]["best_step"],
            "max_steps": density.info["training"]["max_steps"], "fit_seconds": fit_seconds,
            "discover_seconds": time.monotonic() - started, "threads": os.environ.get("OMP_NUM_THREADS", ""),
        }  # fmt: skip
        by_case = found.edges.partition_by("case", as_dict=True)
        guesses = []
        for case, true in zip(new, real, strict=True):
            guess = np.zeros_like(true)
            if (own := by_case.get((case.name,))) is not None:
                guess[own["cause_position"].to_numpy(), own["lag"].to_numpy() - 1] = True
            guesses.append(guess)
        for by, low, high, score in by_support(new, real, guesses, seen):
            rows.append(
                row
                | {
                    "by": by, "from": low, "to": high, "n_true": score.n_true, "n_predicted": score.n_predicted,
                    "n_correct": score.n_correct, "precision": score.precision, "recall": score.recall, "f1": score.f1,
                }
            )  # fmt: skip
        print({key: round(v, 3) if isinstance(v, float) else v for key, v in rows[-1].items()}, flush=True)
    return rows


@contextmanager
def zero_head() -> Iterator[None]:
    """Let the last layer of the networks made meanwhile start at 0."""
    real = WindowNetwork.__init__

    def made(self: WindowNetwork, *arguments: Any) -> None:
        real(self, *arguments)
        torch.nn.init.zeros_(self.head.weight)

    WindowNetwork.__init__ = made  # type: ignore[method-assign]
    try:
        yield
    finally:
        WindowNetwork.__init__ = real  # type: ignore[method-assign]


def supports(world: Any, past: Any) -> dict[str, np.ndarray]:
    """Count how often each pair of types, each cause and each effect was there to learn from."""
    n = world.vocabulary.n_types
    counts = np.bincount(past.ids, minlength=n)
    pair = np.zeros(n * n, dtype=np.int64)
    case = np.repeat(np.arange(past.n_cases), past.lengths)
    for lag in range(1, world.horizon + 1):
        same = case[lag:] == case[:-lag]
        pair += np.bincount(past.ids[:-lag][same].astype(np.int64) * n + past.ids[lag:][same], minlength=n * n)
    return {"pair": pair.reshape(n, n), "cause": counts, "effect": counts}


def by_support(
    cases: Any, real: list[np.ndarray], guesses: list[np.ndarray], seen: dict[str, np.ndarray]
) -> list[tuple[str, int, int | None, Scores]]:
    """Return scores of all edges, and of those whose pair, cause or effect was seen so often."""
    true, guess, support = [], [], {name: [] for name in seen}
    for case, own_real, own_guess in zip(cases, real, guesses, strict=True):
        cause, column = np.nonzero(own_real | own_guess)
        u, v = case.ids[cause], case.ids[cause + column + 1]
        true.append(own_real[cause, column])
        guess.append(own_guess[cause, column])
        support["pair"].append(seen["pair"][u, v])
        support["cause"].append(seen["cause"][u])
        support["effect"].append(seen["effect"][v])
    is_true, is_found = np.concatenate(true), np.concatenate(guess)

    def score(chosen: np.ndarray) -> Scores:
        return Scores.from_counts(
            n_true=int(is_true[chosen].sum()), n_predicted=int(is_found[chosen].sum()),
            n_correct=int((is_true & is_found)[chosen].sum()),
        )  # fmt: skip

    found: list[tuple[str, int, int | None, Scores]] = []
    for by, parts in support.items():
        own = np.concatenate(parts)
        for low, high in zip(BINS, (*BINS[1:], None), strict=True):
            found.append((by, low, None if high is None else high - 1, score((own >= low) & (own < (high or np.inf)))))
    found.append(("all", 0, None, score(np.ones(len(is_true), dtype=bool))))
    return found


def main() -> None:
    """Run and store rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[40, 41, 42])
    parser.add_argument("--types", type=int, default=2000)
    parser.add_argument("--cases", nargs="+", type=int, default=[1000])
    parser.add_argument("--length", type=int, default=40)
    parser.add_argument("--scored", type=int, default=30)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--particles", type=int, default=32)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/parts.csv"))
    args = parser.parse_args()
    for n_cases in args.cases:
        for seed in args.seeds:
            table = pl.DataFrame(run(seed, n_cases, args))
            if args.out.exists():
                table = pl.concat([pl.read_csv(args.out), table], how="diagonal_relaxed")
            args.out.parent.mkdir(parents=True, exist_ok=True)
            table.write_csv(args.out)


if __name__ == "__main__":
    main()
