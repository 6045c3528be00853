"""Which service began it? One recipe on every fault window of a folder of spans, log lines and `faults.csv`.

    python benchmarks/trainticket.py --data FOLDER [--normal FOLDER]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import polars as pl

from sequela.discovery.incident import explain_incident, IncidentSettings, KINDS
from sequela.events.traces import read_traces


def windows(folder, normal):
    spans = pl.read_parquet(folder / "spans.parquet")
    logs = pl.read_parquet(folder / "logs.parquet")
    return spans, logs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    a = parser.parse_args()
    spans, logs = windows(a.data, None)
    pick = lambda t, n: t.filter(pl.col("window").str.starts_with("normal") if n is None else pl.col("window") == n)
    t = time.time()
    normal = read_traces(pick(spans, None), pick(logs, None))
    print(normal.notes)
    import pickle
    W = {}
    faults = pl.read_csv(a.data / "faults.csv").to_dicts()
    for f in faults:
        W[f["window"]] = read_traces(pick(spans, f["window"]), pick(logs, f["window"]))
    pickle.dump((normal, W, faults), open("/tmp/tt.pkl", "wb"))
    print(time.time() - t)


main()
