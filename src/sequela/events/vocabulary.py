"""Event types and their integer ids."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.errors import VocabularyError, check_range, nearest
from sequela.events.log import EventLog
from sequela.files import read_json, write_json

RARE = "<rare>"
_PIECE = 1 << 20
"""Events that are encoded at a time."""


@dataclass(frozen=True)
class Vocabulary:
    """Event types in the order of their ids, with how often each was seen.

    Ids ``0 … n_types - 1`` are event types; a density predicts only these. Three more ids exist for its input:
    `pad_id`, `begin_id` (before the first event) and `hidden_id` (an event that is there but not shown). They are
    never an effect, a cause or a replacement.

    Attributes:
        names: Event types, the most frequent first; the last one is ``<rare>`` when `has_rare`.
        counts: Occurrences of each in the log it was built from.
        has_rare: Whether types that were too rare, and types never seen, are folded into ``<rare>``.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    has_rare: bool = False

    def __post_init__(self) -> None:
        if len(self.names) != len(self.counts) or len(set(self.names)) != len(self.names):
            raise VocabularyError("a vocabulary needs one count for each name and no name twice")
        if self.has_rare != (RARE in self.names) or (self.has_rare and self.names[-1] != RARE):
            raise VocabularyError(f"the name {RARE} is reserved for folded types and stands last")
        if self.n_types - self.has_rare < 2:
            raise VocabularyError(
                f"at least two event types are needed, found {self.n_types - self.has_rare}"
                + (f" ('{self.names[0]}')" if self.n_types > self.has_rare else "")
                + ": check the event column, or lower min_count"
            )

    @classmethod
    def build(cls, log: EventLog, *, min_count: int = 1) -> Vocabulary:
        """Collect the event types of a log.

        Args:
            log: Event log.
            min_count: Types seen less often are folded into ``<rare>``.

        Raises:
            VocabularyError: Fewer than two types are left.

        Example:
            >>> import polars as pl
            >>> from sequela.events.log import read_log
            >>> log = read_log(pl.DataFrame({"case": [1] * 5, "event": ["b", "a", "b", "c", "a"]}))
            >>> Vocabulary.build(log, min_count=2).names
            ('a', 'b', '<rare>')
        """
        check_range("min_count", min_count, low=1, whole=True)
        counts = log.frame.group_by("event").len()
        if log.neighbours is not None:
            counts = pl.concat([counts, log.neighbours.counts(log.frame["case"])])
        counts = counts.sort(["len", "event"], descending=[True, False])
        if (counts["event"] == RARE).any():
            raise VocabularyError(f"the log has an event type named {RARE}, a reserved name; rename it")
        kept = counts.filter(pl.col("len") >= min_count)
        if kept.height < 2 <= counts.height:
            raise VocabularyError(
                f"{kept.height} of the {counts.height:,} event types of this log occur {min_count} times or more "
                f"(min_count={min_count}), and two are needed: lower min_count (--min-count 1), or give more events"
            )
        folded = int(counts["len"].sum()) - int(kept["len"].sum())
        return cls(
            (*kept["event"].to_list(), RARE),
            (*(int(n) for n in kept["len"]), folded),
            has_rare=True,
        )

    @property
    def n_types(self) -> int:
        """Number of event types, ``<rare>`` included."""
        return len(self.names)

    @property
    def pad_id(self) -> int:
        """Input id that fills a batch."""
        return self.n_types

    @property
    def begin_id(self) -> int:
        """Input id before the first event."""
        return self.n_types + 1

    @property
    def hidden_id(self) -> int:
        """Input id of an event that is not shown."""
        return self.n_types + 2

    @property
    def n_inputs(self) -> int:
        """Number of ids a density must accept."""
        return self.n_types + 3

    @property
    def rare_id(self) -> int | None:
        """Id of ``<rare>``, if there is one."""
        return self.n_types - 1 if self.has_rare else None

    @cached_property
    def frequencies(self) -> NDArray[np.float64]:
        """Share of each type among all events (float64, ``[n_types]``, sums to 1; uniform without counts)."""
        counts = np.asarray(self.counts, dtype=np.float64)
        total = counts.sum()
        return counts / total if total > 0 else np.full(self.n_types, 1.0 / self.n_types)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Id of each name."""
        return {name: i for i, name in enumerate(self.names)}

    @cached_property
    def fingerprint(self) -> str:
        """Short hash of names and order: two vocabularies with the same one are interchangeable."""
        digest = hashlib.blake2b(digest_size=8)
        for name in self.names:
            digest.update(name.encode() + b"\0")
        return digest.hexdigest()

    def encode(self, events: pl.Series) -> tuple[NDArray[np.int32], int]:
        """Turn event types into ids.

        Returns:
            ids (int32, ``[n]``), and how many events were unknown and became ``<rare>``.

        Raises:
            VocabularyError: An event is unknown and there is no ``<rare>``.
        """
        ids, unknown = self.encode_each(events)
        return ids, int(unknown.sum())

    def encode_each(self, events: pl.Series) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Return what `encode` does, and which events were unknown (bool, ``[n]``)."""
        names = pl.DataFrame({"event": self.names, "id": pl.Series(range(self.n_types), dtype=pl.Int32)})
        ids, missing, at = np.empty(len(events), np.int32), np.zeros(len(events), bool), 0
        for some in events.rename("event").to_frame().iter_slices(_PIECE):  # a join holds several copies
            found = some.join(names, on="event", how="left", maintain_order="left")["id"]
            if found.null_count():
                unknown = found.is_null()
                if self.rare_id is None:
                    name = str(some["event"].filter(unknown)[0])
                    raise VocabularyError(f"unknown event type '{name}'{nearest(name, self.names)}")
                missing[at : at + some.height] = unknown.to_numpy()
                found = found.fill_null(self.rare_id)
            ids[at : at + some.height] = found.to_numpy()
            at += some.height
        return ids, missing

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        write_json(path, {"names": self.names, "counts": self.counts, "has_rare": self.has_rare})

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read what `save` wrote; raise `VocabularyError` when the file is not a vocabulary."""
        try:
            value: Any = read_json(path)
            names, counts = tuple(value["names"]), tuple(value["counts"])
            good = all(isinstance(n, str) for n in names) and all(isinstance(n, int) and n >= 0 for n in counts)
            if not good or not isinstance(value["has_rare"], bool):
                raise ValueError(f"'{path}' holds values of the wrong kind")
            return cls(names, counts, value["has_rare"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise VocabularyError(f"'{path}' is not a vocabulary: {error}") from error
