"""Finished chunks of long work over cases, on disk, so that a run that was killed goes on where it was.

```
.OUT.discovering/
    state.json                 what is being done: another job is not mixed in
    0000000000-0000000120.parquet   result of cases 0 … 119: edges, or sums for a population
    0000000000-0000000120.json      what was counted on the way; written last: a chunk without it does not count
```
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sequela.density.base import Density
from sequela.events.sequences import SequenceSet
from sequela.files import read_json, whole_file, write_json
from sequela.graphs.instance import InstanceGraph

_STATE = "state.json"
_FORMAT = 1


@dataclass
class Counts:
    """What happened on the way.

    Attributes:
        n_unknown_events: Events of types the density did not know, treated as ``<rare>``.
        n_cases: Cases seen.
        n_cases_skipped: Cases with fewer than two events: nothing to test.
        n_pairs_tested: Pairs of positions tested.
        n_edges: Edges found.
        n_clamped: Log-probabilities clamped to stay finite.
    """

    n_unknown_events: int = 0
    n_cases: int = 0
    n_cases_skipped: int = 0
    n_pairs_tested: int = 0
    n_edges: int = 0
    n_clamped: int = 0

    def add(self, graph: InstanceGraph) -> None:
        """Count one graph."""
        self.n_cases += 1
        self.n_cases_skipped += len(graph.events) < 2
        self.n_pairs_tested += graph.n_tested
        self.n_edges += len(graph)
        self.n_clamped += graph.n_clamped

    def include(self, other: Counts) -> None:
        """Add other counts."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


class Chunk(NamedTuple):
    """Cases ``low … high - 1``, the file of their result, and counts."""

    low: int
    high: int
    path: Path
    counts: Counts

    def read(self) -> pl.DataFrame:
        """Read the result."""
        return pl.read_parquet(self.path, memory_map=False)


class Chunks:
    """The folder of finished chunks of one job."""

    seconds = 10.0
    """How long a chunk takes at least: about what a killed run loses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, out: Path, fingerprint: str | None, *, doing: str = "discovering") -> Chunks:
        """Take up the chunks of the same job, or start anew."""
        chunks = cls(out.with_name(f".{out.name}.{doing}"))
        state = {"format": _FORMAT, "fingerprint": fingerprint}
        try:
            same = fingerprint is not None and read_json(chunks.folder / _STATE) == state
        except (OSError, ValueError):
            same = False
        if not same:
            shutil.rmtree(chunks.folder, ignore_errors=True)
            chunks.folder.mkdir(parents=True)
            write_json(chunks.folder / _STATE, state)
        return chunks

    def within(self, name: str) -> Chunks:
        """Return a folder inside for one of several sets of cases."""
        inner = Chunks(self.folder / name)
        inner.folder.mkdir(exist_ok=True)
        return inner

    def add(self, low: int, high: int, rows: pl.DataFrame, counts: Counts) -> None:
        """Keep a finished chunk; it counts from the moment its JSON is there."""
        name = self.folder / f"{low:010d}-{high:010d}"
        with whole_file(name.with_suffix(".parquet")) as temporary:
            rows.write_parquet(temporary, compression="zstd")
        write_json(name.with_suffix(".json"), asdict(counts))

    def done(self) -> list[Chunk]:
        """Return finished chunks that do not overlap, in order."""
        found: list[Chunk] = []
        for path in sorted(self.folder.glob("[0-9]*-[0-9]*.json")):
            low, high = map(int, path.stem.split("-"))
            result = path.with_suffix(".parquet")
            if result.exists() and (not found or low >= found[-1].high):
                found.append(Chunk(low, high, result, Counts(**read_json(path))))
        return found

    def gaps(self, n_cases: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of cases that are not done."""
        at = 0
        for chunk in self.done():
            if chunk.low > at:
                yield at, chunk.low
            at = chunk.high
        if at < n_cases:
            yield at, n_cases

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def job_fingerprint(
    density: Density, sequences: SequenceSet, arguments: dict[str, Any], *, times: bool = False
) -> str | None:
    """Return a hash of everything that decides the result; None when the density cannot tell which one it is.

    Times count where the density or the arguments use them, or with ``times``.
    """
    if density.fingerprint is None:
        return None
    digest = hashlib.blake2b(digest_size=16)
    digest.update((density.fingerprint + json.dumps(arguments, sort_keys=True, default=str)).encode())
    digest.update(sequences.ids.tobytes() + sequences.offsets.tobytes())
    used = times or density.uses_times or arguments.get("horizon_seconds") is not None
    if sequences.times is not None and used:
        digest.update(sequences.times.tobytes())
    digest.update("\0".join(sequences.case_names).encode())
    return digest.hexdigest()
