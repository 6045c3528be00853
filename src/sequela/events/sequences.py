"""Ragged sets of event sequences: one flat array of ids and where each case starts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.errors import ConfigError, LogFormatError
from sequela.events.log import EventLog
from sequela.events.vocabulary import Vocabulary
from sequela.files import damaged_files, read_record, whole_folder, write_record
from sequela.text import quoted

_MARKER = "sequences.json"
_FORMAT = 1


class Case(NamedTuple):
    """One sequence.

    Attributes:
        name: Its name.
        ids: Event ids (int32, ``[L]``).
        times: Seconds (float64, ``[L]``), or None.
        ticks: Number of the tick of each event (int64, ``[L]``, from 0 on): events of one tick have no order. None
            where every event has a tick of its own.
    """

    name: str
    ids: NDArray[np.int32]
    times: NDArray[np.float64] | None
    ticks: NDArray[np.int64] | None = None


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
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    case_names: pl.Series
    times: NDArray[np.float64] | None = None
    n_unknown: int = 0
    unordered_ties: bool = False

    @classmethod
    def from_log(cls, log: EventLog, vocabulary: Vocabulary) -> SequenceSet:
        """Encode a log with a vocabulary."""
        ids, n_unknown = vocabulary.encode(log.frame["event"])
        # The log is sorted by case, so run lengths are the lengths of the cases.
        runs = log.frame["case"].rle().struct.unnest()
        offsets = np.concatenate([[0], np.cumsum(runs["len"].to_numpy(), dtype=np.int64)])
        times = log.frame["time"].to_numpy() if log.has_times else None
        return cls(ids, offsets, runs["value"], times, n_unknown, log.has_unordered_ties)

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

    def take(self, indices: NDArray[np.int64] | Sequence[int]) -> SequenceSet:
        """Return some cases, in the order of ``indices``."""
        chosen = np.asarray(indices, dtype=np.int64)
        lengths = self.lengths[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        rows = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths) + np.repeat(self.offsets[chosen], lengths)
        times = None if self.times is None else self.times[rows]
        return SequenceSet(self.ids[rows], offsets, self.case_names[chosen], times, unordered_ties=self.unordered_ties)

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
            times = None if self.times is None else self.times[rows]
            parts.append(
                SequenceSet(self.ids[rows], offsets, self.case_names, times, unordered_ties=self.unordered_ties)
            )
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
            meta = read_record(folder, _MARKER)
            if meta["format"] != _FORMAT:
                raise ValueError(f"format {meta['format']}, this version reads {_FORMAT}")
            for name, what in damaged_files(folder, meta).items():
                raise ValueError(f"{name} {what}")
            ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
            offsets = np.load(folder / "offsets.npy", mmap_mode="r", allow_pickle=False)
            times_path = folder / "times.npy"
            times = np.load(times_path, mmap_mode="r", allow_pickle=False) if times_path.exists() else None
            names = pl.read_parquet(folder / "cases.parquet")["case"]
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
