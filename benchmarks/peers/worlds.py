"""The peers on small worlds with exact truth, Sequela and what is simpler beside them: one table.

    python worlds.py --environments ~/peers --out ../results/peers.csv [--seeds 0 1] [--worlds linear-flat]

Needs an environment with Sequela; every peer runs in its own (`ENVIRONMENTS/NAME/bin/python`, see README.md), a missing
one is left out. One log a world and seed: all tools learn from it and are scored on it, without labels, by their
defaults. Every position counts, from the first one on; "from the 5th event" leaves the first four out as causes, on
both sides, which is what seq2cause's command line tests. Tools that find edges between types are scored as such: a pair
is true when some event of the one type caused some event of the other in that log.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from score import INSTANCE, PAIR, count

import sequela as sq
from sequela.discovery.discover import discover_log
from sequela.evaluation.baselines import AdjacentPairs, AdjacentPMI, Method
from sequela.worlds.base import Simulation, World
from sequela.worlds.catalogue import make_world

HERE = Path(__file__).parent
WORLDS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear-decayed": ("linear", {"decay": 1.0}),
    "linear-flat": ("linear", {"decay": 0.0}),
    "nonlinear": ("nonlinear", {"decay": 0.3}),
    "multiplicative": ("multiplicative", {}),
    "threshold": ("threshold", {}),
    "long-range": ("long_range", {"lag": 6}),
    "confounded": ("confounded", {}),
    "simultaneous": ("simultaneous", {"decay": 0.3}),
    "noisy": ("noisy", {"decay": 0.3}),
    "diagnostic-log": ("diagnostic_log", {}),
}
SEQ2CAUSE = ["--threshold", "0.05", "--max-steps", "500"]
#: name in the table -> environment, script, options, file of edges (its name without suffix)
PEERS: dict[str, tuple[str, str, list[str], str]] = {
    "seq2cause 0.1.9, its own threshold": ("seq2cause", "run_seq2cause.py", SEQ2CAUSE, "seq2cause"),
    "seq2cause 0.1.9, above 0.05 nats": ("seq2cause", "", [], "seq2cause-0.05"),
    "tigramite 5.2.10.1, PCMCI": ("tigramite", "run_tigramite.py", ["--max-lag", "6"], "tigramite"),
    "causal-learn 0.1.4.8, Granger lasso": ("causal-learn", "run_causal_learn.py", ["--max-lag", "6"], "granger"),
    "gcastle 1.0.4, TTPM": ("gcastle", "run_gcastle.py", [], "ttpm"),
}


def sequela_edges(world: World, data: Simulation) -> tuple[pl.DataFrame, float]:
    """Fit with the defaults and discover; return edges and seconds."""
    started = time.perf_counter()
    log = sq.read_log(data.log, case="case", event="event", time="time")
    density = sq.fit(log, memory=max(8, world.horizon), progress=False)
    particles = world.vocabulary.n_types + 1
    found = discover_log(density, log, particles=particles, horizon=world.horizon, progress=False)
    return found.edges, time.perf_counter() - started


def counted_edges(method: Method, world: World, data: Simulation) -> tuple[pl.DataFrame, float]:
    """Return the edges of a baseline that counts."""
    started = time.perf_counter()
    names, rows = world.vocabulary.names, []
    for case in data.sequences:
        for cause, column in zip(*method.edges(case.ids, world.horizon).nonzero(), strict=True):
            effect = cause + column + 1
            rows.append((case.name, int(cause), int(effect), names[case.ids[cause]], names[case.ids[effect]]))
    schema = ["case", "cause_position", "effect_position", "cause", "effect"]
    return pl.DataFrame(rows, schema=schema, orient="row"), time.perf_counter() - started


def all_edges(
    environments: Path, folder: Path, world: World, data: Simulation
) -> Iterator[tuple[str, pl.DataFrame, float]]:
    """Yield tool, edges and seconds."""
    yield "sequela", *sequela_edges(world, data)
    n_types = world.vocabulary.n_types
    for method in (AdjacentPairs(), AdjacentPMI(data.sequences, n_types)):
        yield method.name, *counted_edges(method, world, data)
    seconds = 0.0
    for name, (environment, script, options, stem) in PEERS.items():
        python = environments / environment / "bin" / "python"
        if not python.exists():
            continue
        out = folder / f"{stem}.csv"
        if script:
            started = time.perf_counter()
            command = [str(python), str(HERE / script), str(folder / "log.csv"), "--out", str(out), *options]
            subprocess.run(command, check=True, cwd=HERE, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - started
        text = {"case": pl.String, "cause": pl.String, "effect": pl.String}
        yield name, pl.read_csv(out, schema_overrides=text), seconds


def rows(args: argparse.Namespace, label: str, seed: int) -> Iterator[dict[str, Any]]:
    """Run everything on one world."""
    name, options = WORLDS[label]
    world = make_world(name, n_types=args.types, seed=seed, **options)
    data = world.simulate(args.cases, args.length, seed=seed + 1)
    truth = data.truth.select(*INSTANCE, *PAIR)
    with tempfile.TemporaryDirectory() as folder:
        data.log.write_csv(Path(folder) / "log.csv")
        for tool, edges, seconds in all_edges(args.environments, Path(folder), world, data):
            about = {"world": label, "seed": seed, "tool": tool, "seconds": round(seconds, 1)}
            yield about | {"what": "pairs of types"} | count(edges, truth, PAIR)
            if "cause_position" not in edges.columns:
                continue
            placed = edges.with_columns(pl.col(INSTANCE[1:]).cast(pl.Int64))
            yield about | {"what": "events"} | count(placed, truth, INSTANCE)
            later = [frame.filter(pl.col("cause_position") >= 4) for frame in (placed, truth)]
            yield about | {"what": "events, causes from the 5th event"} | count(*later, INSTANCE)


def main() -> None:
    """Run and store rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--types", type=int, default=12)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--length", type=int, default=40)
    args = parser.parse_args()
    args.environments = args.environments.resolve()
    for seed in args.seeds:
        for label in args.worlds:
            table = pl.DataFrame(list(rows(args, label, seed)))
            if args.out.exists():
                table = pl.concat([pl.read_csv(args.out), table], how="diagonal_relaxed")
            table.write_csv(args.out)
            print(table.filter((pl.col("world") == label) & (pl.col("seed") == seed)), flush=True)


if __name__ == "__main__":
    main()
