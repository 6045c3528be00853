"""The numbers on the documentation's pages *Start*, *Choose a threshold* and *Large logs*, measured again.

    python benchmarks/start_page.py [FOLDER]

Runs the commands of *Start* as they stand there (some minutes) and prints what the pages quote. When the code changes,
run it and bring the pages up to date.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl


def sequela(folder, *words):
    """Run a command; return what it printed on standard error, its JSON and its seconds."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "from sequela.cli import main; main()", *words, "--json"],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stderr, json.loads(done.stdout), time.monotonic() - started


def scores(folder, results):
    _, found, _ = sequela(folder, "evaluate", results, "truth.parquet")
    shown = []
    for part in ("edges", "links"):
        one = found[part]
        quality = f"precision {one['precision']:.3f} recall {one['recall']:.3f} F1 {one['f1']:.3f}"
        shown.append(f"{part}: {quality} of {one['n_predicted']:,}")
    return "  ".join(shown)


def main(folder):
    sequela(folder, "simulate", "diagnostic_log", "--cases", "200", "--out", "log.csv", "--truth", "truth.parquet")
    columns = ["--case", "case", "--event", "event", "--time", "time"]
    said, _, seconds = sequela(folder, "fit", "log.csv", *columns, "--out", "model")
    print(f"fit, {seconds:.0f} s\n{said}")
    _, _, seconds = sequela(folder, "discover", "model", "log.csv", "--out", "results")
    print(f"discover, {seconds:.0f} s\n{scores(folder, 'results')}")

    truth = pl.read_parquet(folder / "truth.parquet").filter(pl.col("cause") != pl.col("effect"))
    pairs = truth.select("cause", "effect").unique()
    summary = pl.read_parquet(folder / "results" / "summary.parquet")
    with pl.Config(fmt_str_lengths=40, tbl_width_chars=160):
        print(summary.head(3))
    for many in (50, 100, 200):
        n_true = summary.head(many).join(pairs, on=pairs.columns).height
        print(f"of the {many} strongest of {summary.height:,} links, {n_true} are true")

    _, _, seconds = sequela(folder, "population", "model", "log.csv", "--folds", "5", "--out", "population")
    found = pl.read_parquet(folder / "population" / "population.parquet").filter("is_edge")
    print(f"population, {seconds:.0f} s: {found.height} links, {found.join(pairs, on=pairs.columns).height} are true")

    for delta in ("0.05", "0.1", "0.3"):
        results = f"masked-{delta}"
        _, _, seconds = sequela(
            folder, "discover", "model", "log.csv", "--design", "masked", "--delta", delta, "--out", results
        )
        print(f"masked, delta {delta}, {seconds:.0f} s: {scores(folder, results)}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True)
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
