"""Simulated alarm logs with known links, like real ones, on which the rule for alarms is chosen; then the real ones.

    python benchmarks/cascades.py compare --seeds 18
    python benchmarks/cascades.py rules --first-seed 200 --seeds 40
    python benchmarks/cascades.py rules --first-seed 200 --seeds 2 --densities
    python benchmarks/cascades.py real FOLDER

Alarms come as immigrants (their rates differ by type and by device, most types are missing on most devices, and many
come in episodes of hours to weeks), as children of other alarms (the links to be found), as repetitions of themselves,
and in incidents that nobody records, on one device or on many. `draw` draws all of that broadly: `compare` shows that
the real log lies within what is drawn in each of some forty statistics that need no labels. Labels of the real log play
no part in any choice; `real` scores it (a folder with Alarm.csv and DAG.npy) by times alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import sequela as sq
from sequela.effects.encoding import encode_log
from sequela.evaluation.metrics import auroc, score_edges
from sequela.events.sequences import SequenceSet
from sequela.events.vocabulary import Vocabulary
from sequela.evidence.attribution import attributed, order_probability
from sequela.evidence.direction import burst_seconds
from sequela.evidence.multiplicity import best_for_f1

RESULTS = Path(__file__).parent / "results"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "alarms-wireless"
DAY = 86_400.0


def draw(seed: int) -> dict[str, Any]:
    """Draw the parameters of a log."""
    rng = np.random.default_rng([seed, 78])
    flat = rng.uniform

    def log(low: float, high: float) -> float:
        return float(np.exp(flat(np.log(low), np.log(high))))

    return {
        "types": int(rng.integers(14, 24)), "devices": int(rng.integers(35, 75)), "events": log(350, 1000),
        "linked": flat(0.08, 0.5), "children": (log(0.01, 0.15), log(0.25, 1.5)), "delay": log(5, 900),
        "works": flat(0.3, 1), "fade": flat(0, 2), "noise": log(0.02, 20),
        "present": flat(0.1, 0.9), "together": flat(0, 0.5), "classes": int(rng.integers(1, 7)),
        "spread": flat(0.5, 3.5), "size": flat(0.3, 1.5), "zipf": flat(0.4, 1.6),
        "own": log(0.05, 2.5), "own_gap": (log(30, 600), log(900, 14_400)), "again": flat(0, 1),
        "episodes": flat(0, 1), "episode_days": log(0.05, 20), "shared": flat(0, 0.8),
        "incidents": flat(0, 0.8) * rng.integers(0, 2), "width": log(0.5, 600),
        "ordered": flat(0, 0.6), "wide": flat(0, 1),
    }  # fmt: skip


def simulate(seed: int, days: float = 240.0) -> tuple[sq.EventLog, np.ndarray]:
    """Return a log and its links (bool, ``[types, types]``, ``[cause, effect]``; a type is named by its number)."""
    p = draw(seed)
    rng = np.random.default_rng([seed, 79])
    n, span = p["types"], days * DAY
    order = rng.permutation(n)
    upper = [(order[i], order[j]) for i in range(n) for j in range(i + 1, n)]
    links = np.zeros((n, n), dtype=bool)
    for k in rng.choice(len(upper), max(3, round(p["linked"] * len(upper))), replace=False):
        links[upper[k]] = True
    world = p | {
        "links": links, "span": span,
        "mean": np.where(links, np.exp(rng.uniform(*np.log(p["children"]), (n, n))), 0.0),
        "delays": np.exp(rng.uniform(0, np.log(p["delay"]), (n, n))),
        "repeats": np.exp(rng.normal(np.log(p["own"]), 1.0, n)).clip(0, 12),
        "gaps": np.exp(rng.uniform(*np.log(p["own_gap"]), n)),
        "groups": [(rng.choice(n, rng.integers(2, 6), replace=False), rng.random() < p["ordered"]) for _ in range(6)],
        "blows": [(rng.uniform(0, span), int(rng.integers(6))) for _ in range(40)],
    }  # fmt: skip
    world["mean"] *= np.minimum(1, 3 / np.maximum(world["mean"].sum(axis=1, keepdims=True), 1e-9))
    share = rng.permutation(1.0 / np.arange(1, n + 1) ** p["zipf"])
    kinds = rng.random((p["classes"], n)) < p["present"]
    devices = [_device(rng, world, share / share.sum(), kinds) for _ in range(p["devices"])]

    def run(scale: float) -> list[tuple[str, str, float]]:
        again = np.random.default_rng([seed, 80])
        return [
            (f"d{number:02}", str(kind), round(at))
            for number, device in enumerate(devices)
            for at, kind in _events(again, world, device, scale)
        ]

    rows = run(30.0 * p["events"] * p["devices"] / max(len(run(30.0)), 1))
    frame = pl.DataFrame(rows, schema=["case", "event", "time"], orient="row")
    return sq.read_log(frame, case="case", event="event", time="time"), links


def _device(rng: np.random.Generator, world: dict[str, Any], share: np.ndarray, kinds: np.ndarray) -> dict[str, Any]:
    """Draw what is on a device, how often it comes, and when."""
    n = len(share)
    there = kinds[rng.integers(len(kinds))] & (rng.random(n) < 0.5 + 0.5 * world["present"])
    for kind in rng.permutation(np.flatnonzero(there)):
        there |= world["links"][kind] & (rng.random(n) < world["together"])
    if not there.any():
        there[rng.integers(n)] = True

    def episodes() -> tuple[np.ndarray, np.ndarray]:
        many = 1 + rng.poisson(3)
        return rng.uniform(0, world["span"], many), world["episode_days"] * DAY * rng.exponential(1, many)

    common = episodes()
    when = [
        (common if rng.random() < world["shared"] else episodes()) if rng.random() < world["episodes"] else None
        for _ in range(n)
    ]
    rate = share * np.exp(rng.normal(0, world["spread"], n)) * there
    works = world["links"] & (rng.random((n, n)) < world["works"]) & there
    fade = np.exp(rng.normal(0, world["fade"], (n, n)) - world["fade"] ** 2 / 2)
    return {
        "there": there, "rate": rate / rate.sum(), "when": when, "size": np.exp(rng.normal(0, world["size"])),
        "chance": np.where(works, 1 - np.exp(-np.minimum(world["mean"] * fade, 3.0)), 0.0),
    }  # fmt: skip


def _events(
    rng: np.random.Generator, world: dict[str, Any], device: dict[str, Any], scale: float
) -> Iterator[tuple[float, int]]:
    """Yield the events of a device, at most 8,000: immigrants, incidents, and all that they bring about."""
    waiting = []
    for kind in rng.choice(world["types"], rng.poisson(scale * device["size"]), p=device["rate"]):
        at = rng.uniform(0, world["span"])
        if device["when"][kind] is not None:
            starts, lengths = device["when"][kind]
            some = rng.choice(len(lengths), p=lengths / lengths.sum())
            at = starts[some] + rng.uniform(0, lengths[some])
        waiting.append((at, int(kind), True))
    for _ in range(rng.poisson(world["incidents"] * scale * device["size"] / 3)):
        at, which = rng.uniform(0, world["span"]), int(rng.integers(6))
        if rng.random() < world["wide"]:
            at, which = world["blows"][rng.integers(40)]
            at += rng.exponential(600)
        kinds, in_order = world["groups"][which]
        for place, kind in enumerate(kinds):
            if device["there"][kind] and rng.random() < 0.8:
                steps = place * world["width"] / 4 + rng.exponential(world["width"] / 8)
                waiting.append((at + (steps if in_order else rng.uniform(0, world["width"])), int(kind), True))
    n_made = 0
    while waiting and n_made < 8000:
        at, kind, onset = waiting.pop()
        if at > 1.02 * world["span"]:
            continue
        yield at + rng.exponential(world["noise"]), kind
        n_made += 1
        if onset or rng.random() < world["again"]:
            effects = np.flatnonzero(rng.random(world["types"]) < device["chance"][kind])
            delays = rng.exponential(world["delays"][kind, effects])
            waiting += [(at + delay, int(effect), True) for delay, effect in zip(delays, effects, strict=True)]
        if onset:
            later = at
            for _ in range(min(rng.geometric(1 / (1 + world["repeats"][kind])) - 1, 60)):
                later += world["gaps"][kind] * (rng.exponential() if kind % 2 else rng.uniform(0.8, 1.2))
                waiting.append((later, kind, False))


def statistics(log: sq.EventLog) -> dict[str, float]:
    """What can be counted in a log without labels."""
    frame = log.frame.sort("case", "time")
    case, time_ = (frame[name].rank("dense").to_numpy().astype(int) for name in ("case", "time"))
    kind, time_ = frame["event"].rank("dense").to_numpy().astype(int) - 1, frame["time"].to_numpy()
    case, n = case - 1, kind.max() + 1
    same = case[1:] == case[:-1]
    gap = np.diff(time_)[same]
    cells = np.zeros((case.max() + 1, n))
    np.add.at(cells, (case, kind), 1)
    share = np.sort(cells.sum(axis=0) / len(kind))[::-1]
    order = np.lexsort((time_, kind, case))
    own = np.diff(time_[order])[(np.diff(case[order]) == 0) & (np.diff(kind[order]) == 0)]
    excess = np.sqrt(np.maximum(cells.var(axis=0) - cells.mean(axis=0), 0)) / cells.mean(axis=0)
    found = {f"gap, quantile {q}": float(np.percentile(gap, q)) for q in (5, 10, 25, 50, 75, 90, 95)}
    found |= {f"gap of one type, quantile {q}": float(np.percentile(own, q)) for q in (10, 25, 50, 75, 90)}
    found |= {
        "ties": float((gap == 0).mean()), "repeats": float((np.diff(kind) == 0)[same].mean()),
        "commonest type": share[0], "six commonest": share[:6].sum(), "rarest": share[-1],
        "events a device, variation": cells.sum(axis=1).std() / cells.sum(axis=1).mean(),
        "types missing on devices": float((cells == 0).mean()), "variation of rates": float(np.median(excess)),
    }  # fmt: skip
    for window in (60, 600):
        burst = np.cumsum(np.concatenate([[True], ~same | (np.diff(time_) > window)])) - 1
        size, kinds = np.bincount(burst), np.bincount(np.unique(burst * n + kind) // n)
        found |= {
            f"events a burst, {window} s": size.mean(), f"alone, {window} s": float((size == 1).mean()),
            f"three types in a burst, {window} s": float((kinds >= 3).mean()),
            f"types a burst, {window} s": kinds[size > 1].mean() if (size > 1).any() else 1.0,
        }  # fmt: skip
    for window in (10, 60, 300):
        after = np.zeros((n, n))
        by_chance = np.zeros((n, n))
        for one in range(case.max() + 1):
            at, what = time_[case == one], kind[case == one]
            ends, starts = (np.searchsorted(at, at + shift, side="right") for shift in (window, 0))
            counts = np.bincount(what, minlength=n)
            by_chance += np.outer(counts, 1 - np.exp(-counts * window / np.ptp(time_)))
            for effect in np.flatnonzero(counts):
                passed = np.concatenate([[0], np.cumsum(what == effect)])
                after[:, effect] += np.bincount(what[passed[ends] > passed[starts]], minlength=n)
        off, upper = ~np.eye(n, dtype=bool), np.triu_indices(n, 1)
        more = (after - by_chance) / np.sqrt(by_chance + 1)
        ahead = np.abs(after - after.T)[upper] / np.sqrt((after + after.T)[upper] + 1)
        found |= {
            f"pairs together, {window} s": float((more > 3)[off].mean()),
            f"pairs in one order, {window} s": float((ahead > 2).mean()),
            f"pairs clearly in one order, {window} s": float((ahead > 5).mean()),
        }
    for days in (1 / 24, 1):
        edges = np.arange(time_.min(), time_.max() + days * DAY, days * DAY)
        counted = [np.histogram(time_[case == one], edges)[0] for one in range(case.max() + 1)]
        found[f"variance to mean, {days * 24:.0f} h"] = float(np.median([one.var() / one.mean() for one in counted]))
    return found


def alarms(folder: Path = DATA) -> sq.EventLog:
    """Read a log of alarms."""
    return sq.read_log(folder / "Alarm.csv", case="device_id", event="alarm_id", time="start_timestamp")


def compare(args: argparse.Namespace) -> None:
    """Print where the real log lies among simulated ones."""
    real = statistics(alarms(args.folder))
    drawn = [statistics(simulate(seed)[0]) for seed in range(args.first_seed, args.first_seed + args.seeds)]
    for name, value in real.items():
        all_of = np.array([one[name] for one in drawn])
        out = "" if all_of.min() <= value <= all_of.max() else "   OUTSIDE"
        print(f"{name:45} {value:12.4g}   {all_of.min():10.4g} to {all_of.max():10.4g}{out}")


RULES: dict[str, dict[str, Any]] = {
    "default": {}, "f1": {"objective": "f1", "delta": 0.01}, "cascades": {"objective": "cascades"},
}  # fmt: skip
"""What is measured on the real alarms. The delta of the second was chosen on a log of an earlier simulator."""


def by_times(log: sq.EventLog, n_types: int) -> np.ndarray:
    """Return the probability of each link by times alone (float64, ``[n_types, n_types]``)."""
    names = tuple(map(str, range(n_types)))
    sequences: SequenceSet = encode_log(_Named(Vocabulary(names, (1,) * n_types)), log)
    return order_probability(attributed(sequences, n_types, burst_seconds(sequences) or 1.0))


class _Named:
    """What `encode_log` asks of a density."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary


