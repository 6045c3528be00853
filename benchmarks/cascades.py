"""A simulated alarm log with known links, like the real one, and ways of weighing a pair of types on either.

    python benchmarks/cascades.py --seeds 3          (simulated; the ways are chosen on these)

Alarms come as immigrants (rates differ by type and by device), as children of other alarms (the links to be found;
seconds to minutes later), as repetitions of themselves (minutes to an hour later), and in incidents that nobody
records: two to four types of one hidden class within ten minutes. `benchmarks/alarms.py --ablation` weighs
the real alarms in the same ways. Labels of the real log play no part in any choice.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import sequela as sq
from sequela.density.window.finite_memory import observed_windows
from sequela.density.window.time_features import observed_gaps
from sequela.effects.encoding import encode_log
from sequela.evaluation.metrics import auroc, score_edges
from sequela.evidence.bets import shifted
from sequela.evidence.calibration import calibration

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


def weigh(
    densities: sq.CrossFit, log: sq.EventLog, n: int, *, horizon: int = 8, seconds: float | None = None,
    mode: str = "conditional", single: bool = False,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return sums over all held-out events for each pair of types named ``0 … n - 1`` (``[n, n]`` a name).

    ``conditional``: the whole past against the past without the cause; ``marginal``: of the events in reach only the
    cause against none. The cause is all occurrences of a type in reach or, with ``single``, its last one alone.
    Names that end in ``onset`` leave out events whose type occurred in reach already.
    """
    total: dict[str, np.ndarray] = {}
    for density, part in densities.held_out(log):
        sequences = encode_log(density, part)
        v, hidden = density.vocabulary.n_types, density.vocabulary.hidden_id
        # One intercept a type, from the hidden forecasts themselves, as in `discover_population`.
        shift = calibration(density, sequences, horizon, seconds) if mode == "conditional" else np.zeros(v)
        sums: dict[str, np.ndarray] = {}
        for case in sequences:
            if len(case.ids) < 2:
                continue
            place = np.arange(1, len(case.ids))
            windows = observed_windows(case.ids, place, density.memory, density.vocabulary.begin_id)
            gaps = observed_gaps(case.times, place, density.memory)
            reach = (windows < v) & (np.arange(density.memory) >= density.memory - horizon)
            if seconds is not None:
                reach &= gaps <= seconds
            targets = case.ids[place]
            came = np.zeros((len(place), v))
            came[np.arange(len(place)), targets] = 1.0
            new = np.ones((len(place), v), dtype=bool)
            row, column = np.nonzero(reach)
            new[row, windows[row, column]] = False
            if mode == "conditional":
                whole = density.timed_conditional(windows, gaps)
            else:
                nothing = density.timed_conditional(np.where(reach, hidden, windows).astype(np.int32), gaps)
            for kind in np.unique(windows[reach]):
                mine = reach & (windows == kind)
                if single:
                    last = density.memory - 1 - mine[:, ::-1].argmax(axis=1)
                    mine &= np.arange(density.memory) == last[:, None]
                some = np.flatnonzero(mine.any(axis=1))
                away = mine[some] if mode == "conditional" else reach[some] & ~mine[some]
                changed = density.timed_conditional(np.where(away, hidden, windows[some]).astype(np.int32), gaps[some])
                log_p, log_q = (whole[some], changed) if mode == "conditional" else (changed, nothing[some])
                p, q = (np.clip(np.exp(x), 1e-9, 1 - 1e-9) for x in (log_p, shifted(log_q, shift)))
                gain = np.where(came[some] > 0, np.log(p / q), np.log((1 - p) / (1 - q)))
                kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
                cells = {"n": np.ones_like(p), "gain": gain, "kl": kl, "excess": p - q, "seen": came[some] - q,
                         "var": q * (1 - q)}  # fmt: skip
                for name, values in cells.items():
                    for suffix, keep in (("", 1.0), (" onset", new[some])):
                        into = sums.setdefault(name + suffix, np.zeros((v, v)))
                        into[kind] += (values * keep).sum(axis=0)
        index = np.array([int(name) if name.isdecimal() else -1 for name in density.vocabulary.names])
        good = index >= 0
        for name, values in sums.items():
            into = total.setdefault(name, np.zeros((n, n)))
            into[np.ix_(index[good], index[good])] += values[np.ix_(good, good)]
    total["count"] = np.bincount(log.frame["event"].cast(pl.Int64).to_numpy(), minlength=n).astype(float)
    return total


