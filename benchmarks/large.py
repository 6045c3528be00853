"""Peak memory of a whole process: a log of 50 million events, and one case of a million, read, encoded, discovered.

    python benchmarks/large.py log                        # 50,000,000 events, 1,000,000 cases, CSV with ISO times
    python benchmarks/large.py log --suffix .parquet      # the same as Parquet
    python benchmarks/large.py case                       # one case of 1,000,000 events
    python benchmarks/large.py case --ties 20             # the same, 20 events at each time stamp (20 times the work)

The file is written by a process of its own. What is stored is the peak of the process that reads it, as the operating
system counts it (`ru_maxrss`), and the processor seconds of every step. The model is an untrained window density:
cost does not depend on weights.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "large.csv"
N_TYPES = 100


def write(path: Path, n_events: int, n_cases: int, ties: int) -> None:
    """Write a log, a million events at a time; rows of one case are scattered."""
    import numpy as np
    import polars as pl
    import pyarrow.parquet as pq

    rng, block, writer = np.random.default_rng(0), 1_000_000, None
    for low in range(0, n_events, block):
        n = min(block, n_events - low)
        seconds = 1_790_000_000 + (low + np.arange(n)) // ties
        frame = pl.DataFrame(
            {
                "case": rng.integers(0, n_cases, n),
                "time": pl.Series(seconds * 1_000_000).cast(pl.Datetime("us")),
                "event": rng.integers(0, N_TYPES, n),
            }
        ).with_columns(case=pl.format("c{}", "case"), event=pl.format("e{}", "event"))
        if path.suffix == ".parquet":
            table = frame.to_arrow()
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
        else:
            with path.open("ab") as file:
                frame.write_csv(file, include_header=low == 0, datetime_format="%Y-%m-%d %H:%M:%S")
    if writer is not None:
        writer.close()


def measure(path: Path, n_sample: int, causes: str | None) -> dict[str, Any]:
    """Read, encode and discover; return processor seconds of each step and the peak after it, in MB."""
    import numpy as np
    import torch

    import sequela as sq
    from sequela.density.window.density import WindowDensity
    from sequela.density.window.network import WindowConfig, WindowNetwork
    from sequela.discovery.stream import discover_to
    from sequela.effects.encoding import encode_log
    from sequela.events.vocabulary import Vocabulary

    row: dict[str, Any] = {}

    def step(name: str) -> None:
        used, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        row[f"{name}_seconds"], row[f"{name}_peak_mb"] = (
            used - sum(value for key, value in row.items() if key.endswith("_seconds")),
            peak,
        )

    step("import")
    log = sq.read_log(path)
    row |= {"n_events": log.n_events, "n_cases": log.n_cases}
    step("read")
    vocabulary = Vocabulary.build(log)
    torch.manual_seed(0)
    density = WindowDensity(
        WindowNetwork(WindowConfig(vocabulary.n_types, vocabulary.n_types + 3, 8, 32, 32)),
        vocabulary,
        knows_hidden=True,
    )
    sequences = encode_log(density, log)
    assert sequences.n_events == row["n_events"]
    step("encode")
    names = sequences.case_names.gather(np.arange(0, sequences.n_cases, max(1, sequences.n_cases // n_sample)))
    del sequences
    sample = log.cases(names)
    out = path.with_name("found")
    found = discover_to(density, sample, out, particles=4, causes=causes, progress=False)
    row |= {"n_discovered": found.run.counts.n_cases, "n_pairs": found.run.counts.n_pairs_tested}
    step("discover")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["log", "case"])
    parser.add_argument("--events", type=int)
    parser.add_argument("--suffix", default=".csv", choices=[".csv", ".parquet"])
    parser.add_argument("--ties", type=int, help="events at each time stamp: 20 in a log, 1 in a case")
    parser.add_argument("--sample", type=int, default=500, help="cases that are discovered")
    parser.add_argument("--causes", help="event types that are tested as causes, as e7 or e7*; all by default")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    n_events = given.events or (50_000_000 if given.what == "log" else 1_000_000)
    n_cases = n_events // 50 if given.what == "log" else 1
    ties = given.ties or (20 if given.what == "log" else 1)
    if given.write:
        write(given.write, n_events, n_cases, ties)
        return
    if given.measure:
        import polars as pl

        row = {"what": given.what, "suffix": given.measure.suffix, "ties": ties, "causes": given.causes}
        row |= measure(given.measure, given.sample, given.causes)
        table = pl.DataFrame([row]).with_columns(pl.col(pl.Float64).round(1))
        print(*(f"{key:20} {value}" for key, value in table.row(0, named=True).items()), sep="\n")
        if RESULTS.exists():
            table = pl.concat([pl.read_csv(RESULTS), table], how="diagonal_relaxed")
        table.write_csv(RESULTS)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"log{given.suffix}"
        again = [sys.executable, __file__, given.what, "--events", str(n_events), "--sample", str(given.sample)]
        again += ["--ties", str(ties), *(["--causes", given.causes] if given.causes else [])]
        subprocess.run([*again, "--write", str(path)], check=True)
        print(f"{path.stat().st_size / 1e6:,.0f} MB")
        subprocess.run([*again, "--measure", str(path)], check=True)


if __name__ == "__main__":
    main()
