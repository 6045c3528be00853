"""Score edges against a truth: precision, recall, F1. Needs polars only.

    python score.py edges.csv truth.parquet [--log LOG.csv] [--max-lag 6] [--no-self] [--skip-first 4]

The truth has the columns case, cause_position, effect_position, cause, effect, lag. Edges with positions are scored
event by event, and then as pairs of types; edges without, as pairs of types only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

INSTANCE = ["case", "cause_position", "effect_position"]
PAIR = ["cause", "effect"]
TEXT = {"case": pl.String, "cause": pl.String, "effect": pl.String}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edges", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--log", type=Path, help="only the cases of this log count")
    parser.add_argument("--max-lag", type=int, help="edges with a longer lag are left out, on both sides")
    parser.add_argument("--no-self", action="store_true", help="leave out edges between events of the same type")
    parser.add_argument("--skip-first", type=int, default=0, help="the first events of a case do not count as causes")
    arguments = parser.parse_args()
    edges = pl.read_csv(arguments.edges, schema_overrides=TEXT | dict.fromkeys(INSTANCE[1:], pl.Int64))
    truth = pl.read_parquet(arguments.truth).cast({**TEXT, **dict.fromkeys(INSTANCE[1:], pl.Int64)})
    if arguments.log:
        cases = pl.read_csv(arguments.log, columns=["case"], schema_overrides={"case": pl.String})
        truth = truth.join(cases.unique(), on="case", how="semi")
        edges = edges.join(cases.unique(), on="case", how="semi") if "case" in edges.columns else edges
    if arguments.max_lag is not None:
        truth = truth.filter(pl.col("lag") <= arguments.max_lag)
        edges = edges.filter(pl.col("lag") <= arguments.max_lag) if "lag" in edges.columns else edges
    if arguments.skip_first:
        truth = truth.filter(pl.col("cause_position") >= arguments.skip_first)
        if "cause_position" in edges.columns:
            edges = edges.filter(pl.col("cause_position") >= arguments.skip_first)
    if arguments.no_self:
        truth, edges = (frame.filter(pl.col("cause") != pl.col("effect")) for frame in (truth, edges))
    if set(INSTANCE) <= set(edges.columns):
        report("events", edges, truth, INSTANCE)
    report("pairs of types", edges, truth, PAIR)


def count(edges: pl.DataFrame, truth: pl.DataFrame, key: list[str]) -> dict[str, float]:
    """Return precision (NaN of no edges), recall, F1 (NaN when there is nothing at all) and the counts behind them."""
    found, real = edges.select(key).unique(), truth.select(key).unique()
    hits, total = found.join(real, on=key, how="semi").height, found.height + real.height
    return {
        "precision": hits / found.height if found.height else float("nan"),
        "recall": hits / real.height if real.height else float("nan"),
        "f1": 2 * hits / total if total else float("nan"),
        "n_right": hits,
        "n_found": found.height,
        "n_true": real.height,
    }


def report(what: str, edges: pl.DataFrame, truth: pl.DataFrame, key: list[str]) -> None:
    """Print one line."""
    one = count(edges, truth, key)
    print(
        f"{what}: precision {one['precision']:.3f} recall {one['recall']:.3f} F1 {one['f1']:.3f} "
        f"({one['n_right']} right of {one['n_found']} found, {one['n_true']} true)"
    )


if __name__ == "__main__":
    main()
