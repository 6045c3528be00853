"""gCastle: TTPM (topological Hawkes process), its method for event sequences; each case is a node without neighbours.

    python run_gcastle.py LOG.csv --out edges.csv [--max-iter 20]

Time is the position in the case, so that --delta (decay of an effect) is per event. TTPM searches acyclic graphs, one
change of an edge a step: it finds no type that causes itself and no cycle, and about --max-iter edges at most.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
import pandas as pd
from castle.algorithms import TTPM
from exchange import parser, read_log, write_pairs


def main() -> None:
    options = parser(__doc__)
    options.set_defaults(max_events=4000)
    options.add_argument("--delta", type=float, default=1.0)
    options.add_argument("--max-iter", type=int, default=20)
    options.add_argument("--penalty", choices=["BIC", "AIC"], default="BIC")
    arguments = options.parse_args()
    log = read_log(arguments.log, arguments.max_events)
    started = time.perf_counter()
    events = pd.DataFrame(
        {
            "event": np.concatenate(log.ids),
            "timestamp": np.concatenate([np.arange(len(ids), dtype=float) for ids in log.ids]),
            "node": np.repeat(np.arange(len(log.cases)), [len(ids) for ids in log.ids]),
        }
    )
    apart = np.zeros((len(log.cases), len(log.cases)))
    search = TTPM(apart, delta=arguments.delta, max_hop=0, penalty=arguments.penalty, max_iter=arguments.max_iter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.learn(events)
    found = np.zeros((len(log.types),) * 2, bool)
    present = np.unique(events["event"])
    found[np.ix_(present, present)] = np.asarray(search.causal_matrix) != 0
    np.fill_diagonal(found, False)  # its start, not a finding
    print(f"found in {time.perf_counter() - started:.0f} s")
    write_pairs(found.astype(float), found, log.types, arguments.out)


if __name__ == "__main__":
    main()
