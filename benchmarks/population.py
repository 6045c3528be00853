"""Population graphs without labels: realised false discovery rate, power, and the real alarms.

    python benchmarks/population.py errors --logs 50 --first-seed 20000
    python benchmarks/population.py power --world nonlinear --types 30 --cases 300 3000
    python benchmarks/population.py parts --types 2000 --cases 1500
    python benchmarks/population.py alarms --seeds 5
    python benchmarks/population.py faults --seeds 1 2 3 4

A row a log; results are appended to benchmarks/results/population_*.csv. A pair is true when its exact CMI, averaged
over the places where it occurs at one lag, reaches delta = 0.05 at some lag that it has 5 places at; false when it
stays below 0.01 at all of them; "weak" in between, which counts neither way.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import sequela as sq
from cascades import RULES, score_links
from sequela.discovery.discover import iter_estimates
from sequela.effects.encoding import encode_log, longest_case
from sequela.effects.settings import Settings
from sequela.evaluation.metrics import score_edges
from sequela.evidence.cause_bets import cause_bets, mean_over_lags
from sequela.evidence.multiplicity import best_for_f1, by_density, combined, e_bh, families, family_weights
from sequela.evidence.pairs import pair_names
from sequela.evidence.sums import LagSums, real_sums
from sequela.worlds.catalogue import make_generator, make_world
from sequela.worlds.hidden_clock import HiddenClockWorld
from sequela.worlds.softmax import SoftmaxWorld

RESULTS = Path(__file__).parent / "results"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "alarms-wireless"
DELTA, FALSE = 0.05, 0.01
TRAINING: dict[str, dict[str, Any]] = {
    "default": {},
    "short": {"max_steps": 60},
    "overfit": {"patience": 1000, "dropout": 0.0, "hide": 0.1, "max_steps": 600},
}


def independent(n_types: int, n_cases: int, length: int, seed: int) -> list[np.ndarray]:
    """Events that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    law = rng.dirichlet(np.ones(n_types))
    return [rng.choice(n_types, length, p=law) for _ in range(n_cases)]


def bursts(n_types: int, n_cases: int, length: int, seed: int) -> list[np.ndarray]:
    """Each event comes in a run of its own; the next run has nothing to do with it."""
    rng = np.random.default_rng(seed)
    law = rng.dirichlet(np.ones(n_types))
    found = []
    for _ in range(n_cases):
        kinds = rng.choice(n_types, length, p=law)
        found.append(np.repeat(kinds, rng.geometric(0.5, length))[:length])
    return found


def incidents(n_types: int, n_cases: int, length: int, seed: int) -> list[np.ndarray]:
    """Incidents that nobody records bring two to four types of one class, in any order, among other events."""
    rng = np.random.default_rng(seed)
    law = rng.dirichlet(np.ones(n_types))
    classes = [rng.choice(n_types, rng.integers(2, 5), replace=False) for _ in range(3)]
    found = []
    for _ in range(n_cases):
        ids: list[int] = []
        while len(ids) < length:
            if rng.random() < 0.2:
                ids += rng.permutation(classes[rng.integers(3)]).tolist()
            else:
                ids.append(int(rng.choice(n_types, p=law)))
        found.append(np.array(ids[:length]))
    return found


EDGE_FREE = {"independent": independent, "bursts": bursts, "incidents": incidents}
CLOCKS: dict[str, dict[str, Any]] = {"slow clock": {}, "rotating clock": {"rotating": True}}


def to_log(cases: list[np.ndarray]) -> sq.EventLog:
    names = np.repeat([f"c{i:05}" for i in range(len(cases))], [len(ids) for ids in cases])
    frame = pl.DataFrame({"case": names, "event": [f"e{v}" for ids in cases for v in ids]})
    return sq.read_log(frame, case="case", event="event", time=False)


