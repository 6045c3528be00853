"""Which pairs of event types count as links: every pair with an edge, or those that `SummaryGraph.links` keeps.

    python benchmarks/link_rule.py --seeds 9100 9101 --cases 600

Fault codes with known links (`sequela.worlds.fault_codes`), default training and default discovery, no labels. A pair
of a summary is right when the simulator has that link; a pair of undirected edges counts as right in either order.
"""

from __future__ import annotations

import argparse
import time

import polars as pl

import sequela as sq
from sequela.worlds.catalogue import make_generator


def scores(pairs: pl.DataFrame, truth: set[tuple[str, str]]) -> str:
    """Return how many pairs there are, how many are links, and F1."""
    found = {(row["cause"], row["effect"], row["directed"]) for row in pairs.iter_rows(named=True)}
    right = {link for link in truth for u, v, directed in found if (u, v) == link or (not directed and (v, u) == link)}
    false = sum((u, v) not in truth and (directed or (v, u) not in truth) for u, v, directed in found)
    precision = 1 - false / max(len(found), 1)
    recall = len(right) / max(len(truth), 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return f"{len(found):5} pairs, {len(right):3} of {len(truth)} links, {false:4} false, F1 {f1:.3f}"


def main() -> None:
    """Print both for each seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[9100, 9101])
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--max-steps", type=int)
    args = parser.parse_args()
    for seed in args.seeds:
        started = time.perf_counter()
        made = make_generator("fault_codes", seed=seed).simulate(args.cases, seed=seed + 1)
        log = sq.read_log(made.log, **made.columns)
        density = sq.fit(log, seed=seed, max_steps=args.max_steps, progress=False)
        summary = sq.discover_log(density, log, progress=False).summary()
        truth = {(u, v) for u, v in made.links.select("cause", "effect").iter_rows() if u != v}
        seconds = time.perf_counter() - started
        print(f"seed {seed}, {log.n_events:,} events, {log.n_types} types, {seconds:.0f} s")
        print(f"  every pair with an edge  {scores(summary.edges, truth)}")
        print(f"  links                    {scores(summary.links, truth)}", flush=True)


if __name__ == "__main__":
    main()
