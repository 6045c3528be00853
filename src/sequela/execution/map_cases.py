"""One way to run over cases: a task gets ranges of them and returns tables; here they become chunks.

What a task computes, and with which model, is its own affair. The result of a case must not depend on which other cases
are in its range: then the joined result depends neither on the ranges, nor on the engine, nor on interruptions.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.execution.chunks import Chunk, Chunks

Model = TypeVar("Model")
Model_co = TypeVar("Model_co", covariant=True)
Model_contra = TypeVar("Model_contra", contravariant=True)
_FIRST_EVENTS = 1024
"""Events of the first range; the next are larger while they take less than `_SHORT_SECONDS`."""
_SHORT_SECONDS = 1.0
_LONG_SECONDS = 4.0
_MOST_WAITING = 2
"""Chunks that wait to be written."""
_MOST_ROWS = 500_000
"""Rows of a chunk after which it is written, however quickly they came."""


class Cases(Protocol):
    """Cases in order, of which a range can be taken; it must be possible to pickle them."""

    @property
    def n_cases(self) -> int:
        """Number of cases."""
        ...

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where the events of each case start, and the end (int64, ``[n_cases + 1]``)."""
        ...

    def take(self, indices: Any) -> Self:
        """Return some cases."""
        ...


class ModelHandle(Protocol[Model_co]):
    """A model that can be sent to another process."""

    @property
    def here(self) -> Model_co:
        """The model in this process."""
        ...

    def ship(self, folder: Path) -> Callable[[Path], Model_co]:
        """Write the model to an empty folder; return what loads it from a copy, and can be pickled."""
        ...


class Task(Protocol[Model_contra]):
    """What is done with cases; it must be possible to pickle it."""

    def __call__(self, model: Model_contra, cases: Any, /) -> tuple[pl.DataFrame, Mapping[str, int]]:
        """Return the result of some cases as a table, and what was counted."""
        ...

    def join(self, tables: Sequence[pl.DataFrame], /) -> pl.DataFrame:
        """Join the results of disjoint sets of cases, given in the order of the cases."""
        ...


class Piece(NamedTuple):
    """The result of one call of a task: cases ``low … high - 1``."""

    low: int
    high: int
    table: pl.DataFrame
    counts: Mapping[str, int]


class Engine(Protocol):
    """Calls a task on ranges of cases, somewhere."""

    def __call__(
        self, task: Task[Any], model: ModelHandle[Any], cases: Any, gaps: Sequence[tuple[int, int]]
    ) -> Iterable[Piece]:
        """Yield the results of all cases of ``gaps``, cut into ranges, in any order."""
        ...


def map_cases(
    task: Task[Model],
    model: ModelHandle[Model],
    cases: Cases,
    *,
    engine: Engine | None = None,
    chunks: Chunks | None = None,
    update: Callable[[int, Mapping[str, int]], None] = lambda n_done, counts: None,
) -> list[Chunk]:
    """Run a task over all cases and return the chunks of its result, in the order of the cases.

    Args:
        task: What to do.
        model: What to do it with.
        cases: All cases.
        engine: Where, from `sequela.execution.engines.start_engine`; by default in this process.
        chunks: Folder of finished chunks: what is there is not done again, and what is done is kept there, written by a
            second thread. Without it everything stays in memory.
        update: Told how many cases are done, and all counts so far.

    Returns:
        Chunks that cover every case once. Their tables, joined, are the same for every engine and every history of
        interruptions.

    Example:
        >>> from types import SimpleNamespace
        >>> class Lengths:
        ...     def __call__(self, model, cases):
        ...         table = pl.DataFrame({"length": np.diff(cases.offsets) * model})
        ...         return table, {"n_cases": cases.n_cases}
        ...     def join(self, tables):
        ...         return pl.concat(tables)
        >>> from sequela.events.sequences import SequenceSet
        >>> cases = SequenceSet(np.zeros(6, np.int32), np.array([0, 1, 3, 6]), pl.Series(["a", "b", "c"]))
        >>> (chunk,) = map_cases(Lengths(), SimpleNamespace(here=10), cases)
        >>> chunk.read()["length"].to_list(), chunk.counts
        ([10, 20, 30], {'n_cases': 3})
    """
    before = [] if chunks is None else chunks.done()
    counts = Counter[str]()
    for chunk in before:
        counts.update(chunk.counts)
    n_done = sum(chunk.high - chunk.low for chunk in before)
    gaps = [(0, cases.n_cases)] if chunks is None else list(chunks.gaps(cases.n_cases))
    gaps = [(low, high) for low, high in gaps if low < high]
    with _Gatherer(task, chunks) as gatherer:
        if gaps:
            for piece in (engine or run_here)(task, model, cases, gaps):
                gatherer.add(piece)
                n_done += piece.high - piece.low
                counts.update(piece.counts)
                update(n_done, counts)
    found = gatherer.found() if chunks is None else chunks.done()
    ends = [0, *(chunk.high for chunk in found)]
    if ends != [*(chunk.low for chunk in found), cases.n_cases]:
        raise RuntimeError(f"the chunks {[chunk[:2] for chunk in found]} do not cover {cases.n_cases} cases once")
    return found


