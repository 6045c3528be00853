"""Random and damaged logs, models and results, for some seconds here; ``make fuzz`` goes through many more.

    python tests/fuzz/test_fuzz.py --inputs 1000000     # make fuzz

Every input has a number, which alone decides it: ``--from NUMBER --inputs 1`` does one again.
"""

import argparse
import collections
import contextlib
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).parent
if __name__ == "__main__":
    os.environ |= {"RUST_BACKTRACE": "0", "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    sys.path[:0] = [str(HERE), str(HERE.parent)]

import files as log_files  # noqa: E402
import folders  # noqa: E402
import parsers  # noqa: E402
import psutil  # noqa: E402
import pytest  # noqa: E402
import tables  # noqa: E402

from sequela import files  # noqa: E402

OPENED = {"table": 2, "file": 12, "run": 4, "sequences": 3, "discovery": 2, "population": 2, "model": 1, "crossfit": 1}
"""Files and folders that are opened from start to end, and how often, in percent."""
PARSED = {"text table": 30, "record": 25, "words": 8, "amounts": 5, "split": 5}
"""What goes to a parser alone, in memory, so that there can be many."""
KINDS = OPENED | PARSED


class Inputs:
    """What inputs there are, in a folder of their own."""

    def __init__(self, folder):
        (folder / "made").mkdir()
        (folder / "log").mkdir()
        self.log, self.folders = folder / "log", folders.Folders(folder / "made")
        self.parsers = parsers.Parsers(folder / "made" / "discovery")

    def check(self, number):
        """Make one input and open it; return what came of it."""
        rng = random.Random(number)
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        if kind == "table":
            return f"table {tables.check(rng, self.log)}"
        if kind == "file":
            return f"file {log_files.check(rng, self.log)}"
        return (self.parsers if kind in PARSED else self.folders).check(rng, kind)


_FEWEST = 1_000
"""Inputs that there are on a busy machine too."""


@contextlib.contextmanager
def inputs():
    """Yield `Inputs` in a temporary folder, in memory where there is one; nothing is flushed to a disk."""
    pytest.importorskip("pandas")
    memory = Path("/dev/shm")
    sync = files.disk.sync
    files.disk.sync = lambda path: None
    try:
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            yield Inputs(Path(folder))
    finally:
        files.disk.sync = sync


def test_random_inputs_for_some_seconds():
    counts, end = collections.Counter(), time.monotonic() + 5
    with inputs() as made:
        for number in range(1_000_000):
            try:
                counts[made.check(number)] += 1
            except BaseException as error:
                error.add_note(f"input {number}")
                raise
            if number > _FEWEST and time.monotonic() > end:
                break
    for kind in set(KINDS) - {"words"}:  # which refuses nothing
        assert counts[f"{kind} refused"]
    for kind in ("file", "table", *PARSED):
        assert counts[f"{kind} read"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--from", type=int, default=0, dest="first")
    given = parser.parse_args()
    warnings.simplefilter("error")
    counts, found, process = collections.Counter(), 0, psutil.Process()
    log = (HERE / "../../.fuzz.log").resolve().open("w")  # what the libraries print when they panic is not of interest
    os.dup2(log.fileno(), 2)
    last = given.first + given.inputs - 1
    with inputs() as made:
        for number in range(given.first, last + 1):
            if number % 100 == 0:
                log.seek(0)
                log.truncate()
                log.write(f"{number}\n")  # where a process that crashed was
                log.flush()
            try:
                counts[made.check(number)] += 1
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a panic is no `Exception`
                found += 1
                frames = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
                print(
                    f"input {number}: {type(error).__name__}: {str(error)[:300]} ({' '.join(frames[-5:])})", flush=True
                )
            if number == last or (number + 1 - given.first) % 10_000 == 0:
                n, megabytes = number + 1 - given.first, process.memory_info().rss / 1e6
                print(f"{n:,} inputs, {found} found, {time.process_time():.0f} s, {megabytes:.0f} MB", flush=True)
    print(*(f"{kind}: {n:,}" for kind, n in sorted(counts.items())), sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
