"""Cost at equal quality, on one paper-like linear world of 1,000 types (64 events a case, memory 6, exact truth).

    python benchmarks/equal.py fit --folder F                    # llama and window, each once; minutes
    python benchmarks/equal.py f1 --folder F --peer PEER_PYTHON  # time to seq2cause's best F1, same Llama
    python benchmarks/equal.py backbones --folder F              # window against llama: fit and discover, end to end

f1 counts pairs of positions of lag 1 to 6 (an edge: exact effect above 0.05 nats); the first position may be a cause.
seq2cause runs with its defaults (atomic, 32 particles; it has no horizon); its best F1 is over all cuts of its scores
on the scored cases' own labels. Ours takes the cuts' best too, at the cheapest setting that reaches as much. Both sides
run one thread, in turns. "seconds" of fit are processor seconds of one thread, so that other work does not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import sequela as sq
from engine import Side
from sequela.density.base import Density
from sequela.discovery.discover import iter_estimates
from sequela.effects.settings import Settings
from sequela.events.sequences import SequenceSet
from sequela.worlds.softmax import SoftmaxWorld

RESULTS = Path(__file__).parent / "results"
N_TYPES, LENGTH, HORIZON, DELTA = 1000, 64, 6, 0.05
N_CASES = 12_000
FITS: dict[str, dict[str, Any]] = {
    "llama": {"backbone": "llama", "width": 128, "memory": LENGTH, "max_steps": 700, "learning_rate": 3e-3},
    "window": {
        "backbone": "window",
        "memory": HORIZON,
        "width": 128,
        "dropout": 0.0,
        "batch_size": 1024,
        "max_steps": 1000,
        "learning_rate": 5e-3,
    },
}  # fmt: skip
OURS: list[dict[str, Any]] = [
    {"design": "masked"},
    *({"design": "atomic", "particles": n} for n in (2, 4, 8, 16, 32)),
    {"design": "leave-one-out", "particles": 8},
]


def world() -> SoftmaxWorld:
    return SoftmaxWorld.random(N_TYPES, seed=0)


def fit(folder: Path, names: list[str], steps: int | None) -> None:
    """Train and keep, with what it cost."""
    torch.set_num_threads(1)
    log = sq.read_log(world().to_log(world().sample(N_CASES, LENGTH, seed=1)))
    for name in names:
        started, wall = time.process_time(), time.perf_counter()
        chosen = FITS[name] | ({} if steps is None else {"max_steps": steps})
        density = sq.fit(log, out=folder / name, overwrite=True, **chosen)
        cost = {
            "seconds": time.process_time() - started,
            "wall_seconds": time.perf_counter() - wall,
            "cross_entropy": density.info["report"]["cross_entropy"],
            "steps": density.info["training"]["max_steps"],
        }
        (folder / f"{name}.json").write_text(json.dumps(cost))
        print(name, cost, flush=True)


def cases_for(density: Density, n: int) -> tuple[SequenceSet, list[np.ndarray[Any, Any]]]:
    """Return fresh cases in the density's ids, and their true edges (bool ``[L, horizon]``)."""
    sequences = world().sample(n, LENGTH, seed=2)
    truth = [np.nan_to_num(world().truth(case.ids)) > DELTA for case in sequences]
    return SequenceSet.from_log(sq.read_log(world().to_log(sequences)), density.vocabulary), truth


def best_f1(scores: list[np.ndarray[Any, Any]], truth: list[np.ndarray[Any, Any]]) -> float:
    """Return the highest F1 over all cuts; NaN is not tested."""
    score, true = np.concatenate([s.ravel() for s in scores]), np.concatenate([t.ravel() for t in truth])
    order = np.argsort(-np.where(np.isnan(score), -np.inf, score), kind="stable")
    hits = np.cumsum(true[order])
    return float((2 * hits / (np.arange(1, len(order) + 1) + true.sum())).max())


