"""From a log or a list of events to what a density reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from sequela.density.base import Density
from sequela.errors import ConfigError, VocabularyError
from sequela.events.log import EventLog
from sequela.events.neighbours import AT_NEIGHBOUR
from sequela.events.sequences import Case, SequenceSet

if TYPE_CHECKING:
    pass

_MAX_UNKNOWN_SHARE = 0.5


def encode_log(density: Density, log: EventLog) -> SequenceSet:
    """Encode a log for a density; refuse one that is mostly foreign to it."""
    if log.neighbours is None and any(name.endswith(AT_NEIGHBOUR) for name in density.vocabulary.names):
        raise ConfigError(
            "this model was trained with the events of neighbours: read the log with them (neighbours=TABLE, "
            "--neighbours FILE)"
        )
    sequences = SequenceSet.from_log(log, density.vocabulary)
    _refuse_foreign(sequences.n_unknown, sequences.n_events, log.source)
    return sequences


def encode_case(density: Density, case: EventLog | Case | Sequence[str]) -> tuple[Case, int]:
    """Return one case in the density's ids, and how many of its events are of unknown types."""
    if isinstance(case, Case):
        return case, 0
    if isinstance(case, EventLog):
        sequences = encode_log(density, case)
        if sequences.n_cases != 1:
            raise ConfigError(
                f"discover takes one case, the log has {sequences.n_cases}: use log.case('{sequences.case_names[0]}'), "
                "or discover_log for all of them"
            )
        return sequences[0], sequences.n_unknown
    if isinstance(case, str) or not all(isinstance(event, str) for event in case):
        raise ConfigError("case must be the log of one case or a list of event types (text)")
    ids, n_unknown = density.vocabulary.encode(pl.Series(list(case), dtype=pl.String))
    _refuse_foreign(n_unknown, len(ids), "the sequence")
    return Case("", ids, None), n_unknown


def _refuse_foreign(n_unknown: int, n_events: int, source: str) -> None:
    if n_unknown > _MAX_UNKNOWN_SHARE * n_events:
        raise VocabularyError(
            f"{n_unknown:,} of {n_events:,} events of {source} are of types the density has never seen: it was "
            "trained on another vocabulary; use the density of this log, or name the right event column"
        )


def longest_case(sequences: SequenceSet) -> int:
    """Return the events of the longest case."""
    return int(sequences.lengths.max()) if sequences.n_cases else 1