def exact_means(world: Any, cases: Any, least: int = 5) -> dict[tuple[str, str], float]:
    """Exact CMI of each pair of types, averaged over the places where it occurs, at its strongest lag.

    Only lags count at which the pair has ``least`` places.
    """
    n, horizon = world.vocabulary.n_types, world.memory
    total, count = np.zeros((horizon, n, n)), np.zeros((horizon, n, n))
    for case in cases:
        truth = world.truth(case.ids)
        cause, column = np.nonzero(np.isfinite(truth))
        effect = case.ids[cause + column + 1]
        np.add.at(total, (column, case.ids[cause], effect), truth[cause, column])
        np.add.at(count, (column, case.ids[cause], effect), 1)
    names = world.vocabulary.names
    mean = np.where(count >= least, total / np.maximum(count, 1), 0.0).max(axis=0)
    seen = zip(*np.nonzero(count.sum(axis=0)), strict=True)
    return {(names[u], names[v]): float(mean[u, v]) for u, v in seen if u != v}


def wrong_evidence(densities: sq.CrossFit, log: sq.EventLog, pairs: pl.DataFrame, seed: int) -> np.ndarray:
    """Return the log e-values of pairs by bets on the causes with a forecast of the effects made wrong on purpose."""
    names = pairs.select("cause", "effect")
    frames = []
    for density, part in densities.held_out(log):
        n, horizon = density.vocabulary.n_types, density.memory
        wrong = SoftmaxWorld.random(n, horizon=3, decay=0.2, seed=seed)
        sums = cause_bets(density, encode_log(density, part), horizon, seed=0, forecast=wrong)
        codes, log_e = mean_over_lags(*sums, horizon)
        frames.append(pair_names(codes, density.vocabulary.names).with_columns(log_e=pl.Series(log_e)))
    met, log_e = by_density(frames, ["cause", "effect"])
    found = met.with_columns(log_e=pl.Series(combined(log_e, densities.scheme)))
    return (
        names.join(found, on=["cause", "effect"], how="left", maintain_order="left")["log_e"].fill_null(0.0).to_numpy()
    )


