"""tigramite (GPL): PCMCI on the log as time series of 0 and 1, each case a data set of its own.

    python run_tigramite.py LOG.csv --out edges.csv [--test gsquared]

A step of the series is an event, a column an event type. Instantaneous links are not tested: one event at a time.
"""

from __future__ import annotations

import time

import numpy as np
from exchange import parser, read_log, write_pairs
from tigramite.data_processing import DataFrame
from tigramite.independence_tests.gsquared import Gsquared
from tigramite.independence_tests.parcorr import ParCorr
from tigramite.pcmci import PCMCI


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--max-lag", type=int, default=3)
    options.add_argument("--test", choices=["parcorr", "gsquared"], default="parcorr")
    options.add_argument("--alpha", type=float, default=0.01, help="false discovery rate (Benjamini-Hochberg)")
    options.add_argument("--pc-alpha", type=float, default=0.05)
    options.add_argument("--max-conditions", type=int, help="largest conditioning set of its first stage")
    arguments = options.parse_args()
    log = read_log(arguments.log, arguments.max_events)
    started = time.perf_counter()
    # A case needs more rows than the lags that tigramite cuts off its beginning (twice the largest).
    series = [rows for rows in log.one_hot() if len(rows) > 2 * arguments.max_lag]
    if len(series) < len(log.cases):
        print(f"{len(log.cases) - len(series)} cases are too short for --max-lag {arguments.max_lag}")
    if arguments.test == "gsquared":
        series, test = [rows.astype(int) for rows in series], Gsquared(significance="analytic")
    else:
        test = ParCorr(significance="analytic")
    frame = DataFrame(dict(enumerate(series)), analysis_mode="multiple", var_names=log.types)
    found = PCMCI(dataframe=frame, cond_ind_test=test, verbosity=0).run_pcmci(
        tau_min=1,
        tau_max=arguments.max_lag,
        pc_alpha=arguments.pc_alpha,
        max_conds_dim=arguments.max_conditions,
        fdr_method="fdr_bh",
    )
    values, p = found["val_matrix"][:, :, 1:], found["p_matrix"][:, :, 1:]
    links = p <= arguments.alpha
    strength = np.where(links, np.abs(values), 0).max(axis=2)
    print(f"found in {time.perf_counter() - started:.0f} s")
    write_pairs(strength, links.any(axis=2), log.types, arguments.out)


if __name__ == "__main__":
    main()