SCORES: dict[str, Callable[[dict[str, np.ndarray], str], np.ndarray]] = {
    "log e": lambda t, s: t["gain" + s],
    "mean KL": lambda t, s: t["kl" + s] / np.maximum(t["n" + s], 1),
    "excess": lambda t, s: t["excess" + s],
    "excess per cause": lambda t, s: t["excess" + s] / np.maximum(t["count"][:, None], 1),
    "excess per effect": lambda t, s: t["excess" + s] / np.maximum(t["count"][None, :], 1),
    "excess per place": lambda t, s: t["excess" + s] / np.maximum(t["n" + s], 1),
    "seen z": lambda t, s: t["seen" + s] / np.sqrt(t["var" + s] + 1.0),
}


def best_f1(score: np.ndarray, real: np.ndarray) -> float:
    hits = np.cumsum(real[np.argsort(-score, kind="stable")])
    return float((2 * hits / (np.arange(1, len(real) + 1) + max(real.sum(), 1))).max())


def rule(total: dict[str, np.ndarray]) -> np.ndarray:
    """Return the pairs that are links by the rule with the best F1 on the simulated logs 500 and 501 (0.78).

    At least one onset of the effect in 100 occurrences of the cause is due to it, and more came than were forecast
    without it, by two standard errors.
    """
    return (SCORES["excess per cause"](total, " onset") >= 0.01) & (SCORES["seen z"](total, " onset") >= 2)


VARIANTS: dict[str, dict[str, Any]] = {
    "all": {},
    "no times": {"times": False},
    "no hiding in training": {"hide": 1e-3},
    "within 5 minutes": {"seconds": 300.0},
    "within an hour": {"seconds": 3600.0},
    "last occurrence only": {"single": True},
    "marginal": {"mode": "marginal"},
}
"""Each leaves out or changes one ingredient of the first."""


def ablation(log: sq.EventLog, links: np.ndarray, *, seed: int, folds: int, source: str, variants: list[str]) -> None:
    """Weigh a log in all ways, keep the sums, and append rows: AUROC and best F1 of every score."""
    off = ~np.eye(len(links), dtype=bool)
    fits: dict[str, Any] = {}
    for variant in variants:
        started = time.perf_counter()
        options = dict(VARIANTS[variant])
        training = {name: options.pop(name) for name in ("times", "hide") if name in options}
        key = str(training)
        if key not in fits:
            fits[key] = sq.cross_fit(log, folds=folds, seed=seed, progress=False, **({"times": True} | training))
        total = weigh(fits[key], log, len(links), **options)
        nats = float(np.mean([one.info["report"]["cross_entropy"] for one in fits[key].densities]))
        rows: list[dict[str, Any]] = []
        for suffix in ("", " onset"):
            for name, score in SCORES.items():
                values = score(total, suffix)[off]
                rows.append({"score": name + suffix, "auroc": auroc(values, links[off]),
                             "f1_best_cut": best_f1(values, links[off])})  # fmt: skip
        found = rule(total)[off]
        rows.append({"score": "rule", "f1": score_edges(found, links[off]).f1, "n_links": int(found.sum())})
        common = {"source": source, "seed": seed, "variant": variant, "held_out_nats": nats}
        rows = [common | row for row in rows]
        path, table = RESULTS / "ablation.csv", pl.DataFrame(rows)
        (table if not path.exists() else pl.concat([pl.read_csv(path), table], how="diagonal_relaxed")).write_csv(path)
        print(source, seed, variant, f"{nats:.3f} nats", f"{time.perf_counter() - started:.0f} s", flush=True)
        print({row["score"]: [round(value, 3) for value in list(row.values())[5:]] for row in rows}, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=500)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    args = parser.parse_args()
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        log, links = simulate(seed)
        ablation(log, links, seed=seed, folds=args.folds, source="simulated", variants=args.variants)


if __name__ == "__main__":
    main()