def errors(args: argparse.Namespace) -> None:
    """Realised false discovery rate over many logs that were used for nothing else."""
    for number in range(args.logs):
        seed = args.first_seed + number
        kind = args.kinds[number % len(args.kinds)]
        training = args.trainings[(number // len(args.kinds)) % len(args.trainings)]
        settings = TRAINING[training] | {"backbone": args.backbone, "memory": args.memory, "width": args.width}
        means: dict[tuple[str, str], float] = {}
        if kind in EDGE_FREE:
            log = to_log(EDGE_FREE[kind](args.types, args.cases, args.length, seed))
        else:
            if kind in CLOCKS:  # no link at all but the clock
                world = HiddenClockWorld.random(args.types, horizon=3, sparsity=1.0, seed=seed, **CLOCKS[kind])
            else:
                world = make_world(kind, n_types=args.types, seed=seed, horizon=3)
            sampled = world.sample(args.cases, args.length, seed=seed + 1)
            log = sq.read_log(world.to_log(sampled), time=False)
            means = {} if kind in CLOCKS else exact_means(world, sampled)
        started = time.process_time()
        densities = sq.cross_fit(log, folds=args.folds, scheme=args.scheme, seed=seed, progress=False, **settings)
        found = sq.discover_population(densities, log, fdr=0.2, progress=False)
        pairs = found.pairs
        keys = list(pairs.select("cause", "effect").iter_rows())
        pairs = pairs.with_columns(
            truth=pl.Series([means.get(key, 0.0) for key in keys], dtype=pl.Float64),
            wrong_log_e=pl.Series(wrong_evidence(densities, log, pairs, seed), dtype=pl.Float64),
        )
        seconds = time.process_time() - started
        if args.keep is not None:
            args.keep.mkdir(parents=True, exist_ok=True)
            pairs.write_parquet(args.keep / f"{seed}.pairs.parquet")
            found.lags.write_parquet(args.keep / f"{seed}.lags.parquet")
        n_real = sum(value >= DELTA for value in means.values())
        common = {
            "world": kind, "seed": seed, "backbone": args.backbone, "training": training, "n_real": n_real,
            "n_pairs": pairs.height, "cpu_seconds": seconds,
        }  # fmt: skip
        for row in error_rows(pairs):
            save("errors", common | row)


def error_rows(pairs: pl.DataFrame) -> list[dict[str, Any]]:
    """Count what each rule finds of some pairs (with their ``truth``), and how much of it is false, or too weak."""
    log_e = pairs["log10_e"].to_numpy() * np.log(10)
    backward = pl.col("mark").str.contains("comes first").fill_null(False)
    rows = []
    for fdr in (0.05, 0.2):
        for rule, chosen in {
            # The q-value is that of the links: weak pairs are masked before e-BH. Here of all pairs.
            "evidence": pairs.filter(e_bh(log_e) <= fdr),
            "evidence, wrong forecast": pairs.filter(e_bh(pairs["wrong_log_e"].to_numpy()) <= fdr),
            "edges": pairs.filter(pl.col("q_value") <= fdr),
            "edges, each by itself": pairs.filter(
                pl.col("log10_e") >= -math.log10(fdr), pl.col("cmi_nats") >= DELTA, ~backward
            ),
            "objective f1": pairs.filter(pl.Series(best_for_f1(pairs["probability"].to_numpy()))),
            "delta alone": pairs.filter(pl.col("cmi_nats") >= DELTA),
        }.items():
            rows.append(
                {
                    "rule": rule, "fdr": fdr, "n_found": chosen.height,
                    "n_false": chosen.filter(pl.col("truth") < FALSE).height,
                    "n_weak": chosen.filter(pl.col("truth").is_between(FALSE, DELTA, closed="left")).height,
                }
            )  # fmt: skip
    return rows


def power(args: argparse.Namespace) -> None:
    """F1 of the edges, and of those for the highest expected F1, against types whose exact mean CMI exceeds delta.

    Beside them stand the best cut on labels of the same strengths and of counts, and every pair.
    """
    for n_cases in args.cases_list:
        for seed in args.seeds_list:
            world = make_world(args.world, n_types=args.types, seed=seed, **args.options)
            sampled = world.sample(n_cases, 40, seed=seed + 1)
            log = sq.read_log(world.to_log(sampled), time=False)
            # As many cases as are weighed: a pair must have its places in the truth too.
            means = exact_means(world, [case for case, _ in zip(sampled, range(3000), strict=False)])
            started = time.process_time()
            # Many cases: one density and the tenth of the cases that it never saw.
            split = n_cases >= args.split_from
            densities = (
                sq.fit(log, seed=seed, progress=False)
                if split
                else sq.cross_fit(log, folds=2, seed=seed, progress=False)
            )
            fitted = time.process_time() - started
            found = sq.discover_population(densities, log, particles=args.particles, progress=False)
            total = time.process_time() - started - fitted
            pairs = found.pairs
            keys = list(pairs.select("cause", "effect").iter_rows())
            strength = np.array([means.get(key, 0.0) for key in keys])
            real, chosen = strength >= DELTA, pairs["is_edge"].to_numpy()
            likely = best_for_f1(pairs["probability"].to_numpy())
            lift, adjacent = count_baselines(log, keys)
            row = {
                "world": args.world, "types": args.types, "cases": n_cases, "seed": seed,
                "options": str(args.options), "split": split, "n_pairs": len(keys), "n_true": int(real.sum()),
                "f1": score_edges(chosen, real).f1,
                "n_found": int(pairs["is_edge"].sum()), "n_false": int((chosen & (strength < FALSE)).sum()),
                "f1_objective": score_edges(likely, real).f1, "n_objective": int(likely.sum()),
                "n_objective_false": int((likely & (strength < FALSE)).sum()),
                "f1_every_pair": score_edges(np.ones(len(keys), dtype=bool), real).f1,
                "f1_delta_alone": score_edges(pairs["cmi_nats"].to_numpy() >= DELTA, real).f1,
                "f1_best_on_labels": best_f1(pairs["cmi_nats"].to_numpy(), real),
                "f1_best_lift": best_f1(lift, real), "f1_best_adjacent": best_f1(adjacent, real),
                "fit_cpu_seconds": fitted, "cpu_seconds": total,
            }  # fmt: skip
            save("power", row)


def coverage(args: argparse.Namespace) -> None:
    """How often the intervals of pairs hold the exact mean, over the places of this log, by the same estimator."""
    for seed in args.seeds_list:
        world = make_world(args.world, n_types=args.types, seed=seed, **args.options)
        log = sq.read_log(world.to_log(world.sample(args.cases, 40, seed=seed + 1)), time=False)
        started = time.process_time()
        densities = sq.cross_fit(log, folds=2, seed=seed, progress=False)
        pairs = sq.discover_population(densities, log, progress=False).pairs
        seconds = time.process_time() - started
        exact = exact_lags(world, log, densities.densities[0].memory or world.memory)
        pairs = pairs.join(exact, on=["cause", "effect", "lag"], how="inner").filter(pl.col("places") >= 5)
        holds = pl.col("true_ratio").is_between("pointwise_low_nats", "pointwise_high_nats")
        over_cases = pl.col("true_nats").is_between("cmi_low_nats", "cmi_high_nats")
        for group, some in {
            "all": pairs,
            "true 0.02": pairs.filter(pl.col("true_nats") >= 0.02),
            "true 0.05": pairs.filter(pl.col("true_nats") >= DELTA),
            "found": pairs.filter(pl.col("cmi_nats") >= DELTA),
        }.items():
            counts = some.select(
                n=pl.len(), n_held=holds.sum(), n_held_over_cases=over_cases.sum(),
                width=(pl.col("pointwise_high_nats") - pl.col("pointwise_low_nats")).median(),
            )  # fmt: skip
            row = {"world": args.world, "options": str(args.options), "types": args.types, "cases": args.cases}
            save(
                "coverage", row | {"seed": seed, "pairs": group} | counts.row(0, named=True) | {"cpu_seconds": seconds}
            )


def exact_lags(world: Any, log: sq.EventLog, horizon: int) -> pl.DataFrame:
    """Return the exact means of each pair at each lag, by the estimator of a population."""
    settings = Settings(exclude_effect_type=True, screening=0.0, horizon=horizon)
    sequences = encode_log(world, log)
    sums = LagSums(horizon)
    for case, found in iter_estimates(world, sequences, settings, longest=longest_case(sequences)):
        sums.add(case, found, world.vocabulary.n_types)
    codes, columns = sums.table()
    table = pair_names(codes // horizon, world.vocabulary.names).with_columns(
        lag=pl.Series(codes % horizon + 1, dtype=pl.Int64), **real_sums(columns)
    )
    places = pl.col("support")
    return table.select(
        "cause", "effect", "lag", places=places, true_nats=pl.col("cmi") / places,
        true_ratio=pl.col("pointwise") / places,
    )  # fmt: skip


def count_baselines(log: sq.EventLog, keys: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    """Lift within 6 events, and pointwise information of neighbours, of each pair."""
    names = sorted(set(log.frame["event"]))
    place = {name: i for i, name in enumerate(names)}
    ids = np.array([place[e] for e in log.frame["event"]])
    case = log.frame["case"].to_numpy()
    n = len(names)
    near, next_to = np.zeros((n, n)), np.zeros((n, n))
    for lag in range(1, 7):
        same = case[:-lag] == case[lag:]
        np.add.at(near, (ids[:-lag][same], ids[lag:][same]), 1)
        if lag == 1:
            next_to = near.copy()
    share = np.bincount(ids, minlength=n) / len(ids)

    def ratio(counts: np.ndarray) -> np.ndarray:
        return (counts + 0.5) / (counts.sum() * np.outer(share, share) + 0.5)

    index = np.array([(place[u], place[v]) for u, v in keys]).T
    return ratio(near)[tuple(index)], ratio(next_to)[tuple(index)]


def best_f1(score: np.ndarray, real: np.ndarray) -> float:
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(real[order])
    return float((2 * hits / (np.arange(1, len(real) + 1) + max(real.sum(), 1))).max())


def parts(args: argparse.Namespace) -> None:
    """Types with parts: a density with and without them, evidence pooled and not; recall by support."""
    for seed in args.seeds_list:
        world = make_world("diagnostic_log", n_types=args.types, seed=seed)
        sampled = world.sample(args.cases, args.length, seed=seed + 1)
        columns = ["component", "code", "severity"]
        log = sq.read_log(world.to_log(sampled), case="case", event=columns, time=False)
        means = {
            tuple(name.replace(".", "|") for name in pair): value
            for pair, value in exact_means(world, sampled, least=1).items()
        }
        for with_parts in (True, False):
            started = time.perf_counter()
            densities = sq.cross_fit(
                log, folds=2, seed=seed, components=with_parts, max_steps=args.steps, progress=False
            )
            fitted = time.perf_counter() - started
            found = sq.discover_population(
                densities, log, particles=args.particles, horizon=6, pool=False, progress=False
            )
            total = time.perf_counter() - started - fitted
            pairs = found.pairs
            log_e = pairs["log10_e"].to_numpy() * np.log(10)
            q_pooled = e_bh(log_e + np.log(family_weights(log_e, families(pairs))))
            strength = np.array([means.get(key, 0.0) for key in pairs.select("cause", "effect").rows()])
            strong, support = pairs["cmi_nats"].to_numpy() >= DELTA, pairs["support"].to_numpy()
            for pooled, q in ((False, pairs["q_value"].to_numpy()), (True, q_pooled)):
                chosen = (q <= args.fdr) & strong
                for low, high in ((1, 2), (3, 9), (10, 29), (30, 99), (100, 10**9), (1, 10**9)):
                    there = (support >= low) & (support <= high)
                    real = there & (strength >= DELTA)
                    save(
                        "parts",
                        {
                            "types": args.types, "cases": args.cases, "seed": seed,
                            "parts": with_parts, "pooled": pooled,
                            "support": f"{low}-{high}" if high < 10**9 else f"{low}+", "n_true": int(real.sum()),
                            "n_found": int((chosen & there).sum()), "n_right": int((chosen & real).sum()),
                            "n_false": int((chosen & there & (strength < FALSE)).sum()),
                            "nats": np.mean([d.info["report"]["cross_entropy"] for d in densities.densities]),
                            "fit_seconds": fitted, "seconds": total,
                        },
                    )  # fmt: skip


def alarms(args: argparse.Namespace) -> None:
    """The wireless alarms, no label used anywhere; the rule is that of benchmarks/cascades.py."""
    log = sq.read_log(DATA / "Alarm.csv", case="device_id", event="alarm_id", time="start_timestamp")
    truth = np.load(DATA / "DAG.npy", allow_pickle=False).astype(bool)
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        started = time.process_time()
        densities = sq.cross_fit(log, folds=args.folds, scheme="forward", seed=seed, progress=False)
        nats = float(np.mean([d.info["report"]["cross_entropy"] for d in densities.densities]))
        for name, settings in RULES.items():
            found = sq.discover_population(densities, log, progress=False, **settings)
            row = {"seed": seed, "rule": name, "held_out_nats": nats} | score_links(found.pairs, truth)
            save("alarms", row | {"cpu_seconds": time.process_time() - started})


def faults(args: argparse.Namespace) -> None:
    """Fleets of fault codes, a quarter of the events tied, against the links of the simulator."""
    for seed in args.seeds_list:
        found = make_generator("fault_codes", seed=seed).simulate(args.cases, seed=seed + 100)
        log = sq.read_log(found.log, **found.columns)
        started = time.perf_counter()
        densities = sq.cross_fit(log, folds=args.folds, scheme=args.scheme, seed=seed, progress=False)
        fitted = time.perf_counter() - started
        edges = set(sq.discover_population(densities, log, progress=False).edges.select("cause", "effect").iter_rows())
        real = set(found.links.select("cause", "effect").iter_rows())
        save(
            "faults",
            {
                "seed": seed, "cases": args.cases, "scheme": args.scheme, "folds": args.folds, "n_links": len(real),
                "n_found": len(edges), "n_right": len(edges & real),
                "n_reversed": len({(effect, cause) for cause, effect in edges} & real),
                "fit_seconds": fitted, "seconds": time.perf_counter() - started - fitted,
            },
        )  # fmt: skip


def save(name: str, row: dict[str, Any]) -> None:
    path = RESULTS / f"population_{name}.csv"
    table = pl.DataFrame([row])
    if path.exists():
        table = pl.concat([pl.read_csv(path), table], how="diagonal_relaxed")
    table.write_csv(path)
    print({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}, flush=True)


def add_coverage(commands: Any) -> None:
    six = commands.add_parser("coverage")
    six.add_argument("--world", default="linear")
    six.add_argument("--types", type=int, default=20)
    six.add_argument("--cases", type=int, default=200)
    six.add_argument("--seeds", dest="seeds_list", nargs="+", type=int, default=[45_000])
    six.add_argument("--decay", type=float, default=None)
    six.set_defaults(run=coverage)


def add_parts(commands: Any) -> None:
    four = commands.add_parser("parts")
    four.add_argument("--types", type=int, default=2000)
    four.add_argument("--cases", type=int, default=1500)
    four.add_argument("--length", type=int, default=40)
    four.add_argument("--steps", type=int, default=None)
    four.add_argument("--particles", type=int, default=8)
    four.add_argument("--fdr", type=float, default=0.05)
    four.add_argument("--seeds", dest="seeds_list", nargs="+", type=int, default=[50_000, 50_001])
    four.set_defaults(run=parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("errors")
    one.add_argument("--logs", type=int, default=60)
    one.add_argument("--first-seed", type=int, default=20_000)
    one.add_argument("--kinds", nargs="+", default=[*EDGE_FREE, *CLOCKS, "linear"])
    one.add_argument("--trainings", nargs="+", default=list(TRAINING))
    one.add_argument("--backbone", default="window")
    one.add_argument("--types", type=int, default=12)
    one.add_argument("--cases", type=int, default=300)
    one.add_argument("--length", type=int, default=30)
    one.add_argument("--memory", type=int, default=None)
    one.add_argument("--width", type=int, default=None)
    one.add_argument("--folds", type=int, default=2)
    one.add_argument("--scheme", default="leave-one-out")
    one.add_argument("--keep", type=Path, default=None, help="folder for the pairs of each log")
    one.set_defaults(run=errors)
    two = commands.add_parser("power")
    two.add_argument("--world", default="linear")
    two.add_argument("--types", type=int, default=30)
    two.add_argument("--cases", dest="cases_list", nargs="+", type=int, default=[300, 3000])
    two.add_argument("--seeds", dest="seeds_list", nargs="+", type=int, default=[30_000])
    two.add_argument("--decay", type=float, default=None)
    two.add_argument("--particles", type=int, default=32)
    two.add_argument("--split-from", type=int, default=10_000)
    two.set_defaults(run=power)
    add_coverage(commands)
    add_parts(commands)
    three = commands.add_parser("alarms")
    three.add_argument("--seeds", type=int, default=5)
    three.add_argument("--first-seed", type=int, default=0)
    three.add_argument("--folds", type=int, default=5)
    three.set_defaults(run=alarms)
    five = commands.add_parser("faults")
    five.add_argument("--seeds", dest="seeds_list", nargs="+", type=int, default=[1, 2, 3, 4])
    five.add_argument("--cases", type=int, default=600)
    five.add_argument("--folds", type=int, default=2)
    five.add_argument("--scheme", default="leave-one-out")
    five.set_defaults(run=faults)
    args = parser.parse_args()
    if "decay" in args:
        args.options = {} if args.decay is None else {"decay": args.decay}
    args.run(args)


if __name__ == "__main__":
    main()
