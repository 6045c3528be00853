"""What knowledge of the topology does, and what the events of neighbours do, in networks whose alarms travel.

    python benchmarks/knowledge.py pairs --seeds 11 12 13
    python benchmarks/knowledge.py neighbours --seeds 11 12
    python benchmarks/knowledge.py neighbours --seeds 14 15 16 --equal
    python benchmarks/knowledge.py memory --seeds 0 --cases 20000

Worlds: `sequela.worlds.topology`, alarms that follow a topology of components within an entity and reach its
neighbours, with exact truth. ``pairs`` discovers each log (window density, all defaults, threshold 0.05 nats, all
replacements) without knowledge, with the true topology, with one in which a tenth of the pairs of components are wrong,
and with one that allows everything. ``neighbours`` weighs the evidence for links (five folds, as `run` does) with and
without the events of neighbours; with ``--equal`` a cause acts at a neighbour as often as in its own entity. ``memory``
reads a log and encodes it, in a process of its own, and tells the peak
of its memory. Seed 0 was used while writing this. Rows go to ``benchmarks/results/knowledge.csv``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import sequela as sq
from sequela.discovery.plan import plan_discovery
from sequela.events.neighbours import AT_NEIGHBOUR
from sequela.worlds.topology import AlarmTopology

RESULTS = Path(__file__).parent / "results" / "knowledge.csv"
N_COMPONENTS = 8


def world(seed: int, *, across: int, equal: bool = False) -> AlarmTopology:
    """Return a network of devices."""
    return AlarmTopology.random(
        24, n_components=N_COMPONENTS, n_links=14, n_across=across, equal_strengths=equal, alarms_per_entity=50.0,
        seed=seed,
    )  # fmt: skip


def scores(found: set[Any], true: set[Any]) -> dict[str, float]:
    """Return precision, recall and F1 of a set."""
    right = len(found & true)
    precision, recall = right / max(1, len(found)), right / max(1, len(true))
    f1 = 2 * right / max(1, len(found) + len(true))
    return {"precision": round(precision, 3), "recall": round(recall, 3), "f1": round(f1, 3)}


def topologies(components: pl.DataFrame, seed: int) -> dict[str, Any]:
    """Return what is given as known: nothing, the truth, a tenth of it wrong, and nothing of use."""
    names = sorted(set(components["component"]))
    joined = {tuple(sorted(pair)) for pair in components.rows()}
    every = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    generator = np.random.default_rng([seed, 7])
    flipped = {every[i] for i in generator.choice(len(every), round(len(every) / 10), replace=False)}

    def given(pairs: set[tuple[str, str]]) -> Any:
        rows = sorted(pairs) + [(name, name) for name in names]
        return sq.read_knowledge({"topology": {"column": "component", "pairs": [list(pair) for pair in rows]}})

    return {"none": None, "true": given(joined), "a tenth wrong": given(joined ^ flipped), "useless": given(set(every))}


def pairs(seed: int, n_cases: int, max_steps: int) -> list[dict[str, Any]]:
    """Discover single edges with each kind of knowledge."""
    simulated = world(seed, across=0).simulate(n_cases, seed=seed)
    log = sq.read_log(simulated.log, **simulated.columns)
    density = sq.fit(log, max_steps=max_steps, seed=seed, progress=False)
    key = ["case", "cause_position", "effect_position"]
    true = set(simulated.edges.filter(pl.col("case") == pl.col("cause_case")).select(key).rows())
    true_links = set(simulated.links.select("cause", "effect").rows())
    rows = []
    for name, known in topologies(simulated.known["components"], seed).items():
        plan = plan_discovery(density, log, knowledge=known, calibrate=False, screening=0)
        started = time.process_time()
        found = sq.discover_log(density, log, knowledge=known, screening=0, progress=False)
        seconds = time.process_time() - started
        links = set(found.summary().links.select("cause", "effect").rows())
        rows.append(
            {"study": "pairs", "seed": seed, "knowledge": name, "what": "edges", "n_windows": plan.n_steps,
             "share_excluded": round(plan.n_excluded / (plan.n_excluded + plan.n_pairs), 3),
             "processor_seconds": round(seconds, 1)}
            | scores(set(found.edges.select(key).rows()), true)
        )  # fmt: skip
        rows.append({"study": "pairs", "seed": seed, "knowledge": name, "what": "links"} | scores(links, true_links))
    return rows


def neighbours(seed: int, n_cases: int, max_steps: int, *, equal: bool) -> list[dict[str, Any]]:
    """Find links within entities and to neighbours, with and without the events of neighbours."""
    simulated = world(seed, across=6, equal=equal).simulate(n_cases, seed=seed)
    links = simulated.links
    within = set(links.filter(~pl.col("across")).select("cause", "effect").rows())
    across = set(links.filter("across").select("cause", "effect").rows())
    rows = []
    for name, beside in (("joined", simulated.known["neighbours"]), ("alone", None)):
        log = sq.read_log(simulated.log, **simulated.columns, neighbours=beside)
        started = time.process_time()
        density = sq.fit(log, max_steps=max_steps, seed=seed, progress=False)
        folds = sq.cross_fit(log, folds=5, scheme="forward", like=density, seed=seed, progress=False)
        found = sq.discover_population(folds, log, control="each", particles=8, progress=False)
        seconds = time.process_time() - started
        edges = found.edges.filter(pl.col("pointwise_nats") > 0)
        near = pl.col("cause").str.ends_with(AT_NEIGHBOUR)
        own = set(edges.filter(~near).select("cause", "effect").rows())
        other = edges.filter(near).with_columns(pl.col("cause").str.strip_suffix(AT_NEIGHBOUR))
        cross = set(other.select("cause", "effect").rows())
        shared = {"study": "neighbours", "seed": seed, "knowledge": name, "strengths": "equal" if equal else None,
                  "processor_seconds": round(seconds, 1)}  # fmt: skip
        rows.append(shared | {"what": "links within"} | scores(own, within))
        rows.append(shared | {"what": "links across"} | scores(cross, across))
        # Without the join a link across can only show as one within, of the same types or of others.
        rows.append(
            shared | {"what": "false within", "n": len(own - within), "n_of_types_across": len(own & across - within)}
        )
    return rows


_READ = """
import json, re, sys
from pathlib import Path
import sequela as sq
from sequela.events.vocabulary import Vocabulary
folder, columns, beside = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
more = {} if beside == "alone" else {"neighbours": folder + "/neighbours.parquet"}
def peak():  # of this process: what getrusage tells begins with that of the process that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
before = peak()
log = sq.read_log(folder + "/log.parquet", **columns, **more)
found = sq.SequenceSet.from_log(log, Vocabulary.build(log, min_count=2))
print(json.dumps([log.n_events, found.n_events, before, peak()]))
"""


def memory(seed: int, n_cases: int, max_steps: int | None) -> list[dict[str, Any]]:
    """Read a log and encode it, with and without the events of neighbours."""
    simulated = world(seed, across=6).simulate(n_cases, seed=seed)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        simulated.log.write_parquet(f"{folder}/log.parquet")
        simulated.known["neighbours"].write_parquet(f"{folder}/neighbours.parquet")
        for name in ("joined", "alone"):
            words = [sys.executable, "-c", _READ, folder, json.dumps(simulated.columns), name]
            told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            n_events, n_encoded, before, peak = json.loads(told)
            rows.append({"study": "memory", "seed": seed, "knowledge": name, "n": n_events, "n_encoded": n_encoded,
                         "mib_before": before, "mib_peak": peak})  # fmt: skip
    return rows


def main() -> None:
    """Run a study and add its rows to the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["pairs", "neighbours", "memory"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--cases", type=int, default=150)
    parser.add_argument("--max-steps", type=int, default=None)
    parser.add_argument("--equal", action="store_true", help="neighbours: links of equal strengths")
    parser.add_argument("--dry", action="store_true", help="print only")
    given = parser.parse_args()
    studies: dict[str, Any] = {
        "pairs": pairs, "neighbours": partial(neighbours, equal=given.equal), "memory": memory
    }  # fmt: skip
    study = studies[given.study]
    for seed in given.seeds:
        table = pl.DataFrame(study(seed, given.cases, given.max_steps))
        with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200, tbl_hide_dataframe_shape=True):
            print(table, flush=True)
        if not given.dry:
            table = table.with_columns(n_cases=pl.lit(given.cases), max_steps=pl.lit(given.max_steps, pl.Int64))
            known = [pl.read_csv(RESULTS, infer_schema_length=None)] if RESULTS.is_file() else []
            pl.concat([*known, table], how="diagonal_relaxed").write_csv(RESULTS)


if __name__ == "__main__":
    main()