class _Gatherer:
    """Joins neighbouring pieces to chunks; keeps them in memory, or gives them to the thread that writes."""

    def __init__(self, task: Task[Any], chunks: Chunks | None) -> None:
        self.task, self.chunks = task, chunks
        self.pieces: list[Piece] = []
        self.since = time.monotonic()
        self.writer = ThreadPoolExecutor(max_workers=1)
        self.waiting: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None and self.chunks is not None:
                self._write()
                self._wait(0)
        finally:
            self.writer.shutdown(wait=True, cancel_futures=True)

    def add(self, piece: Piece) -> None:
        if self.chunks is None:
            self.pieces.append(piece)
            rows = [piece.table.height for piece in self.pieces]
            if len(rows) > 2 and sum(rows[1:]) > max(rows[0], _MOST_ROWS):
                self.pieces = list(_runs(self.task, self.pieces))
            return
        if self.pieces and piece.low != self.pieces[-1].high:
            self._write()
        self.pieces.append(piece)
        late = time.monotonic() - self.since >= self.chunks.seconds
        if late or sum(piece.table.height for piece in self.pieces) >= _MOST_ROWS:
            self._write()

    def found(self) -> list[Chunk]:
        """Return what was kept in memory."""
        return [Chunk(low, high, counts, table.clone) for low, high, table, counts in _runs(self.task, self.pieces)]

    def _write(self) -> None:
        for low, high, table, counts in _runs(self.task, self.pieces):
            assert self.chunks is not None
            self.waiting.append(self.writer.submit(self.chunks.add, low, high, table, counts))
        self.pieces, self.since = [], time.monotonic()
        self._wait(_MOST_WAITING)

    def _wait(self, n: int) -> None:
        while len(self.waiting) > n:
            self.waiting.pop(0).result()


def _runs(task: Task[Any], pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Yield one piece for every run of neighbours."""
    run: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: piece.low):
        if run and piece.low != run[-1].high:
            yield _joined(task, run)
            run = []
        run.append(piece)
    if run:
        yield _joined(task, run)


def _joined(task: Task[Any], run: list[Piece]) -> Piece:
    if len(run) == 1:
        return run[0]
    counts = Counter[str]()
    for piece in run:
        counts.update(piece.counts)
    return Piece(run[0].low, run[-1].high, task.join([piece.table for piece in run]), dict(counts))


def run_here(
    task: Task[Model], model: ModelHandle[Model], cases: Cases, gaps: Sequence[tuple[int, int]]
) -> Iterator[Piece]:
    """Call a task in this process, on ranges of about a second or two each."""
    n_events, offsets = _FIRST_EVENTS, cases.offsets
    for low, high in gaps:
        at = low
        while at < high:
            end = int(np.searchsorted(offsets, offsets[at] + n_events, side="right")) - 1
            end = min(max(end, at + 1), high)
            since = time.monotonic()
            table, counts = task(model.here, cases if end - at == cases.n_cases else cases.take(range(at, end)))
            seconds = time.monotonic() - since
            yield Piece(at, end, table, counts)
            n_events = (
                n_events * 2
                if seconds < _SHORT_SECONDS
                else max(1, n_events // 2)
                if seconds > _LONG_SECONDS
                else n_events
            )
            at = end
