"""Finished chunks of long work over cases, on disk, so that a run that was killed goes on where it was.

```
.OUT.discovering/
    state.json                 what is being done: another job is not mixed in
    0000000000-0000000120.parquet   result of cases 0 … 119
    0000000000-0000000120.json      counts, and a checksum of both files; written last: without it a chunk is not there
```
A chunk whose checksum does not fit is removed and its cases are done again. Only the holder of the output's lock
(`sequela.locks`) opens the folder.
"""

from __future__ import annotations

import bisect
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sequela.errors import SequelaError
from sequela.files import disk, read_json, whole_file, write_json
from sequela.version import __version__

_STATE = "state.json"
_FORMAT = 2


class Chunk(NamedTuple):
    """Cases ``low … high - 1``: what was counted, and how to read the table of their result."""

    low: int
    high: int
    counts: Mapping[str, int]
    read: Callable[[], pl.DataFrame]


class Chunks:
    """The folder of finished chunks of one job."""

    seconds = 10.0
    """How long a chunk takes at least: about what a killed run loses."""

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda text: None) -> None:
        self.folder = folder
        self._say = say
        self._found = list(self._sound())

    @classmethod
    def open(
        cls, out: Path, fingerprint: str | None, *, doing: str, say: Callable[[str], None] = lambda text: None
    ) -> Chunks:
        """Take up the chunks of the same job, or start anew.

        Args:
            out: Output of the job; the folder is a hidden one beside it.
            fingerprint: Of everything that decides the result; None: nothing is ever taken up.
            doing: What is done, part of the folder's name.
            say: Told of damaged chunks.
        """
        folder = out.with_name(f".{out.name}.{doing}")
        state = {"format": _FORMAT, "sequela": __version__, "fingerprint": fingerprint}
        try:
            same = fingerprint is not None and read_json(folder / _STATE) == state
        except (OSError, ValueError):
            same = False
        if not same:
            disk.remove(folder)
            disk.make_folder(folder)
            write_json(folder / _STATE, state)
        return cls(folder, say)

    def within(self, name: str) -> Chunks:
        """Return a folder inside for one of several sets of cases."""
        disk.make_folder(self.folder / name, exist_ok=True)
        return Chunks(self.folder / name, self._say)

    def add(self, low: int, high: int, table: pl.DataFrame, counts: Mapping[str, int]) -> None:
        """Keep a finished chunk; it counts from the moment its JSON is there."""
        buffer = io.BytesIO()
        table.write_parquet(buffer, compression="zstd")
        name = self.folder / f"{low:010d}-{high:010d}"
        with whole_file(name.with_suffix(".parquet")) as temporary:
            temporary.write_bytes(buffer.getbuffer())
        digest = _checksum(counts, buffer.getbuffer())
        write_json(name.with_suffix(".json"), {"counts": dict(counts), "checksum": digest})
        bisect.insort(self._found, self._chunk(low, high, counts, digest), key=lambda chunk: chunk.low)

    def done(self) -> list[Chunk]:
        """Return finished chunks, in order; they do not overlap."""
        return list(self._found)

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
        """Remove the folder; what cannot be removed is not taken up by another job."""
        try:
            disk.remove(self.folder)
        except OSError as error:
            self._say(f"the work folder '{self.folder}' could not be removed ({error.strerror or error})")

    def _sound(self) -> Iterator[Chunk]:
        """Yield the chunks that are on disk as they were written; remove the others."""
        end = 0
        for path in sorted(self.folder.glob("[0-9]*-[0-9]*.json")):
            low, high = (int(number) for number in path.stem.split("-"))
            try:
                record = read_json(path)
                counts, digest = {str(name): int(n) for name, n in record["counts"].items()}, record["checksum"]
                sound = _checksum(counts, disk.read(path.with_suffix(".parquet"))) == digest
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                sound = False
            if sound and end <= low < high:
                yield self._chunk(low, high, counts, digest)
                end = high
            else:
                self._say(f"the kept result of cases {low:,} to {high:,} is damaged: it is done again")
                disk.remove(path)
                disk.remove(path.with_suffix(".parquet"))

    def _chunk(self, low: int, high: int, counts: Mapping[str, int], digest: str) -> Chunk:
        path = self.folder / f"{low:010d}-{high:010d}.parquet"

        def read() -> pl.DataFrame:
            content = disk.read(path)
            if _checksum(counts, content) != digest:
                raise SequelaError(f"'{path}' was damaged on the disk: run the same command again, it is done anew")
            return pl.read_parquet(io.BytesIO(content))

        return Chunk(low, high, dict(counts), read)


def _checksum(counts: Mapping[str, int], content: bytes | memoryview) -> str:
    digest = hashlib.blake2b(json.dumps(dict(counts), sort_keys=True).encode(), digest_size=16)
    digest.update(content)
    return digest.hexdigest()