def scores(found: np.ndarray, rank: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    off = ~np.eye(len(truth), dtype=bool)
    score = score_edges(found[off], truth[off])
    return {
        "precision": score.precision, "recall": score.recall, "f1": score.f1, "n_links": int(found[off].sum()),
        "auroc": auroc(rank[off], truth[off]), "every_pair_f1": float(2 * truth[off].mean() / (1 + truth[off].mean())),
    }  # fmt: skip


def score_times(log: sq.EventLog, truth: np.ndarray) -> dict[str, float]:
    """Score the links for the highest expected F1 by times alone; pairs of probability 0 rank by their reverse."""
    probability = by_times(log, len(truth))
    off = ~np.eye(len(truth), dtype=bool)
    found = np.zeros(truth.shape, dtype=bool)
    found[off] = best_for_f1(probability[off])
    return scores(found, np.where(probability > 0, probability, -probability.T), truth)


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
    likelier = (pl.col("pointwise_nats") > 0) | pl.col("attributed").is_not_null()
    found[tuple(place)] = order.select(pl.col("is_edge") & likelier).to_series().to_numpy()
    return scores(found, rank, truth)


def save(row: dict[str, Any]) -> None:
    path, table = RESULTS / "cascades.csv", pl.DataFrame([row])
    (table if not path.exists() else pl.concat([pl.read_csv(path), table], how="diagonal_relaxed")).write_csv(path)
    print({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}, flush=True)


def rules(args: argparse.Namespace) -> None:
    """Score simulated logs by times alone, and with densities by the other rules too."""
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        log, links = simulate(seed)
        started = time.process_time()
        if not args.densities:
            row = {"seed": seed, "rule": "times alone", "n_events": log.n_events} | score_times(log, links)
            save(row | {"cpu_seconds": time.process_time() - started})
            continue
        densities = sq.cross_fit(log, folds=args.folds, scheme="forward", seed=seed, progress=False)
        for name, settings in RULES.items():
            found = sq.discover_population(densities, log, progress=False, **settings)
            row = {"seed": seed, "rule": name, "n_events": log.n_events} | score_links(found.pairs, links)
            save(row | {"cpu_seconds": time.process_time() - started})


def real(args: argparse.Namespace) -> None:
    """Score a real log by times alone."""
    truth = np.load(args.folder / "DAG.npy", allow_pickle=False).astype(bool)
    print({key: round(value, 3) for key, value in score_times(alarms(args.folder), truth).items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for command in (compare, rules, real):
        one = commands.add_parser(command.__name__)
        one.add_argument("folder", nargs="?", type=Path, default=DATA)
        one.add_argument("--seeds", type=int, default=18)
        one.add_argument("--first-seed", type=int, default=0)
        one.add_argument("--folds", type=int, default=5)
        one.add_argument("--densities", action="store_true")
        one.set_defaults(run=command)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