def f1(folder: Path, peer: str, n_cases: int, repeats: int) -> list[dict[str, Any]]:
    """Time to seq2cause's best F1."""
    torch.set_num_threads(1)
    density = sq.load_density(folder / "llama")
    cases, truth = cases_for(density, n_cases)
    n_types, begin = density.vocabulary.n_types - 1, density.vocabulary.begin_id  # <rare> is last
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary) / "model"
        density.model.save_pretrained(model)  # type: ignore[attr-defined]
        paths = []
        for i, case in enumerate(cases):
            np.save(Path(temporary) / f"{i}.npy", case.ids.astype(np.int64))
            paths.append(str(Path(temporary) / f"{i}.npy"))
        script = str(Path(__file__).parent / "peers" / "time_seq2cause.py")
        theirs = Side([peer, script, str(model), paths[0], str(begin), str(n_types), "32", "cpu"])
        spent: dict[str, list[float]] = {json.dumps(one): [] for one in OURS} | {"theirs": []}
        found: dict[str, list[np.ndarray[Any, Any]]] = {}
        for repeat in range(repeats + 1):  # the first warms up
            started = time.perf_counter()
            for path in paths if repeat else paths[:1]:
                theirs.ask(f"{path} {path}.cmi.npy")
            spent["theirs"].append(time.perf_counter() - started)
            for one in OURS:
                settings = Settings(horizon=HORIZON, **one)
                started = time.perf_counter()
                found[json.dumps(one)] = [e.cmi for _, e in iter_estimates(density, cases, settings)]
                spent[json.dumps(one)].append(time.perf_counter() - started)
        theirs.close()
        matrices = [np.load(f"{path}.cmi.npy") for path in paths]
    found["theirs"] = [
        np.stack([np.append(np.diagonal(m, lag), [np.nan] * lag) for lag in range(1, HORIZON + 1)], axis=1)
        for m in matrices
    ]
    medians = {name: statistics.median(values[1:]) / n_cases for name, values in spent.items()}
    return [
        {
            "what": name, "f1": best_f1(found[name], truth), "seconds_a_case": medians[name],
            "times_faster": medians["theirs"] / medians[name], "n_cases": n_cases, "repeats": repeats,
        }
        for name in spent
    ]  # fmt: skip


def backbones(folder: Path, n_cases: int, repeats: int) -> list[dict[str, Any]]:
    """Fit and discover with either backbone."""
    torch.set_num_threads(1)
    densities = {name: sq.load_density(folder / name) for name in FITS}
    cases, truth = cases_for(densities["llama"], n_cases)
    spent: dict[str, list[float]] = {name: [] for name in FITS}
    found: dict[str, list[np.ndarray[Any, Any]]] = {}
    for _ in range(repeats + 1):
        for name, density in densities.items():
            started = time.perf_counter()
            settings = Settings(horizon=HORIZON)
            found[name] = [e.cmi for _, e in iter_estimates(density, cases, settings)]
            spent[name].append(time.perf_counter() - started)
    rows = []
    for name in FITS:
        cost = json.loads((folder / f"{name}.json").read_text())
        discover = statistics.median(spent[name][1:])
        rows.append(
            {
                "backbone": name, "cross_entropy": cost["cross_entropy"], "steps": cost["steps"],
                "fit_seconds": cost["seconds"], "discover_seconds": discover,
                "end_to_end_seconds": cost["seconds"] + discover,
                "f1": best_f1(found[name], truth), "n_cases": n_cases, "repeats": repeats,
            }
        )  # fmt: skip
    for row in rows:
        row["times_faster"] = rows[0]["end_to_end_seconds"] / row["end_to_end_seconds"]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["fit", "f1", "backbones"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--peer")
    parser.add_argument("--only", nargs="*", choices=list(FITS), default=list(FITS))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.what == "fit":
        arguments.folder.mkdir(parents=True, exist_ok=True)
        fit(arguments.folder, arguments.only, arguments.steps)
        return
    if arguments.what == "f1":
        rows = f1(arguments.folder, arguments.peer, arguments.cases, arguments.repeats)
    else:
        rows = backbones(arguments.folder, arguments.cases, arguments.repeats)
    table = pl.DataFrame(rows)
    with pl.Config(tbl_cols=-1, tbl_rows=-1, tbl_width_chars=180, fmt_str_lengths=60):
        print(table)
    table.write_csv(RESULTS / f"equal_{arguments.what}.csv")


if __name__ == "__main__":
    main()
