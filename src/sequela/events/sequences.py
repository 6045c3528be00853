"""Ragged sets of event sequences: one flat array of ids and where each case starts."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.errors import ConfigError, LogFormatError
from sequela.events.log import EventLog
from sequela.events.neighbours import AT_NEIGHBOUR, Neighbours
from sequela.events.readers.parquet import read_table
from sequela.events.vocabulary import Vocabulary
from sequela.files import sound_folder, whole_folder, write_record
from sequela.text import quoted

_MARKER = "sequences.json"
_FORMAT = 1
_MOST_IN_MEMORY = 1 << 26
"""Bytes of an array of events that are joined with those of neighbours."""


class Case(NamedTuple):
    """One sequence.

    Attributes:
        name: Its name.
        ids: Event ids (int32, ``[L]``).
        times: Seconds (float64, ``[L]``), or None.
        ticks: Number of the tick of each event (int64, ``[L]``, from 0 on): events of one tick have no order. None
            where every event has a tick of its own.
        first: Position of the first of these events in the case; not 0 where they are a stretch of a long case.
    """

    name: str
    ids: NDArray[np.int32]
    times: NDArray[np.float64] | None
    ticks: NDArray[np.int64] | None = None
    first: int = 0


@dataclass(frozen=True, repr=False)
class SequenceSet:
    """Event sequences of many cases.

    Attributes:
        ids: Event ids of all cases, one after the other (int32, ``[n_events]``).
        offsets: Where each case starts, and the end (int64, ``[n_cases + 1]``).
        case_names: One name a case.
        times: Seconds (float64, ``[n_events]``) or None.
        n_unknown: Events whose type the vocabulary did not know.
        unordered_ties: Whether events of one case at the same time have no order (see `sequela.events.ties`).
        rows: Where the cases hold events of neighbours too: the row of each event in the log of all entities, ``~row``
            for an event at a neighbour (int64, ``[n_events]``); else None.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    case_names: pl.Series
    times: NDArray[np.float64] | None = None
    n_unknown: int = 0
    unordered_ties: bool = False
    rows: NDArray[np.int64] | None = None

    @classmethod
    def from_log(cls, log: EventLog, vocabulary: Vocabulary) -> SequenceSet:
        """Encode a log with a vocabulary; the events of neighbours join their cases."""
        if log.neighbours is not None:
            return cls._joined(log, log.neighbours, vocabulary)
        ids, n_unknown = vocabulary.encode(log.frame["event"])
        # The log is sorted by case, so run lengths are the lengths of the cases.
        runs = log.frame["case"].rle().struct.unnest()
        offsets = np.concatenate([[0], np.cumsum(runs["len"].to_numpy(), dtype=np.int64)])
        times = log.frame["time"].to_numpy() if log.has_times else None
        return cls(ids, offsets, runs["value"], times, n_unknown, log.has_unordered_ties)

    @classmethod
    def _joined(cls, log: EventLog, neighbours: Neighbours, vocabulary: Vocabulary) -> SequenceSet:
        """Join one case after the other into arrays; large ones lie in a temporary file, not in memory."""
        names = neighbours.events["event"]
        own, unknown = vocabulary.encode_each(names)
        near, unknown_near = vocabulary.encode_each(names + AT_NEIGHBOUR)
        seconds = neighbours.events["time"].to_numpy()
        cases = log.frame["case"].unique(maintain_order=True)
        n_events = neighbours.n_events(cases)
        ids, times, rows = (_array(n_events, kind) for kind in (np.int32, np.float64, np.int64))
        offsets, n_unknown = [0], 0
        for found in neighbours.rows(cases):
            at = slice(offsets[-1], offsets[-1] + len(found))
            is_near, row = found < 0, np.where(found < 0, ~found, found)
            ids[at], times[at], rows[at] = np.where(is_near, near[row], own[row]), seconds[row], found
            n_unknown += int(np.where(is_near, unknown_near[row], unknown[row]).sum())
            offsets.append(at.stop)
        return cls(ids, np.array(offsets, np.int64), cases, times, n_unknown, log.has_unordered_ties, rows)

    @property
    def n_at_neighbours(self) -> int:
        """Events of neighbours among the events, each as often as it stands in a case."""
        return 0 if self.rows is None else int((self.rows < 0).sum())

    @property
    def n_cases(self) -> int:
        """Number of cases."""
        return len(self.offsets) - 1

    @property
    def n_events(self) -> int:
        """Number of events."""
        return int(self.offsets[-1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Events of each case (int64, ``[n_cases]``)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return self.n_cases

    def __repr__(self) -> str:
        return f"SequenceSet({self.n_cases:,} cases, {self.n_events:,} events)"

    def __getitem__(self, index: int) -> Case:
        start, end = int(self.offsets[index]), int(self.offsets[index + 1])
        times = None if self.times is None else self.times[start:end]
        ticks = tick_numbers(times) if self.unordered_ties else None
        return Case(str(self.case_names[index]), self.ids[start:end], times, ticks)

    def __iter__(self) -> Iterator[Case]:
        for index in range(self.n_cases):
            yield self[index]

    def take(self, indices: NDArray[np.int64] | Sequence[int], longest: int | None = None) -> SequenceSet:
        """Return some cases, in the order of ``indices``; with ``longest`` no more than their first so many events."""
        chosen = np.asarray(indices, dtype=np.int64)
        lengths = self.lengths[chosen] if longest is None else np.minimum(self.lengths[chosen], longest)
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        rows = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths) + np.repeat(self.offsets[chosen], lengths)
        times, source = (None if each is None else each[rows] for each in (self.times, self.rows))
        return SequenceSet(
            self.ids[rows], offsets, self.case_names[chosen], times, unordered_ties=self.unordered_ties, rows=source
        )

    def split(self, shares: tuple[float, ...] = (0.8, 0.1, 0.1), *, seed: int = 0) -> tuple[SequenceSet, ...]:
        """Split by case, keyed by a hash of the case name, so that a case's part never depends on the others.

        Args:
            shares: Share of each part; they sum to 1.
            seed: Another seed gives another split.

        Returns:
            One set a part. Where a hash alone would leave a part empty, the nearest case moves to it. A log with
            fewer cases than parts is cut along time instead: the first share of every case, then the next.

        Example:
            >>> import polars as pl
            >>> from sequela import read_log
            >>> log = read_log(pl.DataFrame({"case": list("aabbccdd"), "event": list("xyxyxyxy")}))
            >>> sequences = SequenceSet.from_log(log, Vocabulary.build(log))
            >>> [part.n_cases for part in sequences.split((0.5, 0.5))]
            [3, 1]
        """
        if not shares or any(share <= 0 for share in shares) or abs(sum(shares) - 1) > 1e-9:
            raise ConfigError(f"shares must be positive and sum to 1; got {shares}")
        if self.n_cases < len(shares):
            return self._cut(shares)
        place = np.array([case_hash(name, seed) / 2**64 for name in self.case_names])
        bounds = np.cumsum(shares)[:-1]
        part = np.searchsorted(bounds, place, side="right")
        order = np.argsort(place, kind="stable")
        for wanted in reversed(range(len(shares))):
            if not (part == wanted).any():
                # The case that lies nearest below, or else above, among parts that can spare one.
                spare = [i for i in order if (part == part[i]).sum() > 1]
                part[min(spare, key=lambda i: abs(part[i] - wanted) + abs(place[i] - sum(shares[:wanted])))] = wanted
        return tuple(self.take(np.flatnonzero(part == i)) for i in range(len(shares)))

    def _cut(self, shares: tuple[float, ...]) -> tuple[SequenceSet, ...]:
        bounds = np.concatenate([[0.0], np.cumsum(shares)])
        parts = []
        for low, high in pairwise(bounds):
            starts = self.offsets[:-1] + np.round(self.lengths * low).astype(np.int64)
            ends = self.offsets[:-1] + np.round(self.lengths * high).astype(np.int64)
            rows = np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)])
            offsets = np.concatenate([[0], np.cumsum(ends - starts)]).astype(np.int64)
            times, source = (None if each is None else each[rows] for each in (self.times, self.rows))
            ties = self.unordered_ties
            parts.append(SequenceSet(self.ids[rows], offsets, self.case_names, times, unordered_ties=ties, rows=source))
        return tuple(parts)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a folder of plain arrays that `load` maps into memory without reading them."""
        with whole_folder(path, marker=_MARKER, overwrite=overwrite) as folder:
            np.save(folder / "ids.npy", self.ids, allow_pickle=False)
            np.save(folder / "offsets.npy", self.offsets, allow_pickle=False)
            if self.times is not None:
                np.save(folder / "times.npy", self.times, allow_pickle=False)
            self.case_names.rename("case").to_frame().write_parquet(folder / "cases.parquet")
            meta = {"format": _FORMAT, "n_unknown": self.n_unknown, "unordered_ties": self.unordered_ties}
            write_record(folder, _MARKER, meta)

    @classmethod
    def load(cls, path: str | Path) -> SequenceSet:
        """Map a saved set into memory, once its files have been compared with their checksums.

        Raises:
            LogFormatError: The folder is not a saved set, or is damaged.
        """
        folder = Path(path)
        try:
            with sound_folder(folder, _MARKER) as meta:
                if meta["format"] != _FORMAT:
                    raise ValueError(f"format {meta['format']}, this version reads {_FORMAT}")
                ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
                offsets = np.load(folder / "offsets.npy", mmap_mode="r", allow_pickle=False)
                times_path = folder / "times.npy"
                times = np.load(times_path, mmap_mode="r", allow_pickle=False) if times_path.exists() else None
                names = read_table(folder / "cases.parquet")["case"]
            good = (
                ids.ndim == offsets.ndim == 1
                and ids.dtype == np.int32
                and offsets.dtype == np.int64
                and names.dtype == pl.String
                and names.null_count() == 0
                and len(offsets) == len(names) + 1
                and offsets[0] == 0
                and offsets[-1] == len(ids)
                and bool((np.diff(offsets) >= 0).all())
                and (times is None or (times.dtype == np.float64 and times.shape == ids.shape))
            )
            if not good:
                raise ValueError("its arrays do not fit each other")
            return cls(ids, offsets, names, times, int(meta["n_unknown"]), bool(meta["unordered_ties"]))
        except Exception as error:  # numpy and polars refuse damaged files in many ways; each means a bad folder
            raise LogFormatError(f"'{path}' is not a saved sequence set: {quoted(error)}") from error


def _array(n: int, kind: type) -> NDArray[Any]:
    """Return an array: in memory, or where it is large in a temporary file that goes with it."""
    if n * np.dtype(kind).itemsize <= _MOST_IN_MEMORY:
        return np.empty(n, kind)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, kind, "w+", shape=(n,))


def tick_numbers(times: NDArray[np.float64] | None) -> NDArray[np.int64] | None:
    """Return the tick of each event of one case (int64, ``[L]``), or None where no two share their time.

    Example:
        >>> tick_numbers(np.array([0.0, 5.0, 5.0, 9.0])).tolist(), tick_numbers(np.array([0.0, 5.0]))
        ([0, 1, 1, 2], None)
    """
    if times is None or len(times) < 2:
        return None
    later = np.diff(times) > 0
    return None if later.all() else np.concatenate([[0], np.cumsum(later)]).astype(np.int64)


def case_hash(name: str, seed: int) -> int:
    """Return 64 bits that depend on the case name and the seed alone: the key of every random draw for it."""
    digest = hashlib.blake2b(name.encode(), digest_size=8, salt=int(seed).to_bytes(8, "little", signed=True))
    return int.from_bytes(digest.digest(), "little")
