"""causal-learn: Granger causality by lasso, or PC, on the log as columns of 0 and 1.

    python run_causal_learn.py LOG.csv --out edges.csv [--method pc] [--threshold 0.05]

granger  regresses each event type on all types at the last --max-lag events (lasso, cross-validated). Rows of zeros
         between the cases keep them apart.
pc       runs PC on the types at an event and at the --max-lag events before it. An edge of its skeleton between an
         earlier and the last column counts; time gives the direction.
"""

from __future__ import annotations

import time

import numpy as np
from causallearn.search.ConstraintBased.PC import pc
from causallearn.search.Granger.Granger import Granger
from exchange import Log, parser, read_log, write_pairs


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--max-lag", type=int, default=3)
    options.add_argument("--method", choices=["granger", "pc"], default="granger")
    options.add_argument("--threshold", type=float, default=0.0, help="granger: smallest absolute coefficient")
    options.add_argument("--alpha", type=float, default=0.001, help="pc: significance level of a test")
    options.add_argument("--max-conditions", type=int, default=2, help="pc: largest conditioning set")
    arguments = options.parse_args()
    log = read_log(arguments.log, arguments.max_events)
    started = time.perf_counter()
    if arguments.method == "granger":
        strength, found = granger(log, arguments.max_lag, arguments.threshold)
    else:
        strength, found = skeleton(log, arguments.max_lag, arguments.alpha, arguments.max_conditions)
    print(f"found in {time.perf_counter() - started:.0f} s")
    write_pairs(strength, found, log.types, arguments.out)


def granger(log: Log, max_lag: int, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return strength and edges (``[cause, effect]``)."""
    gap = np.zeros((max_lag, len(log.types)))
    data = np.concatenate([part for rows in log.one_hot() for part in (rows, gap)])
    # [effect, lag, cause]: its columns are all causes at lag 1, then all at lag 2, ...
    weights = Granger(maxlag=max_lag).granger_lasso(data).reshape(len(log.types), max_lag, len(log.types))
    links = np.abs(weights) > threshold
    return np.where(links, np.abs(weights), 0).max(axis=1).T, links.any(axis=1).T


def skeleton(log: Log, max_lag: int, alpha: float, max_conditions: int) -> tuple[np.ndarray, np.ndarray]:
    """Return absolute correlation and edges (``[cause, effect]``)."""
    rows = np.concatenate(
        [
            np.concatenate([case[max_lag - lag : len(case) - lag] for lag in range(max_lag + 1)], axis=1)
            for case in log.one_hot()
            if len(case) > max_lag
        ]
    )
    varies = np.flatnonzero(rows.std(axis=0) > 0)
    graph = pc(rows[:, varies], alpha, "fisherz", max_k=max_conditions, show_progress=False).G.graph
    adjacent = np.zeros((rows.shape[1],) * 2, bool)
    adjacent[np.ix_(varies, varies)] = graph != 0
    correlation = np.zeros(adjacent.shape)
    correlation[np.ix_(varies, varies)] = np.abs(np.corrcoef(rows[:, varies], rowvar=False))
    n = len(log.types)
    links = adjacent[n:, :n].reshape(max_lag, n, n)  # [lag, cause, effect]
    return np.where(links, correlation[n:, :n].reshape(max_lag, n, n), 0).max(axis=0), links.any(axis=0)


if __name__ == "__main__":
    main()
